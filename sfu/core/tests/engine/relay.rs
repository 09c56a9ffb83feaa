//! Tracks whose publisher another engine has: subscribers cannot tell.
//!
//! The publisher is at site 0. Client 2 is at site 1, so that what other scenarios say of it is said of a relay.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::time::Duration;

use sfu_core::engine::command::{Command, Feed, MediaKind, Target};
use sfu_core::id::{AudioGroupKey, PeerKey, Ssrc, SubscriptionKey, TrackKey, TransportKey};
use sfu_core::media::rtcp::{GOODBYE, write_start};
use sfu_core::transport::srtp::Profile;

use crate::client::Sender;
use crate::layers::check_continuous;
use crate::network::{BAD, Link, PERFECT};
use crate::world::{World, description, scenario_at, scenario_near_and_far};

const GCM: Profile = Profile::AeadAes128Gcm;
const AUDIO: TrackKey = TrackKey(1);
const VIDEO: TrackKey = TrackKey(2);
const REMOTE: PeerKey = PeerKey(1);

fn microphone() -> Vec<Sender> {
    vec![Sender::audio(11, "0")]
}

fn camera() -> Vec<Sender> {
    [(21, "q"), (22, "h"), (23, "f")].map(|(ssrc, rid)| Sender::video(ssrc, "1", Some(rid))).into()
}

/// Client 1 publishes audio and a camera with three layers at site 0. Of those who get both, 2 and 4 are at site 1 and 3
/// at site 0.
fn call(world: &mut World, delay: Duration) {
    world.link = Link { delay, ..PERFECT };
    world.join(1, GCM);
    world.publish(1, AUDIO.0, microphone());
    world.publish(1, VIDEO.0, camera());
    world.relay(1, AUDIO.0, &microphone(), 1);
    world.relay(1, VIDEO.0, &camera(), 1);
    for (number, site) in [(2, 1), (3, 0), (4, 1)] {
        world.join_at(site, number, GCM);
        world.subscribe(number, AUDIO.0, 100, MediaKind::Audio);
        world.subscribe(number, VIDEO.0, 200, MediaKind::Video);
    }
}

/// A scenario of this call with engines side by side, and with 20 ms between them.
fn near_and_far(run: impl Fn(&mut World)) {
    scenario_near_and_far(|world| {
        call(world, world.link.delay);
        run(world);
    });
}

/// The layer client 2 got last.
fn newest_layer(world: &World) -> u32 {
    let last = world.received(2, Ssrc(200)).packets.values().rev().find_map(|packet| packet.content);
    last.expect("video came").ssrc.0
}

fn plis(world: &World) -> usize {
    world.clients[&1].plis.len()
}

#[test]
fn everybody_gets_every_packet_wherever_the_publisher_is() {
    near_and_far(|world| {
        world.run_for(Duration::from_secs(5));
        for number in 2..=4 {
            let audio = world.received(number, Ssrc(100));
            assert_eq!(audio.gaps(), Vec::<u64>::new());
            let frames: Vec<u64> = audio.contents().map(|content| content.frame).collect();
            assert_eq!(frames, (frames[0]..frames[0] + frames.len() as u64).collect::<Vec<_>>());
            assert!(frames.len() >= 243, "{}", frames.len());
            let first = audio.packets.values().next().expect("audio came");
            assert_eq!((first.mid.as_deref(), first.level), (Some("s1"), Some(30)));
            let video = world.received(number, Ssrc(200));
            assert_eq!(video.gaps(), Vec::<u64>::new());
            assert!(video.packets.values().next().expect("video came").keyframe);
            assert!(video.contents().count() > 3 * 105, "{}", video.contents().count());
            assert_eq!(video.retransmitted, 0);
        }
        assert_eq!(newest_layer(world), 23);
        let stats = *world.engine_at(1).stats();
        assert_eq!((stats.dropped.unrelated, stats.dropped.unsealable, stats.received.rtp.packets), (0, 0, 0));
        // 25 pictures in each of three layers and 50 frames of audio a second, and little else.
        assert!((5 * 120..5 * 135).contains(&stats.relay.received.packets), "{}", stats.relay.received.packets);
        let started =
            world.events_of(|event| matches!(event, sfu_core::engine::event::Event::LayerStarted { .. }).then_some(()));
        assert_eq!(started.len(), 4, "told by the home alone");
    });
}

