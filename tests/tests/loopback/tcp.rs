//! Networks that let no UDP through.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use calls_tests::live::{Join, Mode, Reach};
use calls_tests::server;
use livekit_protocol::DisconnectReason;

/// A client without a path is told within 10 s; the machine may be busy.
const TOLD_WITHIN: Duration = Duration::from_secs(15);

#[tokio::test]
async fn who_has_only_tcp_hears_and_is_heard() {
    for mode in [Mode::Single, Mode::Dual] {
        let server = server!();
        let reach = Reach::Tcp { from: Ipv4Addr::LOCALHOST, server: server.tcp() };
        let ana = Join::new("ana").mode(mode).reach(reach).speaking().to(&server).await;
        let ben = Join::new("ben").speaking().to(&server).await;
        let cem = Join::new("cem").reach(reach).speaking().to(&server).await;
        for (ear, mouth) in [(&ana, &ben), (&ben, &ana), (&ana, &cem), (&cem, &ana)] {
            ear.hears(&mouth.voice()).await;
        }
    }
}

#[tokio::test]
async fn who_has_no_path_is_told_within_seconds() {
    let server = server!();
    let began = Instant::now();
    let ana = Join::new("ana").reach(Reach::Nothing).speaking().enter(&server).await;
    let leave = ana.leave_received().await;
    assert!(began.elapsed() < TOLD_WITHIN, "told after {:?}", began.elapsed());
    assert_eq!(leave.reason(), DisconnectReason::ConnectionTimeout);
}
