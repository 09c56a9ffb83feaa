//! Sessions move between two running engines, and nobody notices.

use std::time::Duration;

use sfu_core::engine::command::{Command, MediaKind, Publish, Target};
use sfu_core::engine::event::Event;
use sfu_core::id::{PeerKey, Ssrc, SubscriptionKey, TrackKey, TransportKey};
use sfu_core::media::random::Random;
use sfu_core::time::Time;
use sfu_core::transport::srtp::Profile;

use crate::client::{Content, Sender};
use crate::moving::Way;
use crate::network::{Link, PERFECT};
use crate::world::{World, description, scenario_at, subscription_key};

const GCM: Profile = Profile::AeadAes128Gcm;
const CM: Profile = Profile::Aes128CmHmacSha1_80;
/// Of the people in the call, the first so many publish.
pub const PUBLISHERS: u64 = 4;
pub const PEOPLE: u64 = 8;

fn microphone(number: u64) -> Vec<Sender> {
    vec![Sender::audio(100 + number as u32, "0")]
}

fn camera(number: u64) -> Vec<Sender> {
    vec![Sender::video(200 + number as u32, "1", None)]
}

/// What a publisher's client sends.
pub fn tracks(number: u64) -> [Publish; 2] {
    [description(number, number * 10, &microphone(number)), description(number, number * 10 + 1, &camera(number))]
}

/// The copies of what `publisher` sends, as everybody gets them.
pub const fn copies(publisher: u64) -> [Ssrc; 2] {
    [Ssrc(3_000 + publisher as u32), Ssrc(4_000 + publisher as u32)]
}

/// Eight people, half of them at each site; four publish audio and video, and all others get it.
pub fn call(world: &mut World) {
    for number in 1..=PEOPLE {
        world.join_at(number as usize % 2, number, if number == 3 { CM } else { GCM });
    }
    for number in 1..=PUBLISHERS {
        let other = 1 - world.site_of(number);
        world.publish(number, number * 10, microphone(number));
        world.publish(number, number * 10 + 1, camera(number));
        for track in tracks(number) {
            world.moving.tracks.entry(number).or_default().push(track.track);
            world.relay_described(track, 1 - other, other);
        }
    }
    for number in 1..=PEOPLE {
        for publisher in (1..=PUBLISHERS).filter(|publisher| *publisher != number) {
            let [audio, video] = copies(publisher);
            world.subscribe(number, publisher * 10, audio.0, MediaKind::Audio);
            world.subscribe(number, publisher * 10 + 1, video.0, MediaKind::Video);
        }
    }
    world.run_for(Duration::from_secs(2));
}

/// Has people move to and fro, several at a time, until so many moves are done.
fn move_about(world: &mut World, moves: usize) {
    let mut random = Random::new(7);
    let end = world.moving.done + moves;
    while world.moving.done < end {
        world.run_for(Duration::from_millis(10 + random.next() % 50));
        let number = 1 + random.next() % PEOPLE;
        if !world.is_moving(number) {
            let way = if random.next().is_multiple_of(2) { Way::Candidate } else { Way::Restart };
            let to = 1 - world.site_of(number);
            world.begin_move(number, to, way);
        }
    }
    world.settle_moves();
}

fn keyframes_asked_for(world: &World) -> usize {
    (1..=PUBLISHERS).map(|number| world.clients[&number].plis.len()).sum()
}

/// Each stream everybody gets of somebody else.
fn streams() -> impl Iterator<Item = (u64, Ssrc)> {
    let pairs = (1..=PEOPLE).flat_map(|number| (1..=PUBLISHERS).map(move |publisher| (number, publisher)));
    let others = pairs.filter(|(number, publisher)| number != publisher);
    others.flat_map(|(number, publisher)| copies(publisher).map(|ssrc| (number, ssrc)))
}

/// Every packet of the publisher came once, in its order, and until now. What was still sent on the old path takes as
/// much longer as it is to the new owner, and is overtaken by what is sent there; if its receiver moves at that moment,
/// by as much again.
fn check_exact(world: &World) {
    for (number, ssrc) in streams() {
        let received = world.received(number, ssrc);
        assert_eq!(received.gaps(), Vec::<u64>::new(), "{number} {ssrc:?}");
        let mut newest = Time::ZERO;
        for packet in received.packets.values() {
            let overtaken = newest.since(packet.at);
            assert!(
                overtaken <= world.link.delay * 2,
                "{number} {ssrc:?} overtaken by {overtaken:?} at {:?}",
                packet.at
            );
            newest = newest.max(packet.at);
        }
        if world.link.delay.is_zero() {
            assert_eq!(received.retransmitted, 0, "{number} {ssrc:?}");
        }
        let contents: Vec<Content> = received.contents().collect();
        let parts = if ssrc.0 >= 4_000 { 3 } else { 1 };
        for pair in contents.windows(2) {
            let next = |content: Content| content.frame * parts + u64::from(content.part);
            assert_eq!(next(pair[1]), next(pair[0]) + 1, "{number} {ssrc:?}: {pair:?}");
        }
        let last = received.packets.values().last().expect("it came").at;
        assert!(world.now.since(last) < Duration::from_millis(110), "{number} {ssrc:?} came until {last:?}");
    }
}

