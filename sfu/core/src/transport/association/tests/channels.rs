//! Data channels from either side.

use std::time::Duration;

use super::network::{Faults, Network};
use crate::transport::sctp::{ChannelError, ChannelId, ChannelOptions, MAX_MESSAGE_LEN, Reliability, Sent};

fn options(label: &str, reliability: Reliability) -> ChannelOptions {
    ChannelOptions { label: label.into(), ordered: reliability == Reliability::Reliable, reliability }
}

/// Connected, with an open reliable channel, and a lossy one.
fn with_lossy_channel() -> (Network, ChannelId, ChannelId) {
    let (mut network, reliable) = Network::with_channel(Reliability::Reliable);
    let now = network.now;
    let lossy = options("_lossy", Reliability::MaxRetransmits(0));
    let lossy = network.ends[0].association().open_channel(now, lossy).unwrap();
    network.run_until(Duration::from_secs(1), |n| n.ends[0].opened.len() == 2);
    (network, reliable, lossy)
}

#[test]
fn channels_of_both_sides_get_ids_of_their_role_and_keep_their_description() {
    let mut network = Network::acquainted(1);
    let now = network.now;
    let lossy = options("_lossy", Reliability::MaxRetransmits(0));
    let from_client = network.ends[0].association().open_channel(now, lossy).unwrap();
    let reliable = options("_reliable", Reliability::Reliable);
    let from_server = network.ends[1].association().open_channel(now, reliable).unwrap();
    assert_eq!((from_client, from_server), (ChannelId(0), ChannelId(1)));
    network.run_until(Duration::from_secs(3), |n| n.ends.iter().all(|end| end.opened.len() == 2));
    for end in &mut network.ends {
        let lossy = end.association().channel(from_client).unwrap();
        assert_eq!((lossy.label.as_str(), lossy.ordered), ("_lossy", false));
        assert_eq!(lossy.reliability, Reliability::MaxRetransmits(0));
        let reliable = end.association().channel(from_server).unwrap();
        assert_eq!((reliable.label.as_str(), reliable.ordered), ("_reliable", true));
    }
}

#[test]
fn messages_keep_kind_and_length_down_to_nothing() {
    let (mut network, channel) = Network::with_channel(Reliability::Reliable);
    let now = network.now;
    let messages = [(b"text".to_vec(), false), (vec![1; MAX_MESSAGE_LEN], true), (vec![], false), (vec![], true)];
    for (data, binary) in &messages {
        let sent = network.ends[1].association().send(now, channel, data, *binary);
        assert_eq!(sent, Ok(Sent::Queued));
    }
    network.run_until(Duration::from_secs(5), |n| n.ends[0].messages.len() == 4);
    let expected = messages.map(|(data, binary)| (channel, data, binary));
    assert_eq!(network.ends[0].messages, expected);
}

#[test]
fn a_closed_channel_is_closed_on_both_sides_and_its_id_is_free_again() {
    let (mut network, channel) = Network::with_channel(Reliability::Reliable);
    let now = network.now;
    network.ends[1].association().send(now, channel, b"last words", false).unwrap();
    network.ends[1].association().close_channel(now, channel);
    assert_eq!(network.ends[1].association().send(now, channel, b"x", false), Err(ChannelError::NoChannel));
    network.run_until(Duration::from_secs(5), |n| n.ends.iter().all(|end| end.channels_closed == [channel]));
    assert_eq!(network.ends[0].messages.len(), 1);
    let now = network.now;
    let again = network.ends[0].association().open_channel(now, options("again", Reliability::Reliable));
    assert_eq!(again, Ok(channel));
    network.run_until(Duration::from_secs(5), |n| n.ends.iter().all(|end| end.opened.len() == 2));
}

#[test]
fn a_slow_receiver_costs_bounded_memory() {
    let (mut network, reliable, lossy) = with_lossy_channel();
    let now = network.now;
    network.faults = Faults { loss_percent: 100, ..Faults::NONE };
    let sender = network.ends[0].association();
    let refused = (0..200).find(|_| sender.send(now, reliable, &vec![0; MAX_MESSAGE_LEN], true).is_err());
    assert!(refused.is_some_and(|n| n > 32), "some megabytes are taken");
    assert_eq!(sender.send(now, reliable, &vec![0; MAX_MESSAGE_LEN], true), Err(ChannelError::BufferFull));
    let dropped = (0..200).find(|_| sender.send(now, lossy, &[0; 4000], true) == Ok(Sent::Dropped));
    assert!(dropped.is_some(), "a lossy channel drops instead of refusing");
    assert_eq!(sender.send(now, reliable, &vec![0; MAX_MESSAGE_LEN + 1], true), Err(ChannelError::TooLong));
}

#[test]
fn channels_are_limited() {
    let mut network = Network::connected();
    let now = network.now;
    let association = network.ends[0].association();
    for _ in 0..64 {
        association.open_channel(now, options("x", Reliability::Reliable)).unwrap();
    }
    let one_more = association.open_channel(now, options("x", Reliability::Reliable));
    assert_eq!(one_more, Err(ChannelError::TooManyChannels));
    assert_eq!(association.send(now, ChannelId(999), b"x", false), Err(ChannelError::NoChannel));
}

#[test]
fn a_lossy_channel_loses_but_does_not_wait() {
    let (mut network, _, lossy) = with_lossy_channel();
    network.faults = Faults { loss_percent: 30, ..Faults::NONE };
    for number in 0..100_u8 {
        let now = network.now;
        network.ends[0].association().send(now, lossy, &[number], true).unwrap();
        network.run_for(Duration::from_millis(20));
    }
    network.faults = Faults::NONE;
    network.run_for(Duration::from_secs(10));
    let arrived = network.ends[1].messages.len();
    assert!((30..100).contains(&arrived), "{arrived} of 100 arrived");
    let now = network.now;
    network.ends[0].association().send(now, lossy, b"after", true).unwrap();
    network.run_until(Duration::from_secs(5), |n| n.ends[1].messages.last().is_some_and(|m| m.1 == b"after"));
}
