use std::collections::BTreeSet;

use fleet::api::{FleetEvent, Placement, SfuLoad, SfuState, SfuStatus};

use super::*;
use crate::claim::Step;

fn at(n: u16) -> SfuAddress {
    SfuAddress::new("10.0.0.1", n)
}

fn snapshot(n: u16, state: SfuState, calls: &[&str]) -> FleetEvent {
    FleetEvent::Snapshot {
        status: SfuStatus {
            name: format!("sfu-{n}"),
            node: String::new(),
            version: "1".into(),
            state,
            candidates: Vec::new(),
            address_problem: None,
            load: SfuLoad { participants: n.into(), ..SfuLoad::default() },
            drain: None,
            can_drain: true,
        },
        calls: calls.iter().map(|call| (*call).to_owned()).collect(),
    }
}

/// Two SFUs; the first, with fewer people, is where a new call goes; the second has `retro`.
fn table(now: Instant) -> Table {
    let mut table = Table::default();
    let _ = table.list(&BTreeSet::from([at(1), at(2)]), now);
    let _ = table.heard(&at(1), snapshot(1, SfuState::Active, &[]), now);
    let _ = table.heard(&at(2), snapshot(2, SfuState::Active, &["retro"]), now);
    table
}

fn join(call: &str, now: Instant) -> Trip {
    Trip::new(Wanted::Join { call: call.into(), token: AccessToken::default() }, now + HOLD)
}

/// A decision as text: `go 1 Running`, `claim sfu-1`, `claim sfu-1 replacing sfu-2`, `wait`.
fn decided(trip: &mut Trip, table: &Table, now: Instant) -> String {
    match trip.decide(table, 0, now) {
        Decision::Go(address, found) => format!("go {} {found:?}", address.as_pair().1),
        Decision::Wait(_) => "wait".into(),
        Decision::Claim(mut round) => match round.next_step() {
            Step::Ask(_, Claim { sfu, replaces: None, .. }) => format!("claim {sfu}"),
            Step::Ask(_, Claim { sfu, replaces: Some(old), .. }) => format!("claim {sfu} replacing {old}"),
            other => format!("{other:?}"),
        },
    }
}

#[test]
fn a_join_goes_where_its_call_runs() {
    let now = Instant::now();
    assert_eq!(decided(&mut join("retro", now), &table(now), now), "go 2 Running");
}

#[test]
fn a_new_call_is_claimed_for_the_least_loaded_and_goes_where_the_claim_says() {
    let now = Instant::now();
    let (table, mut trip) = (table(now), join("standup", now));
    assert_eq!(decided(&mut trip, &table, now), "claim sfu-1");
    trip.was_claimed("sfu-2".into());
    assert_eq!(decided(&mut trip, &table, now), "go 2 Claimed");
}

#[test]
fn an_sfu_that_refuses_is_replaced() {
    let now = Instant::now();
    let (table, mut trip) = (table(now), join("standup", now));
    trip.was_claimed("sfu-1".into());
    assert_eq!(decided(&mut trip, &table, now), "go 1 Claimed");
    trip.was_refused(at(1));
    assert_eq!(decided(&mut trip, &table, now), "claim sfu-2 replacing sfu-1");
}

#[test]
fn sfus_that_take_calls_and_all_refused_are_asked_again_after_a_pause() {
    let now = Instant::now();
    let (mut table, mut trip) = (table(now), join("standup", now));
    for n in [1, 2] {
        trip.was_claimed(format!("sfu-{n}"));
        trip.was_refused(at(n));
    }
    assert!(matches!(trip.decide(&table, 0, now), Decision::Wait(until) if until == now + REFUSED_PAUSE));
    assert_eq!(decided(&mut trip, &table, now + REFUSED_PAUSE), "claim sfu-1 replacing sfu-2");

    for n in [1, 2] {
        trip.was_refused(at(n));
        let _ = table.heard(&at(n), snapshot(n, SfuState::Draining, &[]), now);
    }
    assert!(matches!(trip.decide(&table, 0, now), Decision::Wait(until) if until == trip.deadline));
}

#[test]
fn a_call_that_ended_at_a_draining_sfu_goes_elsewhere() {
    let now = Instant::now();
    let (table, mut trip) = (table(now), join("retro", now));
    trip.was_refused(at(2));
    assert_eq!(decided(&mut trip, &table, now), "claim sfu-1");
}

