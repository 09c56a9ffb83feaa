//! RTCP from clients: about what they send, and about what they get.

use super::Engine;
use super::arena::{SubscriptionIndex, TrackIndex, TransportIndex};
use super::event::{Event, Quality};
use super::path::Path;
use super::relay::message::Content;
use super::suspects::Cause;
use super::transport::Route;
use crate::id::Ssrc;
use crate::media::rtcp::{Packet, Packets, ReportBlock, ReportBlocks};
use crate::media::timeline::Mapping;
use crate::time::{NtpTime, Time};

impl Engine {
    /// Opens a compound RTCP packet and does what it asks.
    pub(super) fn handle_srtcp(&mut self, now: Time, path: Path, datagram: &mut [u8]) {
        self.output.stats.received.rtcp.add(datagram.len());
        let dropped = &mut self.output.stats.dropped;
        let Some(index) = self.index.paths.get(&path).copied() else {
            dropped.unknown_path += 1;
            return;
        };
        self.suspects.cause = Cause::Transport(index);
        if self.admit_media(now, index, path, datagram, 0) {
            self.open_rtcp(now, index, datagram);
        }
    }

    /// Opens a compound RTCP packet that is ours.
    pub(super) fn open_rtcp(&mut self, now: Time, index: TransportIndex, datagram: &mut [u8]) {
        let dropped = &mut self.output.stats.dropped;
        let Some(srtp) = self.transports.get_mut(index).and_then(|transport| transport.srtp.as_mut()) else {
            dropped.no_keys += 1;
            return;
        };
        match srtp.opener.open_rtcp(datagram) {
            Ok(length) => {
                let mut tells_arrivals = false;
                for packet in Packets::new(&datagram[..length]) {
                    tells_arrivals |= matches!(packet, Packet::TransportWide { .. });
                    self.handle_rtcp(now, index, packet);
                }
                if tells_arrivals {
                    self.share_out(now, index);
                }
            }
            Err(error) => self.count_unopened(error),
        }
    }

    fn handle_rtcp(&mut self, now: Time, index: TransportIndex, packet: Packet<'_>) {
        let feedback = &mut self.output.stats.feedback;
        match packet {
            Packet::SenderReport { ssrc, ntp, timestamp, blocks } => {
                self.handle_sender_report(now, index, ssrc, (ntp, timestamp));
                self.handle_blocks(now, index, blocks);
            }
            Packet::ReceiverReport { blocks, .. } => self.handle_blocks(now, index, blocks),
            Packet::Goodbye { sources } => {
                feedback.goodbyes_received += 1;
                for ssrc in sources {
                    self.handle_goodbye(now, index, ssrc);
                }
            }
            Packet::Nack { media, lost } => {
                let Some(subscription) = self.sent_as(index, media) else { return };
                for sequence_number in lost {
                    self.output.stats.feedback.nacks_received += 1;
                    self.note_asked(now, index, subscription, sequence_number);
                    if !self.resend(now, subscription, sequence_number) {
                        self.output.stats.feedback.nacks_unanswered += 1;
                    }
                }
            }
            Packet::PictureLoss { media } => self.handle_picture_loss(index, media),
            Packet::FullIntraRequest { targets } => {
                for ssrc in targets {
                    self.handle_picture_loss(index, ssrc);
                }
            }
            Packet::Remb { .. } => feedback.remb_received += 1,
            Packet::TransportWide { reference, statuses, .. } => {
                feedback.transport_wide_received += 1;
                self.handle_transport_wide(now, index, reference, statuses);
            }
            Packet::Other { .. } => {}
        }
    }

    /// A client asks for a packet. If it is audio, it is likely to come too late, and so is the next one that is lost. What
    /// never came to us was not lost on the way to the client.
    fn note_asked(&mut self, now: Time, index: TransportIndex, subscription: SubscriptionIndex, sequence_number: u16) {
        let Some(subscription) = self.subscriptions.get_mut(subscription) else { return };
        let Some(transport) = self.transports.get_mut(index) else { return };
        let Some(track) = self.tracks.get(subscription.track).filter(|track| !track.is_video()) else { return };
        let Some(origin) = subscription.rewriter.origin(sequence_number) else { return };
        let is_here = track.source(origin.source).is_some_and(|source| source.history.get(origin.sequence).is_some());
        if is_here && subscription.rest.statistics.newly_asked(origin.out) {
            transport.redundancy.handle_lost(now);
        }
    }

