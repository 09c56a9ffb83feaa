//! In a large call only those are forwarded who are heard, and nobody's first word is cut.

use std::num::NonZeroU16;
use std::time::Duration;

use sfu_core::engine::command::{Command, MediaKind, Publish};
use sfu_core::id::{AudioGroupKey, Ssrc, TrackKey};
use sfu_core::time::Time;
use sfu_core::transport::srtp::Profile;

use crate::client::{Arrived, Sender};
use crate::network::{BAD, Link, PERFECT};
use crate::world::{World, description, scenario};

const GCM: Profile = Profile::AeadAes128Gcm;
const SILENT: u8 = 80;
const SPEECH: u8 = 25;
/// Who hears all.
const LISTENER: u64 = 100;
/// Ticks of a packet's 20 ms.
const PACKET: u32 = 960;

/// Microphones 1 to `talkers`, all silent, of which so many are heard.
fn call(world: &mut World, talkers: u64, voices: u16) {
    limit(world, voices);
    world.join(LISTENER, GCM);
    for number in 1..=talkers {
        join_talking(world, number, |_| {});
    }
}

fn join_talking(world: &mut World, number: u64, change: impl FnOnce(&mut Publish)) {
    world.join(number, GCM);
    let mut sender = Sender::audio(microphone(number).0, "0");
    sender.level = SILENT;
    sender.next_frame = world.now;
    let mut publish = description(number, number, std::slice::from_ref(&sender));
    publish.group = Some(AudioGroupKey(1));
    change(&mut publish);
    world.clients.get_mut(&number).expect("joined").add_sender(sender);
    world.command(Command::Publish(Box::new(publish)));
    world.subscribe(LISTENER, number, copy(number).0, MediaKind::Audio);
}

/// Zero for no limit.
fn limit(world: &mut World, voices: u16) {
    world.command(Command::LimitHeard { voices: NonZeroU16::new(voices) });
}

const fn microphone(number: u64) -> Ssrc {
    Ssrc(1_000 + number as u32)
}

const fn copy(number: u64) -> Ssrc {
    Ssrc(5_000 + number as u32)
}

/// From its next packet on, a microphone is this loud. Returns the number of that packet.
fn set_level(world: &mut World, number: u64, level: u8) -> u64 {
    let sender = world.clients.get_mut(&number).expect("joined").sender(microphone(number));
    sender.level = level;
    sender.frame
}

/// Frames of a microphone that arrived, with what arrived.
fn heard(world: &World, number: u64) -> Vec<(u64, &Arrived)> {
    let packets = world.received(LISTENER, copy(number)).packets.values();
    packets.filter_map(|packet| Some((packet.content?.frame, packet))).collect()
}

fn frames(world: &World, number: u64) -> Vec<u64> {
    heard(world, number).into_iter().map(|(frame, _)| frame).collect()
}

/// How many packets of a microphone arrived in the time from `from` on.
fn count_since(world: &World, number: u64, from: Time) -> usize {
    heard(world, number).iter().filter(|(_, packet)| packet.at >= from).count()
}

/// Nobody misses a number, and timestamps tell how far apart frames were said.
fn check_continuity(world: &mut World, talkers: u64) {
    assert_eq!(world.engine().stats().dropped.unsealable, 0, "nothing was to be sent twice");
    for number in 1..=talkers {
        assert_eq!(world.received(LISTENER, copy(number)).gaps(), Vec::<u64>::new(), "{number}");
        for pair in heard(world, number).windows(2) {
            let ((frame, packet), (next, later)) = (pair[0], pair[1]);
            assert!(next > frame, "{number}: {next} after {frame}");
            assert_eq!(later.timestamp.wrapping_sub(packet.timestamp), (next - frame) as u32 * PACKET, "{number}");
        }
    }
}

#[test]
fn of_thirty_who_talk_at_once_only_as_many_as_allowed_are_forwarded() {
    scenario(|world| {
        call(world, 30, 6);
        for number in 1..=30 {
            set_level(world, number, SPEECH);
        }
        world.run_for(Duration::from_secs(5));
        let streams = (1..=30).filter(|number| !frames(world, *number).is_empty()).count();
        let packets: usize = (1..=30).map(|number| frames(world, number).len()).sum();
        assert_eq!(streams, 6, "who is heard stays so, as all are equally loud");
        assert!((6 * 248..=6 * 251).contains(&packets), "{packets}");
        let stats = world.engine().stats();
        assert!((24 * 248..=24 * 251).contains(&stats.dropped.unheard), "{}", stats.dropped.unheard);
        check_continuity(world, 30);
    });
}

