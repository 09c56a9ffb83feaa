//! Who speaks, and how connections are.

use calls_tests::live::{Join, Person, Seen};
use calls_tests::server;
use livekit_protocol as proto;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;

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
