//! Copies of a packet for all who subscribe to its track.

use arrayvec::ArrayVec;

use super::arena::{SubscriptionIndex, TrackIndex};
use super::burst::{Fresh, MAX_BURST};
use super::command::{Codec, Target};
use super::event::Event;
use super::output::Output;
use super::pacing::Parcel;
use super::stats::EngineStats;
use super::subscription::{Last, Subscription};
use super::svc::{self, Choice};
use super::track::{Source, Track, needs_keyframe};
use super::transport::{Srtp, Transport, take_number};
use super::{Copies, Engine};
use crate::media::extension::{self, Own};
use crate::media::history::Packet;
use crate::media::layer::choose;
use crate::media::picture::Numbers;
use crate::media::rewrite::{Mapped, Offsets};
use crate::media::rtp::write_header;
use crate::media::timeline::{LastSent, align};
use crate::time::Time;

/// What is the same for every copy of a packet.
#[derive(Clone, Copy)]
pub(super) struct Original<'a> {
    now: Time,
    pub track: &'a Track,
    pub source: &'a Source,
    layer: u8,
    pub packet: &'a Packet,
    pub codec: Codec,
    numbers: Option<Numbers>,
}

impl<'a> Original<'a> {
    fn new(now: Time, track: &'a Track, layer: u8, sequence: u64) -> Option<Self> {
        Self::of(now, track, (layer, track.layer(layer)?.source.as_ref()?), sequence)
    }

    /// One that has waited; `None` if it is not kept any more.
    pub(super) fn waiting(now: Time, track: &'a Track, parcel: &Parcel) -> Option<Self> {
        Self::of(now, track, (parcel.layer, track.source(parcel.source)?), parcel.sequence)
    }

    fn of(now: Time, track: &'a Track, (layer, source): (u8, &'a Source), sequence: u64) -> Option<Self> {
        let packet = source.history.get(sequence)?;
        let codec = track.codec(packet.header.payload_type)?.codec;
        let numbers = Numbers::of(codec, packet.payload());
        Some(Self { now, track, source, layer, packet, codec, numbers })
    }
}

impl Engine {
    /// Sends packets of one layer to all who get it, each subscriber's together.
    pub(super) fn forward(&mut self, now: Time, burst: &[Fresh]) {
        let Some(&Fresh { track: index, layer, .. }) = burst.first() else { return };
        let Self { transports, tracks, subscriptions, output, scratch, schedule, suspects, .. } = self;
        let Some(track) = tracks.get(index) else { return };
        let originals = burst.iter().filter_map(|fresh| Original::new(now, track, layer, fresh.sequence));
        let originals = originals.filter(|original| !track.holds_back(original.source.id, original.packet.sequence));
        let originals: ArrayVec<Original<'_>, MAX_BURST> = originals.take(MAX_BURST).collect();
        if originals.is_empty() {
            return;
        }
        scratch.copies.redundant.clear();
        for at in &track.subscriptions {
            let Some(subscription) = subscriptions.get_mut(*at) else { continue };
            let Some(transport) = transports.get_mut(subscription.transport) else { continue };
            suspects.receiver = Some(subscription.transport);
            subscription.forward(*at, &originals, transport, output, &mut scratch.copies);
            if let Some(leaves) = transport.leaves_at() {
                schedule.bring_forward(leaves, subscription.transport, transport);
            }
        }
        output.stats.redundancy.encoded += scratch.copies.redundant.take_made();
        suspects.receiver = None;
    }

    /// Chooses the layer of each of a track's subscriptions anew.
    pub(super) fn retarget_all(&mut self, now: Time, index: TrackIndex) {
        let mut indices = std::mem::take(&mut self.scratch.indices);
        indices.clear();
        if let Some(track) = self.tracks.get(index) {
            indices.extend_from_slice(&track.subscriptions);
        }
        for subscription in &indices {
            self.retarget(now, *subscription);
        }
        self.scratch.indices = indices;
    }

