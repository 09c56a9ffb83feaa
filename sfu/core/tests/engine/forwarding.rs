//! What a good network carries.

use std::collections::BTreeSet;
use std::time::Duration;

use sfu_core::engine::command::{Command, MediaKind};
use sfu_core::engine::event::Event;
use sfu_core::id::{Ssrc, SubscriptionKey, TrackKey};
use sfu_core::time::Time;
use sfu_core::transport::srtp::Profile;

use crate::client::{OPUS, Sender};
use crate::world::{World, scenario, scenario_on_the_move};

const GCM: Profile = Profile::AeadAes128Gcm;

/// A publisher with microphone (track 1) and camera (track 2).
fn publisher(world: &mut World) {
    world.join(1, GCM);
    world.publish(1, 1, vec![Sender::audio(11, "0")]);
    world.publish(1, 2, vec![Sender::video(21, "1", None)]);
}

#[test]
fn everybody_gets_every_packet_once_in_order_and_whole() {
    scenario(|world| {
        publisher(world);
        for number in 2..=4 {
            world.join(number, if number == 3 { Profile::Aes128CmHmacSha1_80 } else { GCM });
            world.subscribe(number, 1, 100, MediaKind::Audio);
            world.subscribe(number, 2, 200, MediaKind::Video);
        }
        world.run_for(Duration::from_secs(5));
        for number in 2..=4 {
            let audio = world.received(number, Ssrc(100));
            assert_eq!(audio.gaps(), Vec::<u64>::new());
            let frames: Vec<u64> = audio.contents().map(|content| content.frame).collect();
            assert_eq!(frames, (frames[0]..frames[0] + frames.len() as u64).collect::<Vec<_>>());
            assert!(frames.len() >= 245, "{}", frames.len());
            let first = audio.packets.values().next().expect("audio came");
            assert_eq!((first.mid.as_deref(), first.level, first.payload_type), (Some("s1"), Some(30), OPUS));
            // It has reported on the stream, and knows whose it is.
            let last = audio.packets.values().next_back().expect("audio came");
            assert_eq!((last.mid.as_deref(), last.level), (None, Some(30)));
            let video = world.received(number, Ssrc(200));
            assert_eq!(video.gaps(), Vec::<u64>::new());
            assert!(video.packets.values().next().expect("video came").keyframe);
            let contents: Vec<_> = video.contents().collect();
            assert!(contents.is_sorted() && contents.len() > 3 * 110, "{}", contents.len());
            assert_eq!(video.retransmitted, 0);
        }
        let dropped = world.engine().stats().dropped;
        assert_eq!((dropped.unsealable, dropped.unmatched, dropped.forged), (0, 0, 0));
    });
}

#[test]
fn one_transport_publishes_and_subscribes_at_once() {
    scenario_on_the_move(|world| {
        publisher(world);
        world.join(2, GCM);
        // The same SSRCs in both directions, and as the other client uses: nothing may be mixed up.
        world.publish(2, 3, vec![Sender::audio(11, "0")]);
        world.subscribe(2, 1, 11, MediaKind::Audio);
        world.subscribe(1, 3, 21, MediaKind::Audio);
        world.run_for(Duration::from_secs(4));
        assert!(world.received(2, Ssrc(11)).contents().count() > 190);
        assert!(world.received(1, Ssrc(21)).contents().count() > 190);
        assert!(!world.clients[&1].blocks.is_empty() && !world.clients[&2].blocks.is_empty());
    });
}

#[test]
fn streams_are_matched_by_mid_if_no_ssrc_is_signalled() {
    scenario_on_the_move(|world| {
        world.join(1, GCM);
        world.join(2, GCM);
        let (camera, screen) = (Sender::video(21, "1", None), Sender::video(31, "2", None));
        for (track, sender) in [(2, camera), (3, screen)] {
            let mut publish = crate::world::description(1, track, std::slice::from_ref(&sender));
            publish.ssrcs.clear();
            world.clients.get_mut(&1).expect("joined").add_sender(sender);
            world.command(Command::Publish(Box::new(publish)));
        }
        world.subscribe(2, 2, 200, MediaKind::Video);
        world.subscribe(2, 3, 300, MediaKind::Video);
        world.run_for(Duration::from_secs(2));
        let sources = |ssrc| world.received(2, Ssrc(ssrc)).contents().map(|c| c.ssrc.0).collect::<BTreeSet<_>>();
        assert_eq!((sources(200), sources(300)), (BTreeSet::from([21]), BTreeSet::from([31])));
    });
}

#[test]
fn audio_and_video_of_a_publisher_stay_in_step() {
    scenario_on_the_move(|world| {
        publisher(world);
        world.join(2, GCM);
        world.subscribe(2, 1, 100, MediaKind::Audio);
        world.subscribe(2, 2, 200, MediaKind::Video);
        world.run_for(Duration::from_secs(8));
        let skew = world.skew(2, 100, 200);
        assert!(skew.abs() < 0.002, "{skew} s apart");
    });
}

#[test]
fn loudness_is_told_of_those_who_send() {
    scenario(|world| {
        publisher(world);
        world.run_for(Duration::from_secs(2));
        let levels =
            world.events_of(|event| if let Event::AudioLevels(levels) = event { Some(levels.clone()) } else { None });
        assert!((8..=10).contains(&levels.len()), "{}", levels.len());
        for level in levels {
            assert_eq!(
                (level.len(), level[0].track, level[0].loudest, level[0].active_percent),
                (1, TrackKey(1), 30, 100)
            );
        }
        world.clients.get_mut(&1).expect("joined").sender(Ssrc(11)).active = false;
        world.run_for(Duration::from_secs(1));
        let from = Time::from_millis(2_300);
        assert!(!world.events.iter().any(|(at, event)| *at > from && matches!(event, Event::AudioLevels(_))));
    });
}

#[test]
fn reports_tell_round_trip_and_quality() {
    scenario(|world| {
        publisher(world);
        world.join(2, GCM);
        world.subscribe(2, 1, 100, MediaKind::Audio);
        world.run_for(Duration::from_secs(12));
        let round_trips = world.events_of(|event| match event {
            Event::SubscriptionQuality { subscription: SubscriptionKey(100), quality } => quality.rtt_ms,
            _ => None,
        });
        assert!(!round_trips.is_empty());
        assert!(round_trips.iter().all(|rtt| (19.0..21.0).contains(rtt)), "{round_trips:?}");
        let losses = world.events_of(|event| match event {
            Event::TrackQuality { quality, .. } => Some(quality.loss),
            _ => None,
        });
        assert!(losses.len() > 15 && losses.iter().all(|loss| *loss == 0.0));
        assert!(world.clients[&1].transport_feedback > 100);
    });
}

#[test]
fn each_subscription_and_layer_announces_itself_once() {
    scenario(|world| {
        publisher(world);
        world.join(2, GCM);
        world.subscribe(2, 1, 100, MediaKind::Audio);
        world.run_for(Duration::from_secs(1));
        let started = world.events_of(|event| match event {
            Event::SubscriptionStarted { subscription } => Some(subscription.0),
            Event::LayerStarted { track, rid: None } => Some(track.0 + 1000),
            _ => None,
        });
        assert_eq!(started.iter().collect::<BTreeSet<_>>().len(), started.len());
        assert_eq!(started.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([100, 1001, 1002]));
    });
}