fn check_counters(world: &mut World) {
    for site in 0..2 {
        let stats = *world.engine_at(site).stats();
        assert_eq!((stats.dropped.unsealable, stats.dropped.forged, stats.dropped.no_keys), (0, 0, 0), "site {site}");
        assert_eq!(stats.dropped.unrelated, 0, "site {site}");
    }
}

/// Moves of publishers and subscribers with nothing lost on the way.
fn moves_are_exact(delay: Duration, moves: usize) {
    scenario_at(2, |world| {
        world.link = Link { delay, ..PERFECT };
        call(world);
        let asked = keyframes_asked_for(world);
        move_about(world, moves);
        check_exact(world);
        assert_eq!(keyframes_asked_for(world), asked, "no move needs a keyframe");
        if delay.is_zero() {
            assert_eq!((1..=PUBLISHERS).map(|number| world.clients[&number].nacked).sum::<u64>(), 0);
        }
        check_counters(world);
        let stats: Vec<_> = (0..2).map(|site| world.engine_at(site).stats().transports).collect();
        assert_eq!(stats.iter().sum::<u64>(), PEOPLE, "nothing is left of a transport where it was");
    });
}

#[test]
fn five_hundred_moves_between_threads_cannot_be_told() {
    moves_are_exact(Duration::ZERO, 500);
}

#[test]
fn five_hundred_moves_between_sites_cannot_be_told() {
    moves_are_exact(Duration::from_millis(20), 500);
}

/// The call on a network that loses, delays and doubles while `something` happens. Returns how long that took.
fn on_a_bad_network(world: &mut World, delay: Duration, something: impl Fn(&mut World)) -> Duration {
    world.link = Link { delay, ..PERFECT };
    call(world);
    let bad = Link { delay: Duration::from_millis(10), jitter: Duration::from_millis(12), loss: 5, doubled: 2 };
    (world.up, world.down) = (bad, bad);
    let began = world.now;
    something(world);
    let took = world.now.since(began);
    (world.up, world.down) = (PERFECT, PERFECT);
    world.run_for(Duration::from_secs(3));
    took
}

/// Frames of audio that somebody did not get, after all of them came in their order and once.
fn check_audio(world: &World) -> usize {
    let missing = |(number, ssrc)| {
        let frames: Vec<u64> = world.received(number, ssrc).contents().map(|content| content.frame).collect();
        assert!(frames.windows(2).all(|pair| pair[1] > pair[0]), "{number} {ssrc:?}");
        (frames[frames.len() - 1] - frames[0] + 1) as usize - frames.len()
    };
    streams().filter(|(_, ssrc)| ssrc.0 < 4_000).map(missing).sum()
}

/// Moves while the network loses, delays and doubles.
fn moves_lose_nothing_more(delay: Duration, moves: usize) {
    scenario_at(2, |world| {
        let took = on_a_bad_network(world, delay, |world| {
            let asked = keyframes_asked_for(world);
            move_about(world, moves);
            assert_eq!(keyframes_asked_for(world), asked, "no move needs a keyframe");
        });
        for (number, ssrc) in streams().filter(|(_, ssrc)| ssrc.0 >= 4_000) {
            let received = world.received(number, ssrc);
            assert_eq!(received.gaps(), Vec::<u64>::new(), "{number} {ssrc:?}");
            let contents: Vec<Content> = received.contents().collect();
            let next = |content: Content| content.frame * 3 + u64::from(content.part);
            assert!(contents.windows(2).all(|pair| next(pair[1]) == next(pair[0]) + 1), "{number} {ssrc:?}");
            assert!(received.retransmitted > 0);
        }
        // Audio has no retransmissions of its own: what is sealed is kept and sent again, and moves too.
        let missing = check_audio(world);
        for site in 0..2 {
            assert_eq!(world.engine_at(site).stats().dropped.unsealable, 0);
        }
        if world.is_plain() {
            let still = &mut World::with_sites(2, None);
            on_a_bad_network(still, delay, |still| still.run_for(took));
            let explained = check_audio(still);
            world.tell(format!("{moves} moves: {missing} frames of audio missing, {explained} without moves"));
            // With eight other seeds they were 14 to 30 with moves and 15 to 34 without.
            assert!(missing <= explained + 20, "{missing} frames of audio missing, {explained} without moves");
        }
    });
}

