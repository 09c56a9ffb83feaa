use calls_recorder::screen::VideoCodec;
use calls_recorder::{Codec, Kind, NtpTime, Options, ParticipantKey, Recording, Track, TrackKey};
use proptest::prelude::*;
use sfu_core::id::Ssrc;
use sfu_core::media::rtp::write_header;

use crate::file::File;
use crate::people::{Chance, OPUS, RED, time};

/// What somebody may do to a recording.
#[derive(Debug, Clone)]
enum Act {
    Packet { track: u64, payload_type: u8, step: u16, timestamp: u32, ssrc: u32, payload: Vec<u8> },
    Bytes { track: u64, bytes: Vec<u8> },
    Report { track: u64, bits: u64, timestamp: u32 },
    Add { track: u64, kind: Kind },
    Remove { track: u64 },
    Mute { track: u64, muted: bool },
    Wait { millis: u64 },
}

fn act() -> impl Strategy<Value = Act> {
    let track = || 0..5_u64;
    let kind = prop_oneof![
        Just(Kind::Voice { redundant: Some(RED) }),
        Just(Kind::Screen { codec: Codec::Vp8 }),
        Just(Kind::Screen { codec: Codec::Vp9 }),
        Just(Kind::Screen { codec: Codec::Av1 }),
    ];
    let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
    let payload_type = || prop_oneof![Just(OPUS), Just(RED)];
    prop_oneof![
        20 => (track(), payload_type(), 0..4_u16, any::<u32>(), 0..2_u32, bytes()).prop_map(
            |(track, payload_type, step, timestamp, ssrc, payload)| {
                // Most timestamps are near one another, most streams have one source.
                let timestamp = if timestamp % 4 == 0 { timestamp } else { timestamp % 20_000 };
                let ssrc = u32::from(ssrc == 1 && timestamp % 8 == 0);
                Act::Packet { track, payload_type, step, timestamp, ssrc, payload }
            }
        ),
        2 => (track(), bytes()).prop_map(|(track, bytes)| Act::Bytes { track, bytes }),
        2 => (track(), any::<u64>(), any::<u32>())
            .prop_map(|(track, bits, timestamp)| Act::Report { track, bits, timestamp }),
        2 => (track(), kind).prop_map(|(track, kind)| Act::Add { track, kind }),
        1 => track().prop_map(|track| Act::Remove { track }),
        1 => (track(), any::<bool>()).prop_map(|(track, muted)| Act::Mute { track, muted }),
        5 => (1..100_u64).prop_map(|millis| Act::Wait { millis }),
    ]
}

fn track(kind: Kind) -> Track {
    Track { participant: ParticipantKey(1), name: "Somebody".to_owned(), kind }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn nothing_on_the_wire_ends_a_recording_or_makes_it_larger_than_time_allows(
        codec in prop_oneof![Just(VideoCodec::Vp8), Just(VideoCodec::Vp9), Just(VideoCodec::Av1)],
        acts in proptest::collection::vec(act(), 1..300),
    ) {
        let mut recording = Recording::new(Options { video: Some(codec), ..Options::default() }, time(0.0)).expect("begun");
        let (mut millis, mut sequence, mut taken, mut written) = (0, 65_530_u16, 0, 0);
        for act in acts {
            let now = time(millis as f64 / 1000.0);
            match act {
                Act::Packet { track, payload_type, step, timestamp, ssrc, payload } => {
                    sequence = sequence.wrapping_add(step);
                    let mut packet = Vec::new();
                    write_header(&mut packet, payload_type, step > 1, sequence, timestamp, Ssrc(ssrc));
                    packet.extend_from_slice(&payload);
                    taken += packet.len();
                    recording.handle_rtp(now, TrackKey(track), &packet);
                }
                Act::Bytes { track, bytes } => recording.handle_rtp(now, TrackKey(track), &bytes),
                Act::Report { track, bits, timestamp } => {
                    recording.handle_sender_report(now, TrackKey(track), NtpTime::from_bits(bits), timestamp);
                }
                Act::Add { track: key, kind } => {
                    // A screen of another codec is refused.
                    let _ = recording.add_track(now, TrackKey(key), track(kind));
                }
                Act::Remove { track } => recording.remove_track(now, TrackKey(track)),
                Act::Mute { track, muted } => recording.set_muted(now, TrackKey(track), muted),
                Act::Wait { millis: passed } => millis += passed,
            }
            recording.advance(time(millis as f64 / 1000.0));
            while let Some(bytes) = recording.poll_output() { written += bytes.len() }
            while recording.poll_event().is_some() {}
        }
        let finished = recording.finish(time(millis as f64 / 1000.0));
        while let Some(bytes) = recording.poll_output() { written += bytes.len() }
        prop_assert!(finished.duration.as_millis() as u64 <= millis + 20);
        // Sound and black have a rate, pictures no more than came.
        let most = 3000 + 2 * taken + (millis as usize + 1000) * 20;
        prop_assert!(written < most, "{written} bytes of {taken} in {millis} ms");
    }
}

#[test]
fn a_file_of_garbage_still_plays() {
    let mut recording = Recording::new(Options::default(), time(0.0)).expect("begun");
    recording.add_track(time(0.0), TrackKey(1), track(Kind::Voice { redundant: None })).expect("added");
    let mut chance = Chance(5);
    let mut bytes = Vec::new();
    for step in 0..250_u32 {
        let now = time(f64::from(step) * 0.02);
        let mut packet = Vec::new();
        write_header(&mut packet, OPUS, false, step as u16, step * 960, Ssrc(1));
        packet.extend((0..chance.next() % 100).map(|_| chance.next() as u8));
        recording.handle_rtp(now, TrackKey(1), &packet);
        recording.advance(now);
        bytes.extend(std::iter::from_fn(|| recording.poll_output()).flatten());
    }
    recording.finish(time(5.0));
    bytes.extend(std::iter::from_fn(|| recording.poll_output()).flatten());
    let file = File::new("garbage", bytes);
    assert_eq!(file.own_sound().len() / 48_000, 4);
    assert!(file.sound().iter().all(|sample| sample.abs() < 1.2));
}