#[test]
fn what_is_lost_comes_back_at_every_site() {
    near_and_far(|world| {
        world.run_for(Duration::from_millis(500));
        let bad = Link { loss: 10, ..BAD };
        (world.up, world.down) = (bad, bad);
        world.run_for(Duration::from_secs(8));
        (world.up, world.down) = (PERFECT, PERFECT);
        world.run_for(Duration::from_secs(2));
        for number in 2..=4 {
            let video = world.received(number, Ssrc(200));
            assert_eq!(video.gaps(), Vec::<u64>::new(), "subscriber {number}");
            assert!(video.retransmitted > 50);
        }
        let remote = *world.engine_at(1).stats();
        assert_eq!((remote.feedback.nacks_sent, remote.feedback.plis_sent), (0, 0), "that is the home's business");
        assert!(remote.sent.rtx.packets > 200);
        assert!(world.engine().stats().feedback.nacks_sent > 100);
    });
}

#[test]
fn layers_are_chosen_for_each_subscriber_of_a_relayed_track() {
    near_and_far(|world| {
        world.run_for(Duration::from_secs(3));
        assert_eq!(newest_layer(world), 23);
        for (layer, ssrc) in [(0, 21), (1, 22), (2, 23), (1, 22), (0, 21)] {
            let target = Target::Layer(layer);
            world.command_at(1, Command::SetTarget { subscription: SubscriptionKey(200), target });
            world.run_for(Duration::from_secs(2));
            assert_eq!(newest_layer(world), ssrc);
        }
        assert!(check_continuous(world) >= 5);
        let others = world.received(4, Ssrc(200)).contents().last().expect("video came");
        assert_eq!(others.ssrc, Ssrc(23), "not for others");
        // A layer that the publisher switches off dies here too, and what is left is taken.
        world.command_at(1, Command::SetTarget { subscription: SubscriptionKey(200), target: Target::HIGHEST });
        world.run_for(Duration::from_secs(1));
        world.clients.get_mut(&1).expect("joined").sender(Ssrc(23)).active = false;
        world.run_for(Duration::from_secs(5));
        assert_eq!(newest_layer(world), 22);
    });
}

#[test]
fn keyframes_are_asked_for_once_for_all_sites() {
    near_and_far(|world| {
        world.run_for(Duration::from_secs(2));
        let before = plis(world);
        for _ in 0..3 {
            for number in 2..=4 {
                let client = world.clients.get_mut(&number).expect("joined");
                let (path, request) = (client.path, client.picture_loss(Ssrc(200)));
                world.send_to_server(path, &request);
            }
            world.run_for(Duration::from_millis(5));
        }
        world.run_for(Duration::from_secs(2));
        assert_eq!(world.engine_at(1).stats().feedback.keyframes_requested, 6);
        let asked = plis(world) - before;
        assert!((1..=2).contains(&asked), "{asked}: one, and one for a request that crossed its answer");
        assert_eq!(world.received(2, Ssrc(200)).gaps(), Vec::<u64>::new());
    });
}

#[test]
fn who_comes_later_gets_a_picture_from_another_site() {
    near_and_far(|world| {
        world.run_for(Duration::from_secs(2));
        world.join_at(1, 5, GCM);
        let joined = world.now;
        world.subscribe(5, VIDEO.0, 200, MediaKind::Video);
        world.run_for(Duration::from_secs(1));
        let first = world.received(5, Ssrc(200)).packets.values().next().expect("video came");
        assert!(first.keyframe);
        // A picture's period, two ways of 10 ms each, and two between the engines.
        let waited = first.at.since(joined);
        assert!(waited <= Duration::from_millis(40 + 40 + 40), "{waited:?}");
    });
}

