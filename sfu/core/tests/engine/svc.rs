//! Several layers in one stream (SVC): each subscriber gets what it may have, all that takes, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sfu_core::engine::command::{Command, MediaKind, Target};
use sfu_core::engine::event::Event;
use sfu_core::id::Ssrc;
use sfu_core::media::dependency::{Descriptor, Structure};
use sfu_core::transport::srtp::Profile;

use crate::client::{AV1, Arrived, Sender, VP9};
use crate::encoder::{Encoder, Mode, Telling};
use crate::network::Bottleneck;
use crate::table::Row;
use crate::world::{World, scenario, subscription_key};

const GCM: Profile = Profile::AeadAes128Gcm;
pub const SOURCE: Ssrc = Ssrc(21);
pub const VIDEO: Ssrc = Ssrc(200);

/// Every way to tell layers, with every way they depend on each other.
const ALL: [(Telling, Mode); 7] = [
    (Telling::Descriptor, Mode::Full),
    (Telling::Descriptor, Mode::Key),
    (Telling::Descriptor, Mode::Independent),
    (Telling::Vp9, Mode::Full),
    (Telling::Vp9, Mode::Key),
    (Telling::Vp9Flexible, Mode::Full),
    (Telling::Vp9Flexible, Mode::Key),
];

pub fn camera(telling: Telling, mode: Mode, spatial: u8, temporal: u8) -> Sender {
    let mut sender = Sender::video(SOURCE.0, "1", None);
    sender.payload_type = if telling == Telling::Descriptor { AV1 } else { VP9 };
    sender.packets_per_frame = 2;
    sender.encoder = Some(Encoder::new(mode, telling, spatial, temporal));
    sender
}

/// Client 1 publishes; so many others, from 2 on, receive it.
fn call(world: &mut World, sender: Sender, subscribers: u64) {
    world.join(1, GCM);
    world.publish(1, 2, vec![sender]);
    for number in 2..2 + subscribers {
        join(world, number);
    }
}

fn join(world: &mut World, number: u64) {
    world.join(number, GCM);
    world.subscribe(number, 2, VIDEO.0, MediaKind::Video);
}

fn target(world: &mut World, number: u64, target: Target) {
    world.command(Command::SetTarget { subscription: subscription_key(number, VIDEO.0), target });
}

pub fn encoder(world: &World) -> &Encoder {
    let sender = world.clients[&1].senders.iter().find(|sender| sender.ssrc == SOURCE);
    sender.and_then(|sender| sender.encoder.as_ref()).expect("published")
}

/// A picture as a subscriber got it: its number, and the layers of its frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    pub number: u64,
    frames: Vec<(u8, u8)>,
}

impl Picture {
    pub fn highest(&self) -> u8 {
        self.frames.iter().map(|(spatial, _)| *spatial).max().expect("no picture is empty")
    }
}

/// Decodes virtually: no number is missing, every frame is whole and has all it refers to, and pictures end where they
/// are said to. Returns the pictures.
pub fn check(world: &World, number: u64) -> Vec<Picture> {
    let received = world.received(number, VIDEO);
    let encoder = encoder(world);
    assert_eq!(received.gaps(), Vec::<u64>::new(), "client {number}");
    let packets: Vec<&Arrived> = received.packets.values().filter(|packet| packet.content.is_some()).collect();
    let mut parts: BTreeMap<u64, BTreeSet<u8>> = BTreeMap::new();
    for packet in &packets {
        let content = packet.content.expect("only those");
        assert!(parts.entry(content.frame).or_default().insert(content.part), "twice: {content:?}");
    }
    let mut pictures: Vec<Picture> = Vec::new();
    for (frame, parts) in &parts {
        let encoded = &encoder.log[frame];
        assert_eq!(parts.len(), usize::from(encoded.parts), "client {number}: {encoded:?} is not whole");
        for needed in &encoded.needs {
            let has = packets.iter().any(|packet| packet.content.is_some_and(|content| content.frame == *needed));
            assert!(has, "client {number}: {needed} is missing for {encoded:?}");
        }
        let layer = (encoded.kind.spatial, encoded.kind.temporal);
        match pictures.last_mut().filter(|picture| picture.number == encoded.picture) {
            Some(picture) => picture.frames.push(layer),
            None => pictures.push(Picture { number: encoded.picture, frames: vec![layer] }),
        }
    }
    let picture_of = |packet: &Arrived| encoder.log[&packet.content.expect("only those").frame].picture;
    for (at, packet) in packets.iter().enumerate() {
        let is_last = packets.get(at + 1).is_none_or(|next| picture_of(next) != picture_of(packet));
        // What comes last may not be all.
        if at + 8 < packets.len() {
            assert_eq!(packet.marker, is_last, "client {number}: {:?}", packet.content);
        }
    }
    pictures
}

