//! Publishers that send redundant audio: what they repeat makes good what was lost on the way, for all who listen.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::time::Duration;

use sfu_core::engine::command::{Command, MediaKind};
use sfu_core::id::{AudioGroupKey, Ssrc, TrackKey};
use sfu_core::transport::srtp::Profile;

use crate::client::{OPUS, RED, Sender};
use crate::network::{Link, PERFECT};
use crate::redundancy::{AUDIO, check_nothing_is_doubled, heard, newest, payload_types, report};
use crate::world::{World, description, scenario, scenario_at, scenario_on_the_move};

const GCM: Profile = Profile::AeadAes128Gcm;
const MICROPHONE: Ssrc = Ssrc(11);

fn microphone(redundancy: usize) -> Sender {
    Sender::redundant(MICROPHONE.0, "0", redundancy)
}

/// Client 1 publishes redundant audio and is asked for nothing that is lost; 2 listens without redundancy, 3 with it.
fn call(world: &mut World, redundancy: usize) {
    world.join(1, GCM);
    let sender = microphone(redundancy);
    let mut publish = description(1, 1, std::slice::from_ref(&sender));
    publish.nack = false;
    world.clients.get_mut(&1).expect("joined").add_sender(sender);
    world.command(Command::Publish(Box::new(publish)));
    world.join(2, GCM);
    world.subscribe(2, 1, AUDIO.0, MediaKind::Audio);
    world.join(3, GCM);
    world.subscribe_redundant(3, 1, AUDIO.0);
    world.run_for(Duration::from_secs(1));
}

#[test]
fn on_good_networks_everybody_gets_plain_audio() {
    scenario_on_the_move(|world| {
        call(world, 1);
        world.run_for(Duration::from_secs(3));
        for number in 2..=3 {
            let received = world.received(number, AUDIO);
            assert!(received.contents().count() > 150);
            assert_eq!(received.gaps(), Vec::<u64>::new());
            assert!(received.packets.values().all(|packet| packet.payload_type == OPUS && packet.level == Some(30)));
            check_nothing_is_doubled(world, number);
        }
        let stats = world.engine().stats();
        assert_eq!((stats.redundancy.recovered, stats.dropped.malformed, stats.dropped.no_codec), (0, 0, 0));
    });
}

#[test]
fn what_a_publisher_loses_is_there_for_receivers_without_redundancy() {
    for (redundancy, enough) in [(1, 985), (2, 997)] {
        scenario_on_the_move(|world| {
            call(world, redundancy);
            world.up = Link { loss: 10, ..PERFECT };
            let from = world.clients[&1].sender_of(MICROPHONE).frame;
            world.run_for(Duration::from_secs(30));
            world.up = PERFECT;
            world.run_for(Duration::from_secs(1));
            for number in 2..=3 {
                let (_, whole) = heard(world, number, from);
                println!("of a thousand frames {whole} were there; {redundancy} earlier ones are sent");
                assert!(whole >= enough, "{whole}");
                assert_eq!(payload_types(world, number), BTreeSet::from([OPUS]));
                check_nothing_is_doubled(world, number);
                // Numbers are those of the publisher: what is missing is missing there.
                let received = world.received(number, AUDIO);
                let first = received.packets.first_key_value().expect("some came");
                let first = first.0 - first.1.content.expect("whole").frame;
                for (index, packet) in &received.packets {
                    assert_eq!(index - first, packet.content.expect("whole").frame);
                }
            }
        });
    }
}

#[test]
fn nothing_is_asked_for_that_came_beside_a_later_frame() {
    scenario(|world| {
        call(world, 1);
        world.command(Command::Publish(Box::new(description(1, 1, &[microphone(1)]))));
        for _ in 0..20 {
            world.run_for(Duration::from_millis(200));
            world.up = Link { loss: 100, ..PERFECT };
            world.run_for(Duration::from_millis(20));
            world.up = PERFECT;
        }
        world.run_for(Duration::from_secs(1));
        assert_eq!(world.received(2, AUDIO).gaps(), Vec::<u64>::new());
        let stats = *world.engine().stats();
        assert_eq!((stats.redundancy.recovered, stats.lost.received, stats.feedback.nacks_sent), (20, 20, 0));
    });
}

#[test]
fn late_and_doubled_packets_of_a_publisher_come_out_once() {
    scenario(|world| {
        call(world, 2);
        world.up = Link { loss: 5, doubled: 10, jitter: Duration::from_millis(60), delay: Duration::from_millis(20) };
        world.run_for(Duration::from_secs(20));
        world.up = PERFECT;
        world.run_for(Duration::from_secs(1));
        for number in 2..=3 {
            let received = world.received(number, AUDIO);
            let frames: Vec<u64> = received.contents().map(|content| content.frame).collect();
            assert!(frames.is_sorted_by(|a, b| a < b), "by number, each once");
            assert!(received.gaps().len() < 5, "{:?}", received.gaps());
        }
    });
}

#[test]
fn who_loses_packets_gets_redundancy_made_for_him_with_what_was_recovered_in_it() {
    scenario(|world| {
        call(world, 1);
        report(world, 3, 40);
        world.up = Link { loss: 10, ..PERFECT };
        world.run_for(Duration::from_secs(5));
        world.up = PERFECT;
        world.run_for(Duration::from_secs(2));
        assert_eq!(payload_types(world, 2), BTreeSet::from([OPUS]));
        assert_eq!(payload_types(world, 3), BTreeSet::from([RED]));
        assert!(newest(world, 3, 80).all(|packet| packet.earlier.len() == 2), "the publisher sends one");
        check_nothing_is_doubled(world, 3);
        assert!(world.engine().stats().redundancy.recovered > 10);
    });
}

