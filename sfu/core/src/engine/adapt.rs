//! Fitting what a subscriber is sent to what its path carries: its feedback goes to the estimator, the limit found is
//! shared out among its video tracks, and padding asks for more where more is wanted.
//!
//! Audio is never limited, and counts first. A subscriber without video needs none of this, nor does one whose path has
//! carried everything so far: then there is an estimator that counts, and nothing else.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Engine;
use super::arena::{SubscriptionIndex, TransportIndex};
use super::command::Target;
use super::event::Event;
use super::output::Output;
use super::pacing::Parcel;
use super::stats::EngineStats;
use super::subscription::{Allowed, Subscription};
use super::track::Track;
use super::transport::{Transport, take_number};
use crate::media::allocate::{MAX_LAYERS, Means, Raises, Wish, allocate};
use crate::media::estimate::Estimator;
use crate::media::estimate::feedback::Statuses;
use crate::media::extension::{self, Located, Own};
use crate::media::layer::candidates;
use crate::media::pace::Pacer;
use crate::media::rtp::write_header;
use crate::time::Time;

/// After somebody had to get less, nobody gets more for this long.
const HOLD: Duration = Duration::from_secs(1);
/// After somebody got more, nobody gets more still for this long.
const RAISE_PAUSE: Duration = Duration::from_secs(1);
/// What all had then is not tried again for the first of these, which doubles each time that getting more did not last
/// [`LASTING`], up to the second.
const AVOIDED: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(24));
/// Rates move; what comes this close to what did not last is taken for it, in percent.
const AS_MUCH: u64 = 90;
const LASTING: Duration = Duration::from_secs(10);
/// What flows may go on with so much more than the limit, in percent of it, unless something has waited for so long: after
/// over-use the limit is 15 % below what was delivered, for a moment, and rates waver. Who gave a layer up for each such moment would never
/// have it long on a path that others use too, and leave it to them.
const OVERHANG: u64 = 33;
const PATIENCE: Duration = Duration::from_secs(1);
/// A limited transport is looked at this often even if its client says nothing.
const RECHECK: Duration = Duration::from_secs(1);
/// How much above the sum of all rates the path should carry, in percent: what raising and resuming ask for.
const WANTED: u64 = 135;
/// Assumed before a round trip has been measured.
const ROUND_TRIP: Duration = Duration::from_millis(100);
/// Says in the first byte of a packet that it ends with padding (RFC 3550, section 5.1).
const HAS_PADDING: u8 = 0x20;
/// Padding in one packet: its length is a byte.
const PADDING: [u8; 255] = {
    let mut padding = [0; 255];
    padding[254] = 255;
    padding
};

/// What is known of the path of a transport with video, whose client gives transport-wide feedback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adaptation {
    pub estimator: Estimator,
    pub pacer: Pacer<Parcel>,
    held_until: Time,
    /// Bits per second that did not last, and until when they are not tried again.
    ceiling: Option<(u64, Time)>,
    avoided: Duration,
    raised_at: Option<Time>,
    /// When to look again; `None` while nothing is limited.
    recheck: Option<Time>,
}

impl Default for Adaptation {
    fn default() -> Self {
        Self {
            estimator: Estimator::default(),
            pacer: Pacer::default(),
            held_until: Time::ZERO,
            ceiling: None,
            avoided: AVOIDED.0,
            raised_at: None,
            recheck: None,
        }
    }
}

impl Adaptation {
    pub fn next_at(&self) -> Option<Time> {
        [self.recheck, self.estimator.next_at(), self.pacer.next_at()].into_iter().flatten().min()
    }

    fn means(&self, now: Time, budget: u64) -> Means {
        let raises = if now < self.held_until { Raises::Held } else { Raises::Allowed };
        let ceiling = self.ceiling.filter(|(_, until)| now < *until).map_or(u64::MAX, |(rate, _)| rate);
        let is_patient = self.pacer.waited(now) < PATIENCE && !self.pacer.is_overflowing();
        Means { budget, raises, ceiling, patience: if is_patient { budget / 100 * OVERHANG } else { 0 } }
    }

    /// Somebody gets less. All had this rate together before.
    fn handle_lowered(&mut self, now: Time, rate: u64) {
        // Several tracks that fall one after the other are one event, and the last raise counts once.
        match self.raised_at.take() {
            Some(raised) if now.since(raised) <= LASTING => self.avoided = (self.avoided * 2).min(AVOIDED.1),
            Some(_) => self.avoided = AVOIDED.0,
            None => (),
        }
        self.ceiling = Some((rate * AS_MUCH / 100, now + self.avoided));
        self.held_until = now + HOLD;
    }
}

