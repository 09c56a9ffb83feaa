//! A large picture does not hold up what must not wait. The scenarios print rows of the table of `adaptation`.

use std::time::Duration;

use sfu_core::engine::command::{Command, MediaKind, Priority, Target};
use sfu_core::id::{Ssrc, SubscriptionKey};
use sfu_core::time::Time;
use sfu_core::transport::srtp::Profile;

use crate::client::Sender;
use crate::network::{Bottleneck, Carried};
use crate::world::{World, scenario, subscription};

const GCM: Profile = Profile::AeadAes128Gcm;
const AUDIO: Ssrc = Ssrc(100);
const CAMERA: Ssrc = Ssrc(200);
const SCREEN: Ssrc = Ssrc(300);

/// Audio, a camera that finds out what the path carries, and a screen whose keyframes have 300 kB. Client 2 is behind
/// 2 Mb/s, with a queue of a third of a second.
fn call(world: &mut World) {
    world.pacing = Duration::from_micros(300);
    world.join(1, GCM);
    world.publish(1, 1, vec![Sender::audio(11, "0")]);
    world.publish(1, 2, vec![camera(21, "q", 300), camera(22, "f", 2_500)]);
    let mut screen = Sender::video(31, "2", None);
    (screen.packets_per_frame, screen.packets_per_keyframe, screen.filling) = (1, Some(240), 1_150);
    world.publish(1, 3, vec![screen]);
    world.join(2, GCM);
    world.narrow(&[2], Bottleneck::new(2_000_000, 80_000));
    world.subscribe(2, 1, AUDIO.0, MediaKind::Audio);
    world.run_for(Duration::from_secs(1));
}

/// A layer of this rate, 25 pictures a second.
fn camera(ssrc: u32, rid: &'static str, kilobits: usize) -> Sender {
    let frame = kilobits * 1000 / 8 / 25;
    let packets = frame.div_ceil(1_150);
    let mut sender = Sender::video(ssrc, "1", Some(rid));
    (sender.packets_per_frame, sender.filling) = (packets as u8, frame / packets - 100);
    sender
}

/// The camera's high layer does not fit, and so what the path carries is found; then its low one is enough.
fn learn(world: &mut World) {
    world.subscribe(2, 2, CAMERA.0, MediaKind::Video);
    world.run_for(Duration::from_secs(10));
    let low = Command::SetTarget { subscription: SubscriptionKey(u64::from(CAMERA.0)), target: Target::Layer(0) };
    world.command(low);
    world.run_for(Duration::from_secs(3));
}

/// What became of the audio since then: the longest wait, and how many packets were lost.
fn audio_since(world: &World, from: Time) -> (Duration, usize) {
    let audio = || world.bottlenecks[0].log.iter().filter(|c: &&Carried| c.at >= from && c.ssrc == AUDIO.0);
    let lost = audio().filter(|carried| carried.waited.is_none()).count();
    (audio().filter_map(|carried| carried.waited).max().unwrap_or_default(), lost)
}

/// Shows the screen, beginning with a keyframe. Returns what became of the audio, and when the keyframe had come.
fn show_screen(world: &mut World, name: &str) -> (Duration, usize, Option<Duration>) {
    let from = world.now;
    let mut described = subscription(2, 3, SCREEN.0, MediaKind::Video);
    described.priority = Priority::Screen;
    let client = world.clients.get_mut(&2).expect("joined");
    client.received.entry(SCREEN).or_default();
    client.repairs.insert(described.rtx_ssrc.expect("video"), SCREEN);
    world.command(Command::Subscribe(Box::new(described)));
    world.run_for(Duration::from_secs(4));
    let (waited, lost) = audio_since(world, from);
    let packets = &world.received(2, SCREEN).packets;
    let of_keyframe = packets.values().filter(|packet| packet.content.is_some_and(|content| content.part < 240));
    let first = of_keyframe.clone().find_map(|packet| packet.content).map(|content| content.frame);
    let all: Vec<_> = of_keyframe.filter(|packet| packet.content.map(|content| content.frame) == first).collect();
    let whole = all.iter().map(|packet| packet.at.since(from)).max().filter(|_| all.len() == 240);
    world.tell(format!(
        "{name:<44} audio waited at most {:>4} ms, lost {lost:>2}; the picture was whole after {whole:?}",
        waited.as_millis(),
    ));
    (waited, lost, whole)
}

#[test]
fn a_large_keyframe_neither_delays_nor_drops_audio() {
    scenario(|world| {
        call(world);
        learn(world);
        let (waited, lost, whole) = show_screen(world, "300 kB over 2 Mb/s, paced");
        assert_eq!(lost, 0);
        assert!(waited <= Duration::from_millis(60), "{waited:?}");
        assert!(whole.is_some_and(|whole| whole <= Duration::from_millis(2_500)), "{whole:?}");
        assert_eq!(world.received(2, SCREEN).gaps(), Vec::<u64>::new());
    });
}

#[test]
fn without_feedback_of_the_client_nothing_is_paced() {
    scenario(|world| {
        call(world);
        world.clients.get_mut(&2).expect("joined").arrivals = None;
        let (waited, ..) = show_screen(world, "300 kB over 2 Mb/s, unpaced");
        assert!(waited >= Duration::from_millis(250), "or pacing is of no use: {waited:?}");
    });
}

#[test]
fn on_a_fast_path_a_picture_leaves_at_once() {
    scenario(|world| {
        call(world);
        world.bottlenecks[0].rate = 1_000_000_000;
        world.bottlenecks[0].queue = 10_000_000;
        world.pacing = Duration::ZERO;
        let from = world.now;
        let (waited, lost, whole) = show_screen(world, "300 kB over 1 Gb/s");
        assert!(waited < Duration::from_millis(5) && lost == 0 && whole.is_some());
        let log = world.bottlenecks[0].log.iter().filter(|c| c.at >= from && c.ssrc == SCREEN.0);
        let keyframe: Vec<_> = log.take(240).map(|carried| carried.at).collect();
        assert!(keyframe.iter().all(|at| *at == keyframe[0]), "one burst in, one burst out");
    });
}

#[test]
fn what_waits_is_not_sent_when_its_track_is_muted_or_its_subscription_ends() {
    scenario(|world| {
        call(world);
        learn(world);
        world.subscribe(2, 3, SCREEN.0, MediaKind::Video);
        world.run_for(Duration::from_millis(500));
        world.command(Command::SetMuted { track: sfu_core::id::TrackKey(3), muted: true });
        let muted = world.now;
        world.run_for(Duration::from_secs(1));
        let count = |world: &World, from: Time| {
            world.bottlenecks[0].log.iter().filter(|c| c.at > from && c.ssrc == SCREEN.0).count()
        };
        assert_eq!(count(world, muted), 0);
        world.command(Command::SetMuted { track: sfu_core::id::TrackKey(3), muted: false });
        world.run_for(Duration::from_millis(500));
        world.command(Command::Unsubscribe { subscription: SubscriptionKey(u64::from(SCREEN.0)) });
        let ended = world.now;
        world.run_for(Duration::from_secs(2));
        assert_eq!(count(world, ended), 0);
    });
}
