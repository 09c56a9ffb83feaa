//! An engine dies, and another one goes on with its sessions from what was written down up to five seconds before.

use std::collections::BTreeMap;
use std::time::Duration;

use sfu_core::engine::command::{Command, Feed};
use sfu_core::engine::handoff::SessionCheckpoint;
use sfu_core::id::{PeerKey, TransportKey};
use sfu_core::media::random::Random;
use sfu_core::time::Time;

use crate::moves::{PEOPLE, PUBLISHERS, call, copies, tracks};
use crate::network::PERFECT;
use crate::stun;
use crate::world::{World, udp_to};

type Written = BTreeMap<u64, Vec<u8>>;

/// Writes down all sessions of a site, as it would be sent to another machine.
fn checkpoint(world: &mut World, site: usize) -> Written {
    let here: Vec<u64> = world.sites.iter().filter(|(_, at)| **at == site).map(|(number, _)| *number).collect();
    let mut write = |number: u64| {
        let checkpoint = world.engine_at(site).checkpoint(TransportKey(number)).expect("it is its owner");
        serde_json::to_vec(&checkpoint).expect("it can be written")
    };
    here.into_iter().map(|number| (number, write(number))).collect()
}

/// A site dies, and the other one takes its sessions over. Their clients check the new address.
fn take_over(world: &mut World, written: &Written, site: usize, epoch: u32) {
    world.kill(site);
    // Who takes over a session has the tracks it gets, relayed or not.
    for mut track in written.keys().filter(|number| **number <= PUBLISHERS).flat_map(|number| tracks(*number)) {
        track.feed = Feed::Peer(PeerKey(site as u32));
        world.command_at(1 - site, Command::Publish(Box::new(track)));
    }
    for (number, written) in written {
        let checkpoint: SessionCheckpoint = serde_json::from_slice(written).expect("what was written");
        let (now, ice) = (world.now, world.clients[number].ice.clone());
        world.engine_at(1 - site).take_over(now, checkpoint, epoch, ice.clone()).expect("it follows");
        world.drain(1 - site);
        world.sites.insert(*number, 1 - site);
        let path = udp_to(1 - site, *number, 50_000);
        world.clients.get_mut(number).expect("joined").path = path;
        world.send_to_server(path, &stun::check(&ice, true));
    }
}

/// Since then, everybody got everything of everybody.
fn check_media(world: &World, crashed: Time) {
    for number in 1..=PEOPLE {
        for publisher in (1..=PUBLISHERS).filter(|publisher| *publisher != number) {
            for (ssrc, limit) in copies(publisher).into_iter().zip([45, 130]) {
                let packets = world.received(number, ssrc).packets.values();
                let back = packets.map(|packet| packet.at).find(|at| *at > crashed + PERFECT.delay);
                let back = back.map(|at| at.since(crashed));
                // A check and its way, the next packet and its way; a keyframe is asked for with another way to and fro.
                let is_soon = back.is_some_and(|back| back <= Duration::from_millis(limit));
                assert!(is_soon, "{number} got {ssrc:?} back after {back:?}");
            }
        }
    }
}

/// Has the other site relay to the one that is new.
fn relay_again(world: &mut World, site: usize) {
    for track in (1..=PUBLISHERS).flat_map(tracks) {
        world.relay_described(track, 1 - site, site);
    }
}

#[test]
fn after_a_crash_media_is_back_within_a_check_and_no_nonce_is_used_twice() {
    let mut world = World::with_sites(2, Some(Random::new(3)));
    call(&mut world);
    let mut random = Random::new(11);
    let mut site = 0;
    for epoch in 1..=10 {
        let written = checkpoint(&mut world, site);
        world.run_for(Duration::from_millis(random.next() % 5_000));
        let crashed = world.now;
        take_over(&mut world, &written, site, epoch);
        world.run_for(Duration::from_secs(2));
        check_media(&world, crashed);
        relay_again(&mut world, site);
        site = 1 - site;
    }
    for site in 0..2 {
        let stats = *world.engine_at(site).stats();
        assert_eq!((stats.dropped.unsealable, stats.dropped.forged), (0, 0));
    }
}

#[test]
fn two_crashes_after_one_checkpoint_use_no_nonce_twice() {
    let mut world = World::with_sites(2, Some(Random::new(3)));
    call(&mut world);
    let all: Written = [0, 1].into_iter().flat_map(|site| checkpoint(&mut world, site)).collect();
    let first = all.iter().filter(|(number, _)| world.sites[number] == 0).map(|(n, w)| (*n, w.clone())).collect();
    world.run_for(Duration::from_secs(3));
    take_over(&mut world, &first, 0, 1);
    world.run_for(Duration::from_secs(1));
    // The one that took over dies before it has written anything down.
    let crashed = world.now;
    for number in world.sites.clone().into_keys() {
        world.sites.insert(number, 1);
    }
    take_over(&mut world, &all, 1, 2);
    world.run_for(Duration::from_secs(2));
    for number in 1..=PEOPLE {
        let [audio, _] = copies(if number == 1 { 2 } else { 1 });
        let last = world.received(number, audio).packets.values().last().expect("it came").at;
        assert!(last > crashed + Duration::from_secs(1), "{number}");
    }
    assert_eq!(world.engine_at(0).stats().dropped.unsealable, 0);
}

#[test]
fn a_checkpoint_is_taken_over_in_a_later_epoch_or_not_at_all() {
    let mut world = World::with_sites(2, None);
    call(&mut world);
    let written = checkpoint(&mut world, 0);
    let (number, bytes) = written.first_key_value().expect("somebody is there");
    let (now, ice) = (world.now, world.clients[number].ice.clone());
    for (site, epoch, expected) in [
        (1, 0, "epoch 0 does not follow epoch 0 of the checkpoint"),
        (1, 8, "epoch 8 does not follow epoch 0 of the checkpoint"),
        (0, 1, "transport is here already"),
    ] {
        let checkpoint: SessionCheckpoint = serde_json::from_slice(bytes).expect("what was written");
        let refused = world.engine_at(site).take_over(now, checkpoint, epoch, ice.clone());
        assert_eq!(refused.expect_err("it must not be").to_string(), expected);
    }
}

#[test]
fn a_checkpoint_is_a_few_kilobytes() {
    let mut world = World::with_sites(2, None);
    call(&mut world);
    let largest = checkpoint(&mut world, 0).values().map(Vec::len).max().expect("somebody is there");
    println!("{largest} bytes of JSON");
    assert!(largest < 24 * 1024, "{largest}");
}