impl Engine {
    /// A client tells how packets arrived. What follows from it is for [`share_out`](Self::share_out), once all that
    /// came with it has been read.
    pub(super) fn handle_transport_wide(
        &mut self,
        now: Time,
        index: TransportIndex,
        reference: u32,
        statuses: Statuses<'_>,
    ) {
        let Some(transport) = self.transports.get_mut(index) else { return };
        let is_video = |subscription: &SubscriptionIndex| {
            let subscription = self.subscriptions.get(*subscription);
            subscription.and_then(|known| self.tracks.get(known.track)).is_some_and(Track::is_video)
        };
        if !transport.subscriptions.iter().any(is_video) {
            transport.adaptation = None;
            transport.redundancy.fit(None, 0);
            return;
        }
        let round_trip = transport.round_trip.unwrap_or(ROUND_TRIP);
        let adaptation = transport.adaptation.get_or_insert_default();
        let fates = adaptation.estimator.handle_feedback(now, reference, statuses, round_trip);
        transport.redundancy.handle_told(now, fates.arrived, fates.missing, fates.found);
    }

    /// Chooses what each of a client's video tracks may have of its path.
    pub(super) fn share_out(&mut self, now: Time, index: TransportIndex) {
        let Some(transport) = self.transports.get_mut(index) else { return };
        let Some(adaptation) = transport.adaptation.as_deref_mut() else { return };
        let limit = adaptation.estimator.limit();
        if limit.is_none() && adaptation.recheck.is_none() {
            return;
        }
        let mut wishes = std::mem::take(&mut self.scratch.wishes);
        wishes.clear();
        let (mut plain, mut audio) = (0, 0);
        for at in &transport.subscriptions {
            let Some(subscription) = self.subscriptions.get(*at) else { continue };
            let Some(track) = self.tracks.get(subscription.track).filter(|track| !track.muted) else { continue };
            if track.is_video() {
                wishes.extend(subscription.wish(now, track).map(|wish| (*at, wish)));
            } else if track.held_back.is_none() && subscription.target() != Target::Off {
                let rate = track.rate(now, 0);
                plain += rate;
                audio += rate * subscription.times(track, transport.redundancy.distance(now));
            }
        }
        transport.redundancy.fit(limit, plain);
        let budget = limit.unwrap_or(u64::MAX).saturating_sub(audio);
        allocate(adaptation.means(now, budget), &mut wishes);
        let wanted = adaptation.handle_shares(now, &wishes, audio);
        adaptation.estimator.want(wanted.unwrap_or_default());
        adaptation.recheck = (limit.is_some() || wanted.is_some()).then_some(now + RECHECK);
        let next = adaptation.next_at();
        self.schedule_at(index, next);
        for (at, wish) in &wishes {
            self.apply_share(now, *at, wish, limit);
        }
        self.scratch.wishes = wishes;
        if limit.is_none() {
            self.release_unwanted(index);
        }
    }

    /// Nothing is limited any more, for those either who want nothing now: nobody would look again when they do.
    fn release_unwanted(&mut self, index: TransportIndex) {
        let Self { transports, tracks, subscriptions, output, .. } = self;
        let Some(transport) = transports.get(index) else { return };
        for at in &transport.subscriptions {
            let Some(subscription) = subscriptions.get_mut(*at) else { continue };
            let is_muted = tracks.get(subscription.track).is_some_and(|track| track.muted);
            if !is_muted && subscription.description().target != Target::Off {
                continue;
            }
            if std::mem::replace(&mut subscription.rest.allowed, Allowed::Everything) == Allowed::Nothing {
                let subscription = subscription.description().subscription;
                output.event(Event::SubscriptionResumed { subscription });
            }
        }
    }

    fn apply_share(&mut self, now: Time, index: SubscriptionIndex, wish: &Wish, limit: Option<u64>) {
        let allowed = match wish.chosen {
            None => Allowed::Nothing,
            Some(_) if limit.is_none() && wish.is_fulfilled() => Allowed::Everything,
            Some(layer) => Allowed::UpTo(layer),
        };
        if self.subscriptions.get(index).is_none_or(|subscription| subscription.rest.allowed == allowed) {
            return;
        }
        self.forward_burst(now);
        let Some(subscription) = self.subscriptions.get_mut(index) else { return };
        let before = std::mem::replace(&mut subscription.rest.allowed, allowed);
        let key = subscription.description().subscription;
        match (before, allowed) {
            (_, Allowed::Nothing) => self.output.event(Event::SubscriptionPaused { subscription: key }),
            (Allowed::Nothing, _) => self.output.event(Event::SubscriptionResumed { subscription: key }),
            _ => (),
        }
        // What does not fit even alone would fill the path's queue until the lower layer's keyframe comes, and audio
        // waits in that queue: rather a picture that stands still for a moment.
        let is_too_much = wish.is_lowered() && wish.current_rate() > limit.unwrap_or(u64::MAX);
        if allowed == Allowed::Nothing || (is_too_much && subscription.cease()) {
            // What waits would fill it as well.
            subscription.rest.given_up = subscription.rewriter.next();
            if let Some(transport) = self.transports.get_mut(subscription.transport) {
                transport.forget_waiting(index);
            }
        }
        self.retarget(now, index);
    }

