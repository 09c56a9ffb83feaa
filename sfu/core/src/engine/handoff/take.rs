//! The half of who gets the keys.

use super::refuse::Refusal;
use super::state::{Enclosed, LayerState, RouteState, SessionState, SubscriptionState, TrackState, TransportState};
use super::{Handoff, Held, MAX_HELD, Nomination, Ownership, Stray, Use};
use crate::engine::Engine;
use crate::engine::arena::{SubscriptionIndex, TrackIndex, TransportIndex};
use crate::engine::command::Feed;
use crate::engine::config::EngineConfig;
use crate::engine::event::Event;
use crate::engine::path::Path;
use crate::engine::relay::message::RelayMessage;
use crate::engine::subscription::Subscription;
use crate::engine::track::{Origin, Track};
use crate::engine::transport::{Route, Srtp};
use crate::id::{PeerKey, TransportKey};
use crate::time::Time;
use crate::transport::DatagramKind;
use crate::transport::ice::IceCredentials;
use crate::transport::srtp::{InvalidKey, Opener, OpenerState, Sealer, SealerState};

impl Engine {
    /// A transport that another engine owns will come to this one.
    pub(in crate::engine) fn await_transport(
        &mut self,
        now: Time,
        key: TransportKey,
        ice: IceCredentials,
        owner: PeerKey,
    ) {
        if let Some(index) = self.index.transports.get(&key).copied() {
            let Some(transport) = self.transports.get_mut(index) else { return };
            transport.ownership.wait_for(owner, now);
            if transport.ownership.is_owner() {
                return;
            }
            // It was here before.
            transport.left.clear();
            transport.connectivity.start_over(now);
            return self.restart_ice(key, ice);
        }
        self.add_transport(now, key, ice);
        let transport = self.index.transports.get(&key).and_then(|index| self.transports.get_mut(*index));
        if let Some(transport) = transport {
            transport.ownership = Ownership::Incoming { owner, since: now, asked: None };
        }
    }

    /// What another engine says of a transport that moves.
    pub(in crate::engine) fn handle_handoff(&mut self, now: Time, from: PeerKey, key: TransportKey, content: Handoff) {
        self.forward_burst(now);
        match content {
            Handoff::Ask => self.handle_ask(from, key),
            Handoff::Keys(state) => match state.check() {
                Ok(()) => self.take_up(now, from, key, state),
                Err(error) => self.refuse(from, key, state, &error),
            },
            Handoff::Refused(state) => self.take_back(now, from, key, *state),
            Handoff::Stray(stray) => self.handle_stray(now, key, stray),
            Handoff::Dtls(datagram) => {
                if let Some(index) = self.index.transports.get(&key) {
                    self.send_dtls(*index, datagram);
                }
            }
        }
    }

    /// Whether a nomination is to be answered now.
    pub(in crate::engine) fn admit_nomination(
        &mut self,
        now: Time,
        index: TransportIndex,
        path: Path,
        datagram: &[u8],
    ) -> bool {
        let Some(transport) = self.transports.get_mut(index) else { return false };
        match transport.ownership.handle_nomination(now) {
            Nomination::Answer => true,
            Nomination::Ignore => false,
            Nomination::Hold { ask } => {
                self.hold(index, path, datagram);
                self.ask(index, ask);
                false
            }
        }
    }

    /// Whether media of a client is to be opened here and now. If not, it is held or passed on.
    pub(in crate::engine) fn admit_media(
        &mut self,
        now: Time,
        index: TransportIndex,
        path: Path,
        datagram: &[u8],
        hops: u8,
    ) -> bool {
        let Some(transport) = self.transports.get_mut(index) else { return false };
        let (key, is_new) = (transport.key, transport.is_new_path(&path));
        match transport.ownership.handle_media(now, is_new) {
            Use::Ours => return true,
            Use::Hold { ask } => {
                self.hold(index, path, datagram);
                self.ask(index, ask);
            }
            Use::PassOn { to, .. } => self.pass_on(key, to, path, datagram, hops),
        }
        false
    }

