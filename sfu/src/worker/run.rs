//! A media thread's loop: wait, take in, decide (the engine does), send.

use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use sfu_core::engine::Engine;
use sfu_core::engine::path::{Path, Transmit};
use sfu_core::engine::relay::message::Relay;
use sfu_core::time::Time;
use sfu_core::transport::ice;
use tokio::sync::mpsc;

use super::batch::Batch;
use super::contain::contain;
use super::events::hand_over;
use super::gather::{GLANCE, Gathering, MAX_GLANCES};
use super::outlet::Outlet;
use super::peers::{Peers, peer_of};
use super::report::{DelayHistogram, WorkerReport};
use super::route::Routes;
use super::socket::MediaSocket;
use super::{Inbox, StunAnswer, WorkerEvent, WorkerHandle};
use crate::clock::Clock;

const SOCKET: Token = Token(0);
pub(super) const WAKE: Token = Token(1);

/// Batches read before the engine's output is sent: bounds the delay a burst adds.
const MAX_BATCHES: usize = 4;
/// Datagrams gathered before they are sent: many for one system call, few enough to be in the processor's cache still.
const MAX_LEAVING: usize = 256;
/// Messages taken from the inbox between two looks at the socket.
const MAX_MESSAGES: usize = 256;
/// First bytes of a Binding success response (RFC 8489, section 5).
const STUN_SUCCESS: [u8; 2] = [1, 1];
/// Where the transaction is in a STUN message.
const STUN_TRANSACTION: std::ops::Range<usize> = 8..20;
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// After a queue of control's or of another worker's was full: long enough for that one to empty it, too short for a
/// client to notice.
const FULL_PAUSE: Duration = Duration::from_millis(5);

/// A wait shorter than this was none: something had come before.
const AT_ONCE: Duration = Duration::from_micros(20);

/// What others tell a worker.
#[derive(Debug)]
pub struct Messages {
    pub orders: Receiver<Inbox>,
    pub relays: Receiver<Inbox>,
    pub datagrams: Receiver<Inbox>,
}

/// What a media thread is made of.
#[derive(Debug)]
pub struct Parts {
    /// Its place in `others`.
    pub index: usize,
    pub engine: Engine,
    pub socket: MediaSocket,
    pub poll: Poll,
    pub messages: Messages,
    /// Every worker of the process, this one included.
    pub others: Vec<WorkerHandle>,
    pub events: mpsc::Sender<WorkerEvent>,
    pub stun_answers: mpsc::Sender<StunAnswer>,
    pub clock: Clock,
}

/// What one look at the socket brought.
#[derive(Debug, Clone, Copy)]
struct Taken {
    datagrams: usize,
    /// There may be more.
    more: bool,
    /// Of the time it took.
    slept: Duration,
}

#[derive(Debug)]
pub struct Worker {
    index: usize,
    engine: Engine,
    socket: MediaSocket,
    batch: Batch,
    poll: Poll,
    messages: Messages,
    others: Vec<WorkerHandle>,
    events: mpsc::Sender<WorkerEvent>,
    stun_answers: mpsc::Sender<StunAnswer>,
    /// Transaction of the last request to a STUN server; answers to anything else are nobody's.
    stun_transaction: Option<Vec<u8>>,
    clock: Clock,
    routes: Routes,
    peers: Peers,
    /// Datagrams that are sent together. Empty between two rounds.
    leaving: Vec<Transmit>,
    outlet: Outlet,
    gathering: Gathering,
    /// Since when pauses are counted.
    born: Instant,
    delay: DelayHistogram,
    /// Of this round: bursts that another worker gave, and when the first of them had arrived there.
    relayed: Option<(Time, u64)>,
    busy_total: Duration,
    /// Control's queue was full: events wait for room in it.
    events_wait: bool,
    reports_dropped: u64,
    strays: u64,
    strangers: u64,
    reported: Reported,
}

/// Where the last report ended.
#[derive(Debug)]
struct Reported {
    at: Instant,
    busy_total: Duration,
}

impl Worker {
    pub fn new(parts: Parts) -> Self {
        let Parts { index, engine, socket, poll, messages, others, events, stun_answers, clock } = parts;
        let batch = Batch::new(&socket);
        let outlet = Outlet::new(&socket);
        let n_workers = others.len();
        Self {
            index,
            engine,
            socket,
            batch,
            poll,
            messages,
            others,
            events,
            stun_answers,
            stun_transaction: None,
            clock,
            routes: Routes::default(),
            peers: Peers::new(index, n_workers),
            leaving: Vec::with_capacity(MAX_LEAVING),
            outlet,
            gathering: Gathering::default(),
            born: Instant::now(),
            delay: DelayHistogram::default(),
            relayed: None,
            busy_total: Duration::ZERO,
            events_wait: false,
            reports_dropped: 0,
            strays: 0,
            strangers: 0,
            reported: Reported { at: Instant::now(), busy_total: Duration::ZERO },
        }
    }

