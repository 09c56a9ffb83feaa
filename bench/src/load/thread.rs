//! The media thread: all clients' sockets, one loop, no locks and no async.
//!
//! In: datagrams, orders. Out: datagrams, milestones of clients, and what they counted. It is one thread so that it costs
//! less than the server it drives; the report says what it did cost.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver as Orders, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use sfu_core::time::{NtpTime, Time};
use tokio::sync::oneshot;

use super::client::{Client, NewClient};
use super::receive::Receiver;
use super::scenario::Source;
use super::schedule::Schedule;
use super::sink::Counted;

/// Orders that may wait; a join takes two.
const ORDERS: usize = 4096;
const EVENTS: usize = 1024;
/// How exactly timers of peer connections are kept.
const TICK: Duration = Duration::from_millis(20);
const WAKE: Token = Token(usize::MAX);
const TIMER: Token = Token(usize::MAX - 1);
/// While nobody says anything: as Opus does with DTX, so that servers know of the streams and do little.
const SILENCE_INTERVAL: Duration = Duration::from_millis(400);

/// Who sends how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Talk {
    /// Nothing.
    Paused,
    /// A frame now and then.
    Silent,
    /// Every frame of every source.
    Speaking,
}

#[derive(Debug)]
enum Order {
    Add(usize, Box<NewClient>),
    Candidate(usize, std::net::SocketAddr),
    Remove(usize),
    Talk(Talk),
    Begin,
    Count(oneshot::Sender<Totals>),
    Stop,
}

/// What all clients counted since counting began.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Packets that were published.
    pub n_sent: u64,
    pub received: Counted,
    /// Sessions that ended by themselves, and why the first did.
    pub n_closed: usize,
    pub closed: Option<super::transport::Closed>,
    /// Streams that have begun at any client.
    pub n_streams: usize,
}

/// The thread, as others see it. Ends with this value.
#[derive(Debug)]
pub struct MediaThread {
    orders: SyncSender<Order>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
    n_clients: std::sync::atomic::AtomicUsize,
    origin: Instant,
}

/// Names a client of the thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientId(usize);

impl MediaThread {
    /// # Errors
    /// If the system has no more files or threads.
    pub fn start() -> Result<Self> {
        let (orders, taken) = sync_channel(ORDERS);
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        let origin = Instant::now();
        let wall_clock = NtpTime::from_unix(SystemTime::now().duration_since(UNIX_EPOCH)?);
        let thread = std::thread::Builder::new().name("media".into()).spawn(move || {
            // Made here: its buffers stay on one thread.
            let running = Running {
                poll,
                timer,
                orders: taken,
                receiver: Receiver::default(),
                clients: Vec::new(),
                deadlines: Vec::new(),
                publishing: Vec::new(),
                talk: Talk::Silent,
                schedule: Schedule::default(),
                origin,
                wall_clock,
                ticked: Time::ZERO,
                n_sent: 0,
            };
            if let Err(error) = running.run() {
                eprintln!("the media thread failed: {error}");
            }
        })?;
        Ok(Self { orders, waker, thread: Some(thread), n_clients: 0.into(), origin })
    }

    /// The thread's time.
    pub fn now(&self) -> Time {
        since(self.origin)
    }

    fn order(&self, order: Order) -> Result<()> {
        if self.orders.try_send(order).is_err() {
            bail!("the media thread ended or is far behind: try fewer people, or a machine with nothing else to do");
        }
        self.waker.wake().context("failed to wake the media thread")
    }

    /// Takes a client; its socket is made non-blocking.
    pub fn add(&self, client: NewClient) -> Result<ClientId> {
        client.socket.set_nonblocking(true)?;
        let id = self.n_clients.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.order(Order::Add(id, Box::new(client)))?;
        Ok(ClientId(id))
    }

    pub fn add_candidate(&self, client: ClientId, address: std::net::SocketAddr) -> Result<()> {
        self.order(Order::Candidate(client.0, address))
    }

    /// Ends a client, with its socket.
    pub fn remove(&self, client: ClientId) -> Result<()> {
        self.order(Order::Remove(client.0))
    }

    pub fn talk(&self, talk: Talk) -> Result<()> {
        self.order(Order::Talk(talk))
    }

    /// Begins to count anew.
    pub fn begin(&self) -> Result<()> {
        self.order(Order::Begin)
    }

    /// What was counted since [`begin`](Self::begin).
    pub async fn count(&self) -> Result<Totals> {
        let (sender, totals) = oneshot::channel();
        self.order(Order::Count(sender))?;
        totals.await.context("the media thread ended")
    }
}

impl Drop for MediaThread {
    fn drop(&mut self) {
        let stopped = self.orders.send(Order::Stop).is_ok() && self.waker.wake().is_ok();
        if stopped && let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn since(origin: Instant) -> Time {
    Time::ZERO + origin.elapsed()
}

struct Running {
    poll: Poll,
    timer: OwnedFd,
    orders: Orders<Order>,
    receiver: Receiver,
    clients: Vec<Option<Client>>,
    /// When each client's timers are due, beside one another because all are looked at in each tick.
    deadlines: Vec<Option<Time>>,
    /// Those who publish and are connected, as the schedule numbers them.
    publishing: Vec<usize>,
    talk: Talk,
    schedule: Schedule,
    origin: Instant,
    /// That of the origin.
    wall_clock: NtpTime,
    ticked: Time,
    n_sent: u64,
}

impl Running {
    fn now(&self) -> Time {
        since(self.origin)
    }

    fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        let mut armed = None;
        loop {
            let next = self.schedule.next_at();
            if next != armed {
                self.arm(next)?;
                armed = next;
            }
            let wait = (self.ticked + TICK).since(self.now());
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => (),
            }
            for event in &events {
                match event.token() {
                    WAKE => {
                        if !self.take_orders()? {
                            return Ok(());
                        }
                    }
                    TIMER => (),
                    Token(client) => self.receive(client),
                }
            }
            self.send_frames();
            self.tick();
        }
    }

