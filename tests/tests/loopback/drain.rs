//! The end of a server.

use calls_client::signal::{PROTOCOL, join_path};
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
    // It still answers for a moment, so that clients hear why; whoever asks all the time does.
    let asked = async {
        loop {
            let ready = server.get("/readyz").await;
            if ready.status != 200 {
                return (ready, upgrade(server.http(), &path).await);
            }
        }
    };
    let (anas, bens, (ready, refused)) = tokio::join!(ana.leave_received(), ben.leave_received(), asked);
    for leave in [anas, bens] {
        assert_eq!((leave.action(), leave.reason()), (Action::Reconnect, proto::DisconnectReason::ServerShutdown));
    }
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(refused.header("x-calls-refused"), Some("draining"));
    assert_eq!(ready.status, 503);
    assert!(server.end().await.success(), "{}", server.log());
}
