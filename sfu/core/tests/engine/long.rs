//! What takes long: counters wrap, hours pass.

use std::time::Duration;

use sfu_core::engine::command::MediaKind;
use sfu_core::id::Ssrc;
use sfu_core::transport::srtp::Profile;

use crate::client::Sender;
use crate::network::{Link, PERFECT};
use crate::world::scenario;

const GCM: Profile = Profile::AeadAes128Gcm;

#[test]
fn sequence_numbers_and_roll_over_counters_wrap_on_a_lossy_network() {
    scenario(|world| {
        world.join(1, GCM);
        let mut fast = Sender::video(21, "1", None);
        fast.index = 64_000;
        fast.packets_per_frame = 100;
        world.publish(1, 2, vec![fast]);
        world.join(2, GCM);
        world.subscribe(2, 2, 200, MediaKind::Video);
        world.run_for(Duration::from_millis(200));
        (world.up, world.down) = (Link { loss: 1, ..PERFECT }, Link { loss: 1, ..PERFECT });
        world.run_for(Duration::from_secs(55));
        (world.up, world.down) = (PERFECT, PERFECT);
        world.run_for(Duration::from_secs(1));
        let received = world.received(2, Ssrc(200));
        let (first, last) = (received.packets.first_key_value(), received.packets.last_key_value());
        let span = last.expect("video").0 - first.expect("video").0;
        assert!(span > 2 * 65_536, "{span} packets wrap twice");
        assert_eq!(received.gaps(), Vec::<u64>::new());
        assert!(received.contents().collect::<Vec<_>>().is_sorted());
    });
}

#[test]
fn an_hour_of_a_call_of_two() {
    scenario(|world| {
        for (number, other) in [(1, 2), (2, 1)] {
            world.join(number, GCM);
            let mut slow = Sender::video(20 + number as u32, "1", None);
            slow.period = Duration::from_millis(500);
            slow.packets_per_frame = 1;
            let mut talk = Sender::audio(10 + number as u32, "0");
            talk.period = Duration::from_millis(60);
            world.publish(number, number, vec![talk]);
            world.publish(number, 10 + number, vec![slow]);
            let _ = other;
        }
        for (number, other) in [(1, 2), (2, 1)] {
            world.subscribe(number, other, 100, MediaKind::Audio);
            world.subscribe(number, 10 + other, 200, MediaKind::Video);
        }
        world.run_for(Duration::from_hours(1));
        for number in 1..=2 {
            assert_eq!(world.received(number, Ssrc(100)).gaps(), Vec::<u64>::new());
            assert!(world.received(number, Ssrc(100)).packets.len() > 59_900);
            assert!(world.received(number, Ssrc(200)).packets.len() > 7_100);
        }
    });
}
