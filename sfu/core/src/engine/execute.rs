//! What control commands.

use super::Engine;
use super::arena::{SubscriptionIndex, TrackIndex};
use super::command::{Command, Feed, Publish, Subscribe, Target};
use super::event::Event;
use super::relay::Relayed;
use super::subscription::Subscription;
use super::track::{Origin, Track};
use super::transport::{Route, Srtp, Transport};
use crate::id::{Ssrc, SubscriptionKey, TrackKey, TransportKey};
use crate::media::report::INTERVAL;
use crate::time::Time;
use crate::transport::ice::IceCredentials;
use crate::transport::srtp::{Opener, Sealer, SrtpKeys};

impl Engine {
    pub(super) fn execute(&mut self, now: Time, command: Command) {
        if let Some(to) = self.moved_to(&command) {
            return self.output.event(Event::Elsewhere { command: Box::new(command), to });
        }
        match command {
            Command::AddTransport { transport, ice } => self.add_transport(now, transport, ice),
            Command::RestartIce { transport, ice } => self.restart_ice(transport, ice),
            Command::InstallKeys { transport, keys } => self.install_keys(now, transport, keys),
            Command::SendDtls { transport, datagram } => {
                if let Some(index) = self.index.transports.get(&transport) {
                    self.send_dtls(*index, datagram);
                }
            }
            Command::RemoveTransport { transport } => self.remove_transport(transport),
            Command::OfferTransport { transport, to } => self.offer_transport(transport, to),
            Command::AwaitTransport { transport, ice, owner } => self.await_transport(now, transport, ice, owner),
            Command::HandOver { transport, enclosed } => self.hand_over(now, transport, enclosed),
            Command::Publish(publish) => self.publish(now, &publish),
            Command::Unpublish { track } => self.unpublish(track),
            Command::SetMuted { track, muted } => self.set_muted(now, track, muted),
            Command::LimitHeard { voices } => self.limit_heard(voices),
            Command::RelayTo { track, peer } => self.relay_to(now, track, peer),
            Command::StopRelay { track, peer } => self.stop_relay(track, peer),
            Command::Subscribe(subscribe) => self.subscribe(now, *subscribe),
            Command::Unsubscribe { subscription } => self.unsubscribe(subscription),
            Command::SetTarget { subscription, target } => self.set_target(now, subscription, target),
        }
    }

    pub(super) fn add_transport(&mut self, now: Time, key: TransportKey, ice: IceCredentials) {
        if self.index.transports.contains_key(&key) {
            return;
        }
        let ufrag = ice.ufrag.clone();
        let feedback_ssrc = Ssrc((self.random.next() as u32).max(1));
        let index = self.transports.insert(Transport::new(now, key, ice, feedback_ssrc));
        self.index.transports.insert(key, index);
        self.index.ufrags.insert(ufrag, index);
        self.schedule_transport(now, index);
    }

    pub(super) fn restart_ice(&mut self, key: TransportKey, ice: IceCredentials) {
        let Some(index) = self.index.transports.get(&key).copied() else { return };
        let Some(transport) = self.transports.get_mut(index) else { return };
        if transport.credentials == ice {
            return;
        }
        self.index.ufrags.insert(ice.ufrag.clone(), index);
        let confirmed = std::mem::replace(&mut transport.credentials, ice);
        // Of two restarts in a row, the client may have missed the first: what it surely has is the oldest.
        if transport.previous_credentials.is_none() {
            transport.previous_credentials = Some(confirmed);
        } else {
            self.index.ufrags.remove(&confirmed.ufrag);
        }
    }

