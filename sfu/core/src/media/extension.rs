//! Header extensions (RFC 8285): which a packet carries, and what of them a receiver gets under its own ids.

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::engine::command::Extensions;
use crate::media::rtp::{ExtensionForm, ExtensionWriter, Header, Span, needs_two_bytes};
use crate::time::Time;

/// Extensions this SFU knows. Others are not passed on: a receiver could not tell what their ids mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Mid,
    Rid,
    RepairedRid,
    AudioLevel,
    TransportCc,
    AbsCaptureTime,
    DependencyDescriptor,
    PlayoutDelay,
    VideoOrientation,
}

const KINDS: usize = 9;

/// What is about the media and not about the way it came, and so is passed on as it is.
const PASSED_ON: [Kind; 5] =
    [Kind::AudioLevel, Kind::AbsCaptureTime, Kind::DependencyDescriptor, Kind::PlayoutDelay, Kind::VideoOrientation];

impl Extensions {
    /// The negotiated id of a kind.
    const fn id(&self, kind: Kind) -> Option<u8> {
        match kind {
            Kind::Mid => self.mid,
            Kind::Rid => self.rid,
            Kind::RepairedRid => self.repaired_rid,
            Kind::AudioLevel => self.audio_level,
            Kind::TransportCc => self.transport_cc,
            Kind::AbsCaptureTime => self.abs_capture_time,
            Kind::DependencyDescriptor => self.dependency_descriptor,
            Kind::PlayoutDelay => self.playout_delay,
            Kind::VideoOrientation => self.video_orientation,
        }
    }

    fn kind(&self, id: u8) -> Option<Kind> {
        const ALL: [Kind; KINDS] = [
            Kind::TransportCc,
            Kind::AudioLevel,
            Kind::Mid,
            Kind::Rid,
            Kind::RepairedRid,
            Kind::AbsCaptureTime,
            Kind::DependencyDescriptor,
            Kind::PlayoutDelay,
            Kind::VideoOrientation,
        ];
        ALL.into_iter().find(|kind| self.id(*kind) == Some(id))
    }

    /// These ids, completed by `other` where there are none.
    pub fn or(self, other: Self) -> Self {
        Self {
            mid: self.mid.or(other.mid),
            rid: self.rid.or(other.rid),
            repaired_rid: self.repaired_rid.or(other.repaired_rid),
            audio_level: self.audio_level.or(other.audio_level),
            transport_cc: self.transport_cc.or(other.transport_cc),
            abs_send_time: self.abs_send_time.or(other.abs_send_time),
            abs_capture_time: self.abs_capture_time.or(other.abs_capture_time),
            dependency_descriptor: self.dependency_descriptor.or(other.dependency_descriptor),
            playout_delay: self.playout_delay.or(other.playout_delay),
            video_orientation: self.video_orientation.or(other.video_orientation),
        }
    }
}

/// Where the known extensions of one packet lie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located([Span; KINDS]);

impl Located {
    /// Finds them by the sender's ids. Of two elements of one kind the last counts.
    pub fn find(header: &Header, packet: &[u8], ids: &Extensions) -> Self {
        let mut located = Self::default();
        if header.extension.is_some() {
            for (id, span) in header.elements(packet) {
                if let Some(kind) = ids.kind(id) {
                    located.0[kind as usize] = span;
                }
            }
        }
        located
    }

    /// The data of an extension; empty if the packet has none.
    pub fn get(self, kind: Kind, packet: &[u8]) -> &[u8] {
        self.0[kind as usize].of(packet)
    }

    /// A mid or a rid.
    pub fn text(self, kind: Kind, packet: &[u8]) -> Option<&str> {
        let text = std::str::from_utf8(self.get(kind, packet)).ok()?;
        (!text.is_empty()).then_some(text)
    }

    /// Voice activity and loudness in -dBov (RFC 6464).
    pub fn audio_level(self, packet: &[u8]) -> Option<u8> {
        self.get(Kind::AudioLevel, packet).first().map(|byte| byte & 0x7f)
    }

    /// The sender's transport-wide number.
    pub fn transport_sequence(self, packet: &[u8]) -> Option<u16> {
        Some(u16::from_be_bytes(self.get(Kind::TransportCc, packet).get(..2)?.try_into().ok()?))
    }
}

/// The ids a receiver knows what we write by; 0 for what it does not take. One of [`Extensions`], made small, since each
/// copy of a packet looks at it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenIds {
    mid: u8,
    transport_cc: u8,
    abs_send_time: u8,
    passed_on: [u8; PASSED_ON.len()],
}

impl WrittenIds {
    pub fn new(ids: &Extensions) -> Self {
        Self {
            mid: ids.mid.unwrap_or(0),
            transport_cc: ids.transport_cc.unwrap_or(0),
            abs_send_time: ids.abs_send_time.unwrap_or(0),
            passed_on: PASSED_ON.map(|kind| ids.id(kind).unwrap_or(0)),
        }
    }

    /// Whether the receiver counts what comes on all streams of its transport.
    pub const fn has_transport_cc(self) -> bool {
        self.transport_cc != 0
    }
}

/// What we add to a copy of a packet.
#[derive(Debug, Clone, Copy)]
pub struct Own<'a> {
    pub mid: &'a str,
    pub now: Time,
    /// The copy's transport-wide number, if the receiver wants one.
    pub transport_sequence: Option<u16>,
    /// The copy's dependency descriptor, if it is not the packet's.
    pub dependency_descriptor: Option<&'a [u8]>,
}

