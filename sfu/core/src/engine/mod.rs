//! Everything a media worker does with a packet, as one value without sockets or clocks.
//!
//! In: datagrams with the path they came on, commands from control, what other engines relay, the time. Out: datagrams
//! with the path they go, events for control, relays to other engines, the next deadline. It must not know: calls,
//! participants, SDP, LiveKit.
//!
//! A packet's way: [`Engine::handle_datagram`] tells STUN, DTLS and SRTP apart; `connect` answers checks, `receive`
//! opens media and finds its track, `recovery` takes redundant audio apart, `hearing` decides whose audio is forwarded, `burst` gathers what comes at once,
//! `forward` writes a copy for each subscriber of what `svc` leaves to it and `redundancy` adds, `feedback` reads RTCP and has `resend` answer
//! NACKs, `adapt` fits what a client gets to its path, `pacing` has its pictures leave a little at a time, `relay` gives other engines what they need of a track, `handoff` has
//! a session move to one of them, `report` writes RTCP when `schedule` says that it is time, `execute` does what control
//! commands. `suspects` knows for whom all that is done, should it panic.

mod adapt;
mod allowance;
mod arena;
mod burst;
mod config;
mod connect;
mod connectivity;
mod execute;
mod feedback;
mod forward;
mod hearing;
mod output;
mod pacing;
mod receive;
mod recovery;
mod redundancy;
mod report;
mod resend;
mod schedule;
mod state;
mod stats;
mod subscription;
mod suspects;
mod svc;
mod track;
mod transport;

pub mod command;
pub mod event;
pub mod handoff;
pub mod path;
pub mod relay;

use std::collections::HashMap;

use self::arena::{Arena, SubscriptionIndex, TrackIndex, TransportIndex};
use self::burst::Burst;
use self::command::Command;
use self::event::Event;
use self::hearing::Hearing;
use self::output::Output;
use self::path::{Path, Transmit};
use self::redundancy::Encodings;
use self::relay::message::Relay;
use self::schedule::Schedule;
use self::subscription::Subscription;
use self::suspects::{Cause, Suspects};
use self::track::Track;
use self::transport::Transport;
use crate::id::{SubscriptionKey, TrackKey, TransportKey};
use crate::media::allocate::Wish;
use crate::media::random::Random;
use crate::time::Time;
use crate::transport::DatagramKind;

pub use self::config::EngineConfig;
pub use self::connectivity::CONSENT_TIME;
pub use self::state::{EngineState, RestoreError};
pub use self::stats::{Count, Dropped, EngineStats, Feedback, Lost, Protection, Redundancy, RelayTraffic, Traffic};
pub use self::suspects::Panics;

/// The media of many transports.
///
/// Hand over all datagrams there are, then call [`handle_timeout`](Self::handle_timeout), which forwards them as one
/// burst. After it, and after every command, call [`poll_transmit`](Self::poll_transmit),
/// [`poll_relay`](Self::poll_relay) and [`poll_event`](Self::poll_event) until there is nothing left, then ask
/// [`poll_timeout`](Self::poll_timeout) when to call [`handle_timeout`](Self::handle_timeout) if nothing comes before.
/// Events may wait while control has no room for them.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    random: Random,
    transports: Arena<TransportIndex, Transport>,
    tracks: Arena<TrackIndex, Track>,
    subscriptions: Arena<SubscriptionIndex, Subscription>,
    schedule: Schedule,
    hearing: Hearing,
    index: Indices,
    /// Empty after [`handle_timeout`](Self::handle_timeout).
    burst: Burst,
    output: Output,
    scratch: Scratch,
    suspects: Suspects,
}

/// Where things are. Made from the things themselves when an engine is restored.
#[derive(Debug, Default)]
struct Indices {
    paths: HashMap<Path, TransportIndex>,
    ufrags: HashMap<String, TransportIndex>,
    transports: HashMap<TransportKey, TransportIndex>,
    tracks: HashMap<TrackKey, TrackIndex>,
    subscriptions: HashMap<SubscriptionKey, SubscriptionIndex>,
}

/// Payloads that differ from what came.
#[derive(Debug, Default)]
struct Copies {
    /// One whose codec's numbers are rewritten.
    rewritten: Vec<u8>,
    /// Those of audio with earlier frames beside it.
    redundant: Encodings,
}

