//! One scenario at one server: everyone joins, media flows for a while, and what that cost is read.

use std::net::{Ipv4Addr, UdpSocket};
use std::ops::Range;
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
use super::scenario::{Part, Scenario};
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
/// When calls are added to fill a server: how often at most, how long its CPU is looked at before each, how many times as
/// many calls there are then at most, and what part of the wanted load is enough.
const FILL_ROUNDS: usize = 8;
const FILL_LOOK: Duration = Duration::from_secs(3);
const FILL_STEP: usize = 4;
const FILLED: f64 = 0.93;
/// What must arrive for more calls to be added: less, and the machine has nothing left, whatever the CPU says.
const WHOLE: f64 = 0.98;
/// Until a server has done what a join leaves for later.
const REST: Duration = Duration::from_secs(1);

/// How to measure.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How long media flows while it is measured.
    pub window: Duration,
    /// Of this many clients, one opens what it receives; the others count it.
    pub opens_one_of: usize,
    /// With a scenario that fills: calls are added until the server's CPU is this share of a core.
    pub busy: Option<f64>,
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
    /// Calls were added until the server was busy.
    pub filled: bool,
    /// Receivers may be given less than the largest layer: what is missing shows in gaps alone.
    pub has_layers: bool,
}

/// Measures the server of process `pid` that nobody has joined yet.
///
/// # Errors
/// If somebody cannot join, hears not everyone, or is sent away.
pub async fn measure(scenario: &Scenario, pid: u32, entrance: &Entrance, options: Options) -> Result<Measured> {
    let (memory, cpu) = (process::memory(pid)?, process::cpu(pid)?);
    let identity = DtlsIdentity::new(&Certificate::generate()?)?;
    let thread = Arc::new(MediaThread::start()?);
    let crowd = Crowd { scenario, entrance, options, identity: &identity, thread: &thread };
    let mut people = crowd.join(0..scenario.calls).await?;
    let n_calls = match options.busy {
        Some(share) => crowd.fill(pid, share, &mut people).await?,
        None => scenario.calls,
    };
    let n_sessions = n_calls * scenario.people;
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
    let n_expected = crowd.expected(&totals);
    let measured = Measured {
        sessions: n_sessions,
        memory,
        // Media flowed while calls were added.
        join_cpu: if options.busy.is_some() { Duration::ZERO } else { join_cpu },
        n_opening: n_sessions.div_ceil(options.opens_one_of.max(1)),
        filled: options.busy.is_some(),
        has_layers: scenario.cameras > 0,
        ..measured
    };
    Ok(measured.with(&totals, n_expected))
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
        Stream { source, packet_bytes: packet_bytes(source), ports: others.map(|(_, port)| *port).collect() }
    });
    Plan { streams: streams.collect() }
}

/// Who joins where.
struct Crowd<'a> {
    scenario: &'a Scenario,
    entrance: &'a Entrance,
    options: Options,
    identity: &'a DtlsIdentity,
    thread: &'a Arc<MediaThread>,
}