    /// Whether DTLS of a client is control's here. If not, it is passed on.
    pub(in crate::engine) fn admit_dtls(
        &mut self,
        now: Time,
        index: TransportIndex,
        path: Path,
        datagram: &[u8],
        hops: u8,
    ) -> bool {
        let Some(transport) = self.transports.get_mut(index) else { return false };
        let (key, is_new) = (transport.key, transport.is_new_path(&path));
        let Use::PassOn { to, ask } = transport.ownership.handle_dtls(now, is_new) else { return true };
        self.ask(index, ask.then_some(to));
        self.pass_on(key, to, path, datagram, hops);
        false
    }

    fn ask(&mut self, index: TransportIndex, owner: Option<PeerKey>) {
        if let (Some(owner), Some(transport)) = (owner, self.transports.get(index)) {
            self.output.relay(owner, RelayMessage::transport(transport.key, Handoff::Ask));
        }
    }

    fn hold(&mut self, index: TransportIndex, path: Path, datagram: &[u8]) {
        let Some(transport) = self.transports.get_mut(index) else { return };
        if transport.held.len() >= MAX_HELD {
            self.output.stats.dropped.no_keys += 1;
            return;
        }
        transport.held.push(Held { path, datagram: datagram.to_vec() });
    }

    /// A datagram that came to an engine which is not the owner.
    fn handle_stray(&mut self, now: Time, key: TransportKey, stray: Stray) {
        let Stray { path, mut datagram, hops } = stray;
        let Some(index) = self.index.transports.get(&key).copied() else {
            self.output.stats.dropped.unrelated += 1;
            return;
        };
        match DatagramKind::of(&datagram) {
            Some(DatagramKind::Dtls) => {
                if self.admit_dtls(now, index, path, &datagram, hops) {
                    self.output.event(Event::Dtls { transport: key, datagram });
                }
            }
            Some(DatagramKind::Rtp) => {
                if self.admit_media(now, index, path, &datagram, hops) {
                    self.open_rtp(now, index, &mut datagram);
                }
            }
            Some(DatagramKind::Rtcp) => {
                if self.admit_media(now, index, path, &datagram, hops) {
                    self.open_rtcp(now, index, &mut datagram);
                }
            }
            Some(DatagramKind::Stun) | None => self.output.stats.dropped.malformed += 1,
        }
    }

    /// The keys came: goes on where the owner before stopped, and does what was held back.
    fn take_up(&mut self, now: Time, from: PeerKey, key: TransportKey, state: Box<SessionState>) {
        let index = self.index.transports.get(&key).copied();
        let awaited = index.and_then(|index| Some((index, self.transports.get_mut(index)?.ownership.take_up()?)));
        let Some((index, owner)) = awaited else {
            // Control may have given the move up while they were under way.
            return self.refuse(from, key, state, &Refusal::Unexpected);
        };
        let Some(transport) = self.transports.get_mut(index) else { return };
        let held = std::mem::take(&mut transport.held);
        let Some(enclosed) = self.resume(now, index, *state, owner) else { return };
        self.output.event(Event::TakenUp { transport: key, enclosed });
        for held in held {
            self.handle_held(now, index, held);
        }
        self.schedule_transport(now, index);
    }

    /// Goes on with a session that was `former`'s. Returns what control enclosed.
    pub(super) fn resume(
        &mut self,
        now: Time,
        index: TransportIndex,
        state: SessionState,
        former: PeerKey,
    ) -> Option<Enclosed> {
        let SessionState { version: _, keys, transport: state, enclosed } = state;
        let transport = self.transports.get_mut(index)?;
        transport.left.clear();
        match keys.map(restore_keys).transpose() {
            Ok(keys) => transport.srtp = keys,
            Err(error) => tracing::error!(transport = transport.key.0, %error, "keys that were checked are of no use"),
        }
        self.install(now, index, state, Some(former));
        Some(enclosed)
    }