/// Writes the extension of a copy under the receiver's ids, behind the header `out` already holds: the receiver's mid,
/// our own times and numbers, and what describes the media. Rids are the publisher's affair and left out.
pub fn write(out: &mut Vec<u8>, ids: WrittenIds, packet: &[u8], located: Located, own: Own<'_>) {
    let data = |kind: Kind| match own.dependency_descriptor {
        Some(data) if kind == Kind::DependencyDescriptor => data,
        _ => located.get(kind, packet),
    };
    let sequence = own.transport_sequence.unwrap_or(0).to_be_bytes();
    let send_time = abs_send_time(own.now);
    let ours: [(u8, &[u8]); 3] = [
        (ids.mid, own.mid.as_bytes()),
        (ids.transport_cc, if own.transport_sequence.is_some() { &sequence } else { &[] }),
        (ids.abs_send_time, &send_time),
    ];
    let passed_on = ids.passed_on.into_iter().zip(PASSED_ON).map(|(id, kind)| (id, data(kind)));
    let elements = ours.into_iter().chain(passed_on).filter(|(id, data)| *id != 0 && !data.is_empty());
    let elements: ArrayVec<_, { 3 + PASSED_ON.len() }> = elements.collect();
    let two_bytes = elements.iter().any(|(id, data)| needs_two_bytes(*id, data.len()));
    let form = if two_bytes { ExtensionForm::TwoByte } else { ExtensionForm::OneByte };
    let mut writer = ExtensionWriter::new(out, form);
    for (id, data) in elements {
        writer.push(id, data);
    }
    writer.finish();
}

/// Seconds in 6.18 fixed point: enough to tell packets of one minute apart.
fn abs_send_time(now: Time) -> [u8; 3] {
    let fixed = ((u128::from(now.as_micros()) << 18) / 1_000_000) as u32;
    let [_, a, b, c] = fixed.to_be_bytes();
    [a, b, c]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Ssrc;
    use crate::media::rtp::write_header;

    const PUBLISHER: Extensions = Extensions {
        mid: Some(1),
        rid: Some(2),
        repaired_rid: Some(3),
        audio_level: Some(4),
        transport_cc: Some(5),
        abs_send_time: Some(6),
        abs_capture_time: Some(7),
        dependency_descriptor: Some(8),
        playout_delay: Some(9),
        video_orientation: Some(10),
    };

    fn packet(elements: &[(u8, &[u8])]) -> (Vec<u8>, Header) {
        let mut out = Vec::new();
        write_header(&mut out, 96, false, 1, 2, Ssrc(3));
        let long = elements.iter().any(|(id, data)| needs_two_bytes(*id, data.len()));
        let form = if long { ExtensionForm::TwoByte } else { ExtensionForm::OneByte };
        let mut writer = ExtensionWriter::new(&mut out, form);
        for (id, data) in elements {
            writer.push(*id, data);
        }
        writer.finish();
        let header = Header::parse(&out).expect("ours");
        (out, header)
    }

    fn copy(elements: &[(u8, &[u8])], ids: &Extensions) -> Vec<(u8, Vec<u8>)> {
        let (bytes, header) = packet(elements);
        let located = Located::find(&header, &bytes, &PUBLISHER);
        let mut out = Vec::new();
        write_header(&mut out, 96, false, 1, 2, Ssrc(3));
        let own = Own {
            mid: "7",
            now: Time::from_millis(1500),
            transport_sequence: Some(0x0102),
            dependency_descriptor: None,
        };
        write(&mut out, WrittenIds::new(ids), &bytes, located, own);
        let header = Header::parse(&out).expect("ours");
        header.elements(&out).map(|(id, span)| (id, span.of(&out).to_vec())).collect()
    }

    #[test]
    fn each_extension_goes_out_under_the_receivers_id_or_not_at_all() {
        let ids = Extensions { mid: Some(11), audio_level: Some(12), transport_cc: Some(13), ..Extensions::default() };
        let sent: [(u8, &[u8]); 5] = [(1, b"0"), (2, b"q"), (4, &[0x85]), (5, &[9, 9]), (7, &[1; 8])];
        assert_eq!(copy(&sent, &ids), [(11, b"7".to_vec()), (13, vec![1, 2]), (12, vec![0x85])]);
    }

    #[test]
    fn send_time_is_ours_and_in_fixed_point() {
        let ids = Extensions { abs_send_time: Some(3), ..Extensions::default() };
        assert_eq!(copy(&[], &ids), [(3, vec![0x06, 0, 0])]);
    }

    #[test]
    fn a_long_dependency_descriptor_is_passed_in_the_two_byte_form() {
        let ids = Extensions { dependency_descriptor: Some(1), mid: Some(2), ..Extensions::default() };
        let descriptor = [0x80; 40];
        assert_eq!(copy(&[(8, &descriptor)], &ids), [(2, b"7".to_vec()), (1, descriptor.to_vec())]);
    }

    #[test]
    fn a_receiver_without_extensions_gets_none() {
        assert_eq!(copy(&[(4, &[1])], &Extensions::default()), []);
    }

    #[test]
    fn names_and_numbers_are_read() {
        let (bytes, header) = packet(&[(1, b"mid"), (2, b"h"), (4, &[0xa3]), (5, &[1, 2])]);
        let located = Located::find(&header, &bytes, &PUBLISHER);
        assert_eq!(located.text(Kind::Mid, &bytes), Some("mid"));
        assert_eq!(located.text(Kind::Rid, &bytes), Some("h"));
        assert_eq!(located.text(Kind::RepairedRid, &bytes), None);
        assert_eq!(located.audio_level(&bytes), Some(0x23));
        assert_eq!(located.transport_sequence(&bytes), Some(0x0102));
    }
}
