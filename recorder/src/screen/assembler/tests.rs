use sfu_core::id::Ssrc;
use sfu_core::media::rtp::write_header;

use super::*;

/// A packet of VP8: what it begins, if anything, and whether it ends its frame.
#[derive(Clone, Copy)]
enum Begins {
    Keyframe,
    Frame,
    Nothing,
}

struct Stream {
    assembler: Assembler,
    now: u64,
}

impl Stream {
    fn new() -> Self {
        Self { assembler: Assembler::new(VideoCodec::Vp8), now: 1000 }
    }

    fn packet(&mut self, number: u16, timestamp: i64, begins: Begins, marker: bool) -> bool {
        let mut packet = Vec::new();
        write_header(&mut packet, 96, marker, number, timestamp as u32, Ssrc(1));
        packet.extend_from_slice(match begins {
            Begins::Keyframe => &[0x10, 0],
            Begins::Frame => &[0x10, 1],
            Begins::Nothing => &[0x00, 2],
        });
        let header = Header::parse(&packet).expect("ours");
        let received = Received { at: Time::from_millis(self.now), timestamp };
        self.assembler.handle_rtp(received, &header, header.payload.of(&packet))
    }

    /// Timestamps of the frames that can be taken.
    fn frames(&mut self) -> Vec<i64> {
        std::iter::from_fn(|| self.assembler.poll(Time::from_millis(self.now))).map(|frame| frame.timestamp).collect()
    }
}

#[test]
fn frames_leave_whole_and_in_order() {
    let mut stream = Stream::new();
    stream.packet(65_535, 0, Begins::Nothing, true);
    stream.packet(3, 3000, Begins::Frame, true);
    stream.packet(1, 0, Begins::Nothing, false);
    assert!(stream.frames().is_empty() && stream.assembler.needs_keyframe());
    stream.packet(0, 0, Begins::Keyframe, false);
    assert!(stream.frames().is_empty(), "its end is missing");
    stream.packet(2, 0, Begins::Nothing, true);
    assert_eq!(stream.frames(), [0, 3000]);
    assert!(!stream.packet(2, 0, Begins::Nothing, true), "doubled");
}

#[test]
fn after_a_loss_nothing_leaves_until_the_next_keyframe() {
    let mut stream = Stream::new();
    stream.packet(0, 0, Begins::Keyframe, true);
    stream.packet(2, 6000, Begins::Frame, true);
    stream.now += 499;
    stream.packet(3, 9000, Begins::Frame, true);
    assert_eq!(stream.frames(), [0]);
    assert!(!stream.assembler.needs_keyframe(), "it may still come");
    stream.now += 1;
    assert!(stream.frames().is_empty() && stream.assembler.needs_keyframe());
    stream.packet(1, 3000, Begins::Frame, true);
    stream.packet(4, 12_000, Begins::Keyframe, true);
    stream.packet(5, 15_000, Begins::Frame, true);
    assert_eq!(stream.frames(), [12_000, 15_000]);
}

#[test]
fn a_frame_whose_end_is_not_marked_ends_where_the_next_begins() {
    let mut stream = Stream::new();
    stream.packet(0, 0, Begins::Keyframe, false);
    stream.packet(1, 0, Begins::Nothing, false);
    stream.packet(2, 3000, Begins::Frame, true);
    assert_eq!(stream.frames(), [0, 3000]);
}

#[test]
fn what_waits_is_bounded() {
    let mut stream = Stream::new();
    stream.packet(0, 0, Begins::Keyframe, true);
    for number in 2..20_000_u16 {
        stream.packet(number, i64::from(number), Begins::Frame, true);
        assert!(stream.assembler.waiting.len() <= MOST_WAITING);
    }
}

#[test]
fn numbers_of_the_past_mean_a_new_beginning_after_a_while() {
    let mut stream = Stream::new();
    stream.packet(20_000, 0, Begins::Keyframe, true);
    assert_eq!(stream.frames(), [0]);
    for number in 0..BELIEVED_AFTER as u16 {
        assert!(!stream.packet(number, 3000, Begins::Frame, true));
    }
    assert!(stream.packet(500, 6000, Begins::Keyframe, true));
    assert_eq!(stream.frames(), [6000]);
}

#[test]
fn what_only_says_that_it_is_a_keyframe_is_none() {
    let mut assembler = Assembler::new(VideoCodec::Av1);
    // A new sequence, says the aggregation header (N); a frame alone, and one with its sequence header.
    for (number, payload) in [(0, &[0x18, 0x30, 1][..]), (1, &[0x28, 2, 0x08, 7, 0x30, 1])] {
        let mut packet = Vec::new();
        write_header(&mut packet, 96, true, number, u32::from(number) * 3000, Ssrc(1));
        packet.extend_from_slice(payload);
        let header = Header::parse(&packet).expect("ours");
        let received = Received { at: Time::ZERO, timestamp: i64::from(number) * 3000 };
        assert!(assembler.handle_rtp(received, &header, payload));
    }
    let frame = assembler.poll(Time::ZERO).expect("the second");
    assert_eq!((frame.timestamp, frame.picture.keyframe), (3000, true));
}
