//! What is due at a time: consent, feedback to publishers, reports to everybody, levels for control.

use super::Engine;
use super::arena::{Index, TrackIndex, TransportIndex};
use super::event::{AudioLevel, Event, Quality};
use super::stats::EngineStats;
use crate::id::Ssrc;
use crate::media::report::{INTERVAL, SENDER_REPORT_TURNS};
use crate::media::rtcp::{
    MAX_REPORT_BLOCKS, ReportBlock, write_nack, write_picture_loss, write_receiver_report, write_sender_report,
    write_source_description,
};
use crate::time::Time;

/// A compound packet is sent when it is this long: what is added last still fits a datagram.
const FULL: usize = 900;

impl Engine {
    /// Does what is due for one transport, and schedules what is next.
    pub(super) fn handle_transport_timeout(&mut self, now: Time, index: TransportIndex) {
        let Some(transport) = self.transports.get_mut(index) else { return };
        // Whoever has the transport hears of its client.
        if transport.connectivity.take_consent_lost(now) && transport.ownership.is_owner() {
            let transport = transport.key;
            self.output.event(Event::ConsentLost { transport });
        }
        if self.can_send(index) {
            self.write_transport_feedback(now, index);
            self.handle_adaptation_timeout(now, index);
            self.write_requests(now, index);
            self.write_reports(now, index);
        }
        self.schedule_transport(now, index);
    }

    /// Whether the transport has a path and keys.
    pub(super) fn can_send(&self, index: TransportIndex) -> bool {
        self.transports
            .get(index)
            .is_some_and(|transport| transport.srtp.is_some() && transport.connectivity.selected().is_some())
    }

    fn write_transport_feedback(&mut self, now: Time, index: TransportIndex) {
        let Some(transport) = self.transports.get_mut(index) else { return };
        let media = transport.routes.keys().next().copied().unwrap_or(Ssrc(0));
        let mut rtcp = std::mem::take(&mut self.scratch.rtcp);
        let written = transport.arrivals.write_due(now, &mut rtcp, transport.feedback_ssrc, media);
        self.output.stats.feedback.transport_wide_sent += written;
        self.scratch.rtcp = rtcp;
        self.flush_rtcp(index);
    }

    /// Asks the publisher for lost packets and for keyframes.
    fn write_requests(&mut self, now: Time, index: TransportIndex) {
        let Some(transport) = self.transports.get_mut(index) else { return };
        let (rtcp, numbers) = (&mut self.scratch.rtcp, &mut self.scratch.numbers);
        for track in &transport.tracks {
            let Some(track) = self.tracks.get_mut(*track) else { continue };
            let asks = track.description.nack && !track.muted;
            for layer in &mut track.layers {
                let Some(source) = &mut layer.source else { continue };
                numbers.clear();
                source.nack.take_due(now, numbers);
                if asks && !numbers.is_empty() {
                    self.output.stats.feedback.nacks_sent += numbers.len() as u64;
                    write_nack(rtcp, transport.feedback_ssrc, source.ssrc, numbers);
                }
            }
            if track.muted {
                continue;
            }
            track.ask_for_keyframes(now, &self.subscriptions, |_, source| {
                self.output.stats.feedback.plis_sent += 1;
                write_picture_loss(rtcp, transport.feedback_ssrc, source.ssrc);
            });
        }
        self.flush_rtcp(index);
    }

    /// Reports on what the client sends and on what it gets, once a second.
    fn write_reports(&mut self, now: Time, index: TransportIndex) {
        let Some(transport) = self.transports.get_mut(index) else { return };
        if now < transport.next_report {
            return;
        }
        transport.next_report = now + INTERVAL;
        transport.reports = transport.reports.wrapping_add(1);
        self.retarget_waiting(now, index);
        self.write_receiver_reports(now, index);
        self.write_sender_reports(now, index);
        self.flush_rtcp(index);
    }

    fn write_receiver_reports(&mut self, now: Time, index: TransportIndex) {
        let mut blocks: Vec<ReportBlock> = Vec::new();
        let Some(transport) = self.transports.get(index) else { return };
        for track in &transport.tracks {
            let Some(track) = self.tracks.get_mut(*track) else { continue };
            let (mut expected, mut lost, mut jitter_ms, mut round_trip) = (0, 0, 0.0_f32, transport.round_trip);
            for source in track.layers.iter_mut().filter_map(|layer| layer.source.as_mut()) {
                let Some((block, interval)) = source.statistics.report(now, source.ssrc) else { continue };
                // A stream that sent nothing since the last report is not reported on (RFC 3550, section 6.4).
                if interval.expected == 0 {
                    continue;
                }
                blocks.push(block);
                expected += interval.expected;
                lost += interval.lost;
                self.output.stats.lost.received += interval.lost;
                jitter_ms = jitter_ms.max(interval.jitter_ms);
                round_trip = round_trip.or(source.nack.round_trip());
            }
            if expected > 0 {
                let rtt_ms = round_trip.map(|time| time.as_secs_f32() * 1000.0);
                let quality = Quality { loss: lost as f32 / expected as f32, jitter_ms, rtt_ms };
                self.output.event(Event::TrackQuality { track: track.description.track, quality });
            }
        }
        let sender = transport.feedback_ssrc;
        for blocks in blocks.chunks(MAX_REPORT_BLOCKS) {
            write_receiver_report(&mut self.scratch.rtcp, sender, blocks);
            self.flush_full_rtcp(index);
        }
    }

