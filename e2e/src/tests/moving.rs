//! Sessions of unmodified browsers move to and fro between two engines, and nothing of theirs is lost.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::browser::{Kind, LaunchOptions, Person, Visitor};
use crate::test::{Ring, Stage, Test};
use crate::two_engines::{Came, Counts, Inbound};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test("ten_moves_by_a_candidate_cannot_be_told_in_chromium_in_dev", |stage| {
        nothing_is_lost(stage, Kind::Chromium, "candidate", NEAR)
    }),
    test("ten_moves_by_a_candidate_between_distant_engines_cannot_be_told_in_chromium_in_dev", |stage| {
        nothing_is_lost(stage, Kind::Chromium, "candidate", FAR)
    }),
    test("ten_moves_by_restarting_ice_cannot_be_told_in_firefox_in_dev", |stage| {
        nothing_is_lost(stage, Kind::Firefox, "restart", NEAR)
    }),
    test("ten_moves_by_restarting_ice_between_distant_engines_cannot_be_told_in_firefox_in_dev", |stage| {
        nothing_is_lost(stage, Kind::Firefox, "restart", FAR)
    }),
];

const fn test(name: &'static str, run: fn(&Stage) -> Result<()>) -> Test {
    Test { name, ring: Ring::Dev, slow: false, run }
}

/// Each message between the engines takes as long.
const NEAR: Duration = Duration::ZERO;
const FAR: Duration = Duration::from_millis(20);
/// There and back, of each of the two connections.
const MOVES: u64 = 10;

fn nothing_is_lost(stage: &Stage, kind: Kind, way: &str, delay: Duration) -> Result<()> {
    let (driver, engines) = (stage.browsers()?, stage.two_engines(delay)?);
    stage.block_on(async {
        let way = Value::from(way);
        let browser = driver.launch(kind, &LaunchOptions::default()).await?;
        let person = browser.open(&engines.page, &Visitor::new("Ada", 440)).await?;
        let before = counts(&person, &format!("start({way})")).await?;
        let mut pauses = Vec::new();
        for number in 0..MOVES {
            // At once; or one after the other, so that media crosses between the engines meanwhile.
            let groups = match number % 3 {
                0 => vec![json!(["publisher", "receiver"])],
                1 => vec![json!(["receiver"]), json!(["publisher"])],
                _ => vec![json!(["publisher"]), json!(["receiver"])],
            };
            for group in groups {
                person.evaluate(&format!("moving.move({group}, {way})")).await?;
            }
            let moved = counts(&person, "counts()").await?;
            pauses.extend(moved.report.streams.iter().filter(|s| s.direction == "down").map(|s| s.pause_ms).max());
            ensure!(moved.report.moved == 2 * (number + 1), "{} sessions moved", moved.report.moved);
        }
        let after = counts(&person, "finish()").await?;
        pauses.sort_unstable();
        println!("           longest pause of a stream in each move: {pauses:?} ms; {:?}", after.inbound);
        check(&before, &after, thrown_away(kind))?;
        browser.close().await?;
        Ok(())
    })
}

/// Asks the page.
async fn counts(person: &Person, what: &str) -> Result<Counts> {
    serde_json::from_value(person.evaluate(&format!("moving.{what}")).await?).context("the page counts otherwise")
}

/// Packets of each kind that a browser may throw away, in all moves together: the engines have put every packet on the
/// wire once, but Firefox leaves a path on which one may be under way.
const fn thrown_away(kind: Kind) -> i64 {
    match kind {
        Kind::Firefox => 1,
        Kind::Chromium => 0,
    }
}

fn check(before: &Counts, after: &Counts, thrown_away: i64) -> Result<()> {
    let (was, is) = (&before.report, &after.report);
    ensure!(is.handshakes == was.handshakes, "{} DTLS handshake records", is.handshakes - was.handshakes);
    ensure!(is.keyframes == was.keyframes, "{} keyframes asked of the browser", is.keyframes - was.keyframes);
    ensure!(is.dropped == was.dropped, "{} datagrams dropped", is.dropped - was.dropped);
    ensure!(is.unsent == 0, "{} datagrams not sent", is.unsent);
    for stream in &is.streams {
        ensure!((stream.missing, stream.doubled) == (0, 0), "not all of a stream came once: {stream:?}");
    }
    for kind in ["audio", "video"] {
        let (was, is) = (inbound(before, kind)?, inbound(after, kind)?);
        ensure!(is.lost <= was.lost + thrown_away, "{kind}: {} packets lost", is.lost - was.lost);
        ensure!(is.packets > was.packets, "{kind}: nothing came");
        ensure!(is.keyframes_asked == was.keyframes_asked, "{kind}: keyframes were asked for: {is:?}");
    }
    let (was, is) = (inbound(before, "video")?, inbound(after, "video")?);
    ensure!(is.frames > was.frames + MOVES, "video stands still: {is:?}");
    let numbers = after.numbers.context("the page did not count its messages")?;
    ensure!(numbers.sent > 50 * MOVES, "only {} messages were sent", numbers.sent);
    let messages = after.report.messages;
    let all = Came { came: numbers.sent, in_order: numbers.sent };
    let is_whole = numbers.echoed == all && numbers.copied == all;
    ensure!(is_whole, "not every message came once and in its order: {numbers:?}, {messages:?}");
    ensure!((messages.received, messages.out_of_order) == (numbers.sent, 0), "{messages:?} of {}", numbers.sent);
    // Firefox says that it connects while it restarts ICE.
    let is_fine = |change: &String| change.ends_with(" connecting") || change.ends_with(" connected");
    ensure!(after.changes.iter().all(is_fine), "the page was told of: {:?}", after.changes);
    Ok(())
}

fn inbound(counts: &Counts, kind: &str) -> Result<Inbound> {
    counts.inbound.get(kind).copied().with_context(|| format!("no {kind} is received: {counts:?}"))
}
