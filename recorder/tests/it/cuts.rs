use calls_recorder::screen::VideoCodec;
use calls_recorder::{Codec, Options};

use crate::file::File;
use crate::people::{CLEAN, Chance, Path, Sender, World, beeps, flashes, time};

#[test]
fn a_file_cut_anywhere_opens_and_lacks_two_seconds_at_most() {
    const CUTS: usize = 100;
    let mut world = World::new(Options { video: Some(VideoCodec::Vp8), ..Options::default() });
    world.join(Sender { path: Path { jitter: 0.05, ..CLEAN }, ..Sender::voice(1, beeps()) });
    world.join(Sender::screen(2, Codec::Vp8, flashes(Codec::Vp8)));
    // What the file's length was at which time.
    let mut grown = Vec::new();
    for tenth in 1..=300 {
        world.run_until(f64::from(tenth) / 10.0);
        grown.push((world.bytes.len(), world.now));
    }
    let header = grown[0].0;
    let mut chance = Chance(11);
    let mut lacking: f64 = 0.0;
    for cut in 0..CUTS {
        // A moment at which the recorder dies, and how much of its last piece has arrived.
        let at = (25 + chance.next() as usize % 270).min(grown.len() - 1);
        let (length, now) = grown[at];
        let torn = (chance.part() * (grown[(at + 9).min(grown.len() - 1)].0 - length) as f64) as usize;
        let file = File::new(&format!("cut-{cut}"), world.bytes[..length + torn].to_vec());
        assert!(length > header, "nothing after {now} s");
        let last = file.packets("a").last().copied().expect("sound");
        lacking = lacking.max(now - last);
        assert!(!file.packets("v").is_empty());
        if cut % 10 == 0 {
            assert!(file.sound().len() as f64 / 48_000.0 > now - 2.0);
            assert!(file.pictures().last().expect("pictures").at > now - 2.1);
        }
    }
    println!("{CUTS} cuts lack {lacking:.2} s at most");
    assert!(lacking <= 2.0, "{lacking}");
}

#[test]
fn a_finished_file_knows_its_duration_and_where_to_seek() {
    let mut world = World::new(Options { video: Some(VideoCodec::Vp9), ..Options::default() });
    world.join(Sender::voice(1, beeps()));
    world.run_until(5.0);
    world.join(Sender::screen(2, Codec::Vp9, flashes(Codec::Vp9)));
    world.run_until(21.0);
    let (file, finished) = world.finish("finished");
    assert_eq!(finished.duration.as_millis(), 21_000);
    let probe = file.probe();
    assert_eq!(probe["format"]["duration"], "21.000000");
    assert_eq!(probe["format"]["format_name"], "matroska,webm");
    assert_eq!(
        (probe["streams"][0]["codec_name"].as_str(), probe["streams"][0]["width"].as_u64()),
        (Some("vp9"), Some(1920))
    );
    assert_eq!(probe["streams"][1]["codec_name"], "opus");
    // Without its patches and its tail it is what a store has that cannot go back.
    let blocks = file.blocks();
    assert!(blocks.windows(2).all(|pair| pair[1].time + 20 >= pair[0].time), "in order");
    let videos: Vec<u64> = blocks.iter().filter(|block| block.track == 1).map(|block| block.time).collect();
    assert!(videos.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(blocks.iter().any(|block| block.track == 1 && block.keyframe));
}

#[test]
fn a_file_without_its_end_can_still_know_how_long_it_is() {
    let mut world = World::new(Options::default());
    world.join(Sender::voice(1, beeps()));
    world.run_until(6.0);
    let finished = world.recording.finish(time(world.now));
    let mut bytes = world.bytes;
    for patch in finished.patches.iter().filter(|patch| !patch.of_end) {
        let offset = patch.offset as usize;
        bytes[offset..offset + patch.bytes.len()].copy_from_slice(&patch.bytes);
    }
    let file = File::new("endless", bytes);
    assert_eq!(file.probe()["format"]["duration"], "6.000000");
    assert!(file.sound().len() > 4 * 48_000);
}
