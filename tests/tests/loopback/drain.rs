//! The end of a server.

use calls_bench::signal::{PROTOCOL, join_path};
use calls_tests::live::{Join, upgrade};
use calls_tests::server;
use livekit_protocol as proto;
use livekit_protocol::leave_request::Action;

#[tokio::test]
async fn a_server_that_is_told_to_stop_sends_everybody_elsewhere_and_ends() {
    let mut server = server!();
    let ana = Join::new("ana").speaking().to(&server).await;
    let ben = Join::new("ben").to(&server).await;
    assert_eq!(server.get("/readyz").await.status, 200);
    let token = server.key.token("another", "cem").expect("a token");
    let path = join_path(&token, PROTOCOL, proto::JoinRequest::default());
    server.terminate();
    for person in [&ana, &ben] {
        let leave = person.leave_received().await;
        assert_eq!((leave.action(), leave.reason()), (Action::Reconnect, proto::DisconnectReason::ServerShutdown));
    }
    // It still answers for a moment, so that clients hear why.
    let (refused, ready) = tokio::join!(upgrade(server.http(), &path), server.get("/readyz"));
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(refused.header("x-calls-refused"), Some("draining"));
    assert_eq!(ready.status, 503);
    assert!(server.end().await.success(), "{}", server.log());
}
