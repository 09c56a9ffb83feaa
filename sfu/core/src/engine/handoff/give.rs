//! The half of who has the keys and gives them away.

use super::state::{Enclosed, SessionState, VERSION};
use super::{Handoff, MAX_HOPS, Stray};
use crate::engine::Engine;
use crate::engine::arena::{TrackIndex, TransportIndex};
use crate::engine::command::Feed;
use crate::engine::event::Event;
use crate::engine::path::Path;
use crate::engine::relay::Relayed;
use crate::engine::relay::message::RelayMessage;
use crate::engine::track::Origin;
use crate::engine::transport::Srtp;
use crate::id::{PeerKey, TransportKey};
use crate::time::Time;

impl Engine {
    /// A transport may be handed over to a peer, once that asks.
    pub(in crate::engine) fn offer_transport(&mut self, key: TransportKey, peer: PeerKey) {
        let transport = self.index.transports.get(&key).and_then(|index| self.transports.get_mut(*index));
        if let Some(transport) = transport {
            transport.ownership.offer(peer);
        }
    }

    /// A peer asks for a transport: control has the last word, since it may have a half of its own to hand over.
    pub(super) fn handle_ask(&mut self, from: PeerKey, key: TransportKey) {
        let transport = self.index.transports.get(&key).and_then(|index| self.transports.get(*index));
        if transport.is_some_and(|transport| transport.ownership.handle_ask(from)) {
            self.output.event(Event::HandoffAsked { transport: key });
        }
    }

    /// Hands a transport over to whom it was offered, with what control encloses. What is left is a shell that passes
    /// stragglers on, until the transport is removed.
    pub(in crate::engine) fn hand_over(&mut self, now: Time, key: TransportKey, enclosed: Enclosed) {
        let Some(index) = self.index.transports.get(&key).copied() else { return };
        let Some(transport) = self.transports.get_mut(index) else { return };
        let Some(successor) = transport.ownership.hand_over() else { return };
        self.stop_relays(index, successor);
        let Some(state) = self.describe_transport(index) else { return };
        let Some(transport) = self.transports.get_mut(index) else { return };
        let keys = transport.srtp.take().map(|Srtp { sealer, opener }| (sealer.export(), opener.export()));
        self.empty(now, index, successor);
        let state = SessionState { version: VERSION, keys, transport: state, enclosed };
        self.output.relay(successor, RelayMessage::transport(key, Handoff::Keys(Box::new(state))));
        self.output.event(Event::HandedOver { transport: key });
    }

    /// What the successor receives itself need not be relayed to it any more.
    fn stop_relays(&mut self, index: TransportIndex, successor: PeerKey) {
        let Self { transports, tracks, .. } = self;
        let Some(transport) = transports.get(index) else { return };
        for track in &transport.tracks {
            if let Some(track) = tracks.get_mut(*track) {
                track.peers.retain(|peer| *peer != successor);
            }
        }
    }

    /// Takes everything from a transport that has moved. Its tracks go on as relayed ones.
    fn empty(&mut self, now: Time, index: TransportIndex, successor: PeerKey) {
        let Some(transport) = self.transports.get_mut(index) else { return };
        transport.adaptation = None;
        transport.routes.clear();
        let (tracks, subscriptions) = (std::mem::take(&mut transport.tracks), transport.subscriptions.clone());
        let left = subscriptions.iter().filter_map(|index| self.subscriptions.get(*index));
        transport.left = left.map(|subscription| subscription.description().subscription).collect();
        for subscription in subscriptions {
            self.remove_subscription(subscription);
        }
        for track in tracks {
            self.relay_from(now, track, successor);
        }
    }

    fn relay_from(&mut self, now: Time, index: TrackIndex, peer: PeerKey) {
        let Some(track) = self.tracks.get_mut(index) else { return };
        track.origin = Origin::Peer(Relayed::new(now, peer));
        track.description.feed = Feed::Peer(peer);
        self.schedule_relayed(now, index);
    }

    /// Gives a datagram to the engine that has the keys.
    pub(in crate::engine) fn pass_on(&mut self, key: TransportKey, to: PeerKey, path: Path, datagram: &[u8], hops: u8) {
        if hops >= MAX_HOPS {
            self.output.stats.dropped.unrelated += 1;
            return;
        }
        let stray = Stray { path, datagram: datagram.to_vec(), hops: hops + 1 };
        self.output.relay(to, RelayMessage::transport(key, Handoff::Stray(stray)));
    }
}