#[test]
fn five_hundred_moves_between_threads_lose_nothing_that_a_bad_network_does_not() {
    moves_lose_nothing_more(Duration::ZERO, 500);
}

#[test]
fn five_hundred_moves_between_sites_lose_nothing_that_a_bad_network_does_not() {
    moves_lose_nothing_more(Duration::from_millis(20), 500);
}

#[test]
fn what_comes_late_on_the_old_path_is_passed_on() {
    scenario_at(2, |world| {
        world.link = Link { delay: Duration::from_millis(20), ..PERFECT };
        call(world);
        // On the old path everything takes 60 ms, so that a lot of it comes after the hand-off.
        world.up.delay = Duration::from_millis(60);
        world.run_for(Duration::from_secs(1));
        world.begin_move(1, 1 - world.site_of(1), Way::Candidate);
        world.up.delay = Duration::from_millis(5);
        world.run_for(Duration::from_millis(500));
        world.up.delay = Duration::from_millis(60);
        world.settle_moves();
        world.run_for(Duration::from_secs(1));
        let frames: Vec<u64> = world.received(5, copies(1)[0]).contents().map(|content| content.frame).collect();
        assert_eq!(frames, (frames[0]..frames[0] + frames.len() as u64).collect::<Vec<_>>());
        assert_eq!(world.received(5, copies(1)[1]).gaps(), Vec::<u64>::new());
        check_counters(world);
    });
}

#[test]
fn a_move_that_the_client_does_not_take_part_in_changes_nothing() {
    scenario_at(2, |world| {
        call(world);
        let asked = keyframes_asked_for(world);
        for number in [1, 5] {
            // No check arrives at the new address.
            let up = std::mem::replace(&mut world.up, Link { loss: 100, ..PERFECT });
            world.begin_move(number, 1 - world.site_of(number), Way::Candidate);
            world.up = up;
        }
        world.run_for(Duration::from_secs(40));
        for number in [1, 5] {
            let transport = TransportKey(number);
            world.command_at(1 - world.site_of(number), Command::RemoveTransport { transport });
        }
        check_exact(world);
        check_counters(world);
        assert_eq!((world.moving.done, keyframes_asked_for(world)), (0, asked));
    });
}

#[test]
fn a_session_that_another_engine_does_not_understand_goes_on_where_it_was() {
    for delay in [0, 20] {
        scenario_at(2, |world| {
            world.link = Link { delay: Duration::from_millis(delay), ..PERFECT };
            call(world);
            let asked = keyframes_asked_for(world);
            for number in [1, 5] {
                let site = world.site_of(number);
                world.newer = true;
                world.begin_move(number, 1 - site, Way::Candidate);
                world.run_for(Duration::from_secs(2));
                assert_eq!(world.site_of(number), site, "{number}");
            }
            assert_eq!((world.moving.done, world.moving.given_back), (0, 2));
            check_exact(world);
            for number in [1, 5] {
                world.begin_move(number, 1 - world.site_of(number), Way::Candidate);
            }
            world.settle_moves();
            check_exact(world);
            check_counters(world);
            assert_eq!((world.moving.done, keyframes_asked_for(world)), (2, asked));
        });
    }
}

#[test]
fn keys_that_come_after_the_move_was_given_up_go_back() {
    scenario_at(2, |world| {
        world.link = Link { delay: Duration::from_millis(20), ..PERFECT };
        call(world);
        let (transport, site) = (TransportKey(5), world.site_of(5));
        world.begin_move(5, 1 - site, Way::Restart);
        // The check takes 10 ms, the request 20, and so do the keys.
        world.run_for(Duration::from_millis(40));
        let handed_over = world.events_of(|event| matches!(event, Event::HandedOver { .. }).then_some(()));
        assert_eq!((handed_over.len(), world.moving.done), (1, 0), "the keys are under way");
        world.command_at(1 - site, Command::RemoveTransport { transport });
        world.run_for(Duration::from_secs(1));
        assert_eq!((world.moving.given_back, world.site_of(5)), (1, site));
        check_exact(world);
        assert_eq!(world.engine_at(1 - site).stats().transports, PEOPLE / 2, "nothing is left of it there");
    });
}

