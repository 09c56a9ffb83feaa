use calls_recorder::screen::VideoCodec;
use calls_recorder::{Codec, Event, Options, ParticipantKey, TrackKey};

use crate::file::{File, onsets};
use crate::people::{CLEAN, Path, Sender, World, beeps, flashes, time};

/// Lip-sync that people do not notice, in seconds.
const LIMIT: f64 = 0.04;

fn options(codec: VideoCodec) -> Options {
    Options { video: Some(codec), ..Options::default() }
}

/// Flashes and the beeps beside them: when each began, in seconds.
fn flashes_and_beeps(file: &File) -> Vec<(f64, f64)> {
    let beeps = onsets(&file.sound());
    let pictures = file.pictures();
    let mut flashes = Vec::new();
    for pair in pictures.windows(2) {
        if pair[0].light < 100.0 && pair[1].light > 200.0 {
            flashes.push(pair[1].at);
        }
    }
    let nearest = |flash: f64| beeps.iter().copied().min_by(|a, b| (a - flash).abs().total_cmp(&(b - flash).abs()));
    flashes.into_iter().filter_map(|flash| Some((flash, nearest(flash)?))).collect()
}

#[track_caller]
fn assert_in_sync(file: &File, at_least: usize) {
    let both = flashes_and_beeps(file);
    assert!(both.len() >= at_least, "{} of {at_least}: {both:?}", both.len());
    let most = both.iter().map(|(flash, beep)| (flash - beep).abs()).fold(0.0, f64::max);
    println!("{} flashes, at most {:.0} ms from their beeps", both.len(), most * 1000.0);
    assert!(most < LIMIT, "{both:?}");
}

/// One person with a voice and a screen.
fn person(world: &mut World, codec: Codec, voice: Path, screen: Path, ppm: f64) {
    let participant = ParticipantKey(1);
    world.join(Sender { path: voice, ppm, ..Sender::voice(1, beeps()) });
    // The flash belongs to the beep, so the screen's pictures come when the device's clock says so.
    world.join(Sender { participant, path: screen, ppm, wall: 17.0, ..Sender::screen(2, codec, flashes(codec)) });
}

#[test]
fn every_codec_is_in_sync_on_a_bad_network() {
    for (codec, video) in [(Codec::Vp8, VideoCodec::Vp8), (Codec::Vp9, VideoCodec::Vp9), (Codec::Av1, VideoCodec::Av1)]
    {
        let mut world = World::new(options(video));
        let voice = Path { delay: 0.04, jitter: 0.08, loss: 0.05 };
        // Pictures wait for their place on a narrow path; a lost one would stay away until the next keyframe.
        let screen = Path { delay: 0.12, jitter: 0.05, loss: 0.0 };
        person(&mut world, codec, voice, screen, 200.0);
        world.run_until(20.0);
        assert!(world.events.iter().any(|(_, event)| *event == Event::Shown { track: Some(TrackKey(2)) }));
        let (file, finished) = world.finish(&format!("sync-{codec:?}"));
        assert!((198..=202).contains(&finished.counters.pictures), "{:?}", finished.counters);
        assert_in_sync(&file, 9);
    }
}

#[test]
fn sync_survives_muting_late_joining_and_a_clock_that_is_set() {
    let mut world = World::new(options(VideoCodec::Vp8));
    world.run_until(4.0);
    person(&mut world, Codec::Vp8, Path { jitter: 0.05, ..CLEAN }, Path { jitter: 0.05, ..CLEAN }, -100.0);
    world.run_until(10.0);
    world.recording.set_muted(time(world.now), TrackKey(1), true);
    world.run_until(12.5);
    world.recording.set_muted(time(world.now), TrackKey(1), false);
    // The sender's wall clock is set right by an hour.
    for sender in &mut world.senders {
        sender.wall += 3600.0;
    }
    world.run_until(30.0);
    let (file, _) = world.finish("sync-muted");
    let both = flashes_and_beeps(&file);
    // The beep at 11 s was muted.
    let heard: Vec<_> = both.iter().filter(|(flash, _)| !(10.5..11.5).contains(flash)).collect();
    assert!(heard.len() >= 11, "{both:?}");
    assert!(heard.iter().all(|(flash, beep)| (flash - beep).abs() < LIMIT), "{both:?}");
}

#[test]
fn a_screen_that_loses_packets_is_in_sync_again_after_each_keyframe() {
    let mut world = World::new(options(VideoCodec::Vp9));
    let screen = Path { delay: 0.06, jitter: 0.03, loss: 0.02 };
    person(&mut world, Codec::Vp9, Path { loss: 0.02, ..CLEAN }, screen, 100.0);
    world.run_until(60.0);
    let asked = world.events.iter().filter(|(_, event)| matches!(event, Event::KeyframeWanted { .. })).count();
    assert!((3..60).contains(&asked), "{asked}");
    let (file, finished) = world.finish("sync-lossy");
    assert!(finished.counters.pictures < 600, "{:?}", finished.counters);
    assert_in_sync(&file, 8);
}
