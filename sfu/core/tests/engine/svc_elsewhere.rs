//! Several layers in one stream (SVC) between engines: relayed, and to sessions that move.

use std::time::Duration;

use sfu_core::engine::command::{Command, MediaKind, Target};
use sfu_core::id::TrackKey;
use sfu_core::transport::srtp::Profile;

use crate::encoder::{Mode, Telling};
use crate::moving::Way;
use crate::network::{Link, PERFECT};
use crate::svc::{SOURCE, VIDEO, camera, check, encoder, is_key, newest};
use crate::world::{World, scenario_at, scenario_near_and_far, subscription_key};

const GCM: Profile = Profile::AeadAes128Gcm;
const TRACK: u64 = 2;

/// What browsers send: AV1 and VP9, spatial layers that use each other in keyframes only (`L3T3_KEY`).
const SENT: [Telling; 3] = [Telling::Descriptor, Telling::Vp9, Telling::Vp9Flexible];

/// Client 1 publishes at site 0, from where site 1 gets it. Of those who receive it, 2 and 4 are at site 1 and 3 at
/// site 0.
fn call(world: &mut World, telling: Telling, mode: Mode) {
    publish(world, telling, mode);
    world.relay(1, TRACK, &[camera(telling, mode, 3, 3)], 1);
    for (number, site) in [(2, 1), (3, 0), (4, 1)] {
        join_at(world, site, number);
    }
}

fn publish(world: &mut World, telling: Telling, mode: Mode) {
    world.join(1, GCM);
    world.publish(1, TRACK, vec![camera(telling, mode, 3, 3)]);
    world.moving.tracks.entry(1).or_default().push(TrackKey(TRACK));
}

fn join_at(world: &mut World, site: usize, number: u64) {
    world.join_at(site, number, GCM);
    world.subscribe(number, TRACK, VIDEO.0, MediaKind::Video);
}

fn target(world: &mut World, number: u64, target: Target) {
    let site = world.site_of(number);
    world.command_at(site, Command::SetTarget { subscription: subscription_key(number, VIDEO.0), target });
}

fn keyframes(world: &World) -> u64 {
    world.clients[&1].sender_of(SOURCE).keyframes
}

/// Has everybody move, one after the other, so many times each, the publisher too.
fn move_everybody(world: &mut World, times: usize) {
    for turn in 0..times * 4 {
        let number = 1 + turn as u64 % 4;
        let way = if turn.is_multiple_of(3) { Way::Restart } else { Way::Candidate };
        world.begin_move(number, 1 - world.site_of(number), way);
        // Not in step with pictures, and with two under way at a time.
        world.run_for(Duration::from_millis(37));
        let next = 1 + (number % 4);
        while world.is_moving(next) {
            world.run_for(Duration::from_millis(1));
        }
    }
    world.settle_moves();
}

/// Every picture of the publisher came in full to all who want it so, once, and until now.
fn check_exact(world: &World, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        let pictures = check(world, number);
        let pair = pictures[8..].windows(2).find(|pair| pair[1].number != pair[0].number + 1);
        assert!(pair.is_none(), "client {number}: {pair:?}");
        assert!(pictures[8..].iter().all(|picture| picture.highest() == 2), "client {number}");
        let sent = encoder(world).log.values().last().expect("some").picture;
        let last = pictures.last().expect("some").number;
        assert!(last + 3 > sent, "client {number} got pictures until {last} of {sent}");
        if world.link.delay.is_zero() {
            assert_eq!(world.received(number, VIDEO).retransmitted, 0, "client {number}");
        }
    }
}