    /// Wakes the thread when the next frame is due: a poll alone would wait for whole milliseconds.
    fn arm(&self, next: Option<Time>) -> io::Result<()> {
        let Some(next) = next else { return Ok(()) };
        // Zero would disarm it.
        let wait = next.since(self.now()).max(Duration::from_nanos(1));
        let value = Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: wait.subsec_nanos().into() };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        rustix::time::timerfd_settime(self.timer.as_fd(), TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }

    /// False when the thread is to end.
    fn take_orders(&mut self) -> io::Result<bool> {
        loop {
            let order = match self.orders.try_recv() {
                Ok(order) => order,
                Err(TryRecvError::Empty) => return Ok(true),
                Err(TryRecvError::Disconnected) => return Ok(false),
            };
            let now = self.now();
            match order {
                Order::Add(id, client) => self.add(now, id, *client)?,
                Order::Candidate(id, address) => {
                    if let Some(Some(client)) = self.clients.get_mut(id) {
                        client.add_remote(now, address);
                        self.deadlines[id] = client.next_at();
                    }
                }
                Order::Remove(id) => self.remove(now, id)?,
                Order::Talk(talk) => {
                    self.talk = talk;
                    self.reschedule(now);
                }
                Order::Begin => {
                    self.n_sent = 0;
                    self.clients.iter_mut().flatten().for_each(|client| client.sink.begin());
                }
                Order::Count(totals) => {
                    let _ = totals.send(self.totals());
                }
                Order::Stop => return Ok(false),
            }
        }
    }

    fn add(&mut self, now: Time, id: usize, new: NewClient) -> io::Result<()> {
        let mut client = Client::new(now, new);
        let fd = client.socket().as_raw_fd();
        self.poll.registry().register(&mut SourceFd(&fd), Token(id), Interest::READABLE)?;
        client.flush(now);
        if self.clients.len() <= id {
            self.clients.resize_with(id + 1, || None);
            self.deadlines.resize(id + 1, None);
        }
        self.deadlines[id] = client.next_at();
        self.clients[id] = Some(client);
        Ok(())
    }

    fn remove(&mut self, now: Time, id: usize) -> io::Result<()> {
        let Some(client) = self.clients.get_mut(id).and_then(Option::take) else { return Ok(()) };
        self.poll.registry().deregister(&mut SourceFd(&client.socket().as_raw_fd()))?;
        self.deadlines[id] = None;
        if client.source().is_some() {
            self.publishing.retain(|publishing| *publishing != id);
            self.reschedule(now);
        }
        Ok(())
    }

    fn receive(&mut self, id: usize) {
        let now = self.now();
        let Some(Some(client)) = self.clients.get_mut(id) else { return };
        let was_publishing = client.source().is_some();
        let fd = client.socket().as_raw_fd();
        self.receiver.drain(fd, |from, datagram| client.handle_datagram(now, from, datagram));
        client.flush(now);
        self.deadlines[id] = client.next_at();
        if client.source().is_some() && !was_publishing {
            self.publishing.push(id);
            self.reschedule(now);
        }
    }

    fn reschedule(&mut self, now: Time) {
        let source = |id: &usize| self.clients[*id].as_ref().and_then(Client::source);
        let sources: Vec<Source> = self.publishing.iter().filter_map(source).collect();
        self.schedule = match self.talk {
            Talk::Paused => Schedule::default(),
            Talk::Silent => Schedule::at_intervals(sources.iter().map(|_| SILENCE_INTERVAL), now),
            Talk::Speaking => Schedule::new(&sources, now),
        };
    }

    fn send_frames(&mut self) {
        let now = self.now();
        while let Some((number, _)) = self.schedule.poll(now) {
            if let Some(Some(client)) = self.publishing.get(number).and_then(|id| self.clients.get_mut(*id)) {
                // The time in a frame is when it is sent, however late that is.
                self.n_sent += client.send_frame(since(self.origin));
            }
        }
    }

    fn tick(&mut self) {
        let now = self.now();
        if now.since(self.ticked) < TICK {
            return;
        }
        self.ticked = now;
        let wall_clock = self.wall_clock + now.since(Time::ZERO);
        for (deadline, client) in self.deadlines.iter_mut().zip(&mut self.clients) {
            if deadline.is_some_and(|at| at <= now)
                && let Some(client) = client
            {
                client.handle_timeout(now, wall_clock);
                *deadline = client.next_at();
            }
        }
    }

    fn totals(&self) -> Totals {
        let mut totals = Totals { n_sent: self.n_sent, ..Totals::default() };
        for client in self.clients.iter().flatten() {
            client.sink.count(&mut totals.received);
            totals.n_streams += client.sink.n_streams();
            totals.n_closed += usize::from(client.closed.is_some());
            totals.closed = totals.closed.or(client.closed);
        }
        totals
    }
}