    /// What waited for the keys is ours now, whichever way it came.
    fn handle_held(&mut self, now: Time, index: TransportIndex, Held { path, mut datagram }: Held) {
        match DatagramKind::of(&datagram) {
            Some(DatagramKind::Stun) => self.handle_check(now, path, &datagram),
            Some(DatagramKind::Rtp) => self.open_rtp(now, index, &mut datagram),
            Some(DatagramKind::Rtcp) => self.open_rtcp(now, index, &mut datagram),
            Some(DatagramKind::Dtls) | None => {}
        }
    }

    /// Makes a transport what another engine says it is. `former` goes on with what stays there.
    pub(super) fn install(&mut self, now: Time, index: TransportIndex, state: TransportState, former: Option<PeerKey>) {
        let TransportState {
            epoch,
            feedback_ssrc,
            routes,
            extensions,
            wants_feedback,
            arrivals,
            next_transport_sequence,
            adaptation,
            redundancy,
            round_trip,
            next_report,
            reports,
            tracks,
            subscriptions,
        } = state;
        let Some(transport) = self.transports.get_mut(index) else { return };
        transport.epoch = epoch;
        transport.feedback_ssrc = feedback_ssrc;
        transport.extensions = extensions;
        transport.wants_feedback = wants_feedback;
        transport.arrivals = arrivals;
        transport.next_transport_sequence = next_transport_sequence;
        transport.adaptation = adaptation;
        transport.redundancy = redundancy;
        transport.round_trip = round_trip;
        transport.next_report = next_report;
        transport.reports = reports;
        for track in tracks {
            self.install_track(now, index, track, former);
        }
        self.install_routes(index, &routes);
        for subscription in subscriptions {
            self.install_subscription(now, index, subscription);
        }
    }

    fn install_routes(&mut self, index: TransportIndex, routes: &[RouteState]) {
        let Some(transport) = self.transports.get_mut(index) else { return };
        for route in routes {
            let Some(track) = self.index.tracks.get(&route.track).copied() else { continue };
            let layer = route.layer;
            let carried = if route.is_repair { Route::Repair { track, layer } } else { Route::Media { track, layer } };
            transport.set_route(route.ssrc, carried);
        }
    }

    /// A track's publisher is here from now on. If it was relayed here, its history stays.
    fn install_track(&mut self, now: Time, index: TransportIndex, state: TrackState, former: Option<PeerKey>) {
        let TrackState { mut description, muted, layers, level, next_source } = state;
        let Some(transport) = self.transports.get(index) else { return };
        description.feed = Feed::Transport(transport.key);
        let key = description.track;
        let known = self.index.tracks.get(&key).copied();
        let relayed = known.filter(|known| self.tracks.get(*known).is_some_and(Track::is_relayed));
        let at = relayed.unwrap_or_else(|| {
            self.unpublish(key);
            let at = self.tracks.insert(Track::new(Origin::Transport(index), description.clone()));
            self.index.tracks.insert(key, at);
            at
        });
        if let Some(transport) = self.transports.get_mut(index) {
            transport.tracks.push(at);
        }
        if self.tracks.get(at).is_some_and(|track| !track.competes_as(&description)) {
            self.forget_voice(at);
        }
        let Some(track) = self.tracks.get_mut(at) else { return };
        track.origin = Origin::Transport(index);
        track.describe(description);
        track.level = level;
        track.expect_source(next_source);
        for (layer, state) in (0_u8..).zip(layers) {
            self.install_layer(at, layer, state);
        }
        self.set_muted(now, key, muted);
        // Whoever has subscribers left there misses nothing; those on their way there are not known to anybody else.
        if let Some(former) = former
            && let Some(track) = self.tracks.get_mut(at).filter(|track| !track.peers.contains(&former))
        {
            track.peers.push(former);
        }
        self.retarget_all(now, at);
    }

