//! Bad networks and bad people.

use std::time::Duration;

use proptest::prelude::*;

use super::network::{Faults, Network, Random};
use crate::transport::sctp::{ChannelOptions, Reliability};

const BAD: Faults = Faults { loss_percent: 20, duplicate_percent: 5, max_delay_ms: 60 };

/// The number each message begins with.
pub(super) fn numbers(messages: &[(super::super::ChannelId, Vec<u8>, bool)]) -> Vec<u32> {
    messages.iter().map(|(_, data, _)| u32::from_be_bytes(data[..4].try_into().unwrap())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_reliable_message_arrives_once_and_in_order_over_a_bad_network(seed: u64) {
        let mut network = Network::acquainted(seed);
        network.faults = BAD;
        let now = network.now;
        let options = ChannelOptions { label: "chat".into(), ordered: true, reliability: Reliability::Reliable };
        let channel = network.ends[1].association().open_channel(now, options).unwrap();
        network.run_until(Duration::from_mins(1), |n| n.ends.iter().all(|end| !end.opened.is_empty()));
        for number in 0..50_u32 {
            let now = network.now;
            for end in &mut network.ends {
                end.association().send(now, channel, &number.to_be_bytes().repeat(100), true).unwrap();
            }
            network.run_for(Duration::from_millis(10));
        }
        network.run_until(Duration::from_mins(5), |n| n.ends.iter().all(|end| end.messages.len() == 50));
        for end in &network.ends {
            prop_assert_eq!(numbers(&end.messages), (0..50).collect::<Vec<_>>());
        }
    }

    #[test]
    fn encrypted_garbage_between_real_datagrams_changes_nothing(seed: u64) {
        let mut network = Network::acquainted(1);
        let mut random = Random(seed | 1);
        for _ in 0..200 {
            let to = random.below(2) as usize;
            let mut datagram: Vec<u8> = (0..random.below(200)).map(|_| random.below(256) as u8).collect();
            if let [content_type, major, minor, epoch_high, epoch_low, ..] = datagram.as_mut_slice() {
                // Not plaintext: of a handshake's messages anybody on the path can forge one.
                (*content_type, *major, *minor, *epoch_high) = (20 + random.below(6) as u8, 0xFE, 0xFD, 0);
                *epoch_low = 1 + random.below(2) as u8;
            }
            network.deliver(to, &datagram);
            network.run_for(Duration::from_micros(500));
        }
        network.run_until(Duration::from_mins(1), |n| n.ends.iter().all(|end| end.keys.is_some()));
        prop_assert!(network.ends.iter().all(|end| end.closed.is_none()));
    }

    #[test]
    fn mutated_real_datagrams_never_panic(seed: u64) {
        let mut recorded = Network::connected();
        recorded.run_for(Duration::from_millis(100));
        let mut network = Network::acquainted(1);
        let mut random = Random(seed | 1);
        for _ in 0..300 {
            let at = random.below(recorded.seen.len() as u64) as usize;
            let (to, mut datagram) = recorded.seen[at].clone();
            for _ in 0..=random.below(4) {
                let at = random.below(datagram.len() as u64) as usize;
                datagram[at] = random.below(256) as u8;
            }
            datagram.truncate(1 + random.below(datagram.len() as u64 * 2) as usize);
            network.deliver(to, &datagram);
            network.run_for(Duration::from_micros(200));
        }
        let internal = |end: &super::network::End| format!("{:?}", end.closed).contains("Internal");
        prop_assert!(!network.ends.iter().any(internal), "a library panicked");
    }
}

#[test]
fn plaintext_after_the_handshake_changes_nothing() {
    let mut network = Network::connected();
    let replayed = network.seen.clone();
    for (to, datagram) in &replayed {
        network.deliver(*to, datagram);
    }
    for end in 0..2 {
        // A fatal alert, which anybody can write.
        network.deliver(end, &[21, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 99, 0, 2, 2, 40]);
        network.deliver(end, &[0xFF; 9000]);
        assert!(network.ends[end].association().dropped() > 2);
    }
    network.run_for(Duration::from_millis(100));
    assert!(network.ends.iter().all(|end| end.closed.is_none()));
    assert!(network.seen.len() <= replayed.len() + 4, "replays are not answered");
}

#[test]
fn a_flood_of_handshake_fragments_is_bounded_and_survived() {
    let mut network = Network::acquainted(1);
    network.run_for(Duration::from_millis(2));
    for number in 0..20_000_u32 {
        // One byte of a message of 60,000, each with its own offset.
        let mut datagram = vec![22, 0xFE, 0xFD, 0, 0, 0, 0];
        datagram.extend_from_slice(&(1000 + number).to_be_bytes());
        datagram.extend_from_slice(&[0, 13, 11, 0, 0xEA, 0x60, 0, 2, 0]);
        datagram.extend_from_slice(&(number as u16).to_be_bytes());
        datagram.extend_from_slice(&[0, 0, 1, 7]);
        network.deliver(1, &datagram);
    }
    assert!(network.ends[1].association().dropped() > 15_000);
}
