//! What a subscriber gets follows what its network carries. Scenarios print rows of the [`table`](crate::table).

use std::time::Duration;

use sfu_core::engine::command::{Command, MediaKind, Priority, Subscribe, Target};
use sfu_core::engine::event::Event;
use sfu_core::id::{Ssrc, SubscriptionKey};
use sfu_core::time::Time;
use sfu_core::transport::srtp::Profile;

use crate::client::Sender;
use crate::network::{Bottleneck, BurstLoss, Carried};
use crate::table::{Row, longest_wait_since, rate_since, since};
use crate::world::{World, scenario, scenario_on_the_move, subscription};

const GCM: Profile = Profile::AeadAes128Gcm;
const AUDIO: Ssrc = Ssrc(100);
const CAMERA: Ssrc = Ssrc(200);

/// Video of this rate, in packets of at most 1200 bytes, 25 frames a second.
fn video(ssrc: u32, mid: &'static str, rid: Option<&'static str>, kilobits: usize) -> Sender {
    let frame = kilobits * 1000 / 8 / 25;
    let packets = frame.div_ceil(1150);
    // Header, extensions, descriptor and content of a simulated packet take about a hundred bytes.
    let mut sender = Sender::video(ssrc, mid, rid);
    (sender.packets_per_frame, sender.filling) = (packets as u8, frame / packets - 100);
    sender
}

/// Client 1 publishes audio and a camera of 300 kb/s and 2.5 Mb/s; client 2 gets both over a link of 10 Mb/s that holds
/// a third of a second at 1 Mb/s.
fn call(world: &mut World) {
    world.pacing = Duration::from_millis(2);
    world.join(1, GCM);
    world.publish(1, 1, vec![Sender::audio(11, "0")]);
    world.publish(1, 2, vec![video(21, "1", Some("q"), 300), video(22, "1", Some("f"), 2_500)]);
    world.join(2, GCM);
    world.narrow(&[2], Bottleneck::new(10_000_000, 80_000));
    world.subscribe(2, 1, AUDIO.0, MediaKind::Audio);
    world.subscribe(2, 2, CAMERA.0, MediaKind::Video);
    world.run_for(Duration::from_secs(4));
}

/// Packets of the 2.5 Mb/s layer are the only ones of this size.
const HIGH_LAYER: usize = 1_050;

/// When packets of the camera's high layer were sent, counted from a moment.
fn high(world: &World, from: Time) -> impl DoubleEndedIterator<Item = Duration> {
    let is_high = |carried: &&Carried| carried.ssrc == CAMERA.0 && carried.bytes >= HIGH_LAYER;
    since(world, from).filter(is_high).map(move |carried| carried.at.since(from))
}

/// A row about what client 2 sees of the camera.
fn row(world: &World, name: &'static str, from: Time) -> Row {
    Row::new(world, name, from, &[(2, CAMERA)])
}

fn set_rate(world: &mut World, rate: u64) -> Time {
    world.bottlenecks[0].rate = rate;
    world.now
}

/// Nothing of the audio was lost.
fn check_audio(world: &World) {
    assert_eq!(world.received(2, AUDIO).gaps(), Vec::<u64>::new());
}

/// When the camera was paused and resumed.
fn pauses(world: &World) -> Vec<(bool, Time)> {
    let of = |(at, event): &(Time, Event)| match event {
        Event::SubscriptionPaused { subscription: SubscriptionKey(200) } => Some((true, *at)),
        Event::SubscriptionResumed { subscription: SubscriptionKey(200) } => Some((false, *at)),
        _ => None,
    };
    world.events.iter().filter_map(of).collect()
}

