//! What must hold of any bytes that are taken for a compound RTCP packet: they are walked to an end, within bounds.

use sfu_core::media::rtcp::{Packet, Packets};

pub fn check(compound: &[u8]) {
    let mut packets = 0;
    for packet in Packets::new(compound) {
        packets += 1;
        let items = match packet {
            Packet::SenderReport { blocks, .. } | Packet::ReceiverReport { blocks, .. } => blocks.count(),
            Packet::Goodbye { sources } => sources.count(),
            Packet::Nack { lost, .. } => lost.count(),
            Packet::FullIntraRequest { targets } => targets.count(),
            Packet::TransportWide { packets, statuses, .. } => {
                assert!(statuses.count() <= usize::from(packets.min(1024)));
                0
            }
            _ => 0,
        };
        // A NACK names 17 packets in four bytes; nothing else says more in as little.
        assert!(items <= compound.len() / 4 * 17);
    }
    assert!(packets <= compound.len() / 4);
}
