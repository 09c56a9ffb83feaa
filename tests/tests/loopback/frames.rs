//! Clients that write JSON in text frames.

use calls_tests::live::{Frames, Join, Mode, Person, Seen};
use calls_tests::server;
use livekit_protocol as proto;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;

/// Waits until the server has read a message of this kind of frame, which its answer shows.
async fn knows(person: &Person, frames: Frames) {
    person.send(Request::PingReq(proto::Ping { timestamp: 1, rtt: 0 }));
    let is_pong = |seen: &Seen| {
        let mut messages = seen.messages.iter().zip(&seen.said_in);
        messages.any(|(message, said)| matches!(message, Response::PongResp(_)) && *said == frames).then_some(())
    };
    person.wait("a pong", is_pong).await;
}

/// How the messages were said that `is_meant` means.
fn said(seen: &Seen, is_meant: fn(&Response) -> bool) -> Vec<Frames> {
    let messages = seen.messages.iter().zip(&seen.said_in);
    messages.filter(|(message, _)| is_meant(message)).map(|(_, said)| *said).collect()
}

#[tokio::test]
async fn who_writes_text_negotiates_in_text_hears_and_is_heard() {
    for mode in [Mode::Single, Mode::Dual] {
        let server = server!();
        let ana = Join::new("ana").mode(mode).writing(Frames::Text).speaking().to(&server).await;
        let ben = Join::new("ben").speaking().to(&server).await;
        ana.hears(&ben.voice()).await;
        ben.hears(&ana.voice()).await;
        knows(&ana, Frames::Text).await;
        let before = ana.look(|seen| seen.said_in.len());
        // An announcement, an offer, and its answer; everybody hears of the track.
        ana.publish("second");
        ben.hears("second").await;
        ben.publish("third");
        ana.hears("third").await;
        ana.wait("both answers", |seen| {
            (said(seen, |message| matches!(message, Response::Answer(_))).len() >= 2).then_some(())
        })
        .await;
        ana.look(|seen| {
            assert_eq!(seen.said_in[0], Frames::Binary, "{mode:?}: the server speaks first");
            let later = &seen.said_in[before..];
            assert!(later.iter().all(|said| *said == Frames::Text), "{mode:?}: {later:?}");
            let answers = said(seen, |message| matches!(message, Response::Answer(_)));
            assert_eq!(answers.last(), Some(&Frames::Text), "{mode:?}");
            let published = said(seen, |message| matches!(message, Response::TrackPublished(_)));
            assert_eq!(published.last(), Some(&Frames::Text), "{mode:?}");
            assert!(seen.failure.is_none(), "{mode:?}: {:?}", seen.failure);
        });
        assert!(ben.look(|seen| seen.said_in.iter().all(|said| *said == Frames::Binary)), "ben never wrote text");
        let unreadable = server.metric("calls_sfu_unreadable_signal_messages_total", "").await;
        assert!(unreadable == 0.0, "{mode:?}: {unreadable} messages could not be read");
    }
}

#[tokio::test]
async fn a_resumed_client_is_answered_as_it_writes_then() {
    let server = server!();
    let ana = Join::new("ana").writing(Frames::Text).speaking().to(&server).await;
    let ben = Join::new("ben").to(&server).await;
    ben.hears(&ana.voice()).await;
    knows(&ana, Frames::Text).await;
    ana.cut();
    ana.resume(None);
    let resumed = |seen: &Seen| said(seen, |message| matches!(message, Response::Reconnect(_))).first().copied();
    let first = ana.wait("to be taken back", resumed).await;
    assert_eq!(first, Frames::Binary, "a new websocket has not said anything yet");
    ana.publish("second");
    ben.hears("second").await;
    let published = ana.look(|seen| said(seen, |message| matches!(message, Response::TrackPublished(_))));
    assert_eq!(published.last(), Some(&Frames::Text));
}
