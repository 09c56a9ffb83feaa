use bytes::Bytes;
use calls_recorder::screen::VideoCodec;
use calls_recorder::{Codec, Options};

use crate::people::{CLEAN, Path, Sender, World, encode, pictures};

/// Part of a CPU that a recording may take, in a build that is not optimised for it and beside other tests.
const MOST: f64 = 0.1;

/// Ten voices, of which `n_speaking` speak and the others send silence, and a screen of 1080 lines, for a minute: which part of
/// a CPU recording takes.
fn cost(n_speaking: usize, screen: &[Bytes]) -> f64 {
    const SECONDS: f64 = 60.0;
    let mut world = World::new(Options { video: Some(VideoCodec::Vp8), ..Options::default() });
    for voice in 0..10 {
        let loudness = if voice < n_speaking { 0.1 } else { 0.0 };
        let hertz = 150.0 + 20.0 * voice as f64;
        // Harmonics that come and go, as vowels do.
        let packets = encode(4.0, true, |at| {
            let vowel = 0.5 + 0.5 * (7.0 * at).sin();
            let sum: f64 =
                (1..12).map(|n| (std::f64::consts::TAU * hertz * f64::from(n) * at).sin() / f64::from(n)).sum();
            loudness * vowel * sum
        });
        world.join(Sender { path: Path { jitter: 0.02, ..CLEAN }, ..Sender::voice(voice as u64 + 1, packets) });
    }
    world.join(Sender::screen(100, Codec::Vp8, screen.to_vec()));
    world.run_until(SECONDS);
    let busy = world.busy;
    let (file, finished) = world.finish("cost");
    assert!(finished.counters.pictures > 500 && file.bytes.len() > 1 << 20);
    busy.as_secs_f64() / SECONDS
}

#[test]
fn ten_voices_and_a_screen_take_a_small_part_of_a_cpu() {
    let screen = pictures(Codec::Vp8, "testsrc2=size=1920x1080:rate=10:duration=1");
    for n_speaking in [1, 10] {
        let cost = cost(n_speaking, &screen);
        println!("10 voices, {n_speaking} of them speaking, and a screen of 1080 lines: {cost:.3} CPU");
        assert!(cost < MOST, "{cost}");
    }
}
