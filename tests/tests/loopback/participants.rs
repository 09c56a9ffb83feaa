//! People: what they say of themselves, who is host, who comes and goes.

use std::time::{Duration, Instant};

use calls_tests::live::{Join, Seen};
use calls_tests::server;
use livekit_protocol as proto;
use livekit_protocol::request_response::Reason;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use tokio::time::timeout;

fn hand_raised(request_id: u32) -> Request {
    Request::UpdateMetadata(proto::UpdateParticipantMetadata {
        metadata: "about me".into(),
        attributes: [("raised_hand".to_owned(), "2026-01-01T00:00:00Z".to_owned())].into(),
        request_id,
        ..Default::default()
    })
}

fn has_raised_hand(seen: &Seen) -> Option<()> {
    let ana = seen.person("ana")?;
    (ana.metadata == "about me" && ana.attributes.contains_key("raised_hand")).then_some(())
}

#[tokio::test]
async fn everybody_is_told_at_once_when_a_call_is_recorded_and_when_no_more() {
    let server = server!();
    let ana = Join::new("ana").to(&server).await;
    ana.wait("a call nobody records", |seen| (seen.is_recorded() == Some(false)).then_some(())).await;
    let recorder = Join::new("recorder").grant("recorder", true).grant("hidden", true).to(&server).await;
    let began = Instant::now();
    ana.wait("that it is recorded", |seen| (seen.is_recorded() == Some(true)).then_some(())).await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "it took {took:?}: with the counts, every 5 s");
    assert!(ana.look(|seen| seen.person("recorder").is_none()), "who records is hidden");
    recorder.send(Request::Leave(proto::LeaveRequest::default()));
    ana.wait("that it is no more", |seen| (seen.is_recorded() == Some(false)).then_some(())).await;
}

#[tokio::test]
async fn attributes_are_echoed_told_to_others_and_answered() {
    let server = server!();
    let ana = Join::new("ana").to(&server).await;
    let ben = Join::new("ben").to(&server).await;
    ana.send(hand_raised(7));
    ana.wait("the echo", has_raised_hand).await;
    ben.wait("the raised hand", has_raised_hand).await;
    let answer = ana.wait("an answer", |seen| seen.request_responses().next().cloned()).await;
    assert_eq!((answer.request_id, answer.reason()), (7, Reason::Ok));
    let late = Join::new("late").to(&server).await;
    late.wait("the raised hand", has_raised_hand).await;
}

#[tokio::test]
async fn clients_that_do_not_know_the_answer_ok_do_not_get_it() {
    let server = server!();
    let ana = Join::new("ana").protocol(14).to(&server).await;
    ana.send(hand_raised(7));
    ana.wait("the echo", has_raised_hand).await;
    ana.send(Request::Ping(0));
    ana.wait("a pong", |seen| seen.messages.iter().any(|m| matches!(m, Response::Pong(_))).then_some(())).await;
    assert_eq!(ana.look(|seen| seen.request_responses().count()), 0);
}

#[tokio::test]
async fn without_the_grant_nobody_describes_themselves() {
    let server = server!();
    let ana = Join::new("ana").grant("canUpdateOwnMetadata", false).to(&server).await;
    ana.send(hand_raised(7));
    let answer = ana.wait("an answer", |seen| seen.request_responses().next().cloned()).await;
    assert_eq!((answer.request_id, answer.reason()), (7, Reason::NotAllowed));
    assert!(ana.look(has_raised_hand).is_none());
}

fn host(identity: &'static str) -> impl Fn(&Seen) -> Option<()> {
    move |seen| {
        let hosts: Vec<_> = seen.people.values().filter(|person| person.attributes.contains_key("host")).collect();
        (hosts.len() == 1 && hosts[0].identity == identity && hosts[0].attributes["host"] == "true").then_some(())
    }
}

#[tokio::test]
async fn the_first_is_host_then_who_is_longest_there() {
    let server = server!();
    let ana = Join::new("ana").to(&server).await;
    let ben = Join::new("ben").to(&server).await;
    let cem = Join::new("cem").to(&server).await;
    cem.wait("ana to be host", host("ana")).await;
    ana.send(Request::Leave(proto::LeaveRequest::default()));
    for person in [&ben, &cem] {
        person.wait("ben to be host", host("ben")).await;
        assert!(person.look(|seen| seen.person("ana").is_none()), "who leaves is gone at once");
    }
}

#[tokio::test]
async fn who_joins_again_replaces_themselves() {
    let server = server!();
    let before = Join::new("ana").speaking().to(&server).await;
    let ben = Join::new("ben").to(&server).await;
    let sid = before.look(|seen| seen.sid.clone());
    let after = Join::new("ana").speaking().to(&server).await;
    let leave = before.leave_received().await;
    assert_eq!(leave.reason(), proto::DisconnectReason::DuplicateIdentity);
    assert_eq!(leave.action(), proto::leave_request::Action::Disconnect);
    before.wait("the websocket to end", |seen| seen.hung_up.then_some(())).await;
    ben.wait("ana anew", |seen| (seen.person("ana")?.sid != sid).then_some(())).await;
    ben.hears(&after.voice()).await;
}

#[tokio::test]
async fn a_renewed_token_lets_its_holder_in() {
    let server = server!();
    let ana = Join::new("ana").to(&server).await;
    let token = ana.wait("a renewed token", |seen| seen.token.clone()).await;
    assert_ne!(token, ana.token);
    let answer = server.get(&format!("/rtc/validate?access_token={token}")).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "success"));
    drop(ana);
}

#[tokio::test]
async fn both_kinds_of_ping_are_answered() {
    let server = server!();
    let ana = Join::new("ana").to(&server).await;
    ana.send(Request::Ping(1));
    ana.send(Request::PingReq(proto::Ping { timestamp: 42, rtt: 3 }));
    let pong = |seen: &Seen| {
        seen.messages.iter().find_map(|message| match message {
            Response::PongResp(pong) => Some(pong.last_ping_timestamp),
            _ => None,
        })
    };
    assert_eq!(ana.wait("the new pong", pong).await, 42);
    let old = |seen: &Seen| seen.messages.iter().any(|message| matches!(message, Response::Pong(at) if *at > 0));
    assert!(ana.look(old));
}

#[tokio::test]
async fn a_recorder_that_is_left_alone_is_sent_away_and_the_call_ends() {
    let server = server!();
    let ana = Join::new("ana").speaking().to(&server).await;
    let recorder = Join::new("recorder").grant("recorder", true).to(&server).await;
    recorder.hears(&ana.voice()).await;
    ana.send(Request::Leave(proto::LeaveRequest::default()));
    let leave = recorder.leave_received().await;
    assert_eq!(leave.reason(), proto::DisconnectReason::RoomClosed);
    assert_eq!(leave.action(), proto::leave_request::Action::Disconnect);
    recorder.wait("the websocket to end", |seen| seen.hung_up.then_some(())).await;
    // A moment after the last of them has gone.
    let ends = async { while server.metric("calls_sfu_calls", "").await > 0.0 {} };
    timeout(Duration::from_secs(10), ends).await.expect("the call ends");
}

#[tokio::test]
async fn nobody_is_offered_a_hidden_participants_voice() {
    let server = server!();
    let hidden = Join::new("hidden").grant("hidden", true).speaking().to(&server).await;
    let ana = Join::new("ana").to(&server).await;
    let ben = Join::new("ben").speaking().to(&server).await;
    ana.hears(&ben.voice()).await;
    hidden.hears(&ben.voice()).await;
    assert_eq!(ana.look(|seen| (seen.n_heard(&hidden.voice()), seen.mids.len())), (0, 1));
}