    /// Keys are installed once. Installing them again would begin to count anew, and use every nonce twice.
    fn install_keys(&mut self, now: Time, key: TransportKey, keys: SrtpKeys) {
        let Some(index) = self.index.transports.get(&key).copied() else { return };
        let Some(transport) = self.transports.get_mut(index) else { return };
        if transport.srtp.is_some() || !transport.ownership.is_owner() {
            tracing::warn!(transport = key.0, "keys were installed before");
            return;
        }
        let (sealer, opener) = match (Sealer::new(keys.local), Opener::new(keys.remote)) {
            (Ok(sealer), Ok(opener)) => (sealer, opener),
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(transport = key.0, %error, "keys are of no use");
                return;
            }
        };
        transport.srtp = Some(Srtp { sealer, opener });
        // A phase of its own for each, so that reports do not come in bursts.
        transport.next_report = now + INTERVAL / 4 + INTERVAL / 256 * (self.random.next() as u32 & 0xff);
        let subscriptions = transport.subscriptions.clone();
        for subscription in subscriptions {
            self.open_streams(subscription);
            self.retarget(now, subscription);
        }
        self.schedule_transport(now, index);
    }

    pub(super) fn remove_transport(&mut self, key: TransportKey) {
        let Some(index) = self.index.transports.remove(&key) else { return };
        let Some(transport) = self.transports.get_mut(index) else { return };
        let (tracks, subscriptions) = (transport.tracks.clone(), transport.subscriptions.clone());
        for track in tracks {
            self.remove_track(track);
        }
        for subscription in subscriptions {
            self.remove_subscription(subscription);
        }
        let Some(transport) = self.transports.remove(index) else { return };
        for credentials in [Some(transport.credentials), transport.previous_credentials].into_iter().flatten() {
            self.index.ufrags.remove(&credentials.ufrag);
        }
        for path in transport.connectivity.paths() {
            self.index.paths.remove(&path);
        }
    }

    fn publish(&mut self, now: Time, publish: &Publish) {
        let origin = match publish.feed {
            Feed::Transport(key) => self.index.transports.get(&key).copied().map(Origin::Transport),
            Feed::Peer(peer) => Some(Origin::Peer(Relayed::new(now, peer))),
        };
        let Some(origin) = origin else { return };
        let transport = origin.transport();
        let index = self.describe_track(publish).unwrap_or_else(|| {
            self.unpublish(publish.track);
            let index = self.tracks.insert(Track::new(origin, publish.clone()));
            self.index.tracks.insert(publish.track, index);
            if let Some(transport) = transport.and_then(|transport| self.transports.get_mut(transport)) {
                transport.tracks.push(index);
            }
            index
        });
        if let Some(transport) = transport.and_then(|transport| self.transports.get_mut(transport)) {
            transport.describe(index, publish);
        }
        self.retarget_all(now, index);
        match transport {
            Some(transport) => self.schedule_transport(now, transport),
            None => self.schedule_relayed(now, index),
        }
    }

    /// Describes a known track anew. `None` if there is none, or one of another origin. Which engine relays it may
    /// change: numbers are the same everywhere.
    fn describe_track(&mut self, publish: &Publish) -> Option<TrackIndex> {
        let index = *self.index.tracks.get(&publish.track)?;
        let track = self.tracks.get_mut(index)?;
        match (&mut track.origin, publish.feed) {
            (Origin::Transport(known), Feed::Transport(key)) if self.index.transports.get(&key) == Some(known) => {}
            (Origin::Peer(relayed), Feed::Peer(peer)) => relayed.peer = peer,
            _ => return None,
        }
        if !track.competes_as(publish) {
            self.forget_voice(index);
        }
        self.tracks.get_mut(index)?.describe(publish.clone());
        Some(index)
    }

    pub(super) fn unpublish(&mut self, key: TrackKey) {
        if let Some(index) = self.index.tracks.get(&key).copied() {
            self.remove_track(index);
        }
    }

    fn remove_track(&mut self, index: TrackIndex) {
        let Some(track) = self.tracks.get_mut(index) else { return };
        for subscription in std::mem::take(&mut track.subscriptions) {
            self.remove_subscription(subscription);
        }
        self.forget_voice(index);
        let Some(track) = self.tracks.remove(index) else { return };
        self.index.tracks.remove(&track.description.track);
        if let Some(transport) = track.origin.transport().and_then(|transport| self.transports.get_mut(transport)) {
            transport.tracks.retain(|known| *known != index);
            transport.routes.retain(|_, route| route.track() != index);
        }
    }

    pub(super) fn set_muted(&mut self, now: Time, key: TrackKey, muted: bool) {
        let Some(index) = self.index.tracks.get(&key).copied() else { return };
        let Some(track) = self.tracks.get_mut(index).filter(|track| track.muted != muted) else { return };
        track.muted = muted;
        self.relay_muted(index, muted);
        let Some(track) = self.tracks.get_mut(index) else { return };
        if muted {
            // Frames are counted on without us: what is known of them would be wrong when there are some again.
            track.forget_frames();
            for subscription in &track.subscriptions {
                if let Some(subscription) = self.subscriptions.get_mut(*subscription) {
                    subscription.interrupt();
                }
            }
            self.rest_voice(index);
        } else {
            self.retarget_all(now, index);
        }
    }

    fn subscribe(&mut self, now: Time, subscribe: Subscribe) {
        let transport = self.index.transports.get(&subscribe.transport).copied();
        let track = self.index.tracks.get(&subscribe.track).copied();
        let (Some(transport), Some(track)) = (transport, track) else { return };
        if let Some(index) = self.index.subscriptions.get(&subscribe.subscription).copied() {
            let Some(known) = self.subscriptions.get_mut(index) else { return };
            let same_stream = (known.transport, known.track) == (transport, track)
                && (known.ssrc(), known.description().rtx_ssrc) == (subscribe.ssrc, subscribe.rtx_ssrc);
            if same_stream {
                known.describe(subscribe);
                return self.retarget(now, index);
            }
            self.remove_subscription(index);
        }
        // Below 2^15, see the rewriter.
        let first = self.random.next() & 0x7fff;
        let index = self.insert_subscription(Subscription::new(now, (transport, track), subscribe, first));
        self.open_streams(index);
        self.share_out(now, transport);
        self.retarget(now, index);
        self.schedule_transport(now, transport);
    }

    /// Enters a subscription wherever it is looked for, from which [`remove_subscription`](Self::remove_subscription)
    /// takes it again.
    pub(super) fn insert_subscription(&mut self, subscription: Subscription) -> SubscriptionIndex {
        let (transport, track) = (subscription.transport, subscription.track);
        let (key, ssrc) = (subscription.description().subscription, subscription.ssrc());
        let index = self.subscriptions.insert(subscription);
        self.index.subscriptions.insert(key, index);
        if let Some(track) = self.tracks.get_mut(track) {
            track.subscriptions.push(index);
        }
        if let Some(transport) = self.transports.get_mut(transport) {
            transport.subscriptions.push(index);
            transport.sent.insert(ssrc, index);
        }
        index
    }

    /// Prepares to send a subscription, once there are keys. An SSRC that was used before goes on counting where it
    /// stopped.
    fn open_streams(&mut self, index: SubscriptionIndex) {
        let Some(subscription) = self.subscriptions.get_mut(index) else { return };
        let transport = self.transports.get_mut(subscription.transport);
        let Some(Srtp { sealer, .. }) = transport.and_then(|transport| transport.srtp.as_mut()) else { return };
        let opened = sealer.open_stream(subscription.ssrc());
        let repair = subscription.description().rtx_ssrc.map(|ssrc| sealer.open_stream(ssrc)).transpose();
        let (Ok(stream), Ok(repair)) = (opened, repair) else {
            tracing::warn!(subscription = subscription.description().subscription.0, "too many streams under one key");
            return;
        };
        if let Some(next) = sealer.next_index(stream) {
            subscription.begin_at(next);
        }
        if let Some(next) = repair.and_then(|stream| sealer.next_index(stream)) {
            subscription.rest.next_rtx = next;
        }
        (subscription.stream, subscription.rest.rtx_stream) = (Some(stream), repair);
    }

    pub(super) fn unsubscribe(&mut self, key: SubscriptionKey) {
        if let Some(index) = self.index.subscriptions.get(&key).copied() {
            self.remove_subscription(index);
        }
    }

    pub(super) fn remove_subscription(&mut self, index: SubscriptionIndex) {
        let Some(subscription) = self.subscriptions.remove(index) else { return };
        self.index.subscriptions.remove(&subscription.description().subscription);
        if let Some(track) = self.tracks.get_mut(subscription.track) {
            track.subscriptions.retain(|known| *known != index);
        }
        let Some(transport) = self.transports.get_mut(subscription.transport) else { return };
        transport.subscriptions.retain(|known| *known != index);
        transport.sent.retain(|_, known| *known != index);
        transport.forget_waiting(index);
        if let Some(srtp) = transport.srtp.as_mut() {
            for stream in [subscription.stream, subscription.rest.rtx_stream].into_iter().flatten() {
                srtp.sealer.close_stream(stream);
            }
        }
    }

    fn set_target(&mut self, now: Time, key: SubscriptionKey, target: Target) {
        let Some(index) = self.index.subscriptions.get(&key).copied() else { return };
        let Some(subscription) = self.subscriptions.get_mut(index) else { return };
        subscription.set_target(target);
        let transport = subscription.transport;
        self.share_out(now, transport);
        self.retarget(now, index);
    }
}

impl Transport {
    /// Takes in what a description says of the client's streams.
    fn describe(&mut self, track: TrackIndex, publish: &Publish) {
        self.extensions = publish.extensions.or(self.extensions);
        self.wants_feedback |= publish.transport_cc;
        if !publish.rids.is_empty() {
            // Streams with names say in their packets which they are.
            return;
        }
        for (layer, ssrc) in (0..u8::MAX).zip(&publish.ssrcs) {
            self.set_route(ssrc.media, Route::Media { track, layer });
            if let Some(rtx) = ssrc.rtx {
                self.set_route(rtx, Route::Repair { track, layer });
            }
        }
    }
}
