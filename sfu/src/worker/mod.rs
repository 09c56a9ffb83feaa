//! The media threads: one engine and one UDP socket each, no locks, no async.
//!
//! In: datagrams from the socket, [`Inbox`] messages from control, from the TCP listener and from other workers.
//! Out: datagrams, and [`WorkerEvent`]s to control. All queues are bounded; what does not fit is dropped and counted,
//! as a network would.

mod batch;
mod contain;
mod events;
mod gather;
mod outlet;
mod peers;
pub mod pin;
mod report;
mod route;
mod run;
mod send;
mod socket;
mod steer;
pub mod tcp;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;

use mio::Waker;
use sfu_core::engine::command::Command;
use sfu_core::engine::event::Event;
use sfu_core::engine::path::Path;
use sfu_core::engine::relay::message::RelayMessage;
use sfu_core::engine::{Engine, EngineConfig};
use thiserror::Error;
use tokio::sync::mpsc;

pub use peers::peer_of;
pub use report::{DELAY_BOUNDS_US, DelayHistogram, WorkerReport};
pub use steer::Steering;

use self::pin::Pinning;
use crate::clock::Clock;
use crate::program::EndsTheProcess;

/// Orders of ours a worker may be behind on: those of a whole call's start fit many times over. The network cannot fill
/// this queue.
const ORDERS_SIZE: usize = 16 * 1024;
/// Bursts of other workers' tracks a worker may be behind on. Strangers cannot fill this queue.
const RELAYS_SIZE: usize = 4 * 1024;
/// Datagrams from elsewhere (TCP, other workers' sockets) a worker may be behind on; losing some is what UDP does anyway.
const DATAGRAMS_SIZE: usize = 4 * 1024;

/// Most workers: the number has to fit the first character of an ICE user name.
pub const MAX_WORKERS: usize = 64;

/// What a worker is told.
#[derive(Debug)]
pub enum Inbox {
    Command(Command),
    /// A datagram that arrived elsewhere: on TCP, or at the socket of the worker `at`.
    Datagram {
        path: Path,
        datagram: Vec<u8>,
        at: Option<usize>,
    },
    /// The client at this path has proven to be of `worker`: what it sends here goes there.
    Route {
        path: Path,
        worker: usize,
    },
    /// What the engine of the worker `from` tells of a track that both have, or of a session that moves.
    Relay {
        from: usize,
        message: RelayMessage,
    },
    /// A TCP connection began; answers go into its queue.
    TcpOpened {
        path: Path,
        outlet: mpsc::Sender<Vec<u8>>,
    },
    TcpClosed {
        path: Path,
    },
    /// Ask a STUN server from the media socket: only its mapping is the one clients will meet.
    StunRequest {
        server: SocketAddr,
        datagram: Vec<u8>,
    },
    /// Finish and end the thread.
    Stop,
}

/// What control is told.
#[derive(Debug)]
pub enum WorkerEvent {
    Media {
        worker: usize,
        event: Event,
    },
    /// Once a second.
    Report(Box<WorkerReport>),
}

/// A datagram that looks like a STUN server's answer. Whoever asked must check it.
#[derive(Debug)]
pub struct StunAnswer {
    pub from: SocketAddr,
    pub datagram: Vec<u8>,
}

#[derive(Debug, Error)]
pub enum StartError {
    #[error("failed to open the media socket on UDP {address}")]
    Socket { address: SocketAddr, source: io::Error },
    #[error("failed to set up the media thread's poll")]
    Poll { source: io::Error },
    #[error("failed to keep the media sockets' file descriptor")]
    Steering { source: io::Error },
    #[error("failed to start a media thread")]
    Thread { source: io::Error },
}

/// A worker as others see it: a queue and a way to wake it.
#[derive(Debug, Clone)]
pub struct WorkerHandle {
    orders: SyncSender<Inbox>,
    relays: SyncSender<Inbox>,
    datagrams: SyncSender<Inbox>,
    waker: Arc<Waker>,
    dropped: Arc<AtomicU64>,
}

impl WorkerHandle {
    /// Hands a message over without waiting. False if the worker is too far behind; the drop is counted.
    pub fn send(&self, message: Inbox) -> bool {
        self.queue(message) && self.wake()
    }

    /// Leaves a message for when the worker wakes, as [`send`](Self::send) does.
    fn queue(&self, message: Inbox) -> bool {
        let queued = self.offer(message).is_ok();
        self.dropped.fetch_add(u64::from(!queued), Ordering::Relaxed);
        queued
    }

