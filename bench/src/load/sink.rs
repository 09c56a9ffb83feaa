//! What one client receives: counted by header, and opened at some clients, to see how old it is.

use std::time::Duration;

use sfu_core::id::Ssrc;
use sfu_core::media::rtcp::{ReportBlock, write_receiver_report};
use sfu_core::media::rtp::Header;
use sfu_core::media::sequence::Unwrapper;
use sfu_core::media::twcc::FeedbackGenerator;
use sfu_core::time::Time;
use sfu_core::transport::srtp::Opener;

use super::histogram::Histogram;
use super::offer::{OPUS, VP8};
use super::publisher::age;

/// Between two transport-wide feedbacks, as browsers send them at moderate rates.
pub const FEEDBACK_INTERVAL: Duration = Duration::from_millis(100);

/// Counters of one client. Nothing is allocated for a packet, but for the first of each stream.
#[derive(Debug, Default)]
pub struct Sink {
    streams: Vec<Stream>,
    n_packets: u64,
    n_bytes: u64,
    /// Only of a client that opens what it receives.
    delays: Option<Histogram>,
    n_forged: u64,
    transport_cc: Option<u8>,
    feedback: FeedbackGenerator,
}

#[derive(Debug)]
struct Stream {
    ssrc: Ssrc,
    sequence: Unwrapper,
    /// Since counting began.
    first: Option<u64>,
    n_packets: u64,
}

/// What a client counted.
#[derive(Debug, Clone, Default)]
pub struct Counted {
    /// Media packets.
    pub n_packets: u64,
    /// Of whole datagrams.
    pub n_bytes: u64,
    /// Sequence numbers that are missing between the first and the last of each stream.
    pub n_gaps: u64,
    /// Packets that did not authenticate.
    pub n_forged: u64,
    pub delays: Histogram,
}

impl Sink {
    /// `opens`: it decrypts every packet and looks at its age.
    pub fn new(opens: bool, transport_cc: Option<u8>) -> Self {
        Self { delays: opens.then(Histogram::default), transport_cc, ..Self::default() }
    }

    /// Streams that have begun.
    pub fn n_streams(&self) -> usize {
        self.streams.len()
    }

    /// Takes a datagram of RTP.
    pub fn handle_packet(&mut self, now: Time, packet: &mut [u8], opener: Option<&mut Opener>) {
        let Some([_, second, high, low, _, _, _, _, ssrc @ ..]) = packet.first_chunk::<12>() else { return };
        let (payload_type, sequence_number) = (*second & 0x7f, u16::from_be_bytes([*high, *low]));
        let ssrc = Ssrc(u32::from_be_bytes(*ssrc));
        if let Some(id) = self.transport_cc
            && let Some(number) = transport_number(packet, id)
        {
            self.feedback.handle_packet(now, number);
        }
        // Anything else is a probe of the network or a retransmission.
        if payload_type != OPUS && payload_type != VP8 {
            return;
        }
        let at = self.streams.iter().position(|stream| stream.ssrc == ssrc).unwrap_or_else(|| {
            self.streams.push(Stream { ssrc, sequence: Unwrapper::default(), first: None, n_packets: 0 });
            self.streams.len() - 1
        });
        let stream = &mut self.streams[at];
        let index = stream.sequence.unwrap(sequence_number);
        stream.first.get_or_insert(index);
        stream.n_packets += 1;
        self.n_packets += 1;
        self.n_bytes += packet.len() as u64;
        if let Some(delays) = &mut self.delays
            && let Some(opener) = opener
        {
            match opener.open_rtp(packet) {
                Ok(opened) => {
                    if let Some(delay) = age(&packet[opened.header_len..opened.len], now) {
                        delays.record(delay);
                    }
                }
                Err(_) => self.n_forged += 1,
            }
        }
    }

    /// Forgets what was counted, not which streams there are.
    pub fn begin(&mut self) {
        (self.n_packets, self.n_bytes, self.n_forged) = (0, 0, 0);
        for stream in &mut self.streams {
            (stream.first, stream.n_packets) = (None, 0);
        }
        if let Some(delays) = &mut self.delays {
            delays.clear();
        }
    }

    /// What was counted since [`begin`](Self::begin) is added to `counted`.
    pub fn count(&self, counted: &mut Counted) {
        counted.n_packets += self.n_packets;
        counted.n_bytes += self.n_bytes;
        counted.n_forged += self.n_forged;
        for stream in &self.streams {
            if let (Some(first), Some(last)) = (stream.first, stream.sequence.highest()) {
                counted.n_gaps += (last + 1).saturating_sub(first).saturating_sub(stream.n_packets);
            }
        }
        if let Some(delays) = &self.delays {
            counted.delays.merge(delays);
        }
    }

