//! Who speaks, and how connections are.

use calls_tests::live::{Join, Person, Seen};
use calls_tests::server;
use fleet::config::MediaConfig;
use livekit_protocol as proto;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;

use crate::fleet::Fleet;

/// Frames of a voice in two seconds: enough to tell one that is heard from one that is not.
const FRAMES: u64 = 100;

#[tokio::test]
async fn how_many_are_heard_at_once_changes_while_people_talk() {
    let fleet = Fleet::start(1).await;
    fleet.sfus[0].configure(&MediaConfig { max_active_speakers: 1 });
    let ear = Join::new("ear").to(&fleet).await;
    let ana = Join::new("ana").speaking().to(&fleet).await;
    ear.hears(&ana.voice()).await;
    let ben = Join::new("ben").speaking().to(&fleet).await;
    ear.sees_track("ben").await;
    let heard = |seen: &Seen| [seen.n_heard(&ana.voice()), seen.n_heard(&ben.voice())];

    // The file is looked at now and then: ben may be heard until it was, and then no more.
    let one = |before: [u64; 2]| {
        move |seen: &Seen| {
            let now = heard(seen);
            let more = [now[0] - before[0], now[1] - before[1]];
            (more[0].max(more[1]) >= FRAMES).then_some(more)
        }
    };
    let mut more = [0; 2];
    for _ in 0..10 {
        more = ear.wait("a voice", one(ear.look(heard))).await;
        if more[0].min(more[1]) == 0 {
            break;
        }
    }
    assert_eq!(more[0].min(more[1]), 0, "one of two is heard: {more:?}");

    fleet.sfus[0].configure(&MediaConfig { max_active_speakers: 2 });
    ear.hears(&ana.voice()).await;
    ear.hears(&ben.voice()).await;
    fleet.sfus[0].configure(&MediaConfig { max_active_speakers: 0 });
    ear.hears(&ana.voice()).await;
    ear.hears(&ben.voice()).await;
}

/// Whether somebody speaks, as this client was told last.
fn speaks(seen: &Seen, sid: &str) -> Option<bool> {
    let told = seen.messages.iter().rev().filter_map(|message| match message {
        Response::SpeakersChanged(changed) => changed.speakers.iter().find(|speaker| speaker.sid == sid),
        _ => None,
    });
    told.map(|speaker| speaker.active).next()
}

async fn sees_speaking(ear: &Person, sid: &str, speaking: bool) {
    let what = if speaking { "somebody to speak" } else { "somebody to stop speaking" };
    ear.wait(what, |seen| (speaks(seen, sid) == Some(speaking)).then_some(())).await;
}

fn is_graded(seen: &Seen, sid: &str) -> Option<()> {
    let graded = seen.messages.iter().any(|message| match message {
        Response::ConnectionQuality(update) => update.updates.iter().any(|info| info.participant_sid == sid),
        _ => false,
    });
    graded.then_some(())
}

#[tokio::test]
async fn who_comes_late_is_told_who_speaks_and_how_connections_are() {
    let server = server!();
    let ana = Join::new("ana").speaking().to(&server).await;
    let ben = Join::new("ben").speaking().to(&server).await;
    let sid = ana.look(|seen| seen.sid.clone());
    ben.wait("a grade", |seen| is_graded(seen, &sid)).await;
    sees_speaking(&ben, &sid, true).await;
    // Neither changes any more, so that nothing but the coming itself can be why late is told.
    let late = Join::new("late").to(&server).await;
    late.wait("a grade", |seen| is_graded(seen, &sid)).await;
    sees_speaking(&late, &sid, true).await;
}

#[tokio::test]
async fn who_is_not_received_any_more_no_longer_speaks() {
    let server = server!();
    let ana = Join::new("ana").speaking().to(&server).await;
    let ben = Join::new("ben").to(&server).await;
    let sid = ana.look(|seen| seen.sid.clone());
    sees_speaking(&ben, &sid, true).await;
    let track = ben.sees_track("ana").await;
    ben.subscribe(&track, false);
    sees_speaking(&ben, &sid, false).await;
    ben.subscribe(&track, true);
    sees_speaking(&ben, &sid, true).await;
    ana.unpublish(&ana.voice());
    sees_speaking(&ben, &sid, false).await;
}

#[tokio::test]
async fn who_comes_back_is_told_who_stopped_speaking_meanwhile() {
    let server = server!();
    let ana = Join::new("ana").speaking().to(&server).await;
    let ben = Join::new("ben").speaking().to(&server).await;
    let cem = Join::new("cem").to(&server).await;
    let sid = ana.look(|seen| seen.sid.clone());
    for ear in [&ben, &cem] {
        sees_speaking(ear, &sid, true).await;
    }
    ben.cut();
    let track = cem.sees_track("ana").await;
    ana.send(Request::Mute(proto::MuteTrackRequest { sid: track, muted: true }));
    sees_speaking(&cem, &sid, false).await;
    assert_eq!(ben.look(|seen| speaks(seen, &sid)), Some(true), "nobody could tell ben");
    ben.resume(None);
    sees_speaking(&ben, &sid, false).await;
}
