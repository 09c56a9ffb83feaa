//! Where a decoder can begin, and when to ask a publisher for such a place.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::command::Codec;
use crate::media::{vp8, vp9};
use crate::time::Time;

/// Each request costs the publisher a whole picture, and new subscribers all ask at once.
const MIN_INTERVAL: Duration = Duration::from_millis(500);
/// A publisher that has not answered several requests has nothing to send; it is asked less often from then on.
const LONG_INTERVAL: Duration = Duration::from_secs(3);
const PATIENCE: u8 = 8;

/// Whether an RTP payload is the first of a keyframe. For audio every packet is.
///
/// Only the packet with which the keyframe begins counts: a subscriber that is switched later would miss its start.
/// The formats are RFC 7741 (VP8), RFC 9628 (VP9), RFC 6184 (H.264), RFC 7798 (H.265) and the AV1 RTP specification.
pub fn starts_keyframe(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::Opus | Codec::Red | Codec::G711U | Codec::G711A => true,
        Codec::Vp8 => vp8::Descriptor::parse(payload).is_some_and(|descriptor| descriptor.starts_keyframe(payload)),
        Codec::Vp9 => vp9::Descriptor::parse(payload).is_some_and(|descriptor| descriptor.starts_keyframe()),
        Codec::H264 => h264(payload).unwrap_or(false),
        Codec::H265 => h265(payload).unwrap_or(false),
        Codec::Av1 => av1(payload).unwrap_or(false),
    }
}

/// A sequence parameter set, with which every encoder begins an IDR picture in a live stream. The IDR slices alone are
/// no place to begin: without the parameter sets, which came just before them, they cannot be decoded.
fn h264(payload: &[u8]) -> Option<bool> {
    const SEQUENCE_PARAMETERS: u8 = 7;
    const STAP_A: u8 = 24;
    const FU_A: u8 = 28;
    Some(match payload.first()? & 0x1f {
        SEQUENCE_PARAMETERS => true,
        STAP_A => {
            aggregated(payload.get(1..)?).any(|unit| unit.first().is_some_and(|b| b & 0x1f == SEQUENCE_PARAMETERS))
        }
        FU_A => *payload.get(1)? & 0x80 != 0 && *payload.get(1)? & 0x1f == SEQUENCE_PARAMETERS,
        _ => false,
    })
}

/// A video parameter set, which comes before all others, for the same reason. Where each has a packet of its own and a
/// later one overtakes it, that is no place to begin.
fn h265(payload: &[u8]) -> Option<bool> {
    const AGGREGATION: u8 = 48;
    const FRAGMENTATION: u8 = 49;
    const VIDEO_PARAMETERS: u8 = 32;
    let unit_type = |first: u8| first >> 1 & 0x3f;
    Some(match unit_type(*payload.first()?) {
        AGGREGATION => {
            aggregated(payload.get(2..)?).any(|unit| unit.first().is_some_and(|b| unit_type(*b) == VIDEO_PARAMETERS))
        }
        FRAGMENTATION => *payload.get(2)? & 0x80 != 0 && *payload.get(2)? & 0x3f == VIDEO_PARAMETERS,
        other => other == VIDEO_PARAMETERS,
    })
}

/// The first packet of a coded video sequence, which the aggregation header's N bit tells.
fn av1(payload: &[u8]) -> Option<bool> {
    let (continues, begins_sequence) = (payload.first()? & 0x80 != 0, payload.first()? & 0x08 != 0);
    Some(begins_sequence && !continues)
}

/// Units of an aggregation packet: each behind its 16-bit length.
fn aggregated(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, after) = rest.split_at_checked(2)?;
        let (unit, after) = after.split_at_checked(usize::from(u16::from_be_bytes([length[0], length[1]])))?;
        rest = after;
        Some(unit)
    })
}

/// Asks for a keyframe of one layer on behalf of all who want one: at most once per interval, until one comes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyframeRequest {
    wanted: bool,
    asked: Option<Time>,
    unanswered: u8,
}

impl KeyframeRequest {
    /// Somebody needs a keyframe. Costs nothing while a request is under way.
    pub const fn want(&mut self) {
        self.wanted = true;
    }

    /// One came.
    pub const fn satisfy(&mut self) {
        self.wanted = false;
        self.unanswered = 0;
    }

    /// Nobody waits any more. Whoever does so again is not served any faster for it.
    pub const fn give_up(&mut self) {
        self.wanted = false;
    }

    /// Whether a request is due.
    pub fn is_due(&self, now: Time) -> bool {
        self.next_at().is_some_and(|at| at <= now)
    }