#[test]
fn a_layer_that_does_not_fit_is_left_within_300_ms_and_is_back_5_s_after_the_link_healed() {
    scenario_on_the_move(|world| {
        call(world);
        world.tell(row(world, "300 kb/s and 2.5 Mb/s: at first", Time::from_millis(2_000)));
        assert_eq!(world.clients[&2].padding, 0, "a path that carries everything is not probed");
        let narrowed = set_rate(world, 1_000_000);
        world.run_for(Duration::from_secs(10));
        let left = high(world, narrowed).next_back();
        world.tell(row(world, "  narrowed", narrowed));
        let healed = set_rate(world, 10_000_000);
        world.run_for(Duration::from_secs(8));
        let back = high(world, healed).next();
        world.tell(row(world, "  healed", healed).back(back));
        world.tell(format!("  high layer left after {left:?}"));
        assert!(world.clients[&2].padding > 0);
        check_audio(world);
        assert!(left.is_some_and(|left| left <= Duration::from_millis(300)), "{left:?}");
        assert!(back.is_some_and(|back| back <= Duration::from_secs(5)), "{back:?}");
        assert!(longest_wait_since(world, healed) <= Duration::from_millis(50));
        assert_eq!(pauses(world), []);
    });
}

#[test]
fn a_layer_that_does_not_fit_is_left_and_comes_back_in_time_whenever_the_link_changes() {
    let mut slowest = [Duration::ZERO; 2];
    for phase in 0..40_u64 {
        let world = &mut World::new(None);
        call(world);
        world.run_for(Duration::from_millis(phase * 31));
        let narrowed = set_rate(world, 1_000_000);
        world.run_for(Duration::from_millis(10_000 + phase * 67));
        let left = high(world, narrowed).next_back().expect("it was there");
        let healed = set_rate(world, 10_000_000);
        world.run_for(Duration::from_secs(8));
        let back = high(world, healed).next().expect("it comes back");
        check_audio(world);
        assert!(left <= Duration::from_millis(300), "{left:?} at phase {phase}");
        assert!(back <= Duration::from_secs(5), "{back:?} at phase {phase}");
        slowest = [slowest[0].max(left), slowest[1].max(back)];
    }
    println!("  high layer left after {:?} at the latest, back after {:?}", slowest[0], slowest[1]);
}

#[test]
fn video_is_paused_where_only_audio_fits_and_resumed_when_it_fits_again() {
    scenario_on_the_move(|world| {
        call(world);
        set_rate(world, 1_000_000);
        world.run_for(Duration::from_secs(3));
        let narrowed = set_rate(world, 200_000);
        world.run_for(Duration::from_secs(15));
        world.tell(row(world, "only audio fits", narrowed));
        let later = narrowed + Duration::from_secs(5);
        let healed = set_rate(world, 10_000_000);
        world.run_for(Duration::from_secs(10));
        world.tell(row(world, "  healed", healed).back(high(world, healed).next()));
        let pauses = pauses(world);
        let told: Vec<_> = pauses.iter().map(|(paused, at)| (*paused, at.since(narrowed))).collect();
        world.tell(format!("  paused and resumed: {told:?}"));
        check_audio(world);
        let [(true, paused), (false, resumed)] = pauses[..] else { panic!("{told:?}") };
        assert!(paused.since(narrowed) <= Duration::from_millis(1_500));
        assert!(resumed >= healed && resumed.since(healed) <= Duration::from_secs(5));
        let video_later = since(world, later).filter(|carried| carried.ssrc == CAMERA.0 && carried.at < healed);
        assert_eq!(video_later.count(), 0);
    });
}

#[test]
fn jitter_and_some_loss_in_bursts_do_not_take_the_picture_away() {
    scenario(|world| {
        call(world);
        world.bottlenecks[0].jitter = Duration::from_millis(20);
        world.bottlenecks[0].loss = Some(BurstLoss { begins: 4, ends: 250 });
        let began = world.now;
        world.run_for(Duration::from_secs(20));
        world.tell(row(world, "jitter of 20 ms, 1.6 % lost in bursts", began));
        // Where a path that was even begins to waver, the first moment cannot be told from a queue.
        assert!(rate_since(world, began) >= 2_000_000);
        assert!(rate_since(world, began + Duration::from_secs(5)) >= 2_400_000);
    });
}

#[test]
fn heavy_loss_without_delay_lowers_the_rate() {
    scenario(|world| {
        call(world);
        // A queue of eight packets is too short for delay to tell anything.
        world.bottlenecks[0].queue = 8_000;
        let narrowed = set_rate(world, 1_000_000);
        world.run_for(Duration::from_secs(10));
        let left = high(world, narrowed).next_back();
        world.tell(row(world, "1 Mb/s with a queue of 64 ms", narrowed));
        world.tell(format!("  high layer left after {left:?}"));
        assert!(left.is_some_and(|left| left <= Duration::from_secs(1)), "{left:?}");
        let later = world.now;
        world.run_for(Duration::from_secs(5));
        let lost: Vec<Ssrc> = since(world, later).filter(|c| c.waited.is_none()).map(|c| Ssrc(c.ssrc)).collect();
        assert!(lost.len() <= 8 && !lost.contains(&AUDIO), "more than what probes: {lost:?}");
    });
}

