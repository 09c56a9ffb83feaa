//! Associations written down and read back, as when a session moves to another process.

use std::time::Duration;

use proptest::prelude::*;

use super::faults::numbers;
use super::network::{Faults, Network};
use crate::transport::association::{
    Association, AssociationCheckpoint, AssociationOutput, AssociationState, ExportError, SctpExport,
};
use crate::transport::sctp::Reliability;

/// Moves an end through its written form; false if SCTP was not ready.
fn move_end(network: &mut Network, end: usize, how: SctpExport) -> bool {
    let now = network.now;
    let end = &mut network.ends[end];
    match end.take().export(how) {
        Ok(state) => {
            let written = serde_json::to_string(&state).unwrap();
            let read: AssociationState = serde_json::from_str(&written).unwrap();
            assert_eq!(read, state);
            end.put(Association::restore(read, end.identity.clone(), now).unwrap());
            true
        }
        Err(ExportError::NotReady(association, _) | ExportError::NotEstablished(association)) => {
            end.put(*association);
            false
        }
    }
}

#[test]
fn an_association_goes_on_without_a_handshake() {
    for end in 0..2 {
        let (mut network, channel) = Network::with_channel(Reliability::Reliable);
        assert!(move_end(&mut network, end, SctpExport::Exact));
        let sent_before = network.seen.len();
        let now = network.now;
        for (end, text) in [(0, b"from the client"), (1, b"from the server")] {
            network.ends[end].association().send(now, channel, text, false).unwrap();
        }
        network.run_until(Duration::from_secs(1), |n| n.ends.iter().all(|end| end.messages.len() == 1));
        let handshakes = network.seen[sent_before..].iter().filter(|(_, datagram)| datagram[0] == 22).count();
        assert_eq!(handshakes, 0);
    }
}

#[test]
fn records_of_before_the_move_are_not_taken_again() {
    let (mut network, channel) = Network::with_channel(Reliability::Reliable);
    let now = network.now;
    network.ends[0].association().send(now, channel, b"once", false).unwrap();
    network.run_until(Duration::from_secs(1), |n| n.ends[1].messages.len() == 1);
    network.run_for(Duration::from_secs(1));
    let before: Vec<_> = network.seen.iter().filter(|(to, _)| *to == 1).cloned().collect();
    assert!(move_end(&mut network, 1, SctpExport::Exact));
    let sent_before = network.seen.len();
    for (to, datagram) in &before {
        network.deliver(*to, datagram);
    }
    assert!(network.ends[1].association().dropped() >= before.len() as u64);
    network.run_for(Duration::ZERO);
    assert_eq!(network.ends[1].messages.len(), 1);
    assert_eq!(network.seen.len(), sent_before, "and nothing is said to them");
}

#[test]
fn what_was_not_taken_out_holds_up_a_move() {
    let (mut network, channel) = Network::with_channel(Reliability::Reliable);
    let now = network.now;
    network.ends[0].association().send(now, channel, b"once", false).unwrap();
    while let Some(output) = network.ends[0].association().poll() {
        if let AssociationOutput::Datagram(datagram) = output {
            network.ends[1].association().handle_datagram(now, &datagram);
        }
    }
    assert!(!move_end(&mut network, 1, SctpExport::Exact), "nobody has the message yet");
    network.run_until(Duration::from_secs(1), |n| n.ends[1].messages.len() == 1);
    network.run_for(Duration::from_secs(1));
    assert!(move_end(&mut network, 1, SctpExport::Exact));
}

#[test]
fn a_restarted_association_keeps_its_channels() {
    for end in 0..2 {
        let (mut network, channel) = Network::with_channel(Reliability::Reliable);
        assert!(move_end(&mut network, end, SctpExport::Restart));
        network.run_for(Duration::from_secs(1));
        let now = network.now;
        for end in &mut network.ends {
            end.association().send(now, channel, b"after the restart", false).unwrap();
        }
        network.run_until(Duration::from_secs(5), |n| n.ends.iter().all(|end| end.messages.len() == 1));
        assert!(network.ends.iter().all(|end| end.opened.len() == 1 && end.channels_closed.is_empty()));
    }
}

