//! Scenarios clients ask for.

use calls_tests::live::{Join, Seen};
use calls_tests::server;
use livekit_protocol as proto;
use livekit_protocol::leave_request::Action;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::simulate_scenario::Scenario;

fn simulate(scenario: Scenario) -> Request {
    Request::Simulate(proto::SimulateScenario { scenario: Some(scenario) })
}

fn hung_up(seen: &Seen) -> Option<()> {
    seen.hung_up.then_some(())
}

#[tokio::test]
async fn a_migration_ends_the_websocket_alone_and_a_node_failure_everything() {
    let server = server!();
    let ana = Join::new("ana").speaking().to(&server).await;
    let ben = Join::new("ben").speaking().to(&server).await;
    ana.send(simulate(Scenario::Migration(true)));
    ana.wait("the websocket to end", hung_up).await;
    ben.hears(&ana.voice()).await;
    let n = ana.look(|seen| seen.messages.len());
    ana.resume(None);
    let first = ana.wait("a first message", |seen| seen.messages.get(n).cloned()).await;
    assert!(matches!(first, Response::Reconnect(_)), "{first:?}");

    ana.send(simulate(Scenario::NodeFailure(true)));
    ana.wait("the websocket to end", hung_up).await;
    ben.wait("ana to be gone", |seen| seen.person("ana").is_none().then_some(())).await;
    assert!(ana.look(|seen| seen.leave().is_none()), "no word is said");
    ana.resume(None);
    let leave = ana.leave_received().await;
    assert_eq!(leave.action(), Action::Reconnect);
}

#[tokio::test]
async fn a_leave_of_the_server_says_whether_to_come_again() {
    for (scenario, action) in [
        (Scenario::ServerLeave(true), Action::Disconnect),
        (Scenario::LeaveRequestFullReconnect(true), Action::Reconnect),
    ] {
        let server = server!();
        let ana = Join::new("ana").to(&server).await;
        ana.send(simulate(scenario));
        assert_eq!(ana.leave_received().await.action(), action, "{scenario:?}");
    }
}

#[tokio::test]
async fn somebody_seems_to_speak_for_as_long_as_asked() {
    let server = server!();
    let ana = Join::new("ana").to(&server).await;
    ana.send(simulate(Scenario::SpeakerUpdate(2)));
    for active in [true, false] {
        ana.wait("a change", |seen| {
            let told = seen.messages.iter().rev().find_map(|message| match message {
                Response::SpeakersChanged(changed) => changed.speakers.first().map(|speaker| speaker.active),
                _ => None,
            });
            (told == Some(active)).then_some(())
        })
        .await;
    }
}
