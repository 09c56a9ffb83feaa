//! One scenario at one server: everyone joins, media flows for a while, and what that cost is read.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use sfu_core::transport::certificate::Certificate;
use sfu_core::transport::dtls::DtlsIdentity;
use tokio::time::{sleep, timeout_at};

use super::bare::{BareSender, Plan, Stream};
use super::client::NewClient;
use super::histogram::Histogram;
use super::join::{Entrance, Joined, Newcomer, join};
use super::publisher::packet_bytes;
use super::scenario::{Part, Scenario, Source};
use super::sink::Sink;
use super::thread::{MediaThread, Talk, Totals};
use crate::process;

/// Clients that join at the same time.
const JOINS_AT_ONCE: usize = 8;
/// How long the last stream may take to begin.
const COMPLETE_LIMIT: Duration = Duration::from_mins(1);
/// Media before anything is measured: servers learn who speaks and what the network bears.
const WARM_UP: Duration = Duration::from_secs(2);
/// Until what was sent has arrived or is lost.
const SETTLE: Duration = Duration::from_millis(300);
/// Until a server has done what a join leaves for later.
const REST: Duration = Duration::from_secs(1);

/// How to measure.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How long media flows while it is measured.
    pub window: Duration,
    /// Of this many clients, one opens what it receives; the others count it.
    pub opens_one_of: usize,
}

/// What one measurement gave.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    pub sessions: usize,
    /// Media packets that should have arrived, and those that did.
    pub n_expected: u64,
    pub n_delivered: u64,
    /// Sequence numbers missing within streams.
    pub n_gaps: u64,
    /// Packets that did not authenticate, of those opened.
    pub n_forged: u64,
    /// Bytes of a datagram that arrived, on the average.
    pub packet_bytes: f64,
    /// Of the server while it was measured, and of this process.
    pub cpu: Duration,
    pub generator_cpu: Duration,
    pub took: Duration,
    /// What all sessions added to the server's resident memory, in bytes.
    pub memory: u64,
    /// Of the server from the first join to the last stream's beginning.
    pub join_cpu: Duration,
    /// From being written to being read.
    pub delays: Histogram,
    /// How many clients looked at delays.
    pub n_opening: usize,
}

/// Measures the server of process `pid` that nobody has joined yet.
///
/// # Errors
/// If somebody cannot join, hears not everyone, or is sent away.
pub async fn measure(scenario: &Scenario, pid: u32, entrance: &Entrance, options: Options) -> Result<Measured> {
    let (memory, cpu) = (process::memory(pid)?, process::cpu(pid)?);
    let identity = DtlsIdentity::new(&Certificate::generate()?)?;
    let thread = Arc::new(MediaThread::start()?);
    let mut people = everyone_joins(scenario, entrance, options, &identity, &thread).await?;
    everything_flows(scenario, &mut people, &thread).await?;
    let join_cpu = process::cpu(pid)?.saturating_sub(cpu);
    sleep(REST).await;

    let measured = if scenario.is_idle() {
        let window = Window::begin(pid)?;
        sleep(options.window).await;
        window.end()?
    } else {
        thread.talk(Talk::Speaking)?;
        sleep(WARM_UP).await;
        pause(&thread).await?;
        thread.begin()?;
        let window = Window::begin(pid)?;
        thread.talk(Talk::Speaking)?;
        sleep(options.window).await;
        pause(&thread).await?;
        window.end()?
    };
    let totals = thread.count().await?;
    let memory = process::memory(pid)?.saturating_sub(memory);
    if let Some(why) = totals.closed {
        bail!("{} of {} sessions ended by themselves: {why}", totals.n_closed, people.len());
    }
    for joined in &mut people {
        if let Some(error) = joined.ended().await {
            return Err(error.context("a session ended while it was measured"));
        }
    }
    let fan_out = scenario.people.saturating_sub(1) as u64;
    let n_opening = scenario.sessions().div_ceil(options.opens_one_of.max(1));
    let measured = Measured { sessions: scenario.sessions(), memory, join_cpu, n_opening, ..measured };
    Ok(measured.with(&totals, totals.n_sent * fan_out))
}