    /// Leaves a message for when the worker wakes, and gives it back if there is no room.
    #[expect(clippy::result_large_err, reason = "what is not taken comes back, as std's queues have it")]
    fn offer(&self, message: Inbox) -> Result<(), TrySendError<Inbox>> {
        let queue = match message {
            Inbox::Datagram { .. } => &self.datagrams,
            Inbox::Relay { .. } => &self.relays,
            _ => &self.orders,
        };
        queue.try_send(message)
    }

    fn wake(&self) -> bool {
        self.waker.wake().is_ok()
    }

    pub fn command(&self, command: Command) -> bool {
        self.send(Inbox::Command(command))
    }
}

/// All workers of a process.
#[derive(Debug)]
pub struct Workers {
    handles: Vec<WorkerHandle>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Workers {
    /// Opens `count` sockets on `address` and starts a thread on each. Whoever knows which client is whose tells the
    /// sockets by the [`Steering`].
    pub fn start(
        (count, pinning): (usize, Pinning),
        address: SocketAddr,
        clock: Clock,
        events: &mpsc::Sender<WorkerEvent>,
        stun_answers: &mpsc::Sender<StunAnswer>,
    ) -> Result<(Self, Steering), StartError> {
        let count = count.clamp(1, MAX_WORKERS);
        let mut parts = Vec::with_capacity(count);
        let mut handles = Vec::with_capacity(count);
        for _ in 0..count {
            let socket = socket::MediaSocket::open(address).map_err(|source| StartError::Socket { address, source })?;
            let poll = mio::Poll::new().map_err(|source| StartError::Poll { source })?;
            let waker = Waker::new(poll.registry(), run::WAKE).map_err(|source| StartError::Poll { source })?;
            let (orders, taken_orders) = sync_channel(ORDERS_SIZE);
            let (relays, taken_relays) = sync_channel(RELAYS_SIZE);
            let (datagrams, taken_datagrams) = sync_channel(DATAGRAMS_SIZE);
            let messages = run::Messages { orders: taken_orders, relays: taken_relays, datagrams: taken_datagrams };
            handles.push(WorkerHandle { orders, relays, datagrams, waker: Arc::new(waker), dropped: Arc::default() });
            parts.push((socket, poll, messages));
        }
        parts[0].0.check_buffers();
        let cpus = plan_cpus(pinning, count);
        let steering = Steering::new(&parts[0].0, count).map_err(|source| StartError::Steering { source })?;
        let mut threads = Vec::with_capacity(count);
        for (index, (socket, poll, messages)) in parts.into_iter().enumerate() {
            let config = EngineConfig {
                worker: index as u8,
                wall_clock: clock.origin_ntp(),
                seed: clock.origin_ntp().bits().wrapping_add(index as u64),
                ..EngineConfig::default()
            };
            let parts = run::Parts {
                index,
                engine: Engine::new(config),
                socket,
                poll,
                messages,
                others: handles.clone(),
                events: events.clone(),
                stun_answers: stun_answers.clone(),
                clock,
            };
            let cpu = cpus.get(index).copied();
            let thread = thread::Builder::new()
                .name(format!("media-{index}"))
                .spawn(move || {
                    let _ends = EndsTheProcess("media thread");
                    if let Some(cpu) = cpu
                        && let Err(error) = pin::pin(cpu)
                    {
                        tracing::warn!(%error, thread = index, cpu, "the kernel does not pin this media thread");
                    }
                    run::Worker::new(parts).run();
                })
                .map_err(|source| StartError::Thread { source })?;
            threads.push(thread);
        }
        Ok((Self { handles, threads }, steering))
    }

    pub fn handles(&self) -> &[WorkerHandle] {
        &self.handles
    }

    /// Ends all threads and waits for them.
    pub fn stop(self) {
        for handle in &self.handles {
            handle.send(Inbox::Stop);
        }
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a media thread ended by panic");
            }
        }
    }
}

/// The CPUs of the media threads. Without an answer of the kernel they are not pinned, which is slower and works.
fn plan_cpus(pinning: Pinning, n_threads: usize) -> Vec<usize> {
    let cpus = pin::plan(pinning, n_threads).unwrap_or_else(|error| {
        tracing::warn!(%error, "CPUs are not known, so media threads are not pinned");
        Vec::new()
    });
    if !cpus.is_empty() {
        tracing::info!(?cpus, "media threads are pinned");
    }
    cpus
}
