//! The fuzz targets' checks over their corpora and mutations of them.

#[path = "../fuzz/checks/data_packet.rs"]
mod data_packet;
#[path = "../fuzz/checks/join.rs"]
mod join;
#[path = "../core/fuzz/replay.rs"]
mod replay;
#[path = "../fuzz/checks/signal.rs"]
mod signal;
#[path = "../fuzz/checks/token.rs"]
mod token;

use replay::replay;

#[test]
fn data_packets_are_sent_on_as_their_senders_or_dropped() {
    replay("data_packet", 2000, data_packet::check);
}

#[test]
fn wishes_to_join_are_taken_within_limits_or_refused() {
    replay("join", 200, join::check);
}

#[test]
fn frames_of_the_websocket_are_read_or_skipped() {
    replay("signal", 1000, signal::check);
}

#[test]
fn tokens_without_the_secret_are_refused() {
    replay("token", 200, token::check);
}