    /// Sends what waited and the padding that is due, and looks again at what a client gets.
    pub(super) fn handle_adaptation_timeout(&mut self, now: Time, index: TransportIndex) {
        self.send_waiting(now, index);
        let Some(adaptation) = self.transports.get_mut(index).and_then(|t| t.adaptation.as_deref_mut()) else { return };
        let due = adaptation.estimator.padding_due(now);
        let is_recheck = adaptation.recheck.is_some_and(|at| at <= now);
        if due > 0 {
            self.send_padding(now, index, due);
        }
        if is_recheck {
            self.share_out(now, index);
        }
    }

    fn send_padding(&mut self, now: Time, index: TransportIndex, bytes: usize) {
        let Self { transports, subscriptions, output, .. } = self;
        let Some(transport) = transports.get_mut(index) else { return };
        let by_index = |at: &SubscriptionIndex| subscriptions.get(*at).is_some_and(|known| known.padding().is_some());
        let carrier = transport.subscriptions.iter().find(|at| by_index(at)).copied();
        let Some(carrier) = carrier.and_then(|at| subscriptions.get_mut(at)) else {
            if let Some(adaptation) = &mut transport.adaptation {
                adaptation.estimator.guess(now);
            }
            return;
        };
        let mut sent = 0;
        while sent < bytes {
            let Some(length) = carrier.pad(now, transport, output) else { return };
            sent += length;
        }
    }
}

impl Adaptation {
    /// Notes whether somebody gets more or less than before. Returns the rate at which everybody had all there is;
    /// `None` if that is so.
    fn handle_shares(&mut self, now: Time, wishes: &[(SubscriptionIndex, Wish)], audio: u64) -> Option<u64> {
        let wishes = || wishes.iter().map(|(_, wish)| wish);
        if wishes().any(Wish::is_lowered) {
            self.handle_lowered(now, wishes().map(Wish::current_rate).sum());
        } else if wishes().any(Wish::is_raised) {
            self.raised_at = Some(now);
            self.held_until = self.held_until.max(now + RAISE_PAUSE);
        }
        if wishes().all(Wish::is_fulfilled) {
            return None;
        }
        let best: u64 = wishes().filter_map(|wish| Some(wish.best()?.1)).sum();
        Some(best * WANTED / 100 + audio)
    }
}

impl Subscription {
    /// What it could get of a video track; `None` if nothing is wanted.
    fn wish(&self, now: Time, track: &Track) -> Option<Wish> {
        let mut layers = [None; MAX_LAYERS];
        for layer in candidates(self.description().target, track.alive(now)) {
            if let Some(rate) = layers.get_mut(usize::from(layer)) {
                *rate = Some(track.rate(now, layer));
            }
        }
        if let Some(points) = track.points(now, self.description().target).filter(|_| layers[0].is_some()) {
            layers = points;
        }
        if self.description().target == Target::Off {
            return None;
        }
        let wish = Wish { priority: self.description().priority, layers, current: None, chosen: None };
        let current = match self.rest.allowed {
            Allowed::Everything => Some(wish.best().map_or(u8::MAX, |(layer, _)| layer)),
            Allowed::UpTo(layer) => Some(wish.best_up_to(layer).unwrap_or(layer)),
            Allowed::Nothing => None,
        };
        Some(Wish { current, ..wish })
    }

    /// The payload type of padding, if there is a stream that takes some: that of retransmissions, which may be empty.
    fn padding(&self) -> Option<u8> {
        self.rest.rtx_stream.filter(|_| self.ids().has_transport_cc())?;
        self.description().codecs.iter().find_map(|mapping| mapping.rtx_payload_type)
    }

    /// Sends a packet of padding. Returns its length.
    fn pad(&mut self, now: Time, transport: &mut Transport, output: &mut Output) -> Option<usize> {
        let (stream, payload_type) = (self.rest.rtx_stream?, self.padding()?);
        let path = transport.connectivity.selected()?;
        let srtp = transport.srtp.as_mut()?;
        let transport_sequence = take_number(&mut transport.next_transport_sequence, self.ids());
        let mut out = output.buffer();
        let timestamp = self.last.map_or(0, |last| last.sent().timestamp);
        write_header(&mut out, payload_type, false, 0, timestamp, self.ssrc());
        let own = Own { mid: self.mid(), now, transport_sequence, dependency_descriptor: None };
        extension::write(&mut out, self.ids(), &[], Located::default(), own);
        out[0] |= HAS_PADDING;
        let header_length = out.len();
        out.resize(header_length + PADDING.len() + srtp.sealer.profile().rtp_overhead(), 0);
        match srtp.sealer.seal_rtp_into(stream, self.rest.next_rtx, header_length, &PADDING, &mut out) {
            Ok(length) => out.truncate(length),
            Err(error) => {
                tracing::debug!(%error, "padding was not sealed");
                output.stats.dropped.unsealable += 1;
                output.recycle(out);
                return None;
            }
        }
        self.rest.next_rtx += 1;
        let length = out.len();
        transport.note_sent(now, transport_sequence, length);
        output.transmit(path, out, |stats: &mut EngineStats| &mut stats.sent.padding);
        Some(length)
    }
}
