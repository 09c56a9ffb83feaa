//! Answers to NACKs of subscribers, from the publisher's history.

use super::Engine;
use super::arena::SubscriptionIndex;
use super::forward::payload_of;
use super::stats::EngineStats;
use super::subscription::Rest;
use super::svc::Choice;
use super::transport::take_number;
use crate::media::picture::Numbers;
use crate::media::resend::is_too_late;
use crate::media::rtx;
use crate::time::Time;

impl Engine {
    /// Sends a packet again that a subscriber says it lost. `false` if it cannot or may not be.
    ///
    /// With RTX it is a new packet under a new number of the retransmission stream, so no index of the original stream
    /// is touched. Without, what was sealed the first time goes out again, byte for byte.
    pub(super) fn resend(&mut self, now: Time, index: SubscriptionIndex, sequence_number: u16) -> bool {
        self.try_resend(now, index, sequence_number).is_some()
    }

    fn try_resend(&mut self, now: Time, index: SubscriptionIndex, sequence_number: u16) -> Option<()> {
        let Self { transports, tracks, subscriptions, output, scratch, .. } = self;
        let subscription = subscriptions.get_mut(index)?;
        let transport = transports.get_mut(subscription.transport)?;
        let path = transport.connectivity.selected()?;
        let origin = subscription.rewriter.origin(sequence_number)?;
        // What still waits to be sent for the first time comes anyway.
        if transport.is_full(now) || transport.is_waiting(index, origin.out) {
            return None;
        }
        // Nor is what the path had no room for the first time.
        if origin.out < subscription.rest.given_up {
            return None;
        }
        let is_limited = transport.adaptation.as_ref().is_some_and(|known| known.estimator.limit().is_some());
        let round_trip = transport.round_trip.filter(|_| is_limited);
        let srtp = transport.srtp.as_mut()?;
        let (ids, octets) = (subscription.ids(), subscription.sent.octets);
        let Some(stream) = subscription.rest.rtx_stream else {
            // The first time, none has been kept.
            subscription.keeps_sealed = true;
            let Rest { sealed, budget, .. } = &mut *subscription.rest;
            let (sent, sealed) = sealed.find(origin.out)?;
            if is_too_late(now, sent, tracks.get(subscription.track)?.is_video()) {
                return None;
            }
            if !budget.spend(now, octets, (origin.out, sealed.len()), round_trip) {
                return None;
            }
            let mut out = output.buffer();
            out.extend_from_slice(sealed);
            transport.note_sent(now, None, out.len());
            output.transmit(path, out, |stats: &mut EngineStats| &mut stats.sent.rtx);
            return Some(());
        };
        let track = tracks.get(subscription.track).filter(|track| !track.muted)?;
        let packet = track.source(origin.source)?.history.get(origin.sequence)?;
        if is_too_late(now, packet.arrival, track.is_video()) {
            return None;
        }
        let codec = track.codec(packet.header.payload_type)?.codec;
        let outgoing = subscription.outgoing(codec)?;
        let choice = subscription.choice_of(origin.source, packet);
        if choice == Choice::Wait {
            return None;
        }
        let payload_type = outgoing.rtx_payload_type?;
        let bytes = packet.payload().len();
        if !subscription.rest.budget.spend(now, octets, (origin.out, bytes), round_trip) {
            return None;
        }
        let transport_sequence = take_number(&mut transport.next_transport_sequence, ids);
        let mut out = output.buffer();
        let payload = if choice == Choice::LeaveOut {
            let timestamp = packet.header.timestamp.wrapping_add(origin.offsets.timestamp);
            subscription.write_blank_head(&mut out, payload_type, timestamp, now, transport_sequence);
            &[]
        } else {
            subscription.write_head(&mut out, payload_type, packet, origin.offsets, now, transport_sequence);
            payload_of(packet, Numbers::of(codec, packet.payload()), origin.offsets, &mut scratch.copies.rewritten)
        };
        scratch.payload.clear();
        rtx::write_payload(&mut scratch.payload, origin.out as u16, payload);
        let header_length = out.len();
        out.resize(header_length + scratch.payload.len() + srtp.sealer.profile().rtp_overhead(), 0);
        let sequence = subscription.rest.next_rtx;
        match srtp.sealer.seal_rtp_into(stream, sequence, header_length, &scratch.payload, &mut out) {
            Ok(length) => out.truncate(length),
            Err(error) => {
                tracing::debug!(%error, "retransmission was not sealed");
                output.stats.dropped.unsealable += 1;
                output.recycle(out);
                return None;
            }
        }
        subscription.rest.next_rtx += 1;
        transport.note_sent(now, transport_sequence, out.len());
        output.transmit(path, out, |stats: &mut EngineStats| &mut stats.sent.rtx);
        Some(())
    }
}
