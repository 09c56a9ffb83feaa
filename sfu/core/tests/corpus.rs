//! The fuzz targets' checks over their corpora and mutations of them.

#![expect(clippy::duplicate_mod, reason = "each check is the whole of its fuzz target, with all that it stands on")]

#[path = "../fuzz/checks/descriptor.rs"]
mod descriptor;
#[path = "../fuzz/checks/dtls.rs"]
mod dtls;
#[path = "../fuzz/checks/payload.rs"]
mod payload;
#[path = "../fuzz/checks/red.rs"]
mod red;
#[path = "../fuzz/replay.rs"]
mod replay;
#[path = "../fuzz/checks/rtcp.rs"]
mod rtcp;
#[path = "../fuzz/checks/rtp.rs"]
mod rtp;
#[path = "../fuzz/checks/sdp.rs"]
mod sdp;
#[path = "../fuzz/checks/srtp.rs"]
mod srtp;
#[path = "../fuzz/checks/stun.rs"]
mod stun;
#[path = "../fuzz/checks/transport.rs"]
mod transport;

use replay::{replay, replay_files};

#[test]
fn rtp_packets_are_read_or_refused() {
    replay("rtp", 2000, rtp::check);
}

#[test]
fn rtcp_packets_are_read_or_refused() {
    replay("rtcp", 2000, rtcp::check);
}

#[test]
fn stun_without_the_password_is_refused() {
    replay("stun", 2000, stun::check);
}

#[test]
fn srtp_without_the_key_is_refused() {
    replay("srtp", 1000, srtp::check);
}

#[test]
fn dtls_is_survived() {
    replay("dtls", 100, dtls::check);
}

#[test]
fn session_descriptions_are_negotiated_or_refused() {
    replay_files("sdp", |bytes| sdp::check(&String::from_utf8_lossy(bytes)));
}

#[test]
fn descriptors_of_layers_are_read_or_refused() {
    replay("descriptor", 200, descriptor::check);
}

#[test]
fn payloads_of_codecs_are_read_or_refused() {
    replay("payload", 500, payload::check);
}

#[test]
fn redundant_audio_is_read_or_refused() {
    replay("red", 2000, red::check);
}

#[test]
fn engines_survive_what_clients_send() {
    replay_files("transport", transport::check);
}