    fn install_layer(&mut self, index: TrackIndex, layer: u8, state: LayerState) {
        let config = self.config;
        let replaced = self.tracks.get_mut(index).is_some_and(|track| track.resume(&config, layer, state));
        if replaced {
            self.handle_source_replaced(index, layer);
        }
    }

    fn install_subscription(&mut self, now: Time, transport: TransportIndex, state: SubscriptionState) {
        let key = state.rest.description().subscription;
        let Some(track) = self.index.tracks.get(&state.rest.description().track).copied() else {
            tracing::warn!(subscription = key.0, "its track is not relayed here");
            self.output.stats.dropped.unrelated += 1;
            return;
        };
        self.unsubscribe(key);
        let index = self.insert_subscription(Subscription::resume((transport, track), state));
        self.catch_up(now, index);
        self.retarget(now, index);
    }

    /// Sends what a track got without its subscription. The sealer knows what was sent.
    pub(in crate::engine) fn catch_up(&mut self, now: Time, index: SubscriptionIndex) {
        let Self { transports, tracks, subscriptions, output, scratch, suspects, schedule, .. } = self;
        let Some(subscription) = subscriptions.get_mut(index) else { return };
        let Some(track) = tracks.get(subscription.track) else { return };
        let Some(transport) = transports.get_mut(subscription.transport) else { return };
        let source = subscription.current.and_then(|layer| track.layer(layer)?.source.as_ref());
        let Some(source) = source.filter(|source| subscription.rewriter.source() == Some(source.id)) else {
            return subscription.interrupt();
        };
        if track.muted || !subscription.goes_on_with(source) {
            return subscription.interrupt();
        }
        scratch.copies.redundant.clear();
        let receiver = suspects.receiver.replace(subscription.transport);
        for packet in source.history.iter().filter(|packet| !track.holds_back(source.id, packet.sequence)) {
            subscription.send_if_missing(now, (index, track), packet.sequence, transport, output, &mut scratch.copies);
        }
        if let Some(leaves) = transport.leaves_at() {
            schedule.bring_forward(leaves, subscription.transport, transport);
        }
        suspects.receiver = receiver;
    }
}

/// Both directions, as they were written down.
fn restore_keys((sealer, opener): (SealerState, OpenerState)) -> Result<Srtp, InvalidKey> {
    Ok(Srtp { sealer: Sealer::restore(sealer)?, opener: Opener::restore(opener)? })
}

impl Track {
    /// Goes on with a layer where another engine stopped, with the history there is. Returns whether it is another
    /// stream than was known here.
    fn resume(&mut self, config: &EngineConfig, at: u8, state: LayerState) -> bool {
        let LayerState { source, newest, keyframe, last_packet, interval, outrun, started } = state;
        let Some(layer) = self.layer_mut(at) else { return false };
        let is_wanted = layer.keyframe.next_at().is_some();
        layer.keyframe = keyframe;
        if is_wanted {
            layer.keyframe.want();
        }
        if last_packet > layer.last_packet {
            (layer.last_packet, layer.interval, layer.outrun) = (last_packet, interval, outrun);
        }
        layer.started |= started;
        let mut replaced = false;
        if let Some(state) = source {
            if layer.is_newer(state.id) {
                replaced = true;
                self.start_source(config, at, state.id, (state.ssrc, state.clock_rate));
            }
            if let Some(source) = self.source_mut(at).filter(|source| source.id == state.id) {
                source.rtx = state.rtx;
                source.statistics = state.statistics;
                source.nack = state.nack;
                if let Some(layers) = state.scalable {
                    source.learn_layers(layers);
                }
                source.mapping = state.mapping;
                if let Some(highest) = state.sequence.highest() {
                    source.sequence.learn(highest);
                }
                if replaced {
                    source.rate = state.rate;
                    source.steady = state.steady;
                }
            }
        }
        if let (Some(newest), Some(layer)) = (newest, self.layer_mut(at)) {
            layer.expect(newest);
        }
        replaced
    }
}