#[test]
fn a_muted_track_is_silent_everywhere_and_goes_on_without_a_gap() {
    near_and_far(|world| {
        world.run_for(Duration::from_secs(2));
        for track in [AUDIO, VIDEO] {
            world.command(Command::SetMuted { track, muted: true });
        }
        world.run_for(Duration::from_millis(50));
        let counts = |world: &World| [100, 200].map(|ssrc| world.received(2, Ssrc(ssrc)).packets.len());
        let [audio, video] = counts(world);
        world.run_for(Duration::from_secs(2));
        assert_eq!(counts(world), [audio, video]);
        for track in [AUDIO, VIDEO] {
            world.command(Command::SetMuted { track, muted: false });
        }
        world.run_for(Duration::from_secs(2));
        for (ssrc, before) in [(100, audio), (200, video)] {
            let received = world.received(2, Ssrc(ssrc));
            assert_eq!(received.gaps(), Vec::<u64>::new());
            assert!(received.packets.len() > before + 80);
        }
        assert!(world.received(2, Ssrc(200)).packets.values().nth(video).expect("it went on").keyframe);
    });
}

#[test]
fn a_relay_of_a_muted_track_is_silent() {
    scenario_at(2, |world| {
        world.join(1, GCM);
        world.publish(1, AUDIO.0, microphone());
        world.command(Command::SetMuted { track: AUDIO, muted: true });
        world.relay(1, AUDIO.0, &microphone(), 1);
        world.join_at(1, 2, GCM);
        world.subscribe(2, AUDIO.0, 100, MediaKind::Audio);
        world.run_for(Duration::from_secs(1));
        assert_eq!(world.received(2, Ssrc(100)).packets.len(), 0);
        world.command(Command::SetMuted { track: AUDIO, muted: false });
        world.run_for(Duration::from_secs(1));
        assert!(world.received(2, Ssrc(100)).packets.len() > 45);
    });
}

#[test]
fn a_stream_of_the_publishers_is_replaced_at_every_site() {
    near_and_far(|world| {
        world.run_for(Duration::from_secs(2));
        let client = world.clients.get_mut(&1).expect("joined");
        client.sender(Ssrc(23)).active = false;
        let mut again = Sender::video(77, "1", Some("f"));
        again.next_frame = world.now;
        again.keyframe_wanted = false;
        client.add_sender(again);
        world.run_for(Duration::from_secs(2));
        for number in 2..=4 {
            let received = world.received(number, Ssrc(200));
            assert_eq!(received.gaps(), Vec::<u64>::new());
            let packets: Vec<_> = received.packets.values().collect();
            let of_new = |content: Option<crate::client::Content>| content.is_some_and(|content| content.ssrc.0 == 77);
            let at = packets.iter().position(|packet| of_new(packet.content)).expect("it went on");
            assert!(packets[at].keyframe);
            assert!(packets[at..].iter().all(|packet| of_new(packet.content)));
        }
        // It ends, and a lower layer is left.
        let client = world.clients.get_mut(&1).expect("joined");
        client.sender(Ssrc(77)).active = false;
        let mut goodbye = Vec::new();
        write_start(&mut goodbye, 1, GOODBYE, 1);
        goodbye.extend_from_slice(&77_u32.to_be_bytes());
        let (path, goodbye) = (client.path, client.seal_rtcp(goodbye));
        world.send_to_server(path, &goodbye);
        world.run_for(Duration::from_millis(500));
        assert_eq!(newest_layer(world), 22);
        check_continuous(world);
    });
}

#[test]
fn audio_and_video_stay_in_step_behind_a_relay() {
    near_and_far(|world| {
        world.run_for(Duration::from_secs(8));
        let captured = |ssrc: u32, rate: f64| {
            let client = &world.clients[&2];
            let (ntp, timestamp, _) = *client.sender_reports[&Ssrc(ssrc)].last().expect("reported");
            let last = client.received[&Ssrc(ssrc)].packets.values().last().expect("received");
            let since = f64::from(last.timestamp.wrapping_sub(timestamp).cast_signed()) / rate;
            (ntp.bits() as f64 / 4_294_967_296.0 + since, last.at)
        };
        let ((audio, heard), (video, seen)) = (captured(100, 48_000.0), captured(200, 90_000.0));
        let skew = (audio - video) - (heard.as_micros() as f64 - seen.as_micros() as f64) / 1e6;
        assert!(skew.abs() < 0.002, "{skew} s apart");
    });
}