#[test]
fn as_many_as_allowed_are_heard_even_in_silence() {
    scenario(|world| {
        call(world, 4, 4);
        world.run_for(Duration::from_secs(3));
        for number in 1..=4 {
            let frames = frames(world, number);
            assert_eq!(frames, (0..frames.len() as u64).collect::<Vec<_>>());
            assert!(frames.len() >= 148, "{}", frames.len());
        }
        assert_eq!(world.engine().stats().dropped.unheard, 0);
    });
}

#[test]
fn a_first_word_arrives_whole_and_at_once() {
    scenario(|world| {
        call(world, 30, 3);
        world.run_for(Duration::from_secs(2));
        // Everybody says a word of 400 ms, each after the one before has ended.
        for number in (1..=30).rev() {
            let silent = world.now;
            world.run_for(Duration::from_millis(500));
            let first = set_level(world, number, SPEECH);
            let began = world.now;
            world.run_for(Duration::from_millis(400));
            let last = set_level(world, number, SILENT) - 1;
            world.run_for(Duration::from_millis(300));
            let word: Vec<_> = heard(world, number).into_iter().filter(|(_, packet)| packet.at >= silent).collect();
            let frames: Vec<u64> = word.iter().map(|(frame, _)| *frame).filter(|frame| *frame <= last).collect();
            // 100 ms before the first loud packet come along, because words begin quietly.
            let preroll = first - frames[0];
            assert_eq!(frames, (frames[0]..=last).collect::<Vec<_>>(), "{number}");
            assert!(preroll >= 5, "{number}: {preroll} packets before the word");
            let (_, loud) = word.iter().find(|(frame, _)| *frame == first).expect("it arrived");
            let delay = loud.at.since(began);
            assert!(delay <= PERFECT.delay * 2 + Duration::from_millis(20), "{number}: {delay:?}");
        }
        check_continuity(world, 30);
    });
}

#[test]
fn a_first_word_arrives_whole_from_a_bad_network() {
    scenario(|world| {
        call(world, 8, 2);
        world.up = BAD;
        world.run_for(Duration::from_secs(2));
        for number in [5, 8, 3, 7] {
            let first = set_level(world, number, SPEECH);
            world.run_for(Duration::from_millis(600));
            let last = set_level(world, number, SILENT) - 1;
            world.run_for(Duration::from_millis(1_500));
            let frames = frames(world, number);
            let word: Vec<u64> = frames.into_iter().filter(|frame| (first..=last).contains(frame)).collect();
            assert_eq!(word, (first..=last).collect::<Vec<_>>(), "{number}");
        }
        // A second without loss lets the last retransmissions in.
        world.up = PERFECT;
        world.run_for(Duration::from_secs(2));
        check_continuity(world, 8);
    });
}

#[test]
fn people_in_conversation_are_not_toggled() {
    scenario(|world| {
        call(world, 12, 3);
        world.run_for(Duration::from_secs(1));
        let speakers = [4, 9, 12];
        let mut begun = 0;
        for turn in 0..15 {
            let who = speakers[turn % 3];
            let first = set_level(world, who, SPEECH);
            begun = if turn == 2 { first } else { begun };
            world.run_for(Duration::from_millis(700));
            set_level(world, who, SILENT);
        }
        for number in speakers {
            let frames: Vec<u64> = frames(world, number).into_iter().filter(|frame| *frame >= begun).collect();
            assert!(frames.len() > 400, "{number}: {}", frames.len());
            assert_eq!(frames, (begun..begun + frames.len() as u64).collect::<Vec<_>>(), "{number}");
        }
        check_continuity(world, 12);
    });
}

#[test]
fn who_does_not_say_how_loud_it_is_is_always_forwarded() {
    scenario(|world| {
        call(world, 3, 2);
        join_talking(world, 4, |publish| publish.extensions.audio_level = None);
        join_talking(world, 5, |publish| publish.group = None);
        for number in 1..=3 {
            set_level(world, number, SPEECH);
        }
        world.run_for(Duration::from_secs(3));
        assert!(frames(world, 4).len() >= 147 && frames(world, 5).len() >= 147);
        let packets: usize = (1..=3).map(|number| frames(world, number).len()).sum();
        assert!((2 * 147..=2 * 152).contains(&packets), "{packets}");
    });
}

