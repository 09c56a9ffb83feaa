//! Tracks that change: muted, replaced, ended, described anew.

use std::time::Duration;

use sfu_core::engine::command::{Command, MediaKind};
use sfu_core::id::{Ssrc, SubscriptionKey, TrackKey, TransportKey};
use sfu_core::media::rtcp::{GOODBYE, write_start};
use sfu_core::transport::srtp::Profile;

use crate::client::Sender;
use crate::world::{World, scenario, scenario_on_the_move, subscription};

const GCM: Profile = Profile::AeadAes128Gcm;

fn call(world: &mut World) {
    world.join(1, GCM);
    world.publish(1, 1, vec![Sender::audio(11, "0")]);
    world.publish(1, 2, vec![Sender::video(21, "1", None)]);
    world.join(2, GCM);
    world.subscribe(2, 1, 100, MediaKind::Audio);
    world.subscribe(2, 2, 200, MediaKind::Video);
    world.run_for(Duration::from_secs(2));
}

fn count(world: &World, ssrc: u32) -> usize {
    world.received(2, Ssrc(ssrc)).packets.len()
}

#[test]
fn a_muted_track_is_silent_at_once_and_goes_on_without_a_gap() {
    scenario_on_the_move(|world| {
        call(world);
        for track in [1, 2] {
            world.command(Command::SetMuted { track: TrackKey(track), muted: true });
        }
        world.run_for(Duration::from_millis(20));
        let (audio, video) = (count(world, 100), count(world, 200));
        world.run_for(Duration::from_secs(2));
        assert_eq!((count(world, 100), count(world, 200)), (audio, video));
        for track in [1, 2] {
            world.command(Command::SetMuted { track: TrackKey(track), muted: false });
        }
        world.run_for(Duration::from_secs(2));
        for (ssrc, before) in [(100, audio), (200, video)] {
            let received = world.received(2, Ssrc(ssrc));
            assert_eq!(received.gaps(), Vec::<u64>::new());
            assert!(received.packets.len() > before + 80);
        }
        assert!(world.received(2, Ssrc(200)).packets.values().nth(video).expect("it went on").keyframe);
        // The clock of the source ran on while nobody heard it, and so does the subscriber's.
        let audio_packets: Vec<_> = world.received(2, Ssrc(100)).packets.values().collect();
        let pause = audio_packets[audio].timestamp.wrapping_sub(audio_packets[audio - 1].timestamp);
        assert!((48_000 * 19 / 10..48_000 * 22 / 10).contains(&pause), "{pause}");
    });
}

#[test]
fn a_new_ssrc_of_the_publisher_is_the_same_stream_to_subscribers() {
    scenario_on_the_move(|world| {
        call(world);
        let client = world.clients.get_mut(&1).expect("joined");
        client.sender(Ssrc(21)).active = false;
        let mut again = Sender::video(77, "1", None);
        again.next_frame = world.now;
        again.keyframe_wanted = false;
        client.add_sender(again);
        world.run_for(Duration::from_secs(2));
        let received = world.received(2, Ssrc(200));
        assert_eq!(received.gaps(), Vec::<u64>::new());
        let contents: Vec<_> = received.packets.values().collect();
        let at = contents.iter().position(|packet| packet.content.is_some_and(|c| c.ssrc.0 == 77)).expect("it went on");
        assert!(contents[at].keyframe, "asked for, since the new stream did not begin with one");
        let step = contents[at].timestamp.wrapping_sub(contents[at - 1].timestamp).cast_signed();
        assert!((1..90_000).contains(&step), "{step}");
        assert!(contents[at..].iter().all(|packet| packet.content.is_some_and(|content| content.ssrc.0 == 77)));
    });
}