/// Memory reused from packet to packet. Holds nothing between two calls.
#[derive(Debug, Default)]
struct Scratch {
    /// A packet restored from a retransmission, or the payload of one of ours.
    payload: Vec<u8>,
    copies: Copies,
    rtcp: Vec<u8>,
    numbers: Vec<u64>,
    indices: Vec<SubscriptionIndex>,
    wishes: Vec<(SubscriptionIndex, Wish)>,
}

impl Engine {
    pub fn new(config: EngineConfig) -> Self {
        Self {
            config,
            random: Random::new(config.seed),
            transports: Arena::default(),
            tracks: Arena::default(),
            subscriptions: Arena::default(),
            schedule: Schedule::default(),
            hearing: Hearing::default(),
            index: Indices::default(),
            burst: Burst::default(),
            output: Output::default(),
            scratch: Scratch::default(),
            suspects: Suspects::default(),
        }
    }

    /// Takes a datagram that arrived on `path`. Media is decrypted in place, so `datagram` is used up; it is forwarded
    /// with the next [`handle_timeout`](Self::handle_timeout).
    ///
    /// Nothing a network can send makes this fail: what is not understood, not authentic or not wanted is dropped and
    /// counted in [`EngineStats::dropped`].
    pub fn handle_datagram(&mut self, now: Time, path: Path, datagram: &mut [u8]) {
        self.suspects.cause = Cause::Input;
        match DatagramKind::of(datagram) {
            Some(DatagramKind::Stun) => self.handle_check(now, path, datagram),
            Some(DatagramKind::Dtls) => self.handle_dtls(now, path, datagram),
            Some(DatagramKind::Rtp) => self.handle_srtp(now, path, datagram),
            Some(DatagramKind::Rtcp) => self.handle_srtcp(now, path, datagram),
            None => self.output.stats.dropped.malformed += 1,
        }
    }

    /// Does what control wants.
    pub fn handle_command(&mut self, now: Time, command: Command) {
        self.forward_burst(now);
        self.suspects.cause = self.suspect_of_command(&command);
        self.execute(now, command);
        self.count_things();
    }

    fn count_things(&mut self) {
        let stats = &mut self.output.stats;
        stats.transports = self.transports.len() as u64;
        stats.tracks = self.tracks.len() as u64;
        stats.subscriptions = self.subscriptions.len() as u64;
    }

    /// Forwards what came and does what is due. Harmless when nothing is.
    pub fn handle_timeout(&mut self, now: Time) {
        self.suspects.cause = Cause::Itself;
        self.forward_burst(now);
        self.handle_deadlines(now);
        self.handle_level_timeout(now);
    }

    /// A TCP connection ended.
    pub fn handle_path_closed(&mut self, now: Time, path: Path) {
        self.forward_burst(now);
        self.suspects.cause = Cause::of(self.index.paths.get(&path).copied());
        self.forget_path(now, path);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next, if nothing else happens before.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.schedule.next()
    }

    /// The next datagram to send. Give its payload back with [`recycle`](Self::recycle) when it has been sent.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.output.poll_transmit()
    }

    /// The next message for another engine, which takes it with [`handle_relay`](Self::handle_relay). Those for one peer
    /// are to arrive in their order.
    pub fn poll_relay(&mut self) -> Option<Relay> {
        self.output.poll_relay()
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.output.poll_event()
    }

    /// Takes back the memory of a datagram that was sent, for one of the next ones.
    pub fn recycle(&mut self, payload: Vec<u8>) {
        self.output.recycle(payload);
    }

    /// Whether datagrams from this path are for a transport of this engine.
    pub fn owns(&self, path: &Path) -> bool {
        self.index.paths.contains_key(path)
    }

    /// What protects the media of the transports there are. Looks at each of them.
    pub fn protection(&self) -> Protection {
        let keyed = self.transports.iter().filter_map(|(_, transport)| transport.srtp.as_ref());
        Protection::count(keyed.map(|srtp| srtp.sealer.profile()))
    }

    pub const fn stats(&self) -> &EngineStats {
        &self.output.stats
    }
}
