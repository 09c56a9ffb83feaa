//! What must hold of any bytes that are taken for STUN: none is accepted without the password, and the ufrag found
//! without parsing is the one parsing finds.

use sfu_core::transport::ice::{IceCredentials, discovery, peek_ufrag, respond};

pub fn check(datagram: &[u8]) {
    let credentials = IceCredentials { ufrag: "AlocalUfrag1".into(), pwd: "a password of sufficient".into() };
    let from = "192.0.2.7:51000".parse().expect("an address");
    let _ = peek_ufrag(datagram);
    assert!(respond(datagram, &credentials, from).is_err());
    let _ = discovery::parse_binding_response(datagram, [5; 12]);
}