/// The pictures of the last second, of 25.
pub fn newest(pictures: &[Picture]) -> &[Picture] {
    &pictures[pictures.len().saturating_sub(20)..]
}

pub fn is_key(world: &World, picture: &Picture) -> bool {
    encoder(world).log.values().any(|frame| frame.picture == picture.number && frame.is_key)
}

#[test]
fn each_gets_the_layer_it_wants_and_only_what_that_takes() {
    for (telling, mode) in ALL {
        scenario(|world| {
            call(world, camera(telling, mode, 3, 3), 3);
            for (number, layer) in [(2, 0), (3, 1), (4, 2)] {
                target(world, number, Target::Layer(layer));
            }
            world.run_for(Duration::from_secs(4));
            for (number, layer) in [(2, 0), (3, 1), (4, u8::MAX)] {
                let highest = layer.min(2);
                let pictures = check(world, number);
                assert!(pictures.len() > 60, "{telling:?} {mode:?}: {}", pictures.len());
                let nested = encoder(world).is_nested();
                for picture in newest(&pictures).iter().filter(|picture| !is_key(world, picture)) {
                    let spatial: Vec<u8> = picture.frames.iter().map(|(spatial, _)| *spatial).collect();
                    let expected = if nested { (0..=highest).collect() } else { vec![highest] };
                    assert_eq!(spatial, expected, "{telling:?} {mode:?}");
                }
            }
        });
    }
}

#[test]
fn fewer_layers_than_wanted_are_all_there_is() {
    for (spatial, temporal) in [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (3, 1)] {
        for telling in [Telling::Descriptor, Telling::Vp9] {
            scenario(|world| {
                call(world, camera(telling, Mode::Full, spatial, temporal), 1);
                world.run_for(Duration::from_secs(3));
                let pictures = check(world, 2);
                assert!(newest(&pictures).iter().all(|picture| picture.highest() + 1 == spatial));
                // VP9 does not tell at first how many layers there are.
                let pictures: Vec<_> = pictures[8..].iter().map(|picture| picture.number).collect();
                assert!(pictures.windows(2).all(|pair| pair[1] == pair[0] + 1), "every picture came");
            });
        }
    }
}

#[test]
fn down_is_at_once_where_layers_are_nested_and_up_at_a_keyframe() {
    for telling in [Telling::Descriptor, Telling::Vp9, Telling::Vp9Flexible] {
        scenario(|world| {
            call(world, camera(telling, Mode::Full, 3, 3), 2);
            world.run_for(Duration::from_secs(3));
            let keyframes = world.clients[&1].sender_of(SOURCE).keyframes;
            target(world, 2, Target::Layer(0));
            world.run_for(Duration::from_secs(1));
            assert_eq!(world.clients[&1].sender_of(SOURCE).keyframes, keyframes, "down needs none");
            let lowered = check(world, 2);
            assert!(newest(&lowered).iter().all(|picture| picture.highest() == 0));
            let above = lowered.iter().rposition(|picture| picture.highest() == 2).expect("had all");
            let last = lowered.last().expect("some").number;
            assert!(last - lowered[above].number >= 23, "within two pictures");
            target(world, 2, Target::HIGHEST);
            world.run_for(Duration::from_secs(1));
            assert_eq!(world.clients[&1].sender_of(SOURCE).keyframes, keyframes + 1);
            let raised = check(world, 2);
            let first = raised[lowered.len() - 2..].iter().find(|picture| picture.highest() == 2).expect("up again");
            assert!(is_key(world, first));
            check(world, 3);
        });
    }
}

