use bytes::Bytes;
use calls_recorder::{Options, TrackKey};

use crate::file::{loudness, peak};
use crate::people::{CLEAN, Path, Sender, World, encode, tone};

/// Amplitudes that this differ from what was said are the codec's doing.
const ABOUT: std::ops::Range<f64> = 0.8..1.2;

#[test]
fn two_voices_are_both_heard() {
    let mut world = World::new(Options::default());
    world.join(Sender::voice(1, tone(400.0, 0.3)));
    world.join(Sender { ppm: 90.0, ..Sender::voice(2, tone(1000.0, 0.2)) });
    world.run_until(5.0);
    let (file, finished) = world.finish("two-voices");
    assert_eq!((finished.counters.late, finished.counters.dropped, finished.counters.concealed), (0, 0, 0));
    let sounds = [("ffmpeg", file.sound()), ("ours", file.own_sound())];
    for (whose, sound) in &sounds {
        assert!((239_000..241_000).contains(&sound.len()), "{whose}: {} samples", sound.len());
        for (hertz, expected) in [(400.0, 0.3), (1000.0, 0.2), (700.0, 0.0)] {
            let found = loudness(sound, hertz, 1.0, 4.8);
            let is_right = if expected == 0.0 { found < 0.01 } else { ABOUT.contains(&(found / expected)) };
            assert!(is_right, "{whose}: {hertz} Hz is {found}");
        }
    }
    let streams = file.probe()["streams"].as_array().expect("streams").clone();
    assert_eq!((streams.len(), streams[0]["codec_name"].as_str()), (1, Some("opus")));
}

#[test]
fn lost_packets_are_concealed() {
    let mut world = World::new(Options::default());
    let voice = encode(10.0, false, |at| 0.3 * (std::f64::consts::TAU * 400.0 * at).sin());
    let path = Path { jitter: 0.06, ..CLEAN };
    world.join(Sender { path, loses_every: 10, ..Sender::voice(1, voice) });
    world.run_until(10.0);
    let (file, finished) = world.finish("lost");
    let concealed = finished.counters.concealed;
    assert!((45_000..49_000).contains(&concealed), "a tenth of 480,000, not {concealed}");
    assert_eq!(finished.counters.late, 0);
    let sound = file.sound();
    // Holes would be a tenth of all. What libopus makes up of a tone is not always as loud.
    let loudness = |part: u32| loudness(&sound, 400.0, f64::from(part) / 100.0, f64::from(part + 1) / 100.0);
    let quiet = (50..970).filter(|part| loudness(*part) < 0.1).count();
    assert!(quiet < 25, "{quiet} of 920");
}

#[test]
fn redundancy_restores_what_is_lost() {
    let mut world = World::new(Options::default());
    let path = Path { loss: 0.05, jitter: 0.01, ..CLEAN };
    world.join(Sender { path, redundancy: true, ..Sender::voice(1, tone(400.0, 0.3)) });
    world.run_until(10.0);
    let (_, finished) = world.finish("redundancy");
    // Two in a row are lost once in 400.
    assert!(finished.counters.concealed < 5 * 960, "{:?}", finished.counters);
}

#[test]
fn what_is_muted_is_silence() {
    let mut world = World::new(Options::default());
    world.join(Sender::voice(1, tone(400.0, 0.3)));
    world.run_until(2.0);
    world.recording.set_muted(crate::people::time(world.now), TrackKey(1), true);
    world.run_until(4.0);
    world.recording.set_muted(crate::people::time(world.now), TrackKey(1), false);
    world.run_until(6.0);
    let (file, finished) = world.finish("muted");
    let sound = file.sound();
    assert!(ABOUT.contains(&(loudness(&sound, 400.0, 0.5, 1.5) / 0.3)));
    assert!(peak(&sound, 2.1, 3.95) < 0.01, "{}", peak(&sound, 2.1, 3.95));
    assert!(ABOUT.contains(&(loudness(&sound, 400.0, 4.2, 5.8) / 0.3)));
    assert_eq!(finished.counters.concealed, 0, "nothing was lost");
}

