//! Simulcast: choosing and changing layers.

use std::time::Duration;

use sfu_core::engine::command::{Codec, Command, MediaKind, Target};
use sfu_core::id::{Ssrc, SubscriptionKey};
use sfu_core::transport::srtp::Profile;

use crate::client::{Arrived, Sender};
use crate::network::BAD;
use crate::payloads::{PICTURES, VP8};
use crate::world::{World, scenario, scenario_on_the_move};

const GCM: Profile = Profile::AeadAes128Gcm;

fn simulcast(world: &mut World) {
    simulcast_of(world, VP8);
}

fn simulcast_of(world: &mut World, payload_type: u8) {
    world.join(1, GCM);
    let layers = [(21, "q"), (22, "h"), (23, "f")].map(|(ssrc, rid)| {
        let mut sender = Sender::video(ssrc, "1", Some(rid));
        (sender.payload_type, sender.packets_per_keyframe) = (payload_type, Some(5));
        sender
    });
    world.publish(1, 2, layers.into());
    world.join(2, GCM);
    world.subscribe(2, 2, 200, MediaKind::Video);
}

fn target(world: &mut World, target: Target) {
    world.command(Command::SetTarget { subscription: SubscriptionKey(200), target });
}

fn newest_layer(world: &World) -> u32 {
    let last = world.received(2, Ssrc(200)).packets.values().rev().find_map(|packet| packet.content);
    last.expect("video came").ssrc.0
}

/// The stream looks like one encoder's: each change of layer at a keyframe, time and picture ids run on.
pub fn check_continuous(world: &World) -> usize {
    let received = world.received(2, Ssrc(200));
    assert_eq!(received.gaps(), Vec::<u64>::new());
    let packets: Vec<&Arrived> = received.packets.values().collect();
    let mut switches = 0;
    for pair in packets.windows(2) {
        let (Some(before), Some(after)) = (pair[0].content, pair[1].content) else { continue };
        let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp).cast_signed();
        assert!((0..=90_000 * 4).contains(&step), "time steps by {step} from {before:?} to {after:?}");
        let ids = pair[0].picture_id.zip(pair[1].picture_id);
        let picture_step = ids.map(|(a, b)| b.wrapping_sub(a) & 0x7fff);
        let indices = pair[0].base_index.zip(pair[1].base_index);
        let index_step = indices.map(|(a, b)| b.wrapping_sub(a));
        assert_eq!(pair[1].capture, after.frame.to_be_bytes(), "{after:?}");
        if before.ssrc == after.ssrc {
            assert!(before < after, "{before:?} before {after:?}");
        } else {
            switches += 1;
            assert!(pair[1].keyframe, "switched to {after:?} without a keyframe");
            assert!(picture_step.is_none_or(|step| step == 1), "{picture_step:?}");
            assert!(index_step.is_none_or(|step| step == 1), "{index_step:?}");
            assert!(step > 0);
        }
    }
    switches
}

#[test]
fn a_switch_waits_for_a_keyframe_and_cannot_be_seen() {
    for (codec, payload_type) in PICTURES {
        scenario_on_the_move(|world| {
            simulcast_of(world, payload_type);
            world.run_for(Duration::from_secs(3));
            assert_eq!(newest_layer(world), 23, "{codec:?}");
            for (layer, ssrc) in [(0, 21), (1, 22), (2, 23), (1, 22), (0, 21)] {
                target(world, Target::Layer(layer));
                world.run_for(Duration::from_secs(2));
                assert_eq!(newest_layer(world), ssrc, "{codec:?}");
            }
            assert!(check_continuous(world) >= 5);
            let numbered = world.received(2, Ssrc(200)).packets.values().filter(|packet| packet.picture_id.is_some());
            assert_eq!(numbered.count() > 0, matches!(codec, Codec::Vp8 | Codec::Vp9));
        });
    }
}

#[test]
fn time_runs_on_exactly_across_a_switch() {
    scenario_on_the_move(|world| {
        simulcast(world);
        world.run_for(Duration::from_secs(3));
        target(world, Target::Layer(0));
        world.run_for(Duration::from_secs(2));
        check_continuous(world);
        // Layers are captured together; by sender reports a frame of one layer has the time of the other's.
        let received = world.received(2, Ssrc(200));
        let of = |ssrc: u32| {
            let packet = received.packets.values().find(|packet| packet.content.is_some_and(|c| c.ssrc.0 == ssrc));
            let packet = packet.expect("that layer was forwarded");
            (packet.timestamp, packet.content.expect("checked").frame)
        };
        let ((high, high_frame), (low, low_frame)) = (of(23), of(21));
        let expected = high.wrapping_add((low_frame - high_frame) as u32 * 3600);
        assert!(low.wrapping_sub(expected).cast_signed().abs() <= 90, "{low} instead of {expected}");
    });
}

#[test]
fn sound_and_picture_stay_in_step_across_switches() {
    scenario_on_the_move(|world| {
        simulcast(world);
        world.publish(1, 1, vec![Sender::audio(11, "0")]);
        world.subscribe(2, 1, 100, MediaKind::Audio);
        world.run_for(Duration::from_secs(3));
        for layer in [0, 2, 1, 2, 0] {
            target(world, Target::Layer(layer));
            for _ in 0..6 {
                world.run_for(Duration::from_millis(700));
                let skew = world.skew(2, 100, 200);
                assert!(skew.abs() < 0.002, "{skew} s apart");
            }
        }
        assert!(check_continuous(world) >= 5);
    });
}