    /// Whether the server numbers packets transport-wide, so that feedback is to be sent.
    pub fn owes_feedback(&self) -> bool {
        self.feedback.next_at().is_some()
    }

    /// Appends transport-wide feedback about what has come since the last.
    pub fn write_feedback(&mut self, now: Time, sender: Ssrc, out: &mut Vec<u8>) {
        let media = self.streams.first().map_or(Ssrc(0), |stream| stream.ssrc);
        self.feedback.write_due(now, out, sender, media);
    }

    /// Appends a receiver report. Sender reports are not read, so it gives no round trip.
    pub fn write_report(&self, sender: Ssrc, out: &mut Vec<u8>) {
        let blocks: Vec<ReportBlock> = self
            .streams
            .iter()
            .map(|stream| ReportBlock {
                ssrc: stream.ssrc,
                fraction_lost: 0,
                total_lost: 0,
                highest_sequence: stream.sequence.highest().unwrap_or_default() as u32,
                jitter: 0,
                last_sender_report: 0,
                delay_since_last_sender_report: 0,
            })
            .collect();
        write_receiver_report(out, sender, &blocks);
    }
}

fn transport_number(packet: &[u8], id: u8) -> Option<u16> {
    let header = Header::parse(packet)?;
    let (_, span) = header.elements(packet).find(|(found, _)| *found == id)?;
    Some(u16::from_be_bytes(*span.of(packet).first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(payload_type: u8, sequence_number: u16, ssrc: u32) -> Vec<u8> {
        let mut packet = vec![0x80, payload_type];
        packet.extend_from_slice(&sequence_number.to_be_bytes());
        packet.extend_from_slice(&[0; 4]);
        packet.extend_from_slice(&ssrc.to_be_bytes());
        packet.extend_from_slice(&[0; 20]);
        packet
    }

    fn counted(sink: &Sink) -> (u64, u64, u64) {
        let mut counted = Counted::default();
        sink.count(&mut counted);
        (counted.n_packets, counted.n_bytes, counted.n_gaps)
    }

    #[test]
    fn gaps_are_counted_for_each_stream_across_the_wrap() {
        let mut sink = Sink::new(false, None);
        for sequence_number in [65_534, 65_535, 1, 2] {
            sink.handle_packet(Time::ZERO, &mut packet(OPUS, sequence_number, 1), None);
        }
        for sequence_number in [10, 13, 12] {
            sink.handle_packet(Time::ZERO, &mut packet(0x80 | VP8, sequence_number, 2), None);
        }
        assert_eq!(sink.n_streams(), 2);
        assert_eq!(counted(&sink), (7, 7 * 32, 2));
        sink.begin();
        assert_eq!(counted(&sink), (0, 0, 0));
        sink.handle_packet(Time::ZERO, &mut packet(OPUS, 9, 1), None);
        assert_eq!(counted(&sink), (1, 32, 0), "what was lost before is not counted");
        assert_eq!(sink.n_streams(), 2);
    }

    #[test]
    fn what_is_no_media_is_not_counted() {
        let mut sink = Sink::new(false, None);
        sink.handle_packet(Time::ZERO, &mut packet(97, 1, 1), None);
        sink.handle_packet(Time::ZERO, &mut [0x80, OPUS, 0, 1], None);
        assert_eq!((sink.n_streams(), counted(&sink)), (0, (0, 0, 0)));
    }

    #[test]
    fn feedback_is_owed_once_the_server_numbers_its_packets() {
        let mut sink = Sink::new(false, Some(3));
        sink.handle_packet(Time::ZERO, &mut packet(OPUS, 1, 1), None);
        assert!(!sink.owes_feedback());
        let mut numbered = packet(OPUS, 2, 1);
        numbered[0] = 0x90;
        numbered.splice(12..12, [0xbe, 0xde, 0, 1, 3 << 4 | 1, 0, 7, 0]);
        sink.handle_packet(Time::ZERO, &mut numbered, None);
        assert!(sink.owes_feedback());
        let mut feedback = Vec::new();
        sink.write_feedback(Time::ZERO + FEEDBACK_INTERVAL, Ssrc(9), &mut feedback);
        // Its report of one packet does not fill the last word, so that there is padding (RFC 3550, section 6.4.1).
        assert_eq!(feedback[..2], [0xaf, 205]);
        assert!(!sink.owes_feedback());
    }
}