#[test]
fn who_joins_late_is_at_their_place() {
    let mut world = World::new(Options::default());
    world.run_until(3.0);
    world.join(Sender::voice(1, tone(400.0, 0.3)));
    world.run_until(6.0);
    let (file, finished) = world.finish("late");
    let sound = file.sound();
    assert!(peak(&sound, 0.0, 2.95) < 0.001);
    let begin = sound.iter().position(|sample| sample.abs() > 0.1).expect("a voice") as f64 / 48_000.0;
    // By arrival, because no report has come: 20 ms to fill a packet, 30 ms on the way.
    assert!((3.0..3.06).contains(&begin), "{begin}");
    assert!(finished.speakers.contains("\n00:00:03.0"), "{}", finished.speakers);
    assert!(finished.speakers.contains("<v Person 1>"), "{}", finished.speakers);
}

#[test]
fn who_leaves_is_heard_out() {
    let mut world = World::new(Options::default());
    world.join(Sender::voice(1, tone(400.0, 0.3)));
    world.run_until(2.0);
    world.leave(1);
    world.run_until(4.0);
    let (file, _) = world.finish("leaves");
    let sound = file.sound();
    assert!(ABOUT.contains(&(loudness(&sound, 400.0, 1.5, 1.9) / 0.3)), "what was said before leaving");
    assert!(peak(&sound, 2.1, 3.9) < 0.01);
}

#[test]
fn pauses_without_packets_are_silence_not_loss() {
    let mut world = World::new(Options::default());
    let mut packets = tone(400.0, 0.3);
    packets.extend(vec![Bytes::new(); 75]);
    world.join(Sender { path: Path { jitter: 0.1, ..CLEAN }, ..Sender::voice(1, packets) });
    world.run_until(10.0);
    let (file, finished) = world.finish("pauses");
    assert_eq!((finished.counters.concealed, finished.counters.late), (0, 0));
    let sound = file.sound();
    for begin in [0.0, 2.5, 5.0, 7.5] {
        let heard = loudness(&sound, 400.0, begin + 0.25, begin + 0.75);
        assert!(ABOUT.contains(&(heard / 0.3)), "{heard} from {begin}");
        assert!(peak(&sound, begin + 1.2, begin + 2.4) < 0.01);
    }
}

#[test]
fn ten_loud_voices_do_not_clip() {
    let mut world = World::new(Options::default());
    for voice in 0..10 {
        world.join(Sender::voice(voice + 1, tone(200.0 + 50.0 * voice as f64, 0.8)));
    }
    world.run_until(3.0);
    let (file, _) = world.finish("loud");
    let sound = file.sound();
    let loudest = peak(&sound, 0.0, 2.9);
    assert!((0.7..1.05).contains(&loudest), "{loudest}");
    // Clipped peaks would be tones that nobody made; these are between those of the voices.
    let others = [225.0, 275.0, 1450.0, 1650.0, 2150.0].map(|hertz| loudness(&sound, hertz, 1.0, 2.0));
    assert!(others.iter().all(|other| *other < 0.01), "{others:?}");
}

#[test]
fn who_said_nothing_cuts_nobodys_last_words() {
    let mut world = World::new(Options::default());
    world.join(Sender::voice(1, tone(400.0, 0.3)));
    for silent in 2..200 {
        world.join(Sender::voice(silent, vec![Bytes::new()]));
    }
    world.run_until(3.0);
    // All at once, as when the connection breaks; who speaks first.
    for key in 1..200 {
        world.leave(key);
    }
    world.run_until(5.0);
    let (file, _) = world.finish("last-words");
    let heard = loudness(&file.sound(), 400.0, 2.3, 2.9);
    assert!(ABOUT.contains(&(heard / 0.3)), "{heard}");
}
