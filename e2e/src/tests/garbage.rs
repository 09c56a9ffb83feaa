//! What comes from strangers touches nobody: garbage on the ports of media and signalling, tokens that open nothing.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::example::Example;
use super::holding::metrics;
use crate::install::{CALLS_NAME, CALLS_NAMESPACE};
use crate::scenarios;
use crate::test::{Ring, Stage, Test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test("tokens_that_open_nothing_are_refused_by_the_cluster", refused_tokens),
    test("garbage_disturbs_nobody_in_the_cluster", garbage_disturbs_nobody),
];

const fn test(name: &'static str, run: fn(&Stage) -> Result<()>) -> Test {
    Test { name, ring: Ring::Cluster, slow: false, run }
}

/// How long the flood lasts.
const FLOOD: Duration = Duration::from_secs(10);
/// Datagrams between two pauses, and the pause: 20,000 a second leave the machine's cores to the people.
const BURST: u32 = 200;
const PAUSE: Duration = Duration::from_millis(10);
/// Longest datagram of garbage.
const LONGEST: usize = 1400;
/// For an answer of the cluster's front door.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

fn refused_tokens(stage: &Stage) -> Result<()> {
    Example::take(stage)?;
    let (key, secret) = api_key(stage)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let room = stage.call_name();
    let claims = |issuer: &str, expires: u64| {
        let video = json!({"roomJoin": true, "room": room});
        json!({"iss": issuer, "sub": "stranger", "nbf": 1, "exp": expires, "video": video})
    };
    let sign = |claims: &Value, secret: &str| {
        encode(&Header::default(), claims, &EncodingKey::from_secret(secret.as_bytes())).context("no token")
    };
    let tokens = [
        ("none", String::new(), 401),
        ("no JWT", String::from("not.a.token"), 401),
        ("of a wrong secret", sign(&claims(&key, now + 600), "a secret of somebody else, long enough")?, 401),
        ("of an unknown key", sign(&claims("APIstranger", now + 600), &secret)?, 401),
        ("expired", sign(&claims(&key, now - 600), &secret)?, 401),
        ("without a grant", sign(&json!({"iss": key, "sub": "stranger", "exp": now + 600}), &secret)?, 401),
        ("good", sign(&claims(&key, now + 600), &secret)?, 200),
    ];
    for (what, token, wanted) in tokens {
        for path in ["/rtc/validate", "/rtc/v1/validate"] {
            let status = status_of(stage, &format!("{path}?access_token={token}"))?;
            // Without the rest of what it asks for, the newer path may call a good token's request malformed.
            let fits = status == wanted || (wanted == 200 && path == "/rtc/v1/validate" && status == 400);
            ensure!(fits, "{path} answers {status} to a token that is {what}");
        }
    }
    Ok(())
}

fn garbage_disturbs_nobody(stage: &Stage) -> Result<()> {
    let example = Example::take(stage)?;
    let (driver, call) = (stage.browsers()?, stage.call_name());
    let before = dropped(&example)?;
    let nodes: Vec<Ipv4Addr> = stage.local_cluster()?.nodes().iter().map(|node| node.address()).collect();
    let targets: Vec<SocketAddr> =
        nodes.iter().flat_map(|node| stage.media_tcp_ports().into_iter().map(|port| (*node, port).into())).collect();
    let seed = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    println!("           garbage of seed {seed}");
    let begin = || {
        let page = page_address(stage)?;
        Ok(spawn(move || flood(&targets, page, seed)))
    };
    let mut sent = 0;
    let end = |flood: JoinHandle<Result<u64>>| {
        sent = flood.join().ok().context("the flood panicked")??;
        Ok(())
    };
    stage.block_on(scenarios::nobody_notices(&driver, stage.page(), &call, FLOOD, begin, end))?;
    let counted = dropped(&example)? - before;
    println!("           {sent} datagrams of garbage, {counted} counted as dropped");
    ensure!(sent > 0 && counted > 0, "{sent} datagrams were sent and {counted} counted");
    Ok(())
}

/// Sends garbage until the time is over: datagrams, bytes on TCP connections, odd requests. Returns how many datagrams.
fn flood(targets: &[SocketAddr], page: SocketAddr, seed: u64) -> Result<u64> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let mut random = Random(seed | 1);
    let mut datagram = [0; LONGEST];
    let mut sent = 0;
    let deadline = Instant::now() + FLOOD;
    while Instant::now() < deadline {
        for _ in 0..BURST {
            for target in targets {
                let length = random.garbage(&mut datagram);
                // What a port that nobody listens on answers is an error of the next send: as good as sent.
                sent += u64::from(socket.send_to(&datagram[..length], target).is_ok());
            }
        }
        for target in targets.iter().chain([&page]) {
            let length = random.garbage(&mut datagram);
            if let Ok(mut stream) = TcpStream::connect_timeout(target, ANSWER_LIMIT) {
                let _ = stream.write_all(&datagram[..length]);
            }
        }
        sleep(PAUSE);
    }
    Ok(sent)
}

/// A small generator of numbers (xorshift64): the same seed makes the same garbage.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Fills the buffer with bytes that begin as STUN, DTLS, SRTP, a framed TCP message, or like nothing known.
    fn garbage(&mut self, buffer: &mut [u8; LONGEST]) -> usize {
        for chunk in buffer.chunks_mut(8) {
            let bytes = self.next().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
        let beginnings: [&[u8]; 5] = [
            &[0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42],
            &[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 40, 1],
            &[0x90, 111],
            &[0, 60, 0, 1, 0, 40, 0x21, 0x12, 0xa4, 0x42],
            &[],
        ];
        let beginning = beginnings[self.next() as usize % beginnings.len()];
        buffer[..beginning.len()].copy_from_slice(beginning);
        1 + self.next() as usize % (LONGEST - 1)
    }
}

/// Packets the SFUs dropped so far, for whatever reason.
fn dropped(example: &Example<'_>) -> Result<u64> {
    let mut total = 0;
    for pod in example.sfu_pods()? {
        let metrics = metrics(&pod)?;
        let lines = metrics.lines().filter(|line| line.starts_with("calls_sfu_dropped_packets_total{"));
        total += lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>();
    }
    Ok(total)
}

/// The first API key of the example and its secret.
fn api_key(stage: &Stage) -> Result<(String, String)> {
    let secret = format!("{CALLS_NAME}-keys");
    let template = "go-template={{range $key, $value := .data}}{{$key}} {{$value | base64decode}}{{\"\\n\"}}{{end}}";
    let keys =
        stage.kubectl()?.run(&["get", "secret", &secret, "--namespace", CALLS_NAMESPACE, "--output", template])?;
    let (key, secret) = keys.lines().next().and_then(|line| line.split_once(' ')).context("there is no API key")?;
    Ok((key.to_owned(), secret.to_owned()))
}

fn page_address(stage: &Stage) -> Result<SocketAddr> {
    stage.page().trim_start_matches("http://").trim_end_matches('/').parse().context("the page has no address")
}

/// The status the cluster's front door answers with.
fn status_of(stage: &Stage, path: &str) -> Result<u16> {
    let address = page_address(stage)?;
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).with_context(|| format!("an odd answer: {answer}"))
}
