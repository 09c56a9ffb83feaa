//! What every decision of the control thread may use: the clock, the workers, keys and addresses.

use std::net::SocketAddr;

use fleet::api::{AdvertisedCandidate, Protocol};
use sfu_core::engine::command::Command;
use sfu_core::sdp;
use sfu_core::time::Time;
use sfu_core::transport::dtls::DtlsIdentity;
use tokio::sync::watch;

use super::relays::Relays;
use super::timers::Timers;
use crate::address::Advertised;
use crate::clock::Clock;
use crate::keys::Keys;
use crate::metrics::Metrics;
use crate::worker::{Steering, WorkerHandle};

/// The media threads as control sees them.
#[derive(Debug)]
pub struct Media {
    pub workers: Vec<WorkerHandle>,
    pub steering: Steering,
}

#[derive(Debug)]
pub struct Context {
    pub clock: Clock,
    pub workers: Vec<WorkerHandle>,
    /// Has datagrams arrive where their client is.
    pub steering: Steering,
    /// What our DTLS shows to clients.
    pub identity: DtlsIdentity,
    /// Its certificate's fingerprint, as descriptions carry it.
    pub fingerprint: sdp::Fingerprint,
    pub keys: Keys,
    pub advertised: watch::Receiver<Advertised>,
    /// Name of this SFU, told to clients as the node.
    pub node: String,
    pub metrics: Metrics,
    /// Deadlines of transports.
    pub timers: Timers,
    /// Tracks of calls that live on several threads.
    relays: Relays,
    next_key: u64,
    /// Commands that did not fit a worker's queue.
    pub commands_dropped: u64,
}

impl Context {
    pub fn new(
        clock: Clock,
        media: Media,
        identity: DtlsIdentity,
        keys: Keys,
        advertised: watch::Receiver<Advertised>,
        node: String,
        metrics: Metrics,
    ) -> Self {
        let fingerprint = identity.fingerprint();
        Self {
            clock,
            workers: media.workers,
            steering: media.steering,
            identity,
            fingerprint,
            keys,
            advertised,
            node,
            metrics,
            timers: Timers::default(),
            relays: Relays::default(),
            next_key: 0,
            commands_dropped: 0,
        }
    }

    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// A number that names one thing for the life of the process.
    pub fn key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    /// Has a thread do something, and the others what follows from it for them.
    pub fn command(&mut self, worker: usize, command: Command) {
        if self.workers.len() == 1 {
            return self.order(worker, command);
        }
        for (worker, command) in self.relays.route(worker, command) {
            self.order(worker, command);
        }
    }

    fn order(&mut self, worker: usize, command: Command) {
        let sent = self.workers.get(worker).is_some_and(|handle| handle.command(command));
        if !sent {
            self.commands_dropped += 1;
            tracing::error!(worker, "a media thread is too far behind to take a command");
        }
    }

    /// What descriptions offer to clients.
    pub fn candidates(&self) -> Vec<sdp::Candidate> {
        candidates(&self.advertised.borrow().candidates)
    }
}

/// As descriptions want them: earlier ones preferred.
pub fn candidates(advertised: &[AdvertisedCandidate]) -> Vec<sdp::Candidate> {
    let of = |(index, candidate): (usize, &AdvertisedCandidate)| sdp::Candidate {
        protocol: match candidate.protocol {
            Protocol::Udp => sdp::Protocol::Udp,
            Protocol::Tcp => sdp::Protocol::TcpPassive,
        },
        address: SocketAddr::new(candidate.address, candidate.port),
        local_preference: u16::MAX - u16::try_from(index).unwrap_or(u16::MAX),
    };
    advertised.iter().enumerate().map(of).collect()
}