impl Crowd<'_> {
    /// Everybody of these calls joins; returns when all streams have begun.
    async fn join(&self, calls: Range<usize>) -> Result<Vec<Joined>> {
        let opens_one_of = self.options.opens_one_of.max(1);
        let first = calls.start * self.scenario.people;
        let newcomers = self.scenario.parts_of(calls).into_iter().zip(first..).map(|(part, number)| Newcomer {
            room: format!("bench-{}-{}", self.scenario.name, part.call),
            identity: format!("person-{}-{}", part.call, part.number),
            number: number as u32,
            publishes: part.publishes,
            hears: part.hears,
            opens: number % opens_one_of == 0,
        });
        let joins =
            newcomers.map(|newcomer| async move { join(self.entrance, &newcomer, self.identity, self.thread).await });
        let mut people: Vec<Joined> = stream::iter(joins).buffered(JOINS_AT_ONCE).try_collect().await?;
        let deadline = Instant::now() + COMPLETE_LIMIT;
        for joined in &mut people {
            if timeout_at(deadline.into(), &mut joined.complete).await.is_err() {
                let totals = self.thread.count().await?;
                bail!(
                    "not all streams began within {} s: the server does not forward all it should; {} sessions have \
                     {} streams, {} ended by themselves",
                    COMPLETE_LIMIT.as_secs(),
                    first + people.len(),
                    totals.n_streams,
                    totals.n_closed
                );
            }
        }
        Ok(people)
    }

    /// Adds calls until the server is as busy as `share` says, or packets are lost; returns how many there are then.
    async fn fill(&self, pid: u32, share: f64, people: &mut Vec<Joined>) -> Result<usize> {
        let mut n_calls = self.scenario.calls;
        for _ in 0..FILL_ROUNDS {
            self.thread.talk(Talk::Speaking)?;
            sleep(WARM_UP).await;
            pause(self.thread).await?;
            self.thread.begin()?;
            let window = Window::begin(pid)?;
            self.thread.talk(Talk::Speaking)?;
            sleep(FILL_LOOK).await;
            let looked = window.end()?;
            pause(self.thread).await?;
            let totals = self.thread.count().await?;
            let of_a_core = |cpu: Duration| cpu.as_secs_f64() / looked.took.as_secs_f64();
            let (busy, generator) = (of_a_core(looked.cpu), of_a_core(looked.generator_cpu));
            let arrived = totals.received.n_packets as f64 / self.expected(&totals).max(1) as f64;
            eprintln!(
                "        {n_calls} calls take {:.0} % of a core, the generator {:.0} %; {:.1} % arrives",
                busy * 100.0,
                generator * 100.0,
                arrived * 100.0
            );
            let next = next_size(n_calls, busy, share);
            if next == n_calls || arrived < WHOLE {
                break;
            }
            self.thread.talk(Talk::Silent)?;
            people.extend(self.join(n_calls..next).await?);
            n_calls = next;
        }
        Ok(n_calls)
    }

    /// Packets that should have arrived at everybody else in the call.
    fn expected(&self, totals: &Totals) -> u64 {
        totals.n_sent * self.scenario.people.saturating_sub(1) as u64
    }
}

/// How many calls should make the server as busy as wanted, given how busy it is with so many. As many if it is nearly
/// there: each call costs less than the one before, so that this is approached from below.
fn next_size(n_calls: usize, busy: f64, wanted: f64) -> usize {
    if busy >= wanted * FILLED {
        return n_calls;
    }
    let grown = (n_calls as f64 * wanted / busy.max(0.001)) as usize;
    grown.clamp(n_calls + 1, n_calls * FILL_STEP)
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
    use super::super::scenario::Source;
    use super::*;

    #[test]
    fn a_server_is_filled_from_below_and_not_all_at_once() {
        assert_eq!(next_size(10, 0.35, 0.7), 20);
        assert_eq!(next_size(10, 0.01, 0.7), 40);
        assert_eq!(next_size(10, 0.0, 0.7), 40);
        assert_eq!(next_size(10, 0.65, 0.7), 11);
        assert_eq!([next_size(10, 0.66, 0.7), next_size(10, 0.9, 0.7)], [10, 10]);
    }

    #[test]
    fn the_limit_sends_to_everybody_else_in_the_call() {
        let scenario = Scenario { calls: 2, people: 3, ..Scenario::of(1, 1) };
        // Parts are ordered by number: call 0 and 1 of the first, and so on.
        let plan = plan(&scenario.parts(), &[10, 20, 11, 21, 12, 22]);
        let streams: Vec<_> = plan.streams.iter().map(|stream| (stream.source, stream.ports.clone())).collect();
        let (voice, screen) = (Source::Voice, Source::Screen);
        let expected = [(voice, vec![11, 12]), (voice, vec![21, 22]), (screen, vec![10, 12]), (screen, vec![20, 22])];
        assert_eq!(streams, expected);
    }
}