#[test]
fn an_association_goes_on_after_its_owner_died_and_uses_no_record_number_twice() {
    let (mut network, channel) = Network::with_channel(Reliability::Reliable);
    let written = serde_json::to_string(&network.ends[1].association().checkpoint().unwrap()).unwrap();
    for takeover in 1..=2 {
        // What is said now is not in the checkpoint.
        let now = network.now;
        for _ in 0..20 {
            network.ends[1].association().send(now, channel, b"before", false).unwrap();
        }
        network.run_for(Duration::from_secs(1));
        let read: AssociationCheckpoint = serde_json::from_str(&written).unwrap();
        let state = read.take_over(takeover).unwrap();
        let now = network.now;
        let end = &mut network.ends[1];
        end.put(Association::restore(state, end.identity.clone(), now).unwrap());
        network.run_for(Duration::from_secs(2));
        let (now, heard) = (network.now, network.ends.each_ref().map(|end| end.messages.len()));
        for end in &mut network.ends {
            end.association().send(now, channel, b"after", false).unwrap();
        }
        network.run_for(Duration::from_secs(5));
        for (end, heard) in network.ends.iter().zip(heard) {
            assert_eq!(end.messages.len(), heard + 1);
            assert!(end.opened.len() == 1 && end.channels_closed.is_empty() && end.closed.is_none());
        }
    }
    let of_server = network.seen.iter().filter(|(to, datagram)| *to == 0 && datagram[0] == 23);
    let numbers: Vec<&[u8]> = of_server.map(|(_, datagram)| &datagram[3..11]).collect();
    assert!(numbers.len() > 40);
    assert_eq!(numbers.iter().collect::<std::collections::BTreeSet<_>>().len(), numbers.len());
}

#[test]
fn an_association_without_channels_moves_too() {
    let mut network = Network::connected();
    network.run_for(Duration::from_secs(1));
    assert!(move_end(&mut network, 1, SctpExport::Exact));
    network.run_for(Duration::from_mins(1));
    assert!(network.ends.iter().all(|end| end.closed.is_none()));
}

#[test]
fn before_the_handshake_there_is_nothing_to_export() {
    let mut network = Network::acquainted(1);
    assert!(!move_end(&mut network, 1, SctpExport::Exact));
    network.run_until(Duration::from_secs(1), |n| n.ends.iter().all(|end| end.keys.is_some()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn moves_at_random_moments_lose_no_message(
        seed: u64,
        moves in proptest::collection::vec((0_usize..2, 0_u64..120), 1..12),
        loss_percent in 0_u64..15,
    ) {
        let (mut network, channel) = Network::with_channel(Reliability::Reliable);
        network.faults = Faults { loss_percent, duplicate_percent: 5, max_delay_ms: 1 + seed % 40 };
        let mut sent = 0_u32;
        for (end, wait_ms) in moves {
            for _ in 0..4 {
                let now = network.now;
                for end in &mut network.ends {
                    end.association().send(now, channel, &sent.to_be_bytes().repeat(300), true).unwrap();
                }
                sent += 1;
            }
            network.run_for(Duration::from_millis(wait_ms));
            // Not ready now means ready at some later moment.
            let moved = (0..4000).any(|_| {
                let moved = move_end(&mut network, end, SctpExport::Exact);
                network.run_for(Duration::from_millis(5));
                moved
            });
            prop_assert!(moved);
        }
        network.run_until(Duration::from_mins(5), |n| n.ends.iter().all(|end| end.messages.len() == sent as usize));
        for end in &network.ends {
            prop_assert_eq!(numbers(&end.messages), (0..sent).collect::<Vec<_>>());
        }
    }
}