/// Measures the limit: the packets of the scenario, sent to sockets that count them.
pub async fn measure_bare(scenario: &Scenario, options: Options) -> Result<Measured> {
    let thread = MediaThread::start()?;
    let parts = scenario.parts();
    let mut ports = Vec::with_capacity(parts.len());
    for part in &parts {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("no socket for a client: see `ulimit -n`")?;
        ports.push(socket.local_addr()?.port());
        let sink = Sink::new(false, None);
        thread.add(NewClient {
            socket,
            transport: None,
            publishes: None,
            sink,
            hears: part.hears,
            milestones: None,
        })?;
    }
    let mut sender = BareSender::start(&plan(&parts, &ports))?;
    let pid = sender.pid();
    thread.begin()?;
    let window = Window::begin(pid)?;
    let length = options.window;
    let (sender, n_sent) = tokio::task::spawn_blocking(move || {
        let n_sent = sender.send(length);
        (sender, n_sent)
    })
    .await?;
    sleep(SETTLE).await;
    let measured = window.end()?;
    drop(sender);
    let totals = thread.count().await?;
    Ok(Measured { sessions: parts.len(), ..measured }.with(&totals, n_sent?))
}

/// Everybody else in the call gets what one publishes.
fn plan(parts: &[Part], ports: &[u16]) -> Plan {
    let publishing = parts.iter().filter_map(|part| Some((part, part.publishes?)));
    let streams = publishing.map(|(publisher, source)| {
        let others =
            parts.iter().zip(ports).filter(|(part, _)| part.call == publisher.call && part.number != publisher.number);
        Stream {
            screen: source == Source::Screen,
            packet_bytes: packet_bytes(source),
            ports: others.map(|(_, port)| *port).collect(),
        }
    });
    Plan { streams: streams.collect() }
}

async fn everyone_joins(
    scenario: &Scenario,
    entrance: &Entrance,
    options: Options,
    identity: &DtlsIdentity,
    thread: &Arc<MediaThread>,
) -> Result<Vec<Joined>> {
    let newcomers = scenario.parts().into_iter().enumerate().map(|(number, part)| Newcomer {
        room: format!("bench-{}-{}", scenario.name, part.call),
        identity: format!("person-{}-{}", part.call, part.number),
        number: number as u32,
        publishes: part.publishes,
        hears: part.hears,
        opens: number % options.opens_one_of.max(1) == 0,
    });
    let joins = newcomers.map(|newcomer| async move { join(entrance, &newcomer, identity, thread).await });
    stream::iter(joins).buffered(JOINS_AT_ONCE).try_collect().await
}

async fn everything_flows(scenario: &Scenario, people: &mut [Joined], thread: &MediaThread) -> Result<()> {
    let deadline = Instant::now() + COMPLETE_LIMIT;
    for joined in people.iter_mut() {
        if timeout_at(deadline.into(), &mut joined.complete).await.is_err() {
            let expected: usize = scenario.parts().iter().map(|part| part.hears).sum();
            let n_streams = thread.count().await?.n_streams;
            bail!(
                "{n_streams} of {expected} streams began within {} s: the server does not forward all it should",
                COMPLETE_LIMIT.as_secs()
            );
        }
    }
    Ok(())
}

async fn pause(thread: &MediaThread) -> Result<()> {
    thread.talk(Talk::Paused)?;
    sleep(SETTLE).await;
    Ok(())
}

/// The time between two looks at what processes cost.
struct Window {
    pid: u32,
    began: Instant,
    cpu: Duration,
    own: Duration,
}

impl Window {
    fn begin(pid: u32) -> Result<Self> {
        Ok(Self { pid, began: Instant::now(), cpu: process::cpu(pid)?, own: process::own_cpu()? })
    }

    fn end(self) -> Result<Measured> {
        Ok(Measured {
            cpu: process::cpu(self.pid)?.saturating_sub(self.cpu),
            generator_cpu: process::own_cpu()?.saturating_sub(self.own),
            took: self.began.elapsed(),
            ..Measured::default()
        })
    }
}

impl Measured {
    fn with(self, totals: &Totals, n_expected: u64) -> Self {
        let received = &totals.received;
        Self {
            n_expected,
            n_delivered: received.n_packets,
            n_gaps: received.n_gaps,
            n_forged: received.n_forged,
            packet_bytes: received.n_bytes as f64 / received.n_packets.max(1) as f64,
            delays: received.delays.clone(),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_sends_to_everybody_else_in_the_call() {
        let scenario = Scenario { name: "", about: "", calls: 2, people: 3, voices: 1, screens: 1 };
        // Parts are ordered by number: call 0 and 1 of the first, and so on.
        let plan = plan(&scenario.parts(), &[10, 20, 11, 21, 12, 22]);
        let streams: Vec<_> = plan.streams.iter().map(|stream| (stream.screen, stream.ports.clone())).collect();
        let expected = [(false, vec![11, 12]), (false, vec![21, 22]), (true, vec![10, 12]), (true, vec![20, 22])];
        assert_eq!(streams, expected);
    }
}
