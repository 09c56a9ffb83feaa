//! Layers of a track by name (RFC 8851, RFC 8853).

use super::description::{Section, SimulcastStream};
use crate::id::Rid;

/// Layers we take of one track. Browsers send three at most.
const MAX_LAYERS: usize = 3;

/// Names with a known order, lowest first: LiveKit's, and an older habit of browsers' examples.
const KNOWN_ORDERS: [[&str; MAX_LAYERS]; 2] = [["q", "h", "f"], ["2", "1", "0"]];

/// The encodings of an offer we take, in its order; empty without simulcast.
pub(super) fn accept(section: &Section) -> Vec<SimulcastStream> {
    let declared = section.simulcast_send.iter().filter(|stream| section.rids_send.contains(&stream.rid));
    let mut accepted: Vec<SimulcastStream> = Vec::new();
    for stream in declared {
        if accepted.len() < MAX_LAYERS && !accepted.iter().any(|a| a.rid == stream.rid) {
            accepted.push(stream.clone());
        }
    }
    accepted
}

/// Names from the lowest layer to the highest: by the names if they are known ones, otherwise as described, which is
/// the order browsers keep from `sendEncodings`.
pub(super) fn lowest_first(streams: &[SimulcastStream]) -> Vec<Rid> {
    let mut rids: Vec<Rid> = streams.iter().map(|stream| stream.rid.clone()).collect();
    let position = |order: &[&str], rid: &Rid| order.iter().position(|name| *name == rid.0);
    let known = |order: &&[&str; MAX_LAYERS]| rids.iter().all(|rid| position(*order, rid).is_some());
    if let Some(order) = KNOWN_ORDERS.iter().find(known) {
        rids.sort_by_key(|rid| position(order, rid));
    }
    rids
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(described: &[&str], expected: &[&str]) {
        let streams: Vec<_> =
            described.iter().map(|rid| SimulcastStream { rid: Rid((*rid).into()), paused: false }).collect();
        let rids = lowest_first(&streams);
        assert_eq!(rids.iter().map(|rid| rid.0.as_str()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn layers_are_ordered_by_known_names_or_as_described() {
        check(&["q", "h", "f"], &["q", "h", "f"]);
        check(&["f", "h", "q"], &["q", "h", "f"]);
        check(&["h", "q"], &["q", "h"]);
        check(&["0", "1", "2"], &["2", "1", "0"]);
        check(&["low", "high"], &["low", "high"]);
        check(&["f", "other"], &["f", "other"]);
        check(&[], &[]);
    }
}