#[test]
fn beside_other_traffic_the_picture_goes_on_and_audio_is_not_lost() {
    scenario(|world| {
        call(world);
        world.bottlenecks[0].cross = 2_000_000;
        let began = set_rate(world, 3_000_000);
        world.run_for(Duration::from_secs(30));
        world.tell(row(world, "3 Mb/s beside 2 Mb/s on and off", began));
        check_audio(world);
        assert!(rate_since(world, began) >= 400_000);
    });
}

#[test]
fn a_screen_goes_before_faces() {
    scenario(|world| {
        call(world);
        let screen = Ssrc(300);
        world.publish(1, 3, vec![video(31, "2", None, 800)]);
        let mut described = subscription(2, 3, screen.0, MediaKind::Video);
        described.priority = Priority::Screen;
        world.command(Command::Subscribe(Box::new(described)));
        world.run_for(Duration::from_secs(3));
        let narrowed = set_rate(world, 1_300_000);
        world.run_for(Duration::from_secs(15));
        world.tell(row(world, "screen of 800 kb/s and camera", narrowed));
        let last = world.now;
        world.run_for(Duration::from_secs(5));
        let bytes = |ssrc: Ssrc| -> usize {
            since(world, last).filter(|carried| carried.ssrc == ssrc.0).map(|carried| carried.bytes).sum()
        };
        let (screen, camera) = (bytes(screen) * 8 / 5_000, bytes(CAMERA) * 8 / 5_000);
        world.tell(format!("  screen {screen} kb/s, camera {camera} kb/s"));
        assert!((750..=900).contains(&screen) && camera <= 350, "{screen} {camera}");
        check_audio(world);
    });
}

/// kb/s that each of these gets of the link, over a minute from 20 s on.
fn shares(world: &mut World, name: &'static str, seen: [(u64, Ssrc); 3]) -> [usize; 3] {
    world.run_for(Duration::from_secs(20));
    let began = world.now;
    world.run_for(Duration::from_mins(1));
    let row = Row::new(world, name, began, &seen);
    world.tell(&row);
    assert!(
        row.frozen() <= Duration::from_secs(6),
        "one may be paused for a moment where the lowest layers just fit: {row}"
    );
    seen.map(|(_, ssrc)| {
        let of_one = since(world, began).filter(|carried| carried.ssrc == ssrc.0);
        of_one.map(|carried| carried.bytes).sum::<usize>() * 8 / 60_000
    })
}

/// Layers of 300, 900 and 2500 kb/s that this client publishes as a track of its number.
fn publish_three_layers(world: &mut World, number: u64) {
    world.join(number, GCM);
    let layers = [(1, "q", 300), (2, "h", 900), (3, "f", 2_500)];
    let ssrc = 20 * number as u32;
    world.publish(number, number, layers.map(|(at, rid, rate)| video(ssrc + at, "1", Some(rid), rate)).into());
}

/// Subscribes a client to a track. The copy's SSRC is told by both.
fn show(world: &mut World, number: u64, track: u64, priority: Priority) -> (u64, Ssrc) {
    let ssrc = CAMERA.0 + (10 * number + track) as u32;
    (number, world.subscribe_as(number, Subscribe { priority, ..subscription(number, track, ssrc, MediaKind::Video) }))
}

/// Three want the same over a link of this rate, and join so far apart.
fn three_receivers(world: &mut World, link: u64, apart: Duration, priority: Priority) -> [usize; 3] {
    world.pacing = Duration::from_millis(2);
    publish_three_layers(world, 1);
    for number in 2..=4 {
        world.join(number, GCM);
    }
    world.narrow(&[2, 3, 4], Bottleneck::new(link, link / 28));
    let seen = [2, 3, 4].map(|number| {
        let seen = show(world, number, 1, priority);
        world.run_for(apart);
        seen
    });
    shares(world, "three with 300, 900, 2500 kb/s share", seen)
}

