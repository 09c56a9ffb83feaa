//! Audio with earlier frames beside each, for those whose networks lose packets.

use std::collections::BTreeSet;
use std::time::Duration;

use sfu_core::engine::command::Command;
use sfu_core::id::Ssrc;
use sfu_core::media::rtcp::{self, ReportBlock};
use sfu_core::transport::srtp::Profile;

use crate::client::{Arrived, OPUS, RED, Sender};
use crate::network::{Bottleneck, BurstLoss, Link, PERFECT};
use crate::world::{World, description, scenario, scenario_at, scenario_on_the_move};

const GCM: Profile = Profile::AeadAes128Gcm;
pub const AUDIO: Ssrc = Ssrc(100);
const MICROPHONE: Ssrc = Ssrc(11);

/// Client 1 speaks; 2 and 3 listen and take redundancy, and ask for nothing that is lost.
fn call(world: &mut World) {
    world.join(1, GCM);
    world.publish(1, 1, vec![Sender::audio(MICROPHONE.0, "0")]);
    for number in 2..=3 {
        world.join(number, GCM);
        world.subscribe_redundant(number, 1, AUDIO.0);
        world.clients.get_mut(&number).expect("joined").nacks = false;
    }
    world.run_for(Duration::from_secs(1));
}

/// A listener reports that it lost this part of the packets, in 256ths.
pub fn report(world: &mut World, number: u64, fraction_lost: u8) {
    let mut report = Vec::new();
    let block = ReportBlock {
        ssrc: AUDIO,
        fraction_lost,
        // Ten a second.
        total_lost: (world.now.as_micros() / 100_000) as u32,
        highest_sequence: 0,
        jitter: 0,
        last_sender_report: 0,
        delay_since_last_sender_report: 0,
    };
    rtcp::write_receiver_report(&mut report, Ssrc(1), &[block]);
    let client = world.clients.get_mut(&number).expect("joined");
    let (path, datagram) = (client.path, client.seal_rtcp(report));
    world.deliver_to_server(path, datagram);
}

/// What came last.
pub fn newest(world: &World, number: u64, count: usize) -> impl Iterator<Item = &Arrived> {
    world.received(number, AUDIO).packets.values().rev().take(count)
}

/// Payload types of what came in the last second and a half.
pub fn payload_types(world: &World, number: u64) -> BTreeSet<u8> {
    newest(world, number, 70).map(|packet| packet.payload_type).collect()
}

/// Parts in a thousand of the frames since `from` that a listener had, with the redundancy and without.
pub fn heard(world: &World, number: u64, from: u64) -> (usize, usize) {
    let sent = world.clients[&1].sender_of(MICROPHONE).frame - 10;
    let packets = || world.received(number, AUDIO).packets.values();
    let plain: BTreeSet<u64> = packets().filter_map(|packet| Some(packet.content?.frame)).collect();
    let earlier = packets().flat_map(|packet| &packet.earlier).map(|(_, content)| content.frame);
    let all: BTreeSet<u64> = plain.iter().copied().chain(earlier).collect();
    let part = |frames: &BTreeSet<u64>| frames.range(from..sent).count() * 1000 / (sent - from) as usize;
    (part(&all), part(&plain))
}

/// Every frame came once as itself, and whatever was beside one was what had been said then.
pub fn check_nothing_is_doubled(world: &World, number: u64) {
    let packets = world.received(number, AUDIO).packets.values();
    let frames: Vec<u64> = packets.clone().filter_map(|packet| Some(packet.content?.frame)).collect();
    assert!(frames.is_sorted_by(|a, b| a < b), "a frame came twice, or before an earlier one");
    let timestamps: Vec<u32> = packets.clone().map(|packet| packet.timestamp).collect();
    assert!(timestamps.is_sorted_by(|a, b| b.wrapping_sub(*a).cast_signed() > 0));
    for packet in packets {
        let Some(content) = packet.content else { continue };
        for (age, earlier) in &packet.earlier {
            assert_eq!(u64::from(*age), 960 * (content.frame - earlier.frame), "{packet:?}");
        }
    }
}