#[test]
fn goodbye_ends_a_stream_and_another_may_begin() {
    scenario(|world| {
        call(world);
        let client = world.clients.get_mut(&1).expect("joined");
        client.sender(Ssrc(21)).active = false;
        let mut goodbye = Vec::new();
        write_start(&mut goodbye, 1, GOODBYE, 1);
        goodbye.extend_from_slice(&21_u32.to_be_bytes());
        let (path, goodbye) = (client.path, client.seal_rtcp(goodbye));
        world.send_to_server(path, &goodbye);
        world.run_for(Duration::from_millis(200));
        let before = count(world, 200);
        let mut again = Sender::video(78, "1", None);
        again.next_frame = world.now;
        world.clients.get_mut(&1).expect("joined").add_sender(again);
        world.run_for(Duration::from_secs(1));
        assert!(count(world, 200) > before + 30);
        assert_eq!(world.received(2, Ssrc(200)).gaps(), Vec::<u64>::new());
        assert_eq!(world.engine().stats().feedback.goodbyes_received, 1);
    });
}

#[test]
fn what_ends_takes_along_what_depends_on_it() {
    scenario(|world| {
        call(world);
        world.command(Command::Unpublish { track: TrackKey(2) });
        let stats = world.engine().stats();
        assert_eq!((stats.transports, stats.tracks, stats.subscriptions), (2, 1, 1));
        world.command(Command::Unsubscribe { subscription: SubscriptionKey(100) });
        world.command(Command::RemoveTransport { transport: TransportKey(1) });
        let stats = world.engine().stats();
        assert_eq!((stats.transports, stats.tracks, stats.subscriptions), (1, 0, 0));
        world.run_for(Duration::from_secs(1));
        assert!(world.engine().stats().dropped.unknown_path > 50);
        world.command(Command::RemoveTransport { transport: TransportKey(2) });
        world.checks = false;
        world.run_for(Duration::from_mins(1));
        assert_eq!(world.engine().poll_timeout(), None, "nothing is left to do");
        // Enough steps for the restored engine.
        world.join(3, GCM);
        world.publish(3, 9, vec![Sender::audio(12, "0")]);
        world.run_for(Duration::from_secs(40));
    });
}

#[test]
fn an_ssrc_that_is_used_again_goes_on_counting() {
    scenario_on_the_move(|world| {
        call(world);
        for _ in 0..5 {
            world.command(Command::Unsubscribe { subscription: SubscriptionKey(100) });
            world.run_for(Duration::from_millis(300));
            world.subscribe(2, 1, 100, MediaKind::Audio);
            world.run_for(Duration::from_millis(300));
        }
        assert_eq!(world.received(2, Ssrc(100)).gaps(), Vec::<u64>::new());
        assert!(count(world, 100) > 170);
    });
}

#[test]
fn a_new_description_of_a_subscription_keeps_its_stream() {
    scenario_on_the_move(|world| {
        call(world);
        let mut described = subscription(2, 1, 100, MediaKind::Audio);
        described.codecs[0].payload_type = 120;
        world.command(Command::Subscribe(Box::new(described)));
        world.run_for(Duration::from_secs(1));
        let received = world.received(2, Ssrc(100));
        assert_eq!(received.gaps(), Vec::<u64>::new());
        assert_eq!(received.packets.values().last().expect("audio came").payload_type, 120);
    });
}

#[test]
fn subscribing_before_the_keys_are_there_is_no_loss() {
    scenario(|world| {
        call(world);
        let ice = crate::world::credentials(3, 0);
        world.command(Command::AddTransport { transport: TransportKey(3), ice: ice.clone() });
        world.clients.insert(3, crate::client::Client::new(3, GCM, crate::world::udp(3, 50_000), ice));
        world.subscribe(3, 2, 200, MediaKind::Video);
        world.run_for(Duration::from_millis(500));
        world.check(3, true);
        world.run_for(Duration::from_millis(500));
        world.install_keys(3, GCM);
        world.install_keys(3, GCM);
        world.run_for(Duration::from_secs(1));
        let received = world.received(3, Ssrc(200));
        assert!(received.packets.values().next().expect("video came").keyframe);
        assert_eq!(received.gaps(), Vec::<u64>::new());
    });
}