/// One wants three screens over a link of this rate, which are shown so far apart.
fn three_screens(world: &mut World, link: u64, apart: Duration) -> [usize; 3] {
    world.pacing = Duration::from_millis(2);
    for number in 1..=3 {
        publish_three_layers(world, number);
    }
    world.join(4, GCM);
    world.narrow(&[4], Bottleneck::new(link, link / 28));
    let seen = [1, 2, 3].map(|track| {
        let seen = show(world, 4, track, Priority::Screen);
        world.run_for(apart);
        seen
    });
    shares(world, "three screens of 300, 900, 2500 kb/s", seen)
}

/// They differ by 20 % at most, and none has much less than the layer that fits.
fn check_shares(shares: [usize; 3], layer: usize) {
    let (least, most) = (shares.iter().min().expect("three"), shares.iter().max().expect("three"));
    assert!(most * 8 <= least * 10, "within 20 %: {shares:?}");
    assert!(least * 10 >= layer * 8, "the layer that fits, nearly all the time: {shares:?}");
}

/// Links of which a third is a layer, in kb/s, and a fifth more, or a little more than that.
const SHARED: [(u64, usize); 4] = [(1_200_000, 300), (3_400_000, 900), (3_800_000, 900), (9_000_000, 2_500)];

#[test]
fn three_who_share_a_link_get_the_same() {
    scenario(|world| {
        let shares = three_receivers(world, 3_400_000, Duration::ZERO, Priority::Camera);
        assert!(shares.iter().all(|share| *share >= 720), "{shares:?}");
    });
    for (link, layer) in SHARED {
        for apart in [0, 700, 1_300, 2_900, 4_100] {
            let world = &mut World::new(None);
            let shares = three_receivers(world, link, Duration::from_millis(apart), Priority::Camera);
            println!("  {apart} ms apart: {shares:?} kb/s");
            check_shares(shares, layer);
        }
    }
}

#[test]
fn three_who_share_a_link_get_the_same_of_a_screen() {
    for (link, layer) in SHARED {
        for apart in [0, 1_300] {
            let world = &mut World::new(None);
            let shares = three_receivers(world, link, Duration::from_millis(apart), Priority::Screen);
            println!("  a screen, {apart} ms apart: {shares:?} kb/s");
            check_shares(shares, layer);
        }
    }
}

/// Layers are steps: on 5 Mb/s one screen would have 2500 kb/s and the others 900, since what is left over for a step is
/// given to one rather than to nobody. So these are links on which there is not enough left for a step of one.
#[test]
fn three_screens_that_do_not_fit_all_get_the_same() {
    for (link, layer) in [(1_200_000, 300), (3_400_000, 900), (3_800_000, 900)] {
        for apart in [0, 1_300] {
            let world = &mut World::new(None);
            let shares = three_screens(world, link, Duration::from_millis(apart));
            println!("  {apart} ms apart: {shares:?} kb/s");
            check_shares(shares, layer);
        }
    }
}

#[test]
fn video_that_was_paused_while_nobody_wants_it_is_there_when_somebody_does() {
    scenario(|world| {
        call(world);
        world.bottlenecks[0].loss = Some(BurstLoss { begins: 600, ends: 700 });
        while pauses(world).is_empty() {
            assert!(world.now < Time::from_millis(30_000), "nothing was paused");
            world.run_for(Duration::from_millis(100));
        }
        let target = |target| Command::SetTarget { subscription: SubscriptionKey(200), target };
        world.command(target(Target::Off));
        world.bottlenecks[0].loss = None;
        world.run_for(Duration::from_secs(40));
        assert!(pauses(world).last().is_some_and(|(paused, _)| !*paused), "{:?}", pauses(world));
        world.command(target(Target::HIGHEST));
        let wanted = world.now;
        world.run_for(Duration::from_secs(5));
        let back =
            since(world, wanted).find(|carried| carried.ssrc == CAMERA.0).map(|carried| carried.at.since(wanted));
        assert!(back.is_some_and(|back| back <= Duration::from_secs(5)), "{back:?}");
    });
}
