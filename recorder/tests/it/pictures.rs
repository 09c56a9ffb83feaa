use std::time::Duration;

use bytes::Bytes;
use calls_recorder::screen::VideoCodec;
use calls_recorder::{AddTrackError, Codec, Event, Kind, Options, ParticipantKey, Track, TrackKey};

use crate::file::{File, Picture};
use crate::people::{CLEAN, Path, Sender, World, pictures, time, tone};

const VP8: Options = Options {
    video: Some(VideoCodec::Vp8),
    delay: Duration::from_millis(800),
    bitrate: 48_000,
    keyframe_interval: Duration::from_secs(20),
};

/// A second of one light, of 16 to 235, in ten pictures of which the first is a keyframe.
fn light(codec: Codec, light: u8, size: &str) -> Vec<Bytes> {
    pictures(codec, &format!("color=gray:size={size}:rate=10:duration=1,geq=lum={light}:cb=128:cr=128"))
}

fn screen(key: u64, light_of: u8) -> Sender {
    Sender::screen(key, Codec::Vp8, light(Codec::Vp8, light_of, "160x90"))
}

/// The light of what is seen at a moment.
fn seen(pictures: &[Picture], at: f64) -> f64 {
    pictures.iter().rev().find(|picture| picture.at <= at).expect("something is seen").light
}

#[track_caller]
fn assert_seen(pictures: &[Picture], expected: &[(f64, f64)]) {
    for (at, light) in expected {
        let found = seen(pictures, *at);
        assert!((found - light).abs() < 10.0, "{found} instead of {light} at {at} s");
    }
}

fn shown(world: &World) -> Vec<Option<u64>> {
    let shown = world.events.iter().filter_map(|(_, event)| match event {
        Event::Shown { track } => Some(track.map(|track| track.0)),
        Event::KeyframeWanted { .. } => None,
    });
    shown.collect()
}

#[test]
fn it_is_black_before_and_after_a_screen() {
    for (codec, video) in [(Codec::Vp8, VideoCodec::Vp8), (Codec::Vp9, VideoCodec::Vp9), (Codec::Av1, VideoCodec::Av1)]
    {
        let mut world = World::new(Options { video: Some(video), ..VP8 });
        world.run_until(3.0);
        world.join(Sender::screen(1, codec, light(codec, 200, "160x90")));
        world.run_until(6.0);
        world.leave(1);
        world.run_until(11.0);
        let (file, _) = world.finish(&format!("black-{codec:?}"));
        assert_seen(
            &file.pictures(),
            &[(0.0, 16.0), (2.9, 16.0), (3.2, 200.0), (5.9, 200.0), (6.1, 16.0), (11.0, 16.0)],
        );
    }
}

#[test]
fn the_latest_share_wins_and_the_one_before_comes_back() {
    let mut world = World::new(VP8);
    world.join(screen(1, 80));
    world.run_until(3.0);
    world.join(screen(2, 200));
    world.run_until(6.0);
    world.recording.set_muted(time(world.now), TrackKey(2), true);
    world.run_until(9.0);
    world.recording.set_muted(time(world.now), TrackKey(2), false);
    world.run_until(12.0);
    world.leave(2);
    world.run_until(14.0);
    assert_eq!(shown(&world), [Some(1), Some(2), None, Some(1), Some(2), None, Some(1)]);
    let (file, _) = world.finish("latest");
    // Until the keyframe of the other comes, at most a second here, it is black.
    let expected =
        [(0.5, 80.0), (2.9, 80.0), (3.2, 200.0), (5.9, 200.0), (7.2, 80.0), (8.9, 80.0), (10.2, 200.0), (13.3, 80.0)];
    assert_seen(&file.pictures(), &expected);
}