    pub fn run(mut self) {
        let mut ready = Events::with_capacity(8);
        if let Err(error) = self.poll.registry().register(self.socket.source(), SOCKET, Interest::READABLE) {
            tracing::error!(%error, worker = self.index, "failed to watch the media socket");
            return;
        }
        let mut more = false;
        // What is taken after a pause may have waited for all of it.
        let mut pause = Duration::ZERO;
        loop {
            if !pause.is_zero() {
                let began = Instant::now();
                thread::sleep(pause);
                pause = began.elapsed();
            }
            let wait = if more { Duration::ZERO } else { self.wait() };
            let asked = Instant::now();
            if let Err(error) = self.poll.poll(&mut ready, Some(wait))
                && error.kind() != std::io::ErrorKind::Interrupted
            {
                tracing::error!(%error, worker = self.index, "failed to wait for the media socket");
                return;
            }
            let started = Instant::now();
            let Some(inbox_full) = self.take_messages(self.clock.now()) else { return };
            let Taken { datagrams, more: socket_full, slept } = self.take_pictures();
            let now = self.clock.now();
            contain(&mut self.engine, now, |engine| engine.handle_timeout(now));
            self.emit();
            let waited = if started - asked < AT_ONCE { pause } else { Duration::ZERO };
            self.record_delays(waited + started.elapsed(), datagrams as u64);
            more = inbox_full || socket_full;
            self.busy_total += started.elapsed().saturating_sub(slept);
            self.report_when_due(now);
            pause = if more { Duration::ZERO } else { self.pause(started, datagrams) };
        }
    }

    /// How long to leave the socket alone after a look that began at `started`.
    fn pause(&mut self, started: Instant, n_datagrams: usize) -> Duration {
        let began = started.duration_since(self.born);
        self.gathering.pause(began, n_datagrams, self.born.elapsed())
    }

    /// Notes how long what this round took in was under way.
    fn record_delays(&mut self, of_datagrams: Duration, n_datagrams: u64) {
        if n_datagrams > 0 {
            self.delay.record(of_datagrams, n_datagrams);
        }
        if let Some((arrival, bursts)) = self.relayed.take() {
            self.delay.record(self.clock.now().since(arrival), bursts);
        }
    }

    /// How long nothing has to be done.
    fn wait(&self) -> Duration {
        let report = REPORT_INTERVAL.saturating_sub(self.reported.at.elapsed());
        let longest = if self.events_wait || self.peers.wait() { FULL_PAUSE } else { report };
        self.engine.poll_timeout().map_or(longest, |deadline| self.clock.until(deadline).min(longest))
    }

    /// Whether there may be more; `None` when the thread is to end.
    fn take_messages(&mut self, now: Time) -> Option<bool> {
        let mut taken = 0;
        while taken < MAX_MESSAGES {
            // Media is taken out first and handled last: what it belongs to was ordered before it was sent.
            let media = self.next_media(taken);
            while taken < MAX_MESSAGES
                && let Ok(order) = self.messages.orders.try_recv()
            {
                taken += 1;
                if !self.take_message(now, order) {
                    return None;
                }
            }
            let Some(message) = media else { return Some(taken == MAX_MESSAGES) };
            taken += 1;
            self.take_message(now, message);
        }
        Some(true)
    }

    /// Media from elsewhere: from other workers and from other sockets by turns.
    fn next_media(&self, turn: usize) -> Option<Inbox> {
        let Messages { relays, datagrams, .. } = &self.messages;
        let (first, second) = if turn.is_multiple_of(2) { (relays, datagrams) } else { (datagrams, relays) };
        first.try_recv().or_else(|_| second.try_recv()).ok()
    }

    /// False when the thread is to end.
    fn take_message(&mut self, now: Time, message: Inbox) -> bool {
        match message {
            Inbox::Command(command) => contain(&mut self.engine, now, |engine| engine.handle_command(now, command)),
            Inbox::Datagram { path, datagram, at } => self.take_stray(now, path, datagram, at),
            Inbox::Relay { from, message } => {
                if let Some(arrival) = message.arrival() {
                    let (first, bursts) = self.relayed.unwrap_or((arrival, 0));
                    self.relayed = Some((first.min(arrival), bursts + 1));
                }
                contain(&mut self.engine, now, |engine| engine.handle_relay(now, peer_of(from), message));
            }
            Inbox::Route { path, worker } => self.routes.learn(path, worker),
            Inbox::TcpOpened { path, outlet } => self.outlet.open(now, path, outlet),
            Inbox::TcpClosed { path } => {
                self.outlet.close(&path);
                contain(&mut self.engine, now, |engine| engine.handle_path_closed(now, path));
            }
            Inbox::StunRequest { server, datagram } => {
                let path = Path::Udp { remote: server, local: None };
                self.stun_transaction = datagram.get(STUN_TRANSACTION).map(<[u8]>::to_vec);
                self.outlet.send_udp(&self.socket, &[Transmit { path, payload: datagram }]);
            }
            Inbox::Stop => {
                self.emit();
                return false;
            }
        }
        true
    }