    fn write_sender_reports(&mut self, now: Time, index: TransportIndex) {
        let Some(turn) = self.transports.get(index).map(|transport| transport.reports) else { return };
        let mut indices = std::mem::take(&mut self.scratch.indices);
        indices.clear();
        if let Some(transport) = self.transports.get(index) {
            indices.extend_from_slice(&transport.subscriptions);
        }
        for at in &indices {
            let Some(subscription) = self.subscriptions.get_mut(*at) else { continue };
            let Some((source, offsets)) = subscription.rewriter.last() else { continue };
            let is_turn = turn.wrapping_add(at.position() as u32).is_multiple_of(SENDER_REPORT_TURNS);
            if subscription.sent.packets == 0 || (subscription.rest.statistics.has_reported() && !is_turn) {
                continue;
            }
            let source = self.tracks.get(subscription.track).and_then(|track| track.source(source));
            let Some((source, mapping)) = source.and_then(|source| Some((source, source.mapping?))) else { continue };
            let (ssrc, sent) = (subscription.ssrc(), subscription.sent);
            let clock = (mapping, source.clock_rate);
            let info = subscription.rest.statistics.report(now, (ssrc, sent), clock, offsets.timestamp);
            write_sender_report(&mut self.scratch.rtcp, &info);
            write_source_description(&mut self.scratch.rtcp, ssrc, &subscription.description().cname);
            self.flush_full_rtcp(index);
        }
        self.scratch.indices = indices;
    }

    /// Layers die without a word: looks again at what this client's tracks are forwarded as, and asks again for
    /// keyframes somebody waits for.
    fn retarget_waiting(&mut self, now: Time, index: TransportIndex) {
        let count = self.transports.get(index).map_or(0, |transport| transport.tracks.len());
        for at in 0..count {
            let track: Option<TrackIndex> = self.transports.get(index).and_then(|t| t.tracks.get(at)).copied();
            if let Some(track) = track {
                self.retarget_all(now, track);
            }
        }
    }

    fn flush_full_rtcp(&mut self, index: TransportIndex) {
        if self.scratch.rtcp.len() >= FULL {
            self.flush_rtcp(index);
        }
    }

    /// Seals and sends what has been written, if anything.
    fn flush_rtcp(&mut self, index: TransportIndex) {
        let length = self.scratch.rtcp.len();
        if length == 0 {
            return;
        }
        let Some(transport) = self.transports.get_mut(index) else { return self.scratch.rtcp.clear() };
        let (Some(path), Some(srtp)) = (transport.connectivity.selected(), transport.srtp.as_mut()) else {
            return self.scratch.rtcp.clear();
        };
        let mut out = self.output.buffer();
        out.extend_from_slice(&self.scratch.rtcp);
        self.scratch.rtcp.clear();
        out.resize(length + srtp.sealer.profile().rtcp_overhead(), 0);
        match srtp.sealer.seal_rtcp_into(length, &mut out) {
            Ok(length) => {
                out.truncate(length);
                self.output.transmit(path, out, |stats: &mut EngineStats| &mut stats.sent.rtcp);
            }
            Err(error) => {
                tracing::debug!(%error, "RTCP was not sealed");
                self.output.stats.dropped.unsealable += 1;
                self.output.recycle(out);
            }
        }
    }

    /// Tells control how loud everybody was, if it is time.
    pub(super) fn handle_level_timeout(&mut self, now: Time) {
        if self.schedule.levels.is_none_or(|due| now < due) {
            return;
        }
        self.schedule.levels = None;
        let levels: Vec<AudioLevel> = self
            .tracks
            .iter_mut()
            .filter_map(|(_, track)| {
                let (loudest, active_percent) = track.level.take()?;
                Some(AudioLevel { track: track.description.track, loudest, active_percent })
            })
            .collect();
        if !levels.is_empty() {
            self.output.event(Event::AudioLevels(levels));
        }
    }
}
