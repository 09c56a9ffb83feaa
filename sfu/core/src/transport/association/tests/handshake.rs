//! Who may connect, and when.

use std::time::Duration;

use super::network::Network;
use crate::time::Time;
use crate::transport::DtlsRole;
use crate::transport::association::{Association, AssociationOutput, CloseReason};
use crate::transport::certificate::{Certificate, Fingerprint};
use crate::transport::dtls::{DtlsEnd, DtlsIdentity};
use crate::transport::srtp::Profile;

#[test]
fn both_sides_get_matching_keys_of_the_cheapest_profile() {
    let mut network = Network::acquainted(1);
    network.run_until(Duration::from_millis(50), |n| n.ends.iter().all(|end| end.keys.is_some()));
    let [client, server] = &network.ends;
    let (client, server) = (client.keys.as_ref().unwrap(), server.keys.as_ref().unwrap());
    assert_eq!(client.local, server.remote);
    assert_eq!(client.remote, server.local);
    assert_eq!(server.profile(), Profile::AeadAes128Gcm);
}

#[test]
fn nothing_leaves_before_the_fingerprint_is_known() {
    let mut network = Network::strangers(1);
    network.introduce(0);
    network.run_for(Duration::from_secs(2));
    assert!(network.ends[0].keys.is_some());
    assert!(network.ends[1].keys.is_none(), "the server was not told whom to expect");
    network.introduce(1);
    network.run_for(Duration::ZERO);
    assert!(network.ends[1].keys.is_some());
    assert!(network.ends[1].association().is_connected());
}

#[test]
fn another_certificate_than_promised_ends_the_association() {
    for early in [true, false] {
        let mut network = Network::strangers(1);
        network.introduce(0);
        let stranger = Fingerprint([7; 32]);
        let now = network.now;
        if early {
            network.ends[1].association().set_remote_fingerprint(now, stranger);
        }
        network.run_for(Duration::from_secs(1));
        if !early {
            let now = network.now;
            network.ends[1].association().set_remote_fingerprint(now, stranger);
            network.run_for(Duration::ZERO);
        }
        assert_eq!(network.ends[1].closed, Some(CloseReason::WrongFingerprint));
        assert!(network.ends[1].keys.is_none());
        network.run_for(Duration::from_secs(1));
        assert_eq!(network.ends[0].closed, Some(CloseReason::Dtls(DtlsEnd::PeerClosed)), "and the peer is told");
    }
}

#[test]
fn another_fingerprint_after_the_handshake_ends_the_association() {
    let mut network = Network::connected();
    network.introduce(1);
    network.run_for(Duration::ZERO);
    assert_eq!(network.ends[1].closed, None, "the same one again is fine: an ICE restart repeats it");
    let now = network.now;
    network.ends[1].association().set_remote_fingerprint(now, Fingerprint([7; 32]));
    network.run_for(Duration::ZERO);
    assert_eq!(network.ends[1].closed, Some(CloseReason::WrongFingerprint));
}

#[test]
fn close_tells_the_peer() {
    let mut network = Network::connected();
    let now = network.now;
    network.ends[0].association().close(now);
    network.run_for(Duration::from_secs(1));
    assert_eq!(network.ends[0].closed, None, "whoever closes knows");
    assert_eq!(network.ends[1].closed, Some(CloseReason::Dtls(DtlsEnd::PeerClosed)));
    assert_eq!(network.ends[1].association().poll_timeout(), None);
}

#[test]
fn a_client_without_answer_repeats_ever_slower_and_gives_up() {
    let identity = DtlsIdentity::new(&Certificate::generate().unwrap()).unwrap();
    let mut now = Time::ZERO;
    let mut client = Association::new(DtlsRole::Client, identity, None, now);
    let mut sent_at_ms = Vec::new();
    let reason = loop {
        match client.poll() {
            Some(AssociationOutput::Datagram(_)) => sent_at_ms.push(now.as_millis()),
            Some(AssociationOutput::Closed { reason }) => break reason,
            Some(other) => panic!("{other:?}"),
            None => {
                now = client.poll_timeout().expect("a timer runs");
                client.handle_timeout(now);
            }
        }
    };
    assert_eq!(sent_at_ms, [0, 100, 300, 700, 1500, 3100, 6300, 12700]);
    assert_eq!(reason, CloseReason::Dtls(DtlsEnd::TimedOut));
    assert_eq!(now.as_millis(), 25_500);
}

#[test]
fn a_waiting_server_has_no_timer() {
    let identity = DtlsIdentity::new(&Certificate::generate().unwrap()).unwrap();
    let server = Association::new(DtlsRole::Server, identity, None, Time::ZERO);
    assert_eq!(server.poll_timeout(), None);
}