#[test]
fn after_a_lost_packet_nothing_is_seen_until_the_next_keyframe() {
    let mut world = World::new(VP8);
    let light = pictures(Codec::Vp8, "color=gray:size=160x90:rate=10:duration=4");
    world.join(Sender::screen(1, Codec::Vp8, light));
    world.run_until(2.55);
    world.senders[0].path = Path { loss: 1.0, ..CLEAN };
    world.run_until(2.65);
    world.senders[0].path = CLEAN;
    world.run_until(6.0);
    let asked: Vec<f64> = world
        .events
        .iter()
        .filter(|(_, event)| *event == Event::KeyframeWanted { track: TrackKey(1) })
        .map(|(at, _)| *at)
        .collect();
    assert!(asked[0] > 3.1 && asked[0] < 3.3, "half a second after the next picture: {asked:?}");
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] > 0.99), "no more than once a second: {asked:?}");
    let (file, finished) = world.finish("lossy-screen");
    let times = file.packets("v");
    let lacks = times.iter().all(|at| !(2.65..3.95).contains(at));
    assert!(lacks, "pictures between the lost one and the keyframe: {times:?}");
    assert!(times.iter().any(|at| (4.0..4.1).contains(at)), "the keyframe: {times:?}");
    assert_eq!(finished.counters.pictures_left_out, 0);
}

#[test]
fn a_first_picture_that_takes_seconds_to_come_is_seen_and_asked_for_once() {
    let mut world = World::new(VP8);
    let mut light = pictures(Codec::Vp8, "color=gray:size=160x90:rate=10:duration=12");
    // Decoders do not read what is behind a picture; the network carries it.
    let large = [&light[0][..], &vec![0; 400_000]].concat();
    light[0] = Bytes::from(large);
    world.join(Sender { width: 1.5e6 / 8.0, ..Sender::screen(1, Codec::Vp8, light) });
    world.run_until(10.0);
    assert_eq!(world.events, [(world.events[0].0, Event::Shown { track: Some(TrackKey(1)) })], "no keyframe wanted");
    assert!((2.0..2.5).contains(&world.events[0].0), "{:?}", world.events);
    let (file, finished) = world.finish("large");
    assert!((95..=100).contains(&finished.counters.pictures), "{:?}", finished.counters);
    assert!(seen(&file.pictures(), 3.0) > 100.0);
}

#[test]
fn a_picture_may_change_its_size() {
    let mut world = World::new(VP8);
    let mut both = light(Codec::Vp8, 80, "160x90");
    both.extend(light(Codec::Vp8, 200, "320x240"));
    world.join(Sender::screen(1, Codec::Vp8, both));
    world.run_until(4.0);
    let (file, _) = world.finish("sizes");
    assert_seen(&file.pictures(), &[(0.5, 80.0), (1.5, 200.0), (2.5, 80.0), (3.5, 200.0)]);
}

#[test]
fn what_the_file_cannot_have_is_refused_and_the_sound_goes_on() {
    let mut world = World::new(VP8);
    let track = |codec| Track { participant: ParticipantKey(1), name: String::new(), kind: Kind::Screen { codec } };
    let refused = world.recording.add_track(time(0.0), TrackKey(5), track(Codec::H264)).expect_err("no MP4");
    assert_eq!(refused.to_string(), "a WebM file cannot have pictures of H264");
    let refused = world.recording.add_track(time(0.0), TrackKey(6), track(Codec::Vp9)).expect_err("another");
    assert!(matches!(refused, AddTrackError::OtherCodec { track: VideoCodec::Vp9, file: VideoCodec::Vp8 }));
    world.join(Sender::voice(1, tone(400.0, 0.3)));
    world.run_until(2.0);
    let (file, _) = world.finish("refused");
    assert!(file.sound().len() > 90_000);
}

#[test]
fn a_call_of_voices_alone_has_no_picture() {
    let mut world = World::new(Options { video: None, ..VP8 });
    world.join(Sender::voice(1, tone(400.0, 0.3)));
    world.join(screen(2, 80));
    world.run_until(2.0);
    let (file, _) = world.finish("voices-alone");
    assert_eq!(file.probe()["streams"].as_array().expect("streams").len(), 1);
    assert_eq!(File::packets(&file, "v").len(), 0);
}
