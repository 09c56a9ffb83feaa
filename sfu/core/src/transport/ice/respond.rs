//! Answers connectivity checks.

use std::net::SocketAddr;

use rtc_crypto::RTCCryptoProvider;
use rtc_stun::attributes::{
    ATTR_FINGERPRINT, ATTR_ICE_CONTROLLED, ATTR_MESSAGE_INTEGRITY, ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME,
    AttrType,
};
use rtc_stun::error_code::CODE_ROLE_CONFLICT;
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_ERROR, BINDING_REQUEST, BINDING_SUCCESS, MESSAGE_HEADER_SIZE, Message, Setter};
use rtc_stun::xoraddr::XorMappedAddress;

use super::{CRYPTO, IceCredentials};

/// Length of an HMAC-SHA1 in bytes.
const INTEGRITY_LEN: usize = 20;
/// No check of a real client comes near it; a longer one is not worth an HMAC.
const MAX_CHECK_LEN: usize = 1280;

/// What to do about an authentic check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceAnswer {
    /// The response, to be sent to where the check came from.
    pub reply: Vec<u8>,
    /// Whether the check proves a usable path: false for a role conflict, whose reply is the error.
    pub accepted: bool,
    /// Whether the client nominates this path.
    pub nominated: bool,
    /// The client's priority of the pair, greater is preferred.
    pub priority: Option<u32>,
}

/// Why a check is dropped without an answer; each is a counter. Forged checks get no answer, since an error would help
/// nobody but a scanner, and Chromium tears a pair down on one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Rejected {
    #[error("not a Binding request")]
    NotACheck,
    #[error("fingerprint is missing or wrong")]
    WrongFingerprint,
    #[error("ufrag is not the transport's")]
    UnknownUfrag,
    #[error("message integrity is missing or wrong")]
    WrongPassword,
}

/// Answers a connectivity check that came `from` an address, if it carries `credentials`, which are ours. RFC 8445,
/// section 7.3; RFC 8489, section 9.1.3.
///
/// # Errors
/// [`Rejected`] for everything that is no authentic check.
pub fn respond(datagram: &[u8], credentials: &IceCredentials, from: SocketAddr) -> Result<IceAnswer, Rejected> {
    let mut check = parse(datagram).ok_or(Rejected::NotACheck)?;
    if check.typ != BINDING_REQUEST {
        return Err(Rejected::NotACheck);
    }
    FINGERPRINT.check(&check).map_err(|_| Rejected::WrongFingerprint)?;
    let username = authentic(&check, ATTR_USERNAME).ok_or(Rejected::UnknownUfrag)?;
    if !username.strip_prefix(credentials.ufrag.as_bytes()).is_some_and(|rest| rest.starts_with(b":")) {
        return Err(Rejected::UnknownUfrag);
    }
    // The codec would accept a value of any length up to the comparison.
    if check.get(ATTR_MESSAGE_INTEGRITY).map_or(0, |value| value.len()) != INTEGRITY_LEN {
        return Err(Rejected::WrongPassword);
    }
    MessageIntegrity::check(&mut check, credentials.pwd.as_bytes(), CRYPTO.crypto())
        .map_err(|_| Rejected::WrongPassword)?;

    // A lite agent is always controlled. Two of them cannot be (section 7.3.1.1).
    let conflict = authentic(&check, ATTR_ICE_CONTROLLED).is_some();
    let outcome: [Box<dyn Setter>; 2] = if conflict {
        [Box::new(BINDING_ERROR), Box::new(CODE_ROLE_CONFLICT)]
    } else {
        // A dual-stack socket shows IPv4 clients as mapped IPv6 addresses, which they would not recognise.
        let mapped = XorMappedAddress { ip: from.ip().to_canonical(), port: from.port() };
        [Box::new(BINDING_SUCCESS), Box::new(mapped)]
    };
    let integrity = MessageIntegrity::new_short_term_integrity_with_provider(credentials.pwd.clone(), CRYPTO.crypto());
    let [class, body] = outcome;
    let mut reply = Message::new();
    reply
        .build(&[Box::new(check.transaction_id), class, body, Box::new(integrity), Box::new(FINGERPRINT)])
        .map_err(|_| Rejected::NotACheck)?;
    Ok(IceAnswer {
        reply: reply.raw,
        accepted: !conflict,
        nominated: !conflict && authentic(&check, ATTR_USE_CANDIDATE).is_some(),
        priority: authentic(&check, ATTR_PRIORITY).and_then(|value| value.try_into().ok()).map(u32::from_be_bytes),
    })
}

