//! What a worker's engine has to tell those of the others.
//!
//! Media that finds no room is dropped and counted, as a network would. What must not be lost, the keys of a session that
//! moves, waits for room, and everything behind it keeps its place or is dropped.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::mpsc::TrySendError;

use sfu_core::engine::relay::message::RelayMessage;
use sfu_core::id::PeerKey;

use super::{Inbox, WorkerHandle};

/// A worker as the others know it.
pub const fn peer_of(worker: usize) -> PeerKey {
    PeerKey(worker as u32)
}

#[derive(Debug)]
pub struct Peers {
    /// Of this worker.
    index: usize,
    /// For each worker, what waits for room: at most the keys of every session of ours.
    waiting: Vec<VecDeque<RelayMessage>>,
}

impl Peers {
    pub fn new(index: usize, n_workers: usize) -> Self {
        Self { index, waiting: (0..n_workers).map(|_| VecDeque::new()).collect() }
    }

    /// Whether something waits.
    pub fn wait(&self) -> bool {
        self.waiting.iter().any(|waiting| !waiting.is_empty())
    }

    /// Gives each worker what waits for it, as far as there is room. A bit for each that is to be woken.
    pub fn flush(&mut self, others: &[WorkerHandle]) -> u64 {
        let mut woken = 0;
        for (peer, (waiting, other)) in self.waiting.iter_mut().zip(others).enumerate() {
            while let Some(message) = waiting.pop_front() {
                if let Some(message) = offer(other, self.index, message) {
                    waiting.push_front(message);
                    break;
                }
                woken |= 1 << peer;
            }
        }
        woken
    }

    /// Gives a worker a message, behind all that waits. Its bit, if it is to be woken.
    pub fn give(&mut self, others: &[WorkerHandle], peer: usize, message: RelayMessage) -> u64 {
        let (Some(waiting), Some(other)) = (self.waiting.get_mut(peer), others.get(peer)) else { return 0 };
        // A queue that was full a moment ago has no room for what comes now.
        let left = if waiting.is_empty() { offer(other, self.index, message) } else { Some(message) };
        match left {
            None => return 1 << peer,
            Some(message) if message.may_be_lost() => {
                other.dropped.fetch_add(1, Ordering::Relaxed);
            }
            Some(message) => waiting.push_back(message),
        }
        0
    }
}

/// Leaves a message with a worker; gives it back if that one's queue is full.
fn offer(other: &WorkerHandle, from: usize, message: RelayMessage) -> Option<RelayMessage> {
    match other.offer(Inbox::Relay { from, message }) {
        Err(TrySendError::Full(Inbox::Relay { message, .. })) => Some(message),
        // A worker that has ended has no sessions any more either.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, sync_channel};

    use mio::{Poll, Token, Waker};
    use sfu_core::engine::command::Command;
    use sfu_core::engine::handoff::Enclosed;
    use sfu_core::engine::relay::message::Relay;
    use sfu_core::engine::{Engine, EngineConfig};
    use sfu_core::id::TransportKey;
    use sfu_core::time::Time;
    use sfu_core::transport::ice::IceCredentials;

    use super::*;

    /// A worker with room for one message, and that room.
    fn worker() -> (WorkerHandle, Receiver<Inbox>) {
        let poll = Poll::new().expect("a poll");
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).expect("a waker"));
        let (relays, taken) = sync_channel(1);
        let (orders, _) = sync_channel(1);
        let (datagrams, _) = sync_channel(1);
        (WorkerHandle { orders, relays, datagrams, waker, dropped: Arc::default() }, taken)
    }

    /// What an engine tells another one of a transport: a request for its keys, or the keys.
    fn told(engine: &mut Engine) -> RelayMessage {
        engine.poll_relay().map(|Relay { message, .. }| message).expect("it tells something")
    }

    fn engine(transport: TransportKey) -> Engine {
        let mut engine = Engine::new(EngineConfig::default());
        let ice = IceCredentials { ufrag: "Aufragofours".into(), pwd: "a password of ours".into() };
        engine.handle_command(Time::ZERO, Command::AddTransport { transport, ice });
        engine
    }

    fn keys() -> RelayMessage {
        let transport = TransportKey(1);
        let mut engine = engine(transport);
        engine.handle_command(Time::ZERO, Command::OfferTransport { transport, to: PeerKey(1) });
        engine.handle_command(Time::ZERO, Command::HandOver { transport, enclosed: Enclosed::default() });
        told(&mut engine)
    }

    /// DTLS for a client whose session has gone to the other engine.
    fn dtls() -> RelayMessage {
        let transport = TransportKey(1);
        let mut engine = engine(transport);
        engine.handle_command(Time::ZERO, Command::OfferTransport { transport, to: PeerKey(1) });
        engine.handle_command(Time::ZERO, Command::HandOver { transport, enclosed: Enclosed::default() });
        told(&mut engine);
        engine.handle_command(Time::ZERO, Command::SendDtls { transport, datagram: vec![23] });
        told(&mut engine)
    }

    #[test]
    fn keys_wait_for_room_in_their_order_and_what_may_be_lost_does_not() {
        let (other, inbox) = worker();
        let others = [worker().0, other];
        let mut peers = Peers::new(0, 2);
        assert_eq!(peers.give(&others, 1, dtls()), 0b10);
        for message in [dtls(), keys(), dtls(), keys()] {
            assert_eq!(peers.give(&others, 1, message), 0, "there is no room");
        }
        assert!(peers.wait());
        assert_eq!(others[1].dropped.load(Ordering::Relaxed), 2);
        let mut arrived = Vec::new();
        for _ in 0..3 {
            if let Ok(Inbox::Relay { from: 0, message }) = inbox.try_recv() {
                arrived.push(message.may_be_lost());
            }
            peers.flush(&others);
        }
        assert_eq!(arrived, [true, false, false]);
        assert_eq!((peers.wait(), peers.flush(&others), others[1].dropped.load(Ordering::Relaxed)), (false, 0, 2));
    }
}