#[test]
fn who_loses_packets_gets_earlier_ones_again_and_others_do_not() {
    scenario(|world| {
        call(world);
        let both = |world: &World| (payload_types(world, 2), payload_types(world, 3));
        assert_eq!(both(world), (BTreeSet::from([OPUS]), BTreeSet::from([OPUS])));
        report(world, 2, 10);
        world.run_for(Duration::from_secs(2));
        assert_eq!(both(world), (BTreeSet::from([RED]), BTreeSet::from([OPUS])));
        for packet in newest(world, 2, 50) {
            let content = packet.content.expect("whole");
            let [(age, earlier)] = packet.earlier[..] else { panic!("{packet:?}") };
            assert_eq!((age, earlier.frame), (960, content.frame - 1));
        }
        report(world, 2, 40);
        world.run_for(Duration::from_millis(200));
        let ages: Vec<u32> = newest(world, 2, 1).flat_map(|packet| &packet.earlier).map(|(age, _)| *age).collect();
        assert_eq!(ages, [1920, 960]);
        for _ in 0..12 {
            world.run_for(Duration::from_secs(1));
            report(world, 2, 0);
        }
        world.run_for(Duration::from_secs(2));
        assert_eq!(payload_types(world, 2), BTreeSet::from([OPUS]), "its network is good again");
        assert!(world.engine().stats().redundancy.sent > 500);
    });
}

#[test]
fn bursts_of_loss_are_made_good() {
    scenario(|world| {
        call(world);
        world.narrow(&[2], Bottleneck::new(10_000_000, 80_000));
        world.bottlenecks[0].loss = Some(BurstLoss { begins: 100, ends: 700 });
        report(world, 2, 40);
        let from = world.clients[&1].sender_of(MICROPHONE).frame + 5;
        for _ in 0..30 {
            world.run_for(Duration::from_secs(1));
            report(world, 2, 40);
        }
        let (with, without) = heard(world, 2, from);
        println!("of a thousand frames {with} were there, {without} without redundancy");
        assert!(without < 920 && with >= 980, "{with} {without}");
    });
}

#[test]
fn what_a_client_asks_for_again_is_enough_to_know_that_it_loses_packets() {
    scenario_on_the_move(|world| {
        call(world);
        // Retransmissions make its reports look as if nothing was lost, and come too late to be heard.
        world.clients.get_mut(&2).expect("joined").nacks = true;
        world.run_for(Duration::from_secs(1));
        world.down = Link { loss: 5, ..PERFECT };
        world.run_for(Duration::from_secs(4));
        assert!(payload_types(world, 2).contains(&RED), "after four seconds");
        assert_eq!(payload_types(world, 3), BTreeSet::from([OPUS]), "it never asks, and reports no loss");
        let from = world.clients[&1].sender_of(MICROPHONE).frame;
        world.run_for(Duration::from_secs(20));
        let without = heard(world, 3, from).1;
        let with = heard(world, 2, from).0;
        assert!(without < 970 && with >= 995, "{with} {without}");
        world.down = PERFECT;
        world.run_for(Duration::from_secs(14));
        assert_eq!(payload_types(world, 2), BTreeSet::from([OPUS]), "its network is good again");
        check_nothing_is_doubled(world, 2);
    });
}

#[test]
fn one_packet_lost_now_and_then_changes_nothing() {
    scenario(|world| {
        call(world);
        world.clients.get_mut(&2).expect("joined").nacks = true;
        for _ in 0..10 {
            world.run_for(Duration::from_secs(4));
            world.down = Link { loss: 100, ..PERFECT };
            world.run_for(Duration::from_millis(20));
            world.down = PERFECT;
        }
        world.run_for(Duration::from_secs(1));
        assert_eq!(world.engine().stats().redundancy.sent, 0);
        let gaps = world.received(2, AUDIO).gaps();
        assert_eq!(gaps.len(), 1, "they were sent again, but for the first: nobody had asked before");
    });
}