#[test]
fn an_order_that_comes_after_its_session_has_left_comes_back() {
    scenario_at(2, |world| {
        call(world);
        for number in [1, 5] {
            let (transport, site) = (TransportKey(number), world.site_of(number));
            let subscription = subscription_key(number, copies(2)[0].0);
            world.begin_move(number, 1 - site, Way::Candidate);
            world.run_for(Duration::from_millis(500));
            assert_eq!(world.site_of(number), 1 - site, "it has left");
            let own = tracks(number)[0].clone();
            let mut orders = vec![
                Command::RestartIce { transport, ice: world.clients[&number].ice.clone() },
                Command::SetTarget { subscription, target: Target::Off },
                Command::Unsubscribe { subscription },
            ];
            if number == 1 {
                orders.push(Command::SetMuted { track: own.track, muted: true });
                orders.push(Command::Publish(Box::new(own)));
            }
            let ordered = orders.len();
            for order in orders {
                world.command_at(site, order);
            }
            let to = PeerKey(1 - site as u32);
            let back = world.events_of(|event| match event {
                Event::Elsewhere { command, to } => Some((format!("{command:?}"), *to)),
                _ => None,
            });
            assert_eq!(back.len(), ordered, "{back:?}");
            assert!(back.iter().all(|(_, place)| *place == to), "{back:?}");
            world.events.clear();
            // What is about nobody who left is nobody else's either.
            world.command_at(site, Command::Unsubscribe { subscription: SubscriptionKey(987_654) });
            assert!(world.events_of(|event| matches!(event, Event::Elsewhere { .. }).then_some(())).is_empty());
        }
        world.settle_moves();
        check_exact(world);
        check_counters(world);
    });
}

#[test]
fn a_data_channel_moves_along_and_no_message_is_lost() {
    for delay in [0, 20] {
        let mut world = World::with_sites(2, Some(Random::new(5)));
        world.link = Link { delay: Duration::from_millis(delay), ..PERFECT };
        world.join_at(0, 1, GCM);
        world.publish(1, 10, microphone(1));
        world.relay(1, 10, &microphone(1), 1);
        world.moving.tracks.entry(1).or_default().push(TrackKey(10));
        world.open_data(1);
        let bad = Link { delay: Duration::from_millis(5), jitter: Duration::from_millis(5), loss: 1, doubled: 0 };
        (world.up, world.down) = (bad, bad);
        let mut sent = [Vec::new(), Vec::new()];
        let mut turn = 0_u32;
        while world.moving.done < 100 {
            // Larger than a datagram, so that a message is half here and half there.
            let message = turn.to_be_bytes().repeat(800);
            let said = world.say(1, &message);
            sent[1].push(message.clone());
            if said == 2 {
                sent[0].push(message);
            }
            turn += 1;
            if !world.is_moving(1) && turn.is_multiple_of(3) {
                let way = if turn.is_multiple_of(2) { Way::Candidate } else { Way::Restart };
                world.begin_move(1, 1 - world.site_of(1), way);
            }
            world.run_for(Duration::from_millis(80));
            assert!(turn < 5_000, "stuck after {} moves", world.moving.done);
        }
        (world.up, world.down) = (PERFECT, PERFECT);
        world.run_for(Duration::from_secs(30));
        for (end, sent) in sent.iter().enumerate() {
            assert!(world.heard(1)[end] == *sent, "{} of {} messages", world.heard(1)[end].len(), sent.len());
        }
        assert!(world.moving.not_ready > 0, "some message was half received when it was to move");
        println!("{turn} messages, {} times not ready", world.moving.not_ready);
    }
}

#[test]
fn what_goes_over_is_a_few_kilobytes() {
    let mut world = World::with_sites(2, None);
    call(&mut world);
    // A fifth more than they are.
    for (number, tracks, subscriptions, limits) in [(1, 2, 6, [24_700, 39_600]), (5, 0, 8, [16_800, 28_200])] {
        let size = |world: &mut World| {
            world.largest_handoff = 0;
            world.begin_move(number, 1 - world.site_of(number), Way::Candidate);
            world.settle_moves();
            world.largest_handoff
        };
        let media = size(&mut world);
        // And with what control encloses: DTLS, SCTP and a channel that has been used.
        world.open_data(number);
        world.say(number, b"hello");
        world.run_for(Duration::from_secs(1));
        let all = size(&mut world);
        println!("{tracks} tracks and {subscriptions} subscriptions: {media} bytes of JSON, {all} with a data channel");
        assert!(media > 0 && media < limits[0] && all > media && all < limits[1], "{media} {all}");
    }
}