#[test]
fn relayed_audio_has_what_was_recovered_at_its_home() {
    scenario_at(2, |world| {
        call(world, 2);
        let mut relayed = description(1, 1, &[microphone(2)]);
        relayed.nack = false;
        world.relay_described(relayed, 0, 1);
        world.join_at(1, 4, GCM);
        world.subscribe(4, 1, AUDIO.0, MediaKind::Audio);
        world.up = Link { loss: 10, ..PERFECT };
        let from = world.clients[&1].sender_of(MICROPHONE).frame + 5;
        world.run_for(Duration::from_secs(10));
        world.up = PERFECT;
        world.run_for(Duration::from_secs(1));
        assert_eq!(heard(world, 4, from), heard(world, 2, from));
        assert!(heard(world, 4, from).1 >= 990);
        check_nothing_is_doubled(world, 4);
    });
}

#[test]
fn what_was_said_while_muted_is_not_told_afterwards() {
    scenario(|world| {
        call(world, 2);
        report(world, 3, 40);
        world.run_for(Duration::from_secs(1));
        for _ in 0..10 {
            let frame = |world: &World| world.clients[&1].sender_of(MICROPHONE).frame;
            world.command(Command::SetMuted { track: TrackKey(1), muted: true });
            let muted = frame(world);
            world.run_for(Duration::from_millis(300));
            // The last frames do not come while it is muted, but beside the first one after.
            world.up = Link { loss: 100, ..PERFECT };
            world.run_for(Duration::from_millis(40));
            world.up = PERFECT;
            let unmuted = frame(world);
            world.command(Command::SetMuted { track: TrackKey(1), muted: false });
            world.run_for(Duration::from_millis(300));
            for number in 2..=3 {
                let packets = world.received(number, AUDIO).packets.values();
                let earlier =
                    packets.clone().flat_map(|packet| packet.earlier.iter().map(|(_, content)| content.frame));
                let frames = packets.clone().filter_map(|packet| Some(packet.content?.frame)).chain(earlier);
                let told: Vec<u64> = frames.filter(|frame| (muted..unmuted).contains(frame)).collect();
                assert_eq!(told, Vec::<u64>::new());
            }
        }
        check_nothing_is_doubled(world, 3);
    });
}

#[test]
fn frames_encrypted_end_to_end_pass_as_they_are() {
    scenario(|world| {
        call(world, 1);
        let encrypt = |world: &mut World| {
            let mut publish = description(1, 1, &[microphone(1)]);
            (publish.encrypted, publish.nack) = (true, false);
            world.command(Command::Publish(Box::new(publish)));
        };
        encrypt(world);
        report(world, 3, 60);
        world.up = Link { loss: 10, ..PERFECT };
        world.run_for(Duration::from_millis(50));
        let (before, from) = (world.received(2, AUDIO).packets.len(), world.now);
        world.run_for(Duration::from_secs(2));
        // For those who take it, it is what came; nobody knows what is in it.
        let came = world.received(3, AUDIO).packets.values().filter(|packet| packet.at > from);
        assert!(came.clone().count() > 70 && came.clone().all(|packet| packet.payload_type == RED));
        assert!(came.clone().all(|packet| packet.earlier.len() == 1 && packet.level == Some(30)));
        assert_eq!(world.received(2, AUDIO).packets.len(), before, "it cannot be taken apart for who does not");
        // A frame without anything beside it gets nothing.
        let sender = world.clients.get_mut(&1).expect("joined").sender(MICROPHONE);
        (sender.payload_type, sender.redundancy) = (OPUS, 0);
        world.run_for(Duration::from_secs(2));
        for number in 2..=3 {
            assert_eq!(payload_types(world, number), BTreeSet::from([OPUS]));
        }
        assert_eq!(world.engine().stats().redundancy.recovered, 0);
        assert_eq!(world.engine().stats().redundancy.sent, 0);
    });
}

#[test]
fn redundant_payloads_that_make_no_sense_are_dropped() {
    scenario(|world| {
        call(world, 1);
        // Blocks without end, and a primary that is no Opus.
        for payload in [vec![0xef; 40], vec![0x80 | 63, 0x0f, 0, 0, 63, 1, 2, 3], vec![0xef, 0x0f, 0x03, 0xff, 111]] {
            let malformed = world.engine().stats().dropped.malformed;
            let client = world.clients.get_mut(&1).expect("joined");
            let (path, now) = (client.path, world.now);
            let datagrams = client.send_payload(MICROPHONE, now, &payload);
            for datagram in datagrams {
                world.send_to_server(path, &datagram);
            }
            world.run_for(Duration::from_millis(500));
            assert_eq!(world.engine().stats().dropped.malformed, malformed + 1);
        }
        check_nothing_is_doubled(world, 2);
    });
}

#[test]
fn the_loudness_of_redundant_audio_decides_who_is_heard() {
    scenario(|world| {
        world.command(Command::LimitHeard { voices: NonZeroU16::new(1) });
        world.join(9, GCM);
        for (number, level) in [(1, 30), (2, 80)] {
            world.join(number, GCM);
            let mut sender = Sender::redundant(10 + number as u32, "0", 1);
            sender.level = level;
            let mut publish = description(number, number, std::slice::from_ref(&sender));
            publish.group = Some(AudioGroupKey(1));
            world.clients.get_mut(&number).expect("joined").add_sender(sender);
            world.command(Command::Publish(Box::new(publish)));
            world.subscribe(9, number, 5_000 + number as u32, MediaKind::Audio);
        }
        world.run_for(Duration::from_secs(2));
        assert!(world.received(9, Ssrc(5_001)).contents().count() > 80);
        assert!(world.received(9, Ssrc(5_002)).contents().count() < 20);
    });
}