#[test]
fn layers_that_are_not_nested_change_at_keyframes_both_ways() {
    for (telling, mode) in
        [(Telling::Descriptor, Mode::Key), (Telling::Descriptor, Mode::Independent), (Telling::Vp9, Mode::Key)]
    {
        scenario(|world| {
            call(world, camera(telling, mode, 3, 3), 1);
            world.run_for(Duration::from_secs(2));
            for layer in [0, 2, 1, 0] {
                let before = check(world, 2).len();
                target(world, 2, Target::Layer(layer));
                world.run_for(Duration::from_secs(2));
                let pictures = check(world, 2);
                assert!(newest(&pictures).iter().all(|picture| picture.highest() == layer), "{telling:?} {mode:?}");
                let changed = pictures[before - 1..].windows(2).find(|pair| pair[1].highest() == layer);
                let changed = changed.expect("it changed");
                assert!(is_key(world, &changed[1]) || changed[0].highest() == layer, "{changed:?}");
            }
        });
    }
}

#[test]
fn who_joins_midway_begins_with_a_keyframe() {
    scenario(|world| {
        call(world, camera(Telling::Descriptor, Mode::Key, 3, 3), 1);
        world.run_for(Duration::from_secs(3));
        join(world, 3);
        world.run_for(Duration::from_secs(2));
        let pictures = check(world, 3);
        assert!(is_key(world, &pictures[0]) && pictures.len() > 40);
        assert_eq!(pictures[0].frames.len(), 3);
    });
}

#[test]
fn a_subscriber_is_told_which_decode_targets_it_gets() {
    scenario(|world| {
        call(world, camera(Telling::Descriptor, Mode::Full, 2, 2), 2);
        target(world, 2, Target::Layer(0));
        world.run_for(Duration::from_secs(2));
        let masks = |number| -> Vec<Option<u32>> {
            let mut structure: Option<Structure> = None;
            let mut masks = Vec::new();
            for packet in world.received(number, VIDEO).packets.values() {
                let read = Descriptor::parse(&packet.descriptor, structure.as_ref()).expect("whole");
                structure = read.structure.or(structure);
                masks.push(read.active);
            }
            masks
        };
        // Targets are told from the highest to the lowest: of four, the last two are of the lower spatial layer.
        assert!(masks(2).len() > 50 && masks(2).iter().all(|mask| *mask == Some(0b1100)));
        let whole = masks(3);
        assert_eq!((whole[0], &whole[1..4]), (Some(0b1111), &[None; 3][..]), "who gets all is told nothing");
    });
}

#[test]
fn a_layer_its_publisher_ceases_to_send_gives_way_to_the_one_below() {
    for telling in [Telling::Descriptor, Telling::Vp9] {
        scenario(|world| {
            call(world, camera(telling, Mode::Key, 3, 3), 1);
            world.run_for(Duration::from_secs(2));
            let sender = world.clients.get_mut(&1).expect("joined").sender(SOURCE);
            sender.encoder.as_mut().expect("has one").active = 2;
            world.run_for(Duration::from_secs(6));
            let pictures = check(world, 2);
            assert!(newest(&pictures).iter().all(|picture| picture.highest() == 1), "{telling:?}");
        });
    }
}