    /// The subscription we send under this SSRC to this client.
    fn sent_as(&self, index: TransportIndex, ssrc: Ssrc) -> Option<SubscriptionIndex> {
        self.transports.get(index)?.sent.get(&ssrc).copied()
    }

    /// A publisher relates its timestamps to its clock.
    fn handle_sender_report(&mut self, now: Time, index: TransportIndex, ssrc: Ssrc, (ntp, timestamp): (NtpTime, u32)) {
        let route = self.transports.get(index).and_then(|transport| transport.routes.get(&ssrc));
        let Some(Route::Media { track, layer: at }) = route.copied() else { return };
        let source = self.tracks.get_mut(track).and_then(|track| track.source_mut(at));
        if let Some(source) = source.filter(|source| source.ssrc == ssrc) {
            source.statistics.handle_sender_report(now, ntp);
            self.set_mapping(track, at, Mapping { ntp, timestamp, arrival: now });
        }
    }

    /// A stream's timestamps are known to relate to its publisher's clock like this.
    pub(super) fn set_mapping(&mut self, index: TrackIndex, layer: u8, mapping: Mapping) {
        if let Some(source) = self.tracks.get_mut(index).and_then(|track| track.source_mut(layer)) {
            source.mapping = Some(mapping);
        }
        self.relay_about(index, layer, |stream| Content::Report { stream, mapping });
    }

    /// A subscriber says how our copies arrive.
    fn handle_blocks(&mut self, now: Time, index: TransportIndex, blocks: ReportBlocks<'_>) {
        for block in blocks {
            let Some(subscription) = self.sent_as(index, block.ssrc) else { continue };
            self.handle_block(now, index, subscription, &block);
        }
    }

    fn handle_block(&mut self, now: Time, index: TransportIndex, subscription: SubscriptionIndex, block: &ReportBlock) {
        let Some(subscription) = self.subscriptions.get_mut(subscription) else { return };
        let Some(transport) = self.transports.get_mut(index) else { return };
        subscription.is_known = true;
        let sent = subscription.sent;
        if self.tracks.get(subscription.track).is_some_and(|track| !track.is_video()) {
            let next = subscription.rewriter.next();
            let (lost, part) = subscription.rest.statistics.newly_lost_on_the_way(block, sent, next);
            self.output.stats.lost.sent += lost;
            transport.redundancy.handle_report(now, part, lost);
        } else {
            self.output.stats.lost.sent += subscription.rest.statistics.newly_lost(block, sent);
        }
        let round_trip = subscription.rest.statistics.round_trip(now, block);
        if let Some(sample) = round_trip {
            transport.handle_round_trip(sample);
        }
        let clock_rate = subscription.description().codecs.first().map_or(90_000, |codec| codec.clock_rate.max(1));
        self.output.event(Event::SubscriptionQuality {
            subscription: subscription.description().subscription,
            quality: Quality {
                loss: f32::from(block.fraction_lost) / 256.0,
                jitter_ms: block.jitter as f32 * 1000.0 / clock_rate as f32,
                rtt_ms: round_trip.map(|time| time.as_secs_f32() * 1000.0),
            },
        });
    }

    /// A publisher ends a stream (RFC 3550, section 6.6).
    fn handle_goodbye(&mut self, now: Time, index: TransportIndex, ssrc: Ssrc) {
        let Some(route) = self.transports.get_mut(index).and_then(|transport| transport.routes.remove(&ssrc)) else {
            return;
        };
        let Route::Media { track: index, layer } = route else { return };
        self.end_source(now, index, layer);
    }

    /// A layer's stream has ended, and none took its place yet.
    pub(super) fn end_source(&mut self, now: Time, index: TrackIndex, layer: u8) {
        self.forward_burst(now);
        self.relay_about(index, layer, |stream| Content::Ended { stream });
        if let Some(track) = self.tracks.get_mut(index) {
            track.end_source(layer);
        }
        self.handle_source_replaced(index, layer);
        self.retarget_all(now, index);
    }

    /// A subscriber cannot decode what it gets and needs a whole picture.
    fn handle_picture_loss(&mut self, index: TransportIndex, ssrc: Ssrc) {
        let Some(subscription) = self.sent_as(index, ssrc).and_then(|index| self.subscriptions.get(index)) else {
            return;
        };
        self.output.stats.feedback.keyframes_requested += 1;
        if let Some(layer) = subscription.current.or(subscription.wanted) {
            self.want_keyframe(subscription.track, layer);
        }
    }
}