#[test]
fn groups_do_not_compete_with_one_another() {
    scenario(|world| {
        call(world, 2, 2);
        for number in 3..=4 {
            join_talking(world, number, |publish| publish.group = Some(AudioGroupKey(2)));
        }
        world.run_for(Duration::from_secs(2));
        assert!((1..=4).all(|number| frames(world, number).len() >= 97));
    });
}

#[test]
fn another_limit_counts_at_once() {
    scenario(|world| {
        call(world, 6, 2);
        for (at, voices, expected) in [(1, 2, 2), (2, 4, 4), (3, 1, 1), (4, 0, 6), (5, 3, 3)] {
            limit(world, voices);
            world.run_for(Duration::from_millis(100));
            let from = world.now;
            world.run_until(Time::from_millis(at * 1_000));
            let counts: Vec<usize> = (1..=6).map(|number| count_since(world, number, from)).collect();
            assert_eq!(counts.iter().filter(|count| **count > 0).count(), expected, "{counts:?}");
        }
        check_continuity(world, 6);
    });
}

#[test]
fn who_is_muted_or_leaves_makes_room() {
    scenario(|world| {
        call(world, 3, 1);
        world.run_for(Duration::from_secs(1));
        assert_eq!((frames(world, 2).len(), frames(world, 3).len()), (0, 0));
        world.command(Command::SetMuted { track: TrackKey(1), muted: true });
        world.run_for(Duration::from_secs(1));
        let (second, third) = (frames(world, 2).len(), frames(world, 3).len());
        assert!(second >= 48 && third == 0, "{second} and {third}");
        world.command(Command::SetMuted { track: TrackKey(1), muted: false });
        world.command(Command::Unpublish { track: TrackKey(2) });
        let before = world.now;
        world.run_for(Duration::from_secs(1));
        let counts = [1, 3].map(|number| count_since(world, number, before));
        assert!(counts.contains(&0) && counts.iter().any(|count| *count >= 48), "{counts:?}");
        check_continuity(world, 3);
    });
}

#[test]
fn the_first_word_after_unmuting_arrives_whole_also_of_a_quiet_microphone() {
    scenario(|world| {
        call(world, 5, 2);
        world.run_for(Duration::from_secs(2));
        for (number, level) in [(3, SPEECH), (4, 45), (5, 55)] {
            world.command(Command::SetMuted { track: TrackKey(number), muted: true });
            world.run_for(Duration::from_secs(2));
            let first = set_level(world, number, level);
            world.command(Command::SetMuted { track: TrackKey(number), muted: false });
            world.run_for(Duration::from_millis(600));
            let last = set_level(world, number, SILENT) - 1;
            world.run_for(Duration::from_secs(2));
            let frames = frames(world, number).into_iter().filter(|frame| (first..=last).contains(frame));
            assert_eq!(frames.collect::<Vec<_>>(), (first..=last).collect::<Vec<_>>(), "{number}");
        }
        // Who comes again and says nothing takes nobody's place.
        world.command(Command::SetMuted { track: TrackKey(1), muted: true });
        world.run_for(Duration::from_secs(1));
        let before = world.now;
        world.command(Command::SetMuted { track: TrackKey(1), muted: false });
        world.run_for(Duration::from_secs(2));
        assert_eq!(count_since(world, 1, before), 0);
        check_continuity(world, 5);
    });
}

#[test]
fn the_first_word_after_a_pause_without_packets_arrives_whole() {
    scenario(|world| {
        call(world, 5, 2);
        world.run_for(Duration::from_secs(2));
        // With DTX, a browser sends a packet every 400 ms while nobody speaks.
        for number in 1..=5 {
            world.clients.get_mut(&number).expect("joined").sender(microphone(number)).period =
                Duration::from_millis(400);
        }
        world.run_for(Duration::from_secs(5));
        for (number, level) in [(4, SPEECH), (5, 45)] {
            let now = world.now;
            let sender = world.clients.get_mut(&number).expect("joined").sender(microphone(number));
            (sender.period, sender.next_frame) = (Duration::from_millis(20), now);
            let first = set_level(world, number, level);
            world.run_for(Duration::from_millis(400));
            let last = set_level(world, number, SILENT) - 1;
            world.run_for(Duration::from_millis(1_500));
            let frames = frames(world, number).into_iter().filter(|frame| (first..=last).contains(frame));
            assert_eq!(frames.collect::<Vec<_>>(), (first..=last).collect::<Vec<_>>(), "{number}");
        }
        for number in 1..=5 {
            assert_eq!(world.received(LISTENER, copy(number)).gaps(), Vec::<u64>::new(), "{number}");
        }
    });
}