#[test]
fn random_switches_on_a_bad_network_lose_and_invent_nothing() {
    for (_, payload_type) in PICTURES {
        scenario_on_the_move(|world| {
            simulcast_of(world, payload_type);
            world.run_for(Duration::from_secs(2));
            (world.up, world.down) = (BAD, BAD);
            for step in 0..30_u8 {
                target(world, Target::Layer(step * 7 % 3));
                world.run_for(Duration::from_millis(300));
            }
            (world.up, world.down) = (crate::network::PERFECT, crate::network::PERFECT);
            world.run_for(Duration::from_secs(2));
            assert!(check_continuous(world) > 5);
        });
    }
}

#[test]
fn a_layer_that_falls_silent_gives_way_to_the_next_lower() {
    scenario(|world| {
        simulcast(world);
        world.run_for(Duration::from_secs(2));
        world.clients.get_mut(&1).expect("joined").sender(Ssrc(23)).active = false;
        world.run_for(Duration::from_secs(5));
        assert_eq!(newest_layer(world), 22);
        let now = world.now;
        let sender = world.clients.get_mut(&1).expect("joined").sender(Ssrc(23));
        (sender.active, sender.next_frame) = (true, now);
        world.run_for(Duration::from_secs(2));
        assert_eq!(newest_layer(world), 23);
        check_continuous(world);
    });
}

#[test]
fn a_layer_the_publisher_gives_up_is_left_at_once() {
    scenario(|world| {
        simulcast(world);
        world.run_for(Duration::from_secs(2));
        world.clients.get_mut(&1).expect("joined").sender(Ssrc(23)).active = false;
        world.run_for(Duration::from_millis(900));
        assert_eq!(newest_layer(world), 22, "the others go on without it");
        let last = |world: &World| world.received(2, Ssrc(200)).packets.len();
        let before = last(world);
        world.run_for(Duration::from_millis(500));
        assert!(last(world) > before);
        check_continuous(world);
    });
}

#[test]
fn layers_that_stand_still_together_are_all_kept() {
    scenario(|world| {
        simulcast(world);
        world.run_for(Duration::from_secs(2));
        let ask = |world: &World| world.clients[&1].plis.len();
        let before = ask(world);
        // A screen without movement: a picture a second, of all layers.
        for _ in 0..5 {
            for (active, time) in [(false, 960), (true, 40)] {
                let now = world.now;
                for ssrc in [21, 22, 23] {
                    let sender = world.clients.get_mut(&1).expect("joined").sender(Ssrc(ssrc));
                    (sender.active, sender.next_frame) = (active, now);
                }
                world.run_for(Duration::from_millis(time));
            }
        }
        assert_eq!(newest_layer(world), 23);
        assert_eq!(ask(world), before, "nobody changed");
    });
}

#[test]
fn nobody_asks_for_a_layer_that_nobody_waits_for_any_more() {
    scenario(|world| {
        simulcast(world);
        world.run_for(Duration::from_secs(2));
        target(world, Target::Layer(0));
        world.run_for(Duration::from_secs(1));
        // The highest layer is wanted again while the publisher has just given it up …
        world.clients.get_mut(&1).expect("joined").sender(Ssrc(23)).active = false;
        target(world, Target::HIGHEST);
        world.run_for(Duration::from_millis(200));
        // … and then not.
        target(world, Target::Off);
        world.run_for(Duration::from_secs(1));
        let before = world.clients[&1].plis.len();
        world.run_for(Duration::from_secs(20));
        assert_eq!(world.clients[&1].plis.len(), before);
    });
}

#[test]
fn off_means_off_and_on_begins_with_a_keyframe() {
    scenario_on_the_move(|world| {
        simulcast(world);
        world.run_for(Duration::from_secs(2));
        target(world, Target::Off);
        world.run_for(Duration::from_secs(1));
        let before = world.received(2, Ssrc(200)).packets.len();
        world.run_for(Duration::from_secs(1));
        assert_eq!(world.received(2, Ssrc(200)).packets.len(), before);
        target(world, Target::HIGHEST);
        world.run_for(Duration::from_secs(1));
        let received = world.received(2, Ssrc(200));
        assert!(received.packets.len() > before + 30);
        assert!(received.packets.values().nth(before).expect("it went on").keyframe);
        check_continuous(world);
    });
}

#[test]
fn many_wishes_for_a_keyframe_are_one_request() {
    scenario(|world| {
        simulcast(world);
        for number in 3..=12 {
            world.join(number, GCM);
            world.subscribe(number, 2, 200, MediaKind::Video);
        }
        world.run_for(Duration::from_secs(2));
        let before = world.clients[&1].plis.len();
        for number in 2..=12 {
            for _ in 0..5 {
                let client = world.clients.get_mut(&number).expect("joined");
                let (path, pli) = (client.path, client.picture_loss(Ssrc(200)));
                world.deliver_to_server(path, pli);
            }
        }
        world.run_for(Duration::from_millis(400));
        assert_eq!(world.clients[&1].plis.len(), before + 1);
        let plis = &world.clients[&1].plis;
        for layer in 21..=23 {
            let times: Vec<_> = plis.iter().filter(|(_, ssrc)| ssrc.0 == layer).map(|(at, _)| *at).collect();
            assert!(times.windows(2).all(|pair| pair[1].since(pair[0]) >= Duration::from_millis(499)), "{times:?}");
        }
    });
}
