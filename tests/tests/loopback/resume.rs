//! A lost websocket, and what a client does about it.

use std::time::Duration;

use calls_tests::live::{Join, Mode, Person, Seen, Server};
use calls_tests::server;
use livekit_protocol as proto;
use livekit_protocol::leave_request::Action;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;

/// No gap of this length is heard. Frames come every 20 ms; a busy machine may make them late.
const NO_GAP: Duration = Duration::from_secs(2);

async fn two(server: &Server, mode: Mode) -> (Person, Person) {
    let ana = Join::new("ana").mode(mode).speaking().to(server).await;
    let ben = Join::new("ben").speaking().to(server).await;
    ana.hears(&ben.voice()).await;
    ben.hears(&ana.voice()).await;
    (ana, ben)
}

/// What came after `n` messages.
fn after(seen: &Seen, n: usize) -> Option<Response> {
    seen.messages.get(n).cloned()
}

#[tokio::test]
async fn a_lost_websocket_is_not_heard_and_the_first_message_after_it_is_reconnect() {
    for mode in [Mode::Single, Mode::Dual] {
        let server = server!();
        let (ana, ben) = two(&server, mode).await;
        let sid = ana.look(|seen| seen.sid.clone());
        ana.forget_gaps();
        ben.forget_gaps();
        ana.cut();
        ana.hears(&ben.voice()).await;
        ben.hears(&ana.voice()).await;
        let n = ana.look(|seen| seen.messages.len());
        ana.resume(None);
        let first = ana.wait("a first message", |seen| after(seen, n)).await;
        assert!(matches!(first, Response::Reconnect(_)), "{mode:?}: {first:?}");
        let told = |seen: &Seen| seen.messages[n..].iter().any(|m| matches!(m, Response::Update(_))).then_some(());
        ana.wait("who is there", told).await;
        ana.restart_ice();
        let offered = |seen: &Seen| seen.messages[n..].iter().any(|m| matches!(m, Response::Answer(_))).then_some(());
        ana.wait("an answer", offered).await;
        ana.hears(&ben.voice()).await;
        ben.hears(&ana.voice()).await;
        for (ear, mouth) in [(&ana, &ben), (&ben, &ana)] {
            let gap = ear.look(|seen| seen.heard(&mouth.voice()).expect("a voice").longest_gap);
            assert!(gap < NO_GAP, "{mode:?}: {} heard nothing for {gap:?}", ear.identity);
        }
        assert!(ben.look(|seen| seen.people.contains_key(&sid)), "{mode:?}: it is the same stay");
        let late = Join::new("late").speaking().to(&server).await;
        ana.hears(&late.voice()).await;
        let outcomes = ["\"ok\"", "\"resumed\""];
        let mut counted = Vec::new();
        for outcome in outcomes {
            counted.push(server.metric("calls_sfu_joins_total", outcome).await);
        }
        assert_eq!(counted, [3.0, 1.0], "{mode:?}: who comes back has not come again");
    }
}

#[tokio::test]
async fn a_client_that_publishes_what_is_not_known_is_told_to_reconnect() {
    let server = server!();
    let (ana, _ben) = two(&server, Mode::Single).await;
    ana.cut();
    ana.resume(None);
    let track = proto::TrackInfo { sid: "TR_unknown".into(), ..Default::default() };
    let published = proto::TrackPublishedResponse { cid: "unknown".into(), track: Some(track) };
    ana.wait("reconnect", |seen| {
        seen.messages.iter().any(|message| matches!(message, Response::Reconnect(_))).then_some(())
    })
    .await;
    ana.send(Request::SyncState(proto::SyncState { publish_tracks: vec![published], ..Default::default() }));
    let leave = ana.leave_received().await;
    assert_eq!((leave.action(), leave.reason()), (Action::Reconnect, proto::DisconnectReason::StateMismatch));
}

#[tokio::test]
async fn after_a_resume_wishes_about_tracks_are_taken_from_the_client() {
    let server = server!();
    let (ana, ben) = two(&server, Mode::Single).await;
    let cem = Join::new("cem").speaking().to(&server).await;
    ana.hears(&cem.voice()).await;
    let sid = ana.sees_track("ben").await;
    let own = ana.look(|seen| seen.published[&ana.voice()].clone());
    ana.cut();
    ana.resume(None);
    let unwanted = proto::UpdateSubscription { track_sids: vec![sid], subscribe: false, ..Default::default() };
    let published = proto::TrackPublishedResponse { cid: ana.voice(), track: Some(own) };
    ana.wait("reconnect", |seen| {
        seen.messages.iter().any(|message| matches!(message, Response::Reconnect(_))).then_some(())
    })
    .await;
    let sections = |seen: &Seen| seen.messages.iter().filter(|m| matches!(m, Response::Answer(_))).count();
    let before = ana.look(sections);
    ana.send(Request::SyncState(proto::SyncState {
        subscription: Some(unwanted),
        publish_tracks: vec![published],
        ..Default::default()
    }));
    ana.restart_ice();
    ana.wait("an answer", |seen| (sections(seen) > before).then_some(())).await;
    ana.hears(&cem.voice()).await;
    let n = ana.look(|seen| seen.n_heard(&ben.voice()));
    ana.hears(&cem.voice()).await;
    assert_eq!(ana.look(|seen| seen.n_heard(&ben.voice())), n, "what it does not want does not come");
    assert!(ana.look(|seen| seen.leave().is_none()));
}

#[tokio::test]
async fn a_resume_of_a_stay_that_is_not_known_is_told_to_reconnect_first() {
    for mode in [Mode::Single, Mode::Dual] {
        let server = server!();
        let (ana, _ben) = two(&server, mode).await;
        ana.cut();
        let n = ana.look(|seen| seen.messages.len());
        ana.resume(Some("PA_unknown"));
        let first = ana.wait("a first message", |seen| after(seen, n)).await;
        let Response::Leave(leave) = first else { panic!("{mode:?}: {first:?}") };
        assert_eq!(leave.action(), Action::Reconnect, "{mode:?}");
        ana.wait("the websocket to end", |seen| seen.hung_up.then_some(())).await;
    }
}

#[tokio::test]
async fn a_resume_after_the_media_is_gone_is_told_to_reconnect() {
    let server = server!();
    let (ana, ben) = two(&server, Mode::Single).await;
    ana.lose_media();
    ana.cut();
    ben.wait("ana to be gone", |seen| seen.person("ana").is_none().then_some(())).await;
    let n = ana.look(|seen| seen.messages.len());
    ana.resume(None);
    let first = ana.wait("a first message", |seen| after(seen, n)).await;
    assert!(matches!(&first, Response::Leave(leave) if leave.action() == Action::Reconnect), "{first:?}");
}

#[tokio::test]
async fn a_client_whose_media_is_gone_is_told_to_reconnect_while_its_websocket_is_there() {
    let server = server!();
    let (ana, ben) = two(&server, Mode::Single).await;
    ana.lose_media();
    let leave = ana.leave_received().await;
    assert_eq!((leave.action(), leave.reason()), (Action::Reconnect, proto::DisconnectReason::ConnectionTimeout));
    ben.wait("ana to be gone", |seen| seen.person("ana").is_none().then_some(())).await;
}