#[test]
fn layers_of_a_relayed_stream_are_chosen_where_it_is_received() {
    for telling in SENT {
        scenario_near_and_far(|world| {
            call(world, telling, Mode::Key);
            world.run_for(Duration::from_secs(2));
            for layer in [0, 2, 1, 0, 2] {
                let before = check(world, 2).len();
                target(world, 2, Target::Layer(layer));
                world.run_for(Duration::from_secs(2));
                let pictures = check(world, 2);
                assert!(newest(&pictures).iter().all(|picture| picture.highest() == layer), "{telling:?}");
                let changed = pictures[before - 1..].windows(2).find(|pair| pair[1].highest() == layer);
                let changed = changed.expect("it changed");
                assert!(is_key(world, &changed[1]) || changed[0].highest() == layer, "{changed:?}");
            }
            // The others get all of it, and every keyframe.
            check_exact(world, [3, 4]);
            assert_eq!(world.engine_at(1).stats().dropped.unsealable, 0);
        });
    }
}

#[test]
fn layers_of_a_relayed_stream_change_on_a_bad_network_without_a_gap() {
    for telling in SENT {
        scenario_near_and_far(|world| {
            call(world, telling, Mode::Key);
            world.run_for(Duration::from_secs(2));
            let bad = Link { delay: Duration::from_millis(10), jitter: Duration::from_millis(12), loss: 5, doubled: 2 };
            (world.up, world.down) = (bad, bad);
            for step in 0..20_u8 {
                target(world, 2, Target::Layer(step * 7 % 3));
                target(world, 3, Target::Layer(step * 5 % 3));
                world.run_for(Duration::from_millis(300));
            }
            (world.up, world.down) = (PERFECT, PERFECT);
            world.run_for(Duration::from_secs(2));
            for number in 2..=4 {
                let pictures = check(world, number);
                let changes = pictures.windows(2).filter(|pair| pair[0].highest() != pair[1].highest()).count();
                assert!(number == 4 || changes > 2, "{telling:?}: client {number} changed {changes} times");
                assert!(world.received(number, VIDEO).retransmitted > 50);
            }
        });
    }
}

#[test]
fn who_gets_layers_in_one_stream_moves_without_a_keyframe_and_so_does_their_publisher() {
    for mode in [Mode::Key, Mode::Full] {
        for telling in SENT {
            scenario_near_and_far(|world| {
                call(world, telling, mode);
                target(world, 4, Target::Layer(1));
                world.run_for(Duration::from_secs(2));
                let before = keyframes(world);
                move_everybody(world, 10);
                assert_eq!(world.moving.done, 40);
                check_exact(world, [2, 3]);
                let lower = check(world, 4);
                assert!(lower[8..].iter().all(|picture| picture.highest() == 1), "{telling:?}");
                assert!(lower[8..].windows(2).all(|pair| pair[1].number == pair[0].number + 1), "{telling:?}");
                assert_eq!(keyframes(world), before, "no move needs a keyframe");
                // Layers still change.
                for (number, layer) in [(2, 0), (3, 1), (4, 2)] {
                    target(world, number, Target::Layer(layer));
                }
                world.run_for(Duration::from_secs(2));
                for (number, layer) in [(2, 0), (3, 1), (4, 2)] {
                    assert!(newest(&check(world, number)).iter().all(|picture| picture.highest() == layer));
                }
            });
        }
    }
}

#[test]
fn a_session_moves_to_where_its_stream_with_layers_has_just_begun_to_come() {
    for telling in SENT {
        for delay in [0, 20] {
            scenario_at(2, |world| {
                world.link.delay = Duration::from_millis(delay);
                publish(world, telling, Mode::Key);
                join_at(world, 0, 2);
                // Long enough for frames to have more numbers than fit into 16 bits.
                world.run_for(Duration::from_secs(10));
                let before = keyframes(world);
                world.relay(1, TRACK, &[camera(telling, Mode::Key, 3, 3)], 1);
                world.begin_move(2, 1, Way::Candidate);
                world.settle_moves();
                world.run_for(Duration::from_secs(1));
                assert_eq!((world.site_of(2), keyframes(world)), (1, before), "{telling:?}");
                check_exact(world, [2]);
            });
        }
    }
}
