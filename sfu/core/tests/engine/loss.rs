//! What a bad network loses comes back.

use std::time::Duration;

use sfu_core::engine::command::MediaKind;
use sfu_core::id::Ssrc;
use sfu_core::media::rtcp::{self, ReportBlock};
use sfu_core::transport::srtp::Profile;

use crate::client::Sender;
use crate::network::{BAD, Link, PERFECT};
use crate::world::{World, scenario, scenario_on_the_move};

const GCM: Profile = Profile::AeadAes128Gcm;
const AUDIO: Ssrc = Ssrc(100);
const VIDEO: Ssrc = Ssrc(200);

fn call(world: &mut World) {
    world.join(1, GCM);
    world.publish(1, 1, vec![Sender::audio(11, "0")]);
    world.publish(1, 2, vec![Sender::video(21, "1", None)]);
    for number in 2..=3 {
        world.join(number, GCM);
        world.subscribe(number, 1, 100, MediaKind::Audio);
        world.subscribe(number, 2, 200, MediaKind::Video);
    }
}

/// Has client 2 say that it lost these packets.
fn ask(world: &mut World, ssrc: Ssrc, lost: &[u64]) {
    let mut nack = Vec::new();
    rtcp::write_nack(&mut nack, Ssrc(1), ssrc, lost);
    let client = world.clients.get_mut(&2).expect("joined");
    let (path, datagram) = (client.path, client.seal_rtcp(nack));
    world.deliver_to_server(path, datagram);
}

/// Lets the network recover, so that what was lost last can be asked for.
fn settle(world: &mut World) {
    (world.up, world.down) = (PERFECT, PERFECT);
    world.run_for(Duration::from_secs(2));
}

#[test]
fn a_fifth_lost_each_way_and_reordering_still_give_every_video_packet() {
    scenario(|world| {
        call(world);
        world.run_for(Duration::from_millis(500));
        (world.up, world.down) = (BAD, BAD);
        world.run_for(Duration::from_secs(10));
        settle(world);
        for number in 2..=3 {
            let video = world.received(number, VIDEO);
            assert_eq!(video.gaps(), Vec::<u64>::new(), "subscriber {number}");
            assert!(video.contents().collect::<Vec<_>>().is_sorted());
            assert!(video.contents().count() > 3 * 300 && video.retransmitted > 100);
        }
        let stats = world.engine().stats();
        assert!(stats.feedback.nacks_sent > 100 && stats.sent.rtx.packets > 200);
        assert_eq!(stats.dropped.unsealable, 0);
    });
}

#[test]
fn audio_without_rtx_is_repaired_with_the_bytes_sent_before() {
    scenario(|world| {
        call(world);
        world.run_for(Duration::from_millis(500));
        world.down = Link { loss: 10, ..PERFECT };
        world.run_for(Duration::from_secs(6));
        settle(world);
        for number in 2..=3 {
            // The request that makes the engine keep packets cannot be answered, nor can those under way with it.
            let gaps = world.received(number, AUDIO).gaps().len();
            assert!(gaps <= 3, "{gaps} packets missing");
        }
        assert!(world.engine().stats().sent.rtx.packets > 40);
    });
}

#[test]
fn a_publishers_loss_is_no_loss_to_those_who_come_later() {
    scenario_on_the_move(|world| {
        call(world);
        world.up = Link { loss: 20, jitter: Duration::from_millis(50), ..PERFECT };
        world.run_for(Duration::from_secs(6));
        world.join(4, GCM);
        world.subscribe(4, 2, 200, MediaKind::Video);
        world.run_for(Duration::from_secs(4));
        settle(world);
        let video = world.received(4, VIDEO);
        assert_eq!(video.gaps(), Vec::<u64>::new());
        assert!(video.packets.values().next().expect("video came").keyframe, "it begins with a keyframe");
        assert!(world.clients[&1].nacked > 50);
    });
}