#[test]
fn what_is_lost_before_it_comes_here_is_not_made_good_after() {
    scenario(|world| {
        call(world);
        let mut publish = description(1, 1, &[Sender::audio(MICROPHONE.0, "0")]);
        publish.nack = false;
        world.command(Command::Publish(Box::new(publish)));
        world.clients.get_mut(&2).expect("joined").nacks = true;
        world.up = Link { loss: 10, ..PERFECT };
        world.run_for(Duration::from_secs(20));
        assert!(world.received(2, AUDIO).gaps().len() > 50);
        let stats = world.engine().stats();
        assert!(stats.feedback.nacks_received > 50);
        assert_eq!(stats.redundancy.sent, 0, "it would help nobody");
    });
}

#[test]
fn numbers_run_on_while_redundancy_comes_and_goes() {
    scenario_on_the_move(|world| {
        call(world);
        for round in 0..5 {
            report(world, 2, if round % 2 == 0 { 10 } else { 60 });
            world.run_for(Duration::from_secs(12));
        }
        let received = world.received(2, AUDIO);
        assert_eq!(received.gaps(), Vec::<u64>::new());
        let types: Vec<u8> = received.packets.values().map(|packet| packet.payload_type).collect();
        let changes = types.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert_eq!(changes, 10, "on and off, five times");
        check_nothing_is_doubled(world, 2);
        assert!(received.packets.len() >= 3_000);
    });
}

#[test]
fn silence_is_neither_repeated_nor_has_it_anything_beside_it() {
    scenario(|world| {
        call(world);
        report(world, 2, 40);
        world.run_for(Duration::from_millis(500));
        let silent = world.now;
        world.clients.get_mut(&1).expect("joined").sender(MICROPHONE).silent = true;
        world.run_for(Duration::from_millis(500));
        let packets = || world.received(2, AUDIO).packets.values();
        let later = packets().filter(|packet| packet.at > silent + Duration::from_millis(100));
        assert!(later.clone().count() > 10);
        assert!(later.clone().all(|packet| packet.payload_type == OPUS && packet.earlier.is_empty()));
    });
}

#[test]
fn nothing_from_before_a_pause_is_repeated_after_it() {
    scenario(|world| {
        call(world);
        report(world, 2, 40);
        world.run_for(Duration::from_millis(500));
        // With DTX, a browser sends a packet every 400 ms: more than an offset can tell.
        let sender = world.clients.get_mut(&1).expect("joined").sender(MICROPHONE);
        sender.period = Duration::from_millis(400);
        let paused = world.now + Duration::from_millis(100);
        world.run_for(Duration::from_secs(3));
        let packets = || world.received(2, AUDIO).packets.values();
        let later = packets().filter(|packet| packet.at > paused);
        assert!(later.clone().count() >= 6);
        assert!(later.clone().all(|packet| packet.payload_type == OPUS && packet.earlier.is_empty()));
        check_nothing_is_doubled(world, 2);
    });
}

#[test]
fn who_publishes_may_want_no_redundancy() {
    scenario(|world| {
        call(world);
        let mut publish = description(1, 1, &[Sender::audio(MICROPHONE.0, "0")]);
        publish.redundancy = false;
        world.command(Command::Publish(Box::new(publish)));
        report(world, 2, 40);
        world.run_for(Duration::from_secs(2));
        assert_eq!(payload_types(world, 2), BTreeSet::from([OPUS]));
    });
}

#[test]
fn what_another_engine_relays_is_repeated_too() {
    scenario_at(2, |world| {
        world.join(1, GCM);
        let microphone = || vec![Sender::audio(MICROPHONE.0, "0")];
        world.publish(1, 1, microphone());
        world.relay(1, 1, &microphone(), 1);
        for number in 2..=3 {
            world.join_at(1, number, GCM);
            world.subscribe_redundant(number, 1, AUDIO.0);
        }
        world.run_for(Duration::from_secs(1));
        report(world, 2, 40);
        world.run_for(Duration::from_secs(2));
        assert_eq!(payload_types(world, 2), BTreeSet::from([RED]));
        assert_eq!(payload_types(world, 3), BTreeSet::from([OPUS]));
        assert!(newest(world, 2, 50).all(|packet| packet.earlier.len() == 2));
        check_nothing_is_doubled(world, 2);
        assert_eq!(world.received(2, AUDIO).gaps(), Vec::<u64>::new());
    });
}