    /// Takes a datagram that arrived elsewhere. When its check proved a client of ours, the worker `at` whose socket it
    /// came learns it, before the client gets its answer and sends more.
    fn take_stray(&mut self, now: Time, path: Path, mut datagram: Vec<u8>, at: Option<usize>) {
        let is_check = ice::peek_ufrag(&datagram).is_some();
        contain(&mut self.engine, now, |engine| engine.handle_datagram(now, path, &mut datagram));
        if is_check
            && self.engine.owns(&path)
            && let Some(at) = at.and_then(|at| self.others.get(at))
        {
            at.send(Inbox::Route { path, worker: self.index });
        }
    }

    /// Takes what came, and waits a moment for the rest of a picture that has begun.
    fn take_pictures(&mut self) -> Taken {
        let (mut datagrams, mut more) = self.take_datagrams(self.clock.now());
        let (mut latest, mut slept) = (datagrams, Duration::ZERO);
        for _ in 0..MAX_GLANCES {
            if more || latest == 0 || !self.engine.expects_more() {
                break;
            }
            let began = Instant::now();
            thread::sleep(GLANCE);
            slept += began.elapsed();
            (latest, more) = self.take_datagrams(self.clock.now());
            datagrams += latest;
        }
        Taken { datagrams, more, slept }
    }

    /// How many datagrams came, and whether there may be more.
    fn take_datagrams(&mut self, now: Time) -> (usize, bool) {
        let Self { engine, batch, socket, routes, others, index, strays, stun_answers, stun_transaction, .. } = self;
        let mut total = 0;
        for _ in 0..MAX_BATCHES {
            let n = batch.receive(socket, |path, datagram| {
                // Clients only ask; an answer comes from a server we asked (full queue: it is asked again).
                if datagram.starts_with(&STUN_SUCCESS) {
                    if stun_transaction.is_none() || datagram.get(STUN_TRANSACTION) != stun_transaction.as_deref() {
                        return;
                    }
                    let _ = stun_answers.try_send(StunAnswer { from: path.remote(), datagram: datagram.to_vec() });
                    return;
                }
                if others.len() > 1
                    && let Some(worker) = routes.elsewhere(*index, engine.owns(&path), path, datagram)
                    && let Some(other) = others.get(worker)
                {
                    *strays += 1;
                    other.send(Inbox::Datagram { path, datagram: datagram.to_vec(), at: Some(*index) });
                    return;
                }
                contain(engine, now, |engine| engine.handle_datagram(now, path, datagram));
            });
            if n == 0 {
                return (total, false);
            }
            total += n;
        }
        (total, true)
    }

    /// Sends and tells what the engine has.
    fn emit(&mut self) {
        // First, so that others send while this one does.
        self.relay();
        self.outlet.begin_round();
        while let Some(transmit) = self.engine.poll_transmit() {
            if transmit.path.is_tcp() {
                self.outlet.send_tcp(transmit);
                continue;
            }
            self.leaving.push(transmit);
            if self.leaving.len() == MAX_LEAVING {
                self.send_leaving();
            }
        }
        self.send_leaving();
        self.events_wait = !hand_over(&mut self.engine, self.index, &self.events);
    }

    /// Gives other workers what they have subscribers for, and wakes each once.
    fn relay(&mut self) {
        let mut woken = self.peers.flush(&self.others);
        while let Some(Relay { peer, message }) = self.engine.poll_relay() {
            woken |= self.peers.give(&self.others, peer.0 as usize, message);
        }
        for (worker, other) in self.others.iter().enumerate() {
            if woken >> worker & 1 == 1 {
                other.wake();
            }
        }
    }

    fn send_leaving(&mut self) {
        self.outlet.send_udp(&self.socket, &self.leaving);
        for transmit in self.leaving.drain(..) {
            self.engine.recycle(transmit.payload);
        }
    }

    fn report_when_due(&mut self, now: Time) {
        let elapsed = self.reported.at.elapsed();
        if elapsed < REPORT_INTERVAL {
            return;
        }
        self.strangers += self.outlet.hang_up_strangers(now, |path| self.engine.owns(path));
        let busy = self.busy_total.saturating_sub(self.reported.busy_total).as_secs_f32() / elapsed.as_secs_f32();
        self.reported = Reported { at: Instant::now(), busy_total: self.busy_total };
        let report = WorkerReport {
            worker: self.index,
            busy: busy.clamp(0.0, 1.0),
            busy_total: self.busy_total,
            delay: self.delay,
            engine: *self.engine.stats(),
            protection: self.engine.protection(),
            lost: self.outlet.lost,
            inbox_dropped: self.others[self.index].dropped.load(std::sync::atomic::Ordering::Relaxed),
            events_dropped: self.reports_dropped + self.engine.stats().events_dropped,
            strays: self.strays,
            strangers: self.strangers,
        };
        self.reports_dropped += u64::from(self.events.try_send(WorkerEvent::Report(Box::new(report))).is_err());
    }
}