#[test]
fn requests_beyond_the_budget_are_not_answered() {
    scenario(|world| {
        call(world);
        world.run_for(Duration::from_secs(2));
        world.clients.get_mut(&2).expect("joined").nacks = false;
        let sent = world.engine().stats().sent.rtp.bytes;
        for _ in 0..200 {
            let last = *world.received(2, VIDEO).packets.last_key_value().expect("video came").0;
            ask(world, VIDEO, &(last - 100..last).collect::<Vec<_>>());
            world.run_for(Duration::from_millis(20));
        }
        let stats = world.engine().stats();
        assert!(stats.feedback.nacks_unanswered > 10_000, "{stats:?}");
        assert!(stats.sent.rtx.bytes < 600_000 + sent, "{stats:?}");
    });
}

#[test]
fn what_would_come_too_late_is_not_sent_again() {
    scenario(|world| {
        call(world);
        world.run_for(Duration::from_secs(1));
        world.clients.get_mut(&2).expect("joined").nacks = false;
        let last = |world: &World, ssrc| *world.received(2, ssrc).packets.last_key_value().expect("came").0;
        // Asks for the first time, so that sealed sound is kept from now on.
        let first = last(world, AUDIO);
        ask(world, AUDIO, &[first]);
        world.run_for(Duration::from_secs(1));
        for (ssrc, in_time, late) in [(AUDIO, 400, 600), (VIDEO, 2_900, 3_100)] {
            let last = last(world, ssrc);
            let mut answers = |after: u64| {
                world.run_for(Duration::from_millis(after));
                let before = world.engine().stats().sent.rtx.packets;
                ask(world, ssrc, &[last]);
                world.engine().stats().sent.rtx.packets - before
            };
            assert_eq!((answers(in_time), answers(late - in_time)), (1, 0), "{ssrc:?}");
        }
    });
}

#[test]
fn padding_of_the_publisher_leaves_no_gaps() {
    scenario_on_the_move(|world| {
        call(world);
        for _ in 0..40 {
            world.run_for(Duration::from_millis(70));
            let now = world.now;
            let client = world.clients.get_mut(&1).expect("joined");
            let (path, padding) = (client.path, client.send_padding(Ssrc(21), now));
            for datagram in padding {
                world.send_to_server(path, &datagram);
            }
        }
        settle(world);
        let video = world.received(2, VIDEO);
        assert_eq!(video.gaps(), Vec::<u64>::new());
        assert!(video.packets.values().all(|packet| packet.content.is_some()), "no empty packet was passed on");
    });
}

#[test]
fn what_the_network_loses_is_counted_both_ways() {
    scenario(|world| {
        call(world);
        world.run_for(Duration::from_millis(500));
        assert_eq!((world.engine().stats().lost.received, world.engine().stats().lost.sent), (0, 0));
        world.up = Link { loss: 20, ..PERFECT };
        world.run_for(Duration::from_secs(5));
        settle(world);
        let stats = *world.engine().stats();
        let percent = stats.lost.received * 100 / (stats.received.rtp.packets + stats.lost.received);
        // Lost audio comes again on its own stream, before the report counts it as lost.
        assert!((5..=12).contains(&percent), "a fifth of the video of five seconds of seven and a half: {stats:?}");

        for total_lost in [40, 40, 50] {
            let mut report = Vec::new();
            let block = ReportBlock {
                ssrc: VIDEO,
                fraction_lost: 0,
                total_lost,
                highest_sequence: 0,
                jitter: 0,
                last_sender_report: 0,
                delay_since_last_sender_report: 0,
            };
            rtcp::write_receiver_report(&mut report, Ssrc(1), &[block]);
            let client = world.clients.get_mut(&2).expect("joined");
            let (path, datagram) = (client.path, client.seal_rtcp(report));
            world.deliver_to_server(path, datagram);
            world.run_for(Duration::from_millis(300));
        }
        assert_eq!(world.engine().stats().lost.sent, 50);
    });
}