const SILENT: u8 = 80;
const SPEECH: u8 = 25;

/// Eight microphones at site 0, relayed with those of a group, of which two are heard at each site; client 2 listens.
fn conference(world: &mut World, delay: Duration) {
    world.link = Link { delay, ..PERFECT };
    world.join_at(1, 2, GCM);
    for site in 0..2 {
        world.command_at(site, Command::LimitHeard { voices: NonZeroU16::new(2) });
    }
    for number in 11..19 {
        world.join(number, GCM);
        let mut sender = Sender::audio(number as u32, "0");
        sender.level = SILENT;
        let mut publish = description(number, number, std::slice::from_ref(&sender));
        publish.group = Some(AudioGroupKey(1));
        world.clients.get_mut(&number).expect("joined").add_sender(sender);
        world.command(Command::Publish(Box::new(publish.clone())));
        world.relay_described(publish, 0, 1);
        world.subscribe(2, number, 1_000 + number as u32, MediaKind::Audio);
    }
}

fn level(world: &mut World, number: u64, level: u8) -> u64 {
    let sender = world.clients.get_mut(&number).expect("joined").sender(Ssrc(number as u32));
    sender.level = level;
    sender.frame
}

#[test]
fn who_is_heard_is_decided_at_each_site_and_no_word_is_cut() {
    for delay in [0, 20] {
        scenario_at(2, |world| {
            conference(world, Duration::from_millis(delay));
            world.run_for(Duration::from_secs(2));
            for number in [15, 18, 13, 17, 15] {
                let first = level(world, number, SPEECH);
                world.run_for(Duration::from_millis(400));
                let last = level(world, number, SILENT) - 1;
                world.run_for(Duration::from_millis(1_500));
                let received = world.received(2, Ssrc(1_000 + number as u32));
                assert_eq!(received.gaps(), Vec::<u64>::new());
                let frames: Vec<u64> = received.contents().map(|content| content.frame).collect();
                let word: Vec<u64> = frames.into_iter().filter(|frame| (first - 4..=last).contains(frame)).collect();
                assert_eq!(word, (first - 4..=last).collect::<Vec<_>>(), "{number}, with what was before the word");
            }
            let unheard = world.engine_at(1).stats().dropped.unheard;
            assert!(unheard > 2_000, "{unheard}: the home relays all, and here most are held back");
            assert_eq!(world.engine_at(1).stats().dropped.unsealable, 0);
        });
    }
}

#[test]
fn what_a_link_loses_or_delays_does_no_harm_beyond_it() {
    scenario_at(2, |world| {
        call(world, Duration::from_millis(5));
        world.run_for(Duration::from_secs(1));
        world.link = BAD;
        world.run_for(Duration::from_secs(5));
        world.link = PERFECT;
        world.run_for(Duration::from_secs(2));
        let missing = world.received(2, Ssrc(100)).gaps().len();
        assert!((20..100).contains(&missing), "{missing}: a fifth of 250");
        // What one site missed the other has.
        assert_eq!(world.received(3, Ssrc(100)).gaps(), Vec::<u64>::new());
        let from = world.now - Duration::from_secs(1);
        let video = world.received(2, Ssrc(200));
        assert!(video.packets.values().filter(|packet| packet.at >= from).count() > 70);
        assert_eq!(world.engine_at(1).stats().dropped.unsealable, 0);
    });
}