    /// Chooses the layer a subscription should get, and asks for the keyframe it begins with.
    pub(super) fn retarget(&mut self, now: Time, index: SubscriptionIndex) {
        let Some(subscription) = self.subscriptions.get_mut(index) else { return };
        let index = subscription.track;
        let Some(track) = self.tracks.get(index) else { return };
        let ready = self.transports.get(subscription.transport).is_some_and(|transport| transport.srtp.is_some());
        let target = subscription.target();
        if target == Target::Off {
            subscription.wanted = None;
            subscription.interrupt();
            return;
        }
        // Where nothing is alive, a request may wake what has sent before: a screen that stands still.
        let layer = choose(target, track.alive(now)).or_else(|| choose(target, track.known()));
        if layer.is_some() {
            subscription.wanted = layer;
        }
        let is_waiting = subscription.is_waiting() || subscription.waits_for_layer(track);
        if ready
            && is_waiting
            && let Some(wanted) = subscription.wanted
        {
            self.want_keyframe(index, wanted);
        }
    }

    /// Nothing of a layer is forwarded until its next keyframe.
    pub(super) fn interrupt_layer(&mut self, index: TrackIndex, layer: u8) {
        let Some(track) = self.tracks.get(index) else { return };
        for subscription in &track.subscriptions {
            let subscription = self.subscriptions.get_mut(*subscription);
            if let Some(subscription) = subscription.filter(|subscription| subscription.current == Some(layer)) {
                subscription.interrupt();
            }
        }
    }

    /// A layer is sent by another stream now: who gets it has to begin anew.
    pub(super) fn handle_source_replaced(&mut self, index: TrackIndex, layer: u8) {
        self.interrupt_layer(index, layer);
        let Some(track) = self.tracks.get_mut(index) else { return };
        let is_wanted = track.is_video() && !track.subscriptions.is_empty();
        if let Some(layer) = track.layer_mut(layer).filter(|_| is_wanted) {
            layer.keyframe.want();
        }
    }
}