    /// When a request is due.
    pub fn next_at(&self) -> Option<Time> {
        let interval = if self.unanswered < PATIENCE { MIN_INTERVAL } else { LONG_INTERVAL };
        self.wanted.then(|| self.asked.map_or(Time::ZERO, |asked| asked + interval))
    }

    /// Whether to send a request now. True at most once per interval.
    pub fn take_due(&mut self, now: Time) -> bool {
        let due = self.is_due(now);
        if due {
            self.asked = Some(now);
            self.unanswered = self.unanswered.saturating_add(1);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keyframes_are_told_from_other_packets() {
        let cases: [(Codec, &[u8], bool, &str); 24] = [
            (Codec::Opus, &[], true, "audio always"),
            (Codec::Vp8, &[0x10, 0x10], true, "first partition of a keyframe"),
            (Codec::Vp8, &[0x10, 0x11], false, "interframe"),
            (Codec::Vp8, &[], false, "empty"),
            (Codec::Vp9, &[0x8c, 0x81, 0x02], true, "begin and end of a frame, 15-bit id"),
            (Codec::Vp9, &[0xcc, 0x81, 0x02], false, "predicted"),
            (Codec::Vp9, &[0xa8, 0x01, 0x00, 0x00], true, "lowest spatial layer"),
            (Codec::Vp9, &[0xa8, 0x01, 0x02, 0x00], false, "second spatial layer"),
            (Codec::Vp9, &[0x80, 0x01], false, "not the first packet"),
            (Codec::H264, &[0x67, 0x42], true, "SPS"),
            (Codec::H264, &[0x65, 0x88], false, "IDR without SPS"),
            (Codec::H264, &[0x78, 0, 1, 0x09, 0, 2, 0x67, 0x42], true, "STAP-A with an SPS second"),
            (Codec::H264, &[0x78, 0, 9, 0x67], false, "STAP-A cut short"),
            (Codec::H264, &[0x7c, 0x87], true, "FU-A start of an SPS"),
            (Codec::H264, &[0x7c, 0x07], false, "FU-A middle"),
            (Codec::H264, &[0x41, 0x9a], false, "slice"),
            (Codec::H265, &[0x40, 0x01], true, "VPS"),
            (Codec::H265, &[0x42, 0x01], false, "SPS, which follows upon a VPS"),
            (Codec::H265, &[0x60, 0x01, 0, 2, 0x40, 0x01, 0, 2, 0x42, 0x01], true, "aggregate of VPS and SPS"),
            (Codec::H265, &[0x62, 0x01, 0xa0], true, "fragment start of VPS"),
            (Codec::H265, &[0x62, 0x01, 0x93], false, "fragment start of an IDR slice without VPS"),
            (Codec::H265, &[0x02, 0x01], false, "trailing picture"),
            (Codec::Av1, &[0x18, 0x0a], true, "new coded video sequence"),
            (Codec::Av1, &[0x10, 0x32], false, "goes on"),
        ];
        for (codec, payload, expected, what) in cases {
            assert_eq!(starts_keyframe(codec, payload), expected, "{codec:?}: {what}");
        }
    }

    #[test]
    fn requests_are_merged_limited_and_repeated_until_a_keyframe_comes() {
        let mut request = KeyframeRequest::default();
        assert_eq!(request.next_at(), None);
        request.want();
        request.want();
        assert!(request.take_due(Time::from_millis(10)));
        assert!(!request.take_due(Time::from_millis(10)));
        assert_eq!(request.next_at(), Some(Time::from_millis(510)));
        assert!(request.take_due(Time::from_millis(510)), "none came");
        request.satisfy();
        assert_eq!(request.next_at(), None);
        request.want();
        assert_eq!(request.next_at(), Some(Time::from_millis(1010)), "the limit holds across keyframes");
    }

    #[test]
    fn nobody_is_asked_for_what_nobody_waits_for() {
        let mut request = KeyframeRequest::default();
        request.want();
        assert!(request.take_due(Time::from_millis(10)));
        request.give_up();
        assert_eq!(request.next_at(), None);
        request.want();
        assert_eq!(request.next_at(), Some(Time::from_millis(510)), "the limit holds for who comes next");
    }

    #[test]
    fn a_publisher_that_does_not_answer_is_asked_less_often() {
        let mut request = KeyframeRequest::default();
        request.want();
        let mut asked = 0;
        while let Some(next) = request.next_at().filter(|next| *next < Time::from_millis(60_000)) {
            asked += u32::from(request.take_due(next));
        }
        assert_eq!(asked, 8 + 18);
    }

    proptest! {
        #[test]
        fn any_payload_is_judged(payload in proptest::collection::vec(any::<u8>(), 0..40)) {
            for codec in [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::H265, Codec::Av1] {
                starts_keyframe(codec, &payload);
            }
        }
    }
}
