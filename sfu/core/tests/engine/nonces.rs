//! No (key, SSRC, index) is sealed twice: the world watches that in every scenario; here everything happens at once.

use std::num::NonZeroU16;
use std::time::Duration;

use proptest::prelude::*;
use sfu_core::engine::command::{Command, MediaKind, Target};
use sfu_core::id::{AudioGroupKey, Ssrc, SubscriptionKey, TrackKey};
use sfu_core::media::random::Random;
use sfu_core::media::rtcp::write_nack;
use sfu_core::transport::srtp::Profile;

use crate::client::Sender;
use crate::network::Link;
use crate::world::{World, description};

#[derive(Debug, Clone)]
enum Step {
    Run(u64),
    Subscribe(u32),
    Unsubscribe(u32),
    Mute(u64, bool),
    Layer(u8),
    NackEverything(u32),
    NewSsrc(u32),
    Padding,
    Level(u64, u8),
    Limit(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1_u64..400).prop_map(Step::Run),
        1 => (0_u32..2).prop_map(Step::Subscribe),
        1 => (0_u32..2).prop_map(Step::Unsubscribe),
        1 => (1_u64..3, any::<bool>()).prop_map(|(track, muted)| Step::Mute(track, muted)),
        2 => (0_u8..4).prop_map(Step::Layer),
        2 => (0_u32..2).prop_map(Step::NackEverything),
        1 => (0_u32..3).prop_map(Step::NewSsrc),
        1 => Just(Step::Padding),
        4 => (0_usize..2, 0_usize..3).prop_map(|(who, level)| Step::Level([1, 3][who], [20, 40, 90][level])),
        1 => (0_u16..3).prop_map(Step::Limit),
    ]
}

/// Audio is track 1 under SSRC 100, without RTX; video is track 2 under SSRC 200.
fn subscribe(world: &mut World, which: u32) {
    let (track, ssrc, kind) = if which == 0 { (1, 100, MediaKind::Audio) } else { (2, 200, MediaKind::Video) };
    world.subscribe(2, track, ssrc, kind);
}

fn perform(world: &mut World, step: &Step, next_ssrc: &mut u32) {
    match *step {
        Step::Run(millis) => world.run_for(Duration::from_millis(millis)),
        Step::Subscribe(which) => subscribe(world, which),
        Step::Unsubscribe(which) => {
            let subscription = SubscriptionKey(u64::from((which + 1) * 100));
            world.command(Command::Unsubscribe { subscription });
        }
        Step::Mute(track, muted) => world.command(Command::SetMuted { track: TrackKey(track), muted }),
        Step::Layer(layer) => {
            let target = if layer == 3 { Target::Off } else { Target::Layer(layer) };
            world.command(Command::SetTarget { subscription: SubscriptionKey(200), target });
        }
        Step::NackEverything(which) => {
            let media = Ssrc((which + 1) * 100);
            let last = world.received(2, media).packets.last_key_value().map_or(100, |(last, _)| *last);
            let mut nack = Vec::new();
            write_nack(&mut nack, Ssrc(1), media, &(last.saturating_sub(90)..last + 5).collect::<Vec<_>>());
            let client = world.clients.get_mut(&2).expect("joined");
            let (path, nack) = (client.path, client.seal_rtcp(nack));
            world.deliver_to_server(path, nack);
        }
        Step::NewSsrc(layer) => {
            let now = world.now;
            let client = world.clients.get_mut(&1).expect("joined");
            let rid = ["q", "h", "f"][layer as usize];
            for sender in client.senders.iter_mut().filter(|sender| sender.rid == Some(rid)) {
                sender.active = false;
            }
            *next_ssrc += 1;
            let mut sender = Sender::video(*next_ssrc, "1", Some(rid));
            sender.next_frame = now;
            client.add_sender(sender);
        }
        Step::Padding => {
            let now = world.now;
            let client = world.clients.get_mut(&1).expect("joined");
            let Some(ssrc) = client.senders.iter().rev().find(|sender| sender.active).map(|sender| sender.ssrc) else {
                return;
            };
            let (path, padding) = (client.path, client.send_padding(ssrc, now));
            for datagram in padding {
                world.send_to_server(path, &datagram);
            }
        }
        Step::Level(number, level) => {
            let client = world.clients.get_mut(&number).expect("joined");
            client.sender(Ssrc(10 + number as u32)).level = level;
        }
        Step::Limit(voices) => world.command(Command::LimitHeard { voices: NonZeroU16::new(voices) }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn no_index_is_sealed_twice_whatever_happens(steps in proptest::collection::vec(step(), 20..120), seed: u64) {
        let mut world = World::new(Some(Random::new(seed)));
        world.join(1, Profile::AeadAes128Gcm);
        world.join(2, Profile::AeadAes128Gcm);
        world.join(3, Profile::AeadAes128Gcm);
        // Two microphones of which one is heard, so that what was held back is forwarded later.
        for (number, ssrc) in [(1, 11), (3, 13)] {
            let microphone = Sender::audio(ssrc, "0");
            let mut publish = description(number, number, std::slice::from_ref(&microphone));
            publish.group = Some(AudioGroupKey(1));
            world.clients.get_mut(&number).expect("joined").add_sender(microphone);
            world.command(Command::Publish(Box::new(publish)));
        }
        world.command(Command::LimitHeard { voices: NonZeroU16::new(1) });
        let layers = [(21, "q"), (22, "h"), (23, "f")].map(|(ssrc, rid)| Sender::video(ssrc, "1", Some(rid)));
        world.publish(1, 2, layers.into());
        subscribe(&mut world, 0);
        subscribe(&mut world, 1);
        let bad = Link { delay: Duration::from_millis(5), jitter: Duration::from_millis(60), loss: 10, doubled: 10 };
        (world.up, world.down) = (bad, bad);
        let mut next_ssrc = 300;
        for step in &steps {
            perform(&mut world, step, &mut next_ssrc);
        }
        prop_assert_eq!(world.engine().stats().dropped.unsealable, 0, "it was refused in time");
    }
}
