//! Strangers who send nonsense, while others talk.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use calls_tests::live::{Join, Person, Server};
use calls_tests::server;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

const DATAGRAMS: u32 = 1_000_000;
/// Datagrams that come through the socket of somebody who is in the call.
const FROM_INSIDE: u32 = 20_000;
/// Datagrams sent without a pause: well below what a socket's buffer holds, because what the kernel drops tests nothing.
const BURST: u32 = 50;
/// Pause between bursts; a million takes 20 s and more.
const PAUSE: Duration = Duration::from_millis(1);
/// Datagrams after which the server has the memory it needs.
const WARM: u32 = DATAGRAMS / 10;
/// By so much memory may grow from there.
const MEMORY_NOISE: u64 = 16 * 1024 * 1024;
/// Of 100 frames so many may be lost on a busy machine.
const LOST_PERCENT: f64 = 5.0;

/// A generator of reproducible nonsense (xorshift64*).
struct Nonsense(u64);

impl Nonsense {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }

    /// Random bytes, or a real packet with bits turned and bytes cut off. Never a real one: that would be a replay.
    fn datagram(&mut self, real: &[Vec<u8>]) -> Vec<u8> {
        if self.below(4) == 0 {
            let length = 1 + self.below(200);
            return self.bytes(length);
        }
        let mut datagram = real[self.below(real.len())].clone();
        for _ in 0..=self.below(4) {
            let at = self.below(datagram.len());
            datagram[at] ^= 1 + self.below(255) as u8;
        }
        if self.below(4) == 0 {
            datagram.truncate(1 + self.below(datagram.len()));
        }
        datagram
    }
}

/// Sends `n` datagrams from many ports, at a pace.
fn flood(server: SocketAddr, real: &[Vec<u8>], n: u32, seed: u64) {
    let mut nonsense = Nonsense(seed);
    let bind = |_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let sockets: Vec<_> = (0..16).map(bind).collect();
    for number in 0..n {
        let datagram = nonsense.datagram(real);
        // An answer may have filled the socket, or the server's buffer be full.
        let _ = sockets[nonsense.below(sockets.len())].send_to(&datagram, server);
        if number % BURST == 0 {
            std::thread::sleep(PAUSE);
        }
    }
}

async fn flooded(server: &Server, real: &[Vec<u8>], n: u32, seed: u64) {
    let (address, real) = (server.udp(), real.to_vec());
    tokio::task::spawn_blocking(move || flood(address, &real, n, seed)).await.expect("a flood");
}

/// Connections to the TCP port: nonsense, frames that end too early, frames of nonsense, and silence.
async fn pester_tcp(server: SocketAddr, real: &[Vec<u8>]) {
    let mut nonsense = Nonsense(3);
    let mut silent = Vec::new();
    for number in 0..400 {
        let mut stream = TcpStream::connect(server).await.expect("a connection");
        let payload = match number % 4 {
            0 => nonsense.bytes(300),
            1 => [&[0x01, 0x00], nonsense.bytes(100).as_slice()].concat(),
            2 => {
                let datagram = nonsense.datagram(real);
                [&(datagram.len() as u16).to_be_bytes(), datagram.as_slice()].concat()
            }
            _ => {
                silent.push(stream);
                continue;
            }
        };
        // The server may have hung up already.
        let _ = stream.write_all(&payload).await;
    }
}

/// Frames that are no messages, then one that is too large; the websocket ends with it.
async fn pester_websocket(person: &Person) {
    let mut nonsense = Nonsense(4);
    for number in 0..2000 {
        let bytes = nonsense.bytes(1 + number % 100);
        person.send_frame(match number % 3 {
            0 => Message::Text(String::from_utf8_lossy(&bytes).into_owned().into()),
            1 => Message::Ping(bytes.into()),
            _ => Message::Binary(bytes.into()),
        });
    }
    person.send_frame(Message::Binary(vec![7; 3 * 1024 * 1024].into()));
    person.wait("the websocket to end", |seen| seen.hung_up.then_some(())).await;
}

/// Frames of `mouth` that did not reach `ear` until now.
fn lost(ear: &Person, mouth: &Person) -> (f64, f64) {
    let heard = ear.look(|seen| seen.heard(&mouth.voice()).expect("a voice").clone());
    ((heard.last + 1) as f64, heard.frames as f64)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_datagrams_of_nonsense_do_not_disturb_those_who_talk() {
    let server = server!();
    let ana = Join::new("ana").speaking().to(&server).await;
    let ben = Join::new("ben").speaking().to(&server).await;
    let eve = Join::new("eve").recorded().speaking().to(&server).await;
    let mallory = Join::new("mallory").to(&server).await;
    ana.hears(&ben.voice()).await;
    ben.hears(&eve.voice()).await;
    let real = eve.recorded().await;
    let has = |first: std::ops::RangeInclusive<u8>| real.iter().any(|packet| first.contains(&packet[0]));
    assert!(has(0..=3) && has(20..=63) && has(128..=191), "STUN, DTLS and SRTP are among what eve sent");

    let pairs = [(&ana, &ben), (&ben, &ana)];
    let before = pairs.map(|(ear, mouth)| lost(ear, mouth));
    flooded(&server, &real, WARM, 1).await;
    let memory = server.memory();
    let began = Instant::now();
    let inside = async {
        let mut nonsense = Nonsense(5);
        for _ in 0..FROM_INSIDE / BURST {
            eve.send_datagrams((0..BURST).map(|_| nonsense.datagram(&real)).collect());
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::join!(
        flooded(&server, &real, DATAGRAMS - WARM - FROM_INSIDE, 2),
        inside,
        pester_tcp(server.tcp(), &real),
        pester_websocket(&mallory),
    );
    println!("flooded for {:?}", began.elapsed());

    for ((ear, mouth), (spoken_before, heard_before)) in pairs.into_iter().zip(before) {
        ear.hears(&mouth.voice()).await;
        let (spoken, heard) = lost(ear, mouth);
        let (spoken, heard) = (spoken - spoken_before, heard - heard_before);
        let percent = (spoken - heard) / spoken * 100.0;
        println!("{} heard {heard} of {spoken} frames", ear.identity);
        assert!(percent < LOST_PERCENT, "{} lost {percent:.1} % of {spoken} frames", ear.identity);
        assert!(ear.look(|seen| seen.leave().is_none() && !seen.hung_up), "{} is still there", ear.identity);
    }
    let grown = server.memory().saturating_sub(memory);
    println!("memory {} KiB, grown by {} KiB", memory / 1024, grown / 1024);
    assert!(grown < MEMORY_NOISE, "memory grew by {} KiB", grown / 1024);
    let dropped = server.metric("calls_sfu_dropped_packets_total", "").await;
    assert!(dropped > f64::from(DATAGRAMS) / 2.0, "{dropped} datagrams were counted");
    let connections = server.metric("calls_sfu_refused_media_connections_total", "").await;
    assert!(connections >= 200.0, "{connections} connections were counted");
    let messages = server.metric("calls_sfu_unreadable_signal_messages_total", "").await;
    assert!(messages >= 500.0, "{messages} messages were counted");
    assert!(!server.log().contains("panicked"), "{}", server.log());
}