impl Subscription {
    /// Sends what it gets of a burst. It has its place `at`.
    fn forward(
        &mut self,
        at: SubscriptionIndex,
        burst: &[Original<'_>],
        transport: &mut Transport,
        output: &mut Output,
        copies: &mut Copies,
    ) {
        for original in burst {
            let began = self.switch(original, transport);
            self.send(at, original, transport, output, copies);
            if began {
                // The keyframe's first packet may have come last: what overtook it follows now, and with it the rest of
                // the burst.
                let Original { now, track, layer, packet, source, .. } = *original;
                let later = packet.sequence + 1..=source.highest();
                for later in later.take_while(|later| !track.holds_back(source.id, *later)) {
                    if let Some(original) = Original::new(now, track, layer, later) {
                        self.send(at, &original, transport, output, copies);
                    }
                }
                return;
            }
        }
    }

    /// Goes over to the packet's stream, if it waits for that and can begin here.
    fn switch(&mut self, original: &Original<'_>, transport: &Transport) -> bool {
        let Original { packet, source, .. } = original;
        let waits = self.wanted == Some(original.layer) && self.rewriter.source() != Some(source.id);
        let can_begin = !packet.payload().is_empty() && (packet.starts_keyframe || !needs_keyframe(original.codec));
        let is_ready = transport.connectivity.selected().is_some() && self.stream.is_some();
        if !waits || !can_begin || !is_ready || self.payload_type(original.codec).is_none() {
            return false;
        }
        let (picture_id, tl0_picture_index) = self.picture_offsets(original.numbers);
        let selector = self.selector_from(original);
        let (frame_number, selection) = self.layer_offsets(original, selector.as_deref());
        let timestamp = self.timestamp_offset(original);
        let offsets = Offsets { timestamp, picture_id, tl0_picture_index, frame_number, selection };
        let began = self.rewriter.begin(source.id, packet.sequence, offsets);
        if began {
            self.current = Some(original.layer);
            if selector.is_some() {
                self.rest.selector = selector;
            }
        }
        began
    }

    /// What to add to the timestamps of a stream that begins with this packet.
    fn timestamp_offset(&self, original: &Original<'_>) -> u32 {
        let (Some(last), Some((previous, offsets))) = (self.last.map(Last::sent), self.rewriter.last()) else {
            return 0;
        };
        let timestamp = original.packet.header.timestamp;
        let new = original.source.side();
        if previous == original.source.id
            && timestamp.wrapping_add(offsets.timestamp).wrapping_sub(last.timestamp).cast_signed() > 0
        {
            // The same stream goes on after a pause: its own clock is right.
            return offsets.timestamp;
        }
        let old =
            original.track.source(previous).map_or(crate::media::timeline::Side { mapping: None, ..new }, Source::side);
        align(original.now, last, (old, offsets.timestamp), new, timestamp)
    }

    /// Sends a packet that belongs to what is being forwarded, unless that has been done.
    pub(super) fn send_if_missing(
        &mut self,
        now: Time,
        (at, track): (SubscriptionIndex, &Track),
        sequence: u64,
        transport: &mut Transport,
        output: &mut Output,
        copies: &mut Copies,
    ) {
        let Some(original) = self.current.and_then(|layer| Original::new(now, track, layer, sequence)) else { return };
        let number = self.rewriter.number_of(original.source.id, sequence);
        let is_missing = number.zip(self.stream).zip(transport.srtp.as_ref());
        let is_fresh = |((number, stream), srtp): ((u64, _), &Srtp)| {
            srtp.sealer.is_fresh(stream, number) && !transport.is_waiting(at, number)
        };
        if is_missing.is_some_and(is_fresh) {
            self.send(at, &original, transport, output, copies);
        }
    }

    /// Sends the packet, if it belongs to what is being forwarded, or has it wait until the path can take it.
    fn send(
        &mut self,
        at: SubscriptionIndex,
        original: &Original<'_>,
        transport: &mut Transport,
        output: &mut Output,
        copies: &mut Copies,
    ) {
        let Original { now, track, source, layer, packet, codec, .. } = *original;
        if transport.connectivity.selected().is_none() || transport.srtp.is_none() || self.stream.is_none() {
            return;
        }
        if self.payload_type(codec).is_none() {
            self.rewriter.skip(source.id, packet.sequence);
            output.stats.dropped.no_codec += 1;
            return;
        }
        // Padding between packets is for the publisher's own probing; the receiver need not know that it was there.
        if packet.payload().is_empty() && self.rewriter.skip(source.id, packet.sequence) {
            return;
        }
        let choice = self.choose(original);
        let left_out = choice == Choice::LeaveOut;
        if choice == Choice::Wait || (left_out && self.rewriter.omit(source.id, packet.sequence)) {
            return;
        }
        let Some(mapped) = self.rewriter.map(source.id, packet.sequence) else { return };
        self.note_mapped(original, mapped);
        if track.is_video() && transport.must_wait(now) {
            let (source, sequence) = (source.id, packet.sequence);
            let parcel = Parcel { subscription: at, layer, source, sequence, mapped, left_out };
            return transport.wait(now, parcel, packet.bytes().len());
        }
        self.dispatch(original, (mapped, left_out), transport, output, copies);
    }

    /// Writes and seals the copy of a packet that has its number. Of one that is left out, only the number is sent.
    pub(super) fn dispatch(
        &mut self,
        original: &Original<'_>,
        (mapped, left_out): (Mapped, bool),
        transport: &mut Transport,
        output: &mut Output,
        copies: &mut Copies,
    ) {
        let Original { now, packet, .. } = *original;
        let Some(path) = transport.connectivity.selected() else { return };
        let (Some(srtp), Some(stream)) = (transport.srtp.as_mut(), self.stream) else { return };
        let Some(plain) = self.payload_type(original.codec) else { return };
        let mut out = output.buffer();
        let transport_sequence = take_number(&mut transport.next_transport_sequence, self.ids());
        let distance = transport.redundancy.distance(now);
        let redundant = self.with_earlier(original, distance, &mut copies.redundant);
        let payload_type = redundant.map_or(plain, |(payload_type, _)| payload_type);
        let payload = if left_out {
            let timestamp = packet.header.timestamp.wrapping_add(mapped.offsets.timestamp);
            self.write_blank_head(&mut out, payload_type, timestamp, now, transport_sequence);
            &[]
        } else {
            self.write_head(&mut out, payload_type, packet, mapped.offsets, now, transport_sequence);
            match redundant {
                Some((_, payload)) => payload,
                None => payload_of(packet, original.numbers, mapped.offsets, &mut copies.rewritten),
            }
        };
        let header_length = out.len();
        out.resize(header_length + payload.len() + srtp.sealer.profile().rtp_overhead(), 0);
        match srtp.sealer.seal_rtp_into(stream, mapped.sequence, header_length, payload, &mut out) {
            Ok(length) => out.truncate(length),
            Err(error) => {
                tracing::debug!(%error, "packet was not sealed");
                output.stats.dropped.unsealable += 1;
                return output.recycle(out);
            }
        }
        if self.keeps_sealed {
            self.rest.sealed.keep(now, mapped.sequence, &out);
        }
        if !original.track.is_video() {
            transport.redundancy.handle_sent();
            output.stats.redundancy.sent += u64::from(redundant.is_some());
        }
        if self.sent.packets == 0 {
            self.rest.statistics.begin(mapped.sequence);
            output.event(Event::SubscriptionStarted { subscription: self.description().subscription });
        }
        self.sent.add(payload.len());
        transport.note_sent(now, transport_sequence, out.len());
        output.transmit(path, out, |stats: &mut EngineStats| &mut stats.sent.rtp);
    }

    /// A packet has got its number: what comes next goes on from it.
    fn note_mapped(&mut self, original: &Original<'_>, mapped: Mapped) {
        if mapped.newest {
            let timestamp = original.packet.header.timestamp.wrapping_add(mapped.offsets.timestamp);
            let sent = LastSent { timestamp, at: original.now };
            self.handle_newest(sent, original.numbers.as_ref(), mapped.offsets);
            self.note_frame(original.packet, mapped.offsets);
        }
    }

    /// Writes header and extensions of a copy. Sequence number and SSRC are the sealer's to write.
    pub(super) fn write_head(
        &self,
        out: &mut Vec<u8>,
        payload_type: u8,
        packet: &Packet,
        offsets: Offsets,
        now: Time,
        transport_sequence: Option<u16>,
    ) {
        let header = &packet.header;
        let timestamp = header.timestamp.wrapping_add(offsets.timestamp);
        let marker = svc::marker_of(packet, offsets.selection);
        write_header(out, payload_type, marker, 0, timestamp, self.ssrc());
        let mut rewritten = ArrayVec::new();
        let dependency_descriptor = svc::descriptor_of(packet, offsets, &mut rewritten);
        let own = Own { mid: self.mid(), now, transport_sequence, dependency_descriptor };
        extension::write(out, self.ids(), packet.bytes(), packet.extensions, own);
    }
}

/// A copy's payload: as it is, or with its running numbers rewritten in `copy`.
pub(super) fn payload_of<'a>(
    packet: &'a Packet,
    numbers: Option<Numbers>,
    offsets: Offsets,
    copy: &'a mut Vec<u8>,
) -> &'a [u8] {
    let payload = packet.payload();
    match numbers {
        Some(numbers) if offsets.picture_id != 0 || offsets.tl0_picture_index != 0 => {
            copy.clear();
            copy.extend_from_slice(payload);
            numbers.rewrite(copy, offsets.picture_id, offsets.tl0_picture_index);
            copy
        }
        _ => payload,
    }
}