/// Parses a STUN message that fills its datagram, which the codec does not insist on.
pub(super) fn parse(datagram: &[u8]) -> Option<Message> {
    let body_len = usize::from(u16::from_be_bytes([*datagram.get(2)?, *datagram.get(3)?]));
    if datagram.len() != MESSAGE_HEADER_SIZE + body_len || datagram.len() > MAX_CHECK_LEN {
        return None;
    }
    let mut message = Message::new();
    message.unmarshal_binary(datagram).ok()?;
    Some(message)
}

/// An attribute that MESSAGE-INTEGRITY covers: those behind it could have been added by anybody on the way and are to
/// be ignored (RFC 8489, section 14.5).
fn authentic(message: &Message, attribute: AttrType) -> Option<&[u8]> {
    message
        .attributes
        .0
        .iter()
        .take_while(|a| a.typ != ATTR_MESSAGE_INTEGRITY && a.typ != ATTR_FINGERPRINT)
        .find(|a| a.typ == attribute)
        .map(|a| a.value.as_slice())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtc_stun::attributes::{ATTR_ICE_CONTROLLING, RawAttribute};
    use rtc_stun::error_code::ErrorCodeAttribute;
    use rtc_stun::message::{Getter, TransactionId};

    use super::*;

    fn credentials() -> IceCredentials {
        IceCredentials { ufrag: "AlocalUfrag1".into(), pwd: "a password of sufficient".into() }
    }

    fn from() -> SocketAddr {
        "192.0.2.7:51000".parse().unwrap()
    }

    struct Attribute(AttrType, Vec<u8>);

    impl Setter for Attribute {
        fn add_to(&self, m: &mut Message) -> rtc_shared::error::Result<()> {
            m.add(self.0, &self.1);
            Ok(())
        }
    }

    /// A check as a full, controlling agent sends it, with more attributes before and behind its integrity.
    fn check_with(pwd: &str, covered: Vec<Attribute>, uncovered: Vec<Attribute>) -> Vec<u8> {
        let mut parts: Vec<Box<dyn Setter>> = vec![
            Box::new(TransactionId([5; 12])),
            Box::new(BINDING_REQUEST),
            Box::new(Attribute(ATTR_USERNAME, b"AlocalUfrag1:remote".to_vec())),
            Box::new(Attribute(ATTR_PRIORITY, 0x6E00_01FF_u32.to_be_bytes().to_vec())),
        ];
        parts.extend(covered.into_iter().map(|a| Box::new(a) as Box<dyn Setter>));
        parts.push(Box::new(MessageIntegrity::new_short_term_integrity_with_provider(pwd.into(), CRYPTO.crypto())));
        parts.extend(uncovered.into_iter().map(|a| Box::new(a) as Box<dyn Setter>));
        parts.push(Box::new(FINGERPRINT));
        let mut message = Message::new();
        message.build(&parts).unwrap();
        message.raw
    }

    fn check(covered: Vec<Attribute>) -> Vec<u8> {
        check_with(&credentials().pwd, covered, vec![])
    }

    fn controlling() -> Attribute {
        Attribute(ATTR_ICE_CONTROLLING, vec![1; 8])
    }

    #[test]
    fn an_authentic_check_is_answered_with_the_address_it_came_from() {
        let answer = respond(&check(vec![controlling()]), &credentials(), from()).unwrap();
        assert!(answer.accepted && !answer.nominated);
        assert_eq!(answer.priority, Some(0x6E00_01FF));
        let mut reply = parse(&answer.reply).unwrap();
        assert_eq!((reply.typ, reply.transaction_id), (BINDING_SUCCESS, TransactionId([5; 12])));
        FINGERPRINT.check(&reply).unwrap();
        MessageIntegrity::check(&mut reply, credentials().pwd.as_bytes(), CRYPTO.crypto()).unwrap();
        let mut mapped = XorMappedAddress::default();
        mapped.get_from(&reply).unwrap();
        assert_eq!(SocketAddr::new(mapped.ip, mapped.port), from());
    }

    #[test]
    fn an_ipv4_client_of_a_dual_stack_socket_is_told_its_ipv4_address() {
        let mapped = "[::ffff:192.0.2.7]:51000".parse().unwrap();
        let answer = respond(&check(vec![]), &credentials(), mapped).unwrap();
        assert_eq!(answer.reply, respond(&check(vec![]), &credentials(), from()).unwrap().reply);
    }

    #[test]
    fn use_candidate_nominates() {
        let nomination = check(vec![controlling(), Attribute(ATTR_USE_CANDIDATE, vec![])]);
        assert!(respond(&nomination, &credentials(), from()).unwrap().nominated);
    }

    #[test]
    fn attributes_behind_the_integrity_are_ignored() {
        let added = vec![Attribute(ATTR_USE_CANDIDATE, vec![]), Attribute(ATTR_ICE_CONTROLLED, vec![0; 8])];
        let forged = check_with(&credentials().pwd, vec![controlling()], added);
        let answer = respond(&forged, &credentials(), from()).unwrap();
        assert!(answer.accepted && !answer.nominated);
    }

    #[test]
    fn a_controlled_peer_gets_a_role_conflict() {
        let conflict = check(vec![Attribute(ATTR_ICE_CONTROLLED, vec![0; 8]), Attribute(ATTR_USE_CANDIDATE, vec![])]);
        let answer = respond(&conflict, &credentials(), from()).unwrap();
        assert!(!answer.accepted && !answer.nominated);
        let mut reply = parse(&answer.reply).unwrap();
        let mut code = ErrorCodeAttribute::default();
        code.get_from(&reply).unwrap();
        assert_eq!((reply.typ, code.code.0), (BINDING_ERROR, CODE_ROLE_CONFLICT.0));
        MessageIntegrity::check(&mut reply, credentials().pwd.as_bytes(), CRYPTO.crypto()).unwrap();
    }

    /// The sample request of RFC 5769, section 2.1: of a controlled agent, with a priority of 0x6e0001ff.
    const SAMPLE_REQUEST: &[u8] = b"\x00\x01\x00\x58\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
        \x80\x22\x00\x10STUN test client\x00\x24\x00\x04\x6e\x00\x01\xff\
        \x80\x29\x00\x08\x93\x2f\xf9\xb1\x51\x26\x3b\x36\x00\x06\x00\x09evtj:h6vY   \
        \x00\x08\x00\x14\x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\xc1\xb5\x71\xa2\
        \x80\x28\x00\x04\xe5\x7a\x3b\xcf";

    #[test]
    fn the_sample_request_of_the_standard_is_authentic() {
        let credentials = IceCredentials { ufrag: "evtj".into(), pwd: "VOkJxbRl1RmTxUk/WvJxBt".into() };
        let answer = respond(SAMPLE_REQUEST, &credentials, from()).unwrap();
        assert_eq!((answer.accepted, answer.priority), (false, Some(0x6e00_01ff)), "a role conflict");
        let other = IceCredentials { pwd: "VOkJxbRl1RmTxUk/WvJxBT".into(), ..credentials };
        assert_eq!(respond(SAMPLE_REQUEST, &other, from()), Err(Rejected::WrongPassword));
    }

    #[test]
    fn what_is_not_authentic_is_rejected() {
        let reject = |datagram: &[u8]| respond(datagram, &credentials(), from()).unwrap_err();
        assert_eq!(reject(&check_with("another password", vec![], vec![])), Rejected::WrongPassword);
        let mut flipped = check(vec![]);
        flipped[30] ^= 1;
        assert_eq!(reject(&flipped), Rejected::WrongFingerprint);
        let other = IceCredentials { ufrag: "Alocal".into(), ..credentials() };
        assert_eq!(respond(&check(vec![]), &other, from()), Err(Rejected::UnknownUfrag), "a mere prefix");
        let mut longer = check(vec![]);
        longer.push(0);
        assert_eq!(reject(&longer), Rejected::NotACheck);
        let answer = respond(&check(vec![]), &credentials(), from()).unwrap().reply;
        assert_eq!(reject(&answer), Rejected::NotACheck, "a response");
    }

    #[test]
    fn an_integrity_of_wrong_length_is_rejected() {
        for len in [0, 4, 19, 24] {
            let mut message = Message::new();
            message
                .build(&[
                    Box::new(BINDING_REQUEST),
                    Box::new(Attribute(ATTR_USERNAME, b"AlocalUfrag1:remote".to_vec())),
                    Box::new(Attribute(ATTR_MESSAGE_INTEGRITY, vec![0; len])),
                    Box::new(FINGERPRINT),
                ])
                .unwrap();
            assert_eq!(respond(&message.raw, &credentials(), from()), Err(Rejected::WrongPassword));
        }
    }

    fn attribute() -> impl Strategy<Value = RawAttribute> {
        let typ = prop_oneof![Just(0x0006_u16), Just(0x0008), Just(0x8028), Just(0x0025), Just(0x8029), any::<u16>()];
        (typ, proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(typ, value)| RawAttribute {
            typ: AttrType(typ),
            length: value.len() as u16,
            value,
        })
    }

    proptest! {
        #[test]
        fn any_message_is_survived_and_none_accepted(attributes in proptest::collection::vec(attribute(), 0..8), sealed: bool) {
            let mut message = Message::new();
            message.set_type(BINDING_REQUEST);
            message.write_header();
            for a in &attributes {
                message.add(a.typ, &a.value);
            }
            if sealed {
                FINGERPRINT.add_to(&mut message).unwrap();
            }
            prop_assert!(respond(&message.raw, &credentials(), from()).is_err());
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(respond(&bytes, &credentials(), from()).is_err());
        }
    }
}
