//! Connectivity checks as a controlling browser sends them.

use rtc_crypto::RTCCryptoProvider;
use rtc_crypto::providers::AwsLcRsProvider;
use rtc_stun::attributes::{ATTR_ICE_CONTROLLING, ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME, AttrType};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, Message, Setter, TransactionId};
use sfu_core::transport::ice::IceCredentials;

struct Attribute(AttrType, Vec<u8>);

impl Setter for Attribute {
    fn add_to(&self, message: &mut Message) -> rtc_shared::error::Result<()> {
        message.add(self.0, &self.1);
        Ok(())
    }
}

/// A check for `credentials`, authentic unless their password is wrong.
pub fn check(credentials: &IceCredentials, nominate: bool) -> Vec<u8> {
    check_numbered(credentials, nominate, [5; 12])
}

/// Whether a datagram is the answer to a check of this transaction.
pub fn answers(datagram: &[u8], transaction: [u8; 12]) -> bool {
    datagram[0] <= 3 && datagram.get(8..20) == Some(&transaction[..])
}

/// A check whose answer can be told from those to others.
pub fn check_numbered(credentials: &IceCredentials, nominate: bool, transaction: [u8; 12]) -> Vec<u8> {
    let provider = AwsLcRsProvider::new();
    let username = format!("{}:remote", credentials.ufrag).into_bytes();
    let mut parts: Vec<Box<dyn Setter>> = vec![
        Box::new(TransactionId(transaction)),
        Box::new(BINDING_REQUEST),
        Box::new(Attribute(ATTR_USERNAME, username)),
        Box::new(Attribute(ATTR_PRIORITY, 0x6e00_01ff_u32.to_be_bytes().to_vec())),
        Box::new(Attribute(ATTR_ICE_CONTROLLING, vec![1; 8])),
    ];
    if nominate {
        parts.push(Box::new(Attribute(ATTR_USE_CANDIDATE, Vec::new())));
    }
    parts.push(Box::new(MessageIntegrity::new_short_term_integrity_with_provider(
        credentials.pwd.clone(),
        provider.crypto(),
    )));
    parts.push(Box::new(FINGERPRINT));
    let mut message = Message::new();
    message.build(&parts).expect("a check has room for its attributes");
    message.raw
}