#[test]
fn an_sfu_that_was_given_up_is_replaced() {
    let now = Instant::now();
    let (mut table, mut trip) = (table(now), join("standup", now));
    trip.was_claimed("sfu-2".into());
    let _ = table.lost(&at(2), now);
    let _ = table.refused(&at(2), now);
    assert_eq!(decided(&mut trip, &table, now), "claim sfu-1 replacing sfu-2");
}

#[test]
fn an_sfu_that_only_others_have_seen_is_waited_for_and_then_replaced() {
    let now = Instant::now();
    let (table, mut trip) = (table(now), join("standup", now));
    trip.was_claimed("sfu-9".into());
    assert_eq!(decided(&mut trip, &table, now), "wait");
    let later = now + NEVER_SEEN_WAIT;
    assert_eq!(decided(&mut trip, &table, later), "claim sfu-1 replacing sfu-9");
}

#[test]
fn an_sfu_that_could_not_be_reached_is_tried_again_after_a_pause() {
    let now = Instant::now();
    let (table, mut trip) = (table(now), join("retro", now));
    trip.was_unreachable(at(2), now);
    assert_eq!(decided(&mut trip, &table, now), "wait");
    assert_eq!(decided(&mut trip, &table, now + RETRY_PAUSE), "go 2 Running");
}

#[test]
fn a_new_call_avoids_the_sfu_that_could_not_be_reached() {
    let now = Instant::now();
    let (table, mut trip) = (table(now), join("standup", now));
    trip.was_unreachable(at(1), now);
    assert_eq!(decided(&mut trip, &table, now), "claim sfu-2");
}

#[test]
fn a_join_waits_while_nobody_takes_calls_and_while_not_everybody_was_heard() {
    let now = Instant::now();
    let mut table = table(now);
    let _ = table.heard(&at(1), snapshot(1, SfuState::Draining, &[]), now);
    let _ = table.heard(&at(2), snapshot(2, SfuState::Starting, &[]), now);
    assert_eq!(decided(&mut join("standup", now), &table, now), "wait");
    let _ = table.heard(&at(2), snapshot(2, SfuState::Active, &[]), now);
    assert_eq!(decided(&mut join("standup", now), &table, now), "claim sfu-2");
    let _ = table.list(&BTreeSet::from([at(1), at(2), at(3)]), now);
    assert_eq!(decided(&mut join("standup", now), &table, now), "wait");
}

#[test]
fn a_question_about_a_call_begins_none() {
    let now = Instant::now();
    let table = table(now);
    let about = |call: &str| Trip::new(Wanted::About(call.into()), now + HOLD);
    assert_eq!(decided(&mut about("retro"), &table, now), "go 2 Running");
    assert_eq!(decided(&mut about("standup"), &table, now), "go 1 Any");
    let mut placed = about("standup");
    placed.was_claimed("sfu-2".into());
    assert_eq!(decided(&mut placed, &table, now), "go 2 Claimed");
}

#[test]
fn what_anybody_can_answer_goes_in_turn() {
    let now = Instant::now();
    let table = table(now);
    let goes = |trip: &mut Trip, turn| match trip.decide(&table, turn, now) {
        Decision::Go(address, Found::Any) => address.as_pair().1,
        other => panic!("{other:?}"),
    };
    let mut trip = Trip::new(Wanted::Anything, now + HOLD);
    assert_eq!([goes(&mut trip, 0), goes(&mut trip, 1), goes(&mut trip, 2)], [1, 2, 1]);
    trip.was_unreachable(at(1), now);
    assert_eq!([goes(&mut trip, 0), goes(&mut trip, 1)], [2, 2]);
}

#[test]
fn the_round_of_a_claim_asks_the_registrars_of_the_name() {
    let now = Instant::now();
    let Decision::Claim(mut round) = join("standup", now).decide(&table(now), 0, now) else { panic!("no claim") };
    let mut asked = Vec::new();
    while let Step::Ask(registrar, claim) = round.next_step() {
        asked.push(registrar);
        round.answered(Placement { call: claim.call, sfu: claim.sfu, running: false });
    }
    asked.sort();
    assert_eq!(asked, [at(1), at(2)]);
}