#[test]
fn a_new_stream_of_the_publisher_goes_on_in_frame_numbers() {
    scenario(|world| {
        call(world, camera(Telling::Descriptor, Mode::Full, 2, 2), 1);
        world.run_for(Duration::from_secs(2));
        let client = world.clients.get_mut(&1).expect("joined");
        client.sender(SOURCE).active = false;
        let mut again = camera(Telling::Descriptor, Mode::Full, 2, 2);
        (again.ssrc, again.rtx, again.next_frame) = (Ssrc(77), Some(Ssrc(1077)), world.now);
        client.add_sender(again);
        world.run_for(Duration::from_secs(2));
        let received = world.received(2, VIDEO);
        assert_eq!(received.gaps(), Vec::<u64>::new());
        let numbers: Vec<u16> =
            received.packets.values().map(|p| u16::from_be_bytes([p.descriptor[1], p.descriptor[2]])).collect();
        assert!(numbers.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) <= 1), "{numbers:?}");
        assert!(received.contents().filter(|content| content.ssrc.0 == 77).count() > 80);
    });
}

#[test]
fn congestion_takes_layers_and_not_the_picture() {
    for (name, telling, mode) in [
        ("AV1 L3T3 of 1.2 Mb/s, narrowed", Telling::Descriptor, Mode::Full),
        ("AV1 L3T3_KEY of 1.2 Mb/s, narrowed", Telling::Descriptor, Mode::Key),
        ("VP9 L3T3 of 1.2 Mb/s, narrowed", Telling::Vp9, Mode::Full),
    ] {
        scenario(|world| {
            world.pacing = Duration::from_millis(1);
            // Frames of four packets, 25 times a second: 0.2, 0.6 and 1.2 Mb/s.
            let mut sender = camera(telling, mode, 3, 3);
            (sender.packets_per_frame, sender.filling) = (4, 1_400);
            call(world, sender, 1);
            world.narrow(&[2], Bottleneck::new(10_000_000, 80_000));
            world.run_for(Duration::from_secs(4));
            assert!(newest(&check(world, 2)).iter().all(|picture| picture.highest() == 2));
            world.bottlenecks[0].rate = 1_000_000;
            let narrowed = world.now;
            world.run_for(Duration::from_secs(10));
            let lower = check_quietly(world, 2);
            world.tell(Row::new(world, name, narrowed, &[(2, VIDEO)]));
            assert!(lower < 2, "{name}: {lower}");
            let waited = world.bottlenecks[0].log.iter().filter(|c| c.at >= narrowed + Duration::from_secs(2));
            let waited = waited.filter_map(|carried| carried.waited).max().expect("some");
            assert!(waited < Duration::from_millis(200), "{name}: {waited:?}");
            world.bottlenecks[0].rate = 10_000_000;
            let healed = world.now;
            world.run_for(Duration::from_secs(8));
            let is_back = |packet: &&Arrived| packet.at >= healed && spatial_of(world, packet) == Some(2);
            let back = world.received(2, VIDEO).packets.values().find(is_back).map(|packet| packet.at.since(healed));
            world.tell(Row::new(world, "  healed", healed, &[(2, VIDEO)]).back(back));
            assert_eq!(check_quietly(world, 2), 2, "{name}");
            let paused = world.events_of(|event| matches!(event, Event::SubscriptionPaused { .. }).then_some(()));
            assert_eq!(paused.len(), 0, "{name}");
        });
    }
}

/// The highest spatial layer of the last packets, whether or not something was lost on the way.
fn check_quietly(world: &World, number: u64) -> u8 {
    let packets = world.received(number, VIDEO).packets.values().rev();
    packets.filter_map(|packet| spatial_of(world, packet)).take(40).max().expect("video came")
}

/// The spatial layer of a packet that is not empty.
fn spatial_of(world: &World, packet: &Arrived) -> Option<u8> {
    Some(encoder(world).log[&packet.content?.frame].kind.spatial)
}
