//! What must hold of any bytes that are taken for DTLS: no panic, no endless answer, and a library that panics inside
//! is found out.

use std::sync::OnceLock;

use sfu_core::time::Time;
use sfu_core::transport::DtlsRole;
use sfu_core::transport::association::{Association, AssociationOutput, CloseReason};
use sfu_core::transport::certificate::Certificate;
use sfu_core::transport::dtls::{DtlsEnd, DtlsIdentity};

pub fn check(datagram: &[u8]) {
    static IDENTITY: OnceLock<DtlsIdentity> = OnceLock::new();
    let identity = IDENTITY.get_or_init(|| {
        let certificate = Certificate::generate().expect("a certificate");
        DtlsIdentity::new(&certificate).expect("a configuration")
    });
    for role in [DtlsRole::Client, DtlsRole::Server] {
        let mut association = Association::new(role, identity.clone(), None, Time::ZERO);
        association.handle_datagram(Time::from_millis(1), datagram);
        association.handle_datagram(Time::from_millis(2), datagram);
        for outputs in 0.. {
            assert!(outputs < 100, "answers without end");
            match association.poll() {
                Some(AssociationOutput::Closed { reason }) => {
                    assert_ne!(reason, CloseReason::Dtls(DtlsEnd::Internal), "the library panicked");
                }
                Some(AssociationOutput::Connected { .. }) => panic!("connected with nobody"),
                Some(_) => {}
                None => break,
            }
        }
    }
}
