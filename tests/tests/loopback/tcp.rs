//! Networks that let no UDP through.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use calls_tests::live::{Join, LIMIT, Mode, Reach};
use calls_tests::server;
use livekit_protocol::DisconnectReason;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

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

/// A connection whose first frame is a check for a worker's client that does not exist, with nothing to prove it.
async fn stranger(server: std::net::SocketAddr) -> TcpStream {
    let username = b"Aufrag567890:remote7";
    let mut check = vec![0, 1, 0, username.len() as u8 + 4, 0x21, 0x12, 0xa4, 0x42];
    check.extend_from_slice(&[7; 12]);
    check.extend_from_slice(&[0, 6, 0, username.len() as u8]);
    check.extend_from_slice(username);
    let mut stream = TcpStream::connect(server).await.expect("a connection");
    stream.write_u16(check.len() as u16).await.expect("room for a frame");
    stream.write_all(&check).await.expect("room for a frame");
    stream
}

#[tokio::test]
async fn a_connection_that_proves_nothing_is_closed_and_a_clients_stays() {
    let server = server!();
    let reach = Reach::Tcp { from: Ipv4Addr::LOCALHOST, server: server.tcp() };
    let ana = Join::new("ana").reach(reach).speaking().to(&server).await;
    let ben = Join::new("ben").speaking().to(&server).await;
    let mut stranger = stranger(server.tcp()).await;
    // A frame now and then keeps nobody's place.
    let talking = async {
        let mut byte = [0];
        loop {
            match timeout(Duration::from_secs(1), stranger.read(&mut byte)).await {
                Ok(end) => return end,
                Err(_) => drop(stranger.write_all(&[0, 1, 7]).await),
            }
        }
    };
    let end = timeout(LIMIT, talking).await.expect("the server hangs up");
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    ana.hears(&ben.voice()).await;
    ben.hears(&ana.voice()).await;
}