#[test]
fn a_new_ssrc_is_held_back_like_the_one_before_and_heard_when_it_speaks() {
    scenario(|world| {
        call(world, 2, 1);
        world.run_for(Duration::from_secs(1));
        set_level(world, 2, SPEECH);
        world.run_for(Duration::from_secs(1));
        set_level(world, 2, SILENT);
        world.run_for(Duration::from_secs(1));
        set_level(world, 1, SPEECH);
        world.run_for(Duration::from_millis(500));
        let client = world.clients.get_mut(&2).expect("joined");
        client.sender(microphone(2)).active = false;
        let mut again = Sender::audio(77, "0");
        (again.level, again.next_frame) = (SILENT, world.now);
        client.add_sender(again);
        world.run_for(Duration::from_secs(2));
        let sources = |world: &World| -> Vec<Ssrc> {
            let mut sources: Vec<Ssrc> = heard(world, 2).iter().filter_map(|(_, p)| Some(p.content?.ssrc)).collect();
            sources.dedup();
            sources
        };
        assert_eq!(sources(world), [microphone(2)]);
        set_level(world, 1, SILENT);
        world.run_for(Duration::from_millis(1_100));
        world.clients.get_mut(&2).expect("joined").sender(Ssrc(77)).level = SPEECH;
        world.run_for(Duration::from_millis(500));
        assert_eq!(sources(world), [microphone(2), Ssrc(77)]);
        assert_eq!(world.received(LISTENER, copy(2)).gaps(), Vec::<u64>::new());
    });
}

#[test]
fn who_subscribes_late_hears_those_who_are_heard() {
    scenario(|world| {
        call(world, 3, 1);
        world.run_for(Duration::from_secs(1));
        world.join(LISTENER + 1, GCM);
        for number in 1..=3 {
            world.subscribe(LISTENER + 1, number, copy(number).0, MediaKind::Audio);
        }
        world.run_for(Duration::from_secs(1));
        let counts = |world: &World| [1, 2, 3].map(|number| world.received(LISTENER + 1, copy(number)).packets.len());
        let [first, second, third] = counts(world);
        assert!(first >= 47 && second == 0 && third == 0);
        set_level(world, 3, SPEECH);
        world.run_for(Duration::from_millis(500));
        let [first_after, _, third_after] = counts(world);
        assert!(first_after <= first + 3 && third_after >= 25, "{first_after} and {third_after}");
        assert_eq!(world.received(LISTENER + 1, copy(3)).gaps(), Vec::<u64>::new());
    });
}

#[test]
fn who_subscribes_while_packets_come_late_misses_nothing_later() {
    scenario(|world| {
        call(world, 2, 1);
        world.up = Link { delay: Duration::from_millis(5), jitter: Duration::from_millis(60), loss: 0, doubled: 0 };
        world.run_for(Duration::from_secs(2));
        for round in 0..12 {
            // The second takes the place of the first, of whose packets some are still under way.
            set_level(world, 2, SPEECH);
            world.run_for(Duration::from_millis(50));
            let listener = LISTENER + 1 + round;
            world.join(listener, GCM);
            world.subscribe(listener, 1, copy(1).0, MediaKind::Audio);
            world.run_for(Duration::from_millis(40));
            // And gives it back so soon that what was held back meanwhile is sent after all.
            world.command(Command::SetMuted { track: TrackKey(2), muted: true });
            world.run_for(Duration::from_millis(500));
            set_level(world, 2, SILENT);
            world.command(Command::SetMuted { track: TrackKey(2), muted: false });
            world.run_for(Duration::from_millis(500));
        }
        // The last ones arrive.
        for number in 1..=2 {
            world.clients.get_mut(&number).expect("joined").sender(microphone(number)).active = false;
        }
        world.run_for(Duration::from_millis(200));
        for round in 0..12 {
            let received = world.received(LISTENER + 1 + round, copy(1));
            assert!(received.packets.len() > 20, "round {round}: {}", received.packets.len());
            assert_eq!(received.gaps(), Vec::<u64>::new(), "round {round}");
        }
        // Of the second, what came late after it was muted is missing.
        check_continuity(world, 1);
    });
}