#[test]
fn a_relay_that_is_passed_on_arrives_once_even_if_it_comes_twice() {
    scenario_at(3, |world| {
        call(world, Duration::from_millis(5));
        // Site 2 gets it from site 1, and after a while from site 0 too.
        for (track, senders) in [(AUDIO, microphone()), (VIDEO, camera())] {
            world.relay_described(description(1, track.0, &senders), 1, 2);
        }
        world.join_at(2, 5, GCM);
        world.subscribe(5, AUDIO.0, 100, MediaKind::Audio);
        world.subscribe(5, VIDEO.0, 200, MediaKind::Video);
        world.run_for(Duration::from_secs(2));
        assert!(world.received(5, Ssrc(200)).packets.values().next().expect("video came").keyframe);
        for (track, senders) in [(AUDIO, microphone()), (VIDEO, camera())] {
            world.relay_described(description(1, track.0, &senders), 0, 2);
        }
        world.run_for(Duration::from_secs(1));
        for track in [AUDIO, VIDEO] {
            world.command_at(1, Command::StopRelay { track, peer: PeerKey(2) });
        }
        world.run_for(Duration::from_secs(2));
        for ssrc in [100, 200] {
            let received = world.received(5, Ssrc(ssrc));
            assert_eq!(received.gaps(), Vec::<u64>::new());
            let contents: Vec<_> = received.contents().collect();
            assert_eq!(contents.iter().collect::<BTreeSet<_>>().len(), contents.len());
            let last = received.packets.values().last().expect("it came");
            assert!(world.now.since(last.at) < Duration::from_millis(60));
        }
        assert_eq!(world.engine_at(2).stats().dropped.unsealable, 0);
    });
}

#[test]
fn a_relay_ends_with_the_track_and_leaves_nothing_to_do() {
    scenario_at(2, |world| {
        call(world, Duration::from_millis(5));
        world.run_for(Duration::from_secs(1));
        world.command_at(1, Command::Unpublish { track: VIDEO });
        let stats = world.engine_at(1).stats();
        assert_eq!((stats.tracks, stats.subscriptions), (1, 2));
        world.run_for(Duration::from_secs(1));
        assert!(world.engine_at(1).stats().dropped.unrelated > 50, "nobody has stopped the relay yet");
        world.command(Command::StopRelay { track: VIDEO, peer: REMOTE });
        world.command(Command::StopRelay { track: AUDIO, peer: REMOTE });
        world.run_for(Duration::from_millis(50));
        let (sent, received) = (world.engine().stats().relay.sent, world.received(2, Ssrc(100)).packets.len());
        world.run_for(Duration::from_secs(1));
        assert_eq!((world.engine().stats().relay.sent, world.received(2, Ssrc(100)).packets.len()), (sent, received));
        world.command_at(1, Command::Unpublish { track: AUDIO });
        for (site, number) in [(0, 1), (1, 2), (0, 3), (1, 4)] {
            world.command_at(site, Command::RemoveTransport { transport: TransportKey(number) });
        }
        world.checks = false;
        world.run_for(Duration::from_mins(1));
        assert_eq!((world.engine().poll_timeout(), world.engine_at(1).poll_timeout()), (None, None));
    });
}

#[test]
fn relays_that_nobody_expects_are_dropped() {
    scenario_at(2, |world| {
        world.join(1, GCM);
        world.publish(1, AUDIO.0, microphone());
        // The other engine has a track of that name, but from a client of its own.
        world.join_at(1, 2, GCM);
        world.publish(2, AUDIO.0, vec![Sender::audio(12, "0")]);
        world.command(Command::RelayTo { track: AUDIO, peer: REMOTE });
        world.join_at(1, 3, GCM);
        world.subscribe(3, AUDIO.0, 100, MediaKind::Audio);
        world.run_for(Duration::from_secs(2));
        let contents: BTreeSet<u32> = world.received(3, Ssrc(100)).contents().map(|content| content.ssrc.0).collect();
        assert_eq!(contents, BTreeSet::from([12]));
        assert!(world.engine_at(1).stats().dropped.unrelated > 95);
        // Now it is relayed, and so another one: what depended on it has ended.
        let mut publish = description(1, AUDIO.0, &microphone());
        publish.feed = Feed::Peer(PeerKey(0));
        world.command_at(1, Command::Publish(Box::new(publish)));
        assert_eq!(world.engine_at(1).stats().subscriptions, 0);
        world.subscribe(3, AUDIO.0, 101, MediaKind::Audio);
        world.run_for(Duration::from_secs(1));
        assert!(world.received(3, Ssrc(101)).contents().count() > 45);
    });
}
