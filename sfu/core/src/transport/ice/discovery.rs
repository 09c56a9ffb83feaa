//! Asks a STUN server under which address it sees us (RFC 8489, section 7): the codec; sending, repeating and believing
//! are the caller's.

use std::net::SocketAddr;

use rtc_stun::addr::MappedAddress;
use rtc_stun::attributes::ATTR_FINGERPRINT;
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Getter, Message, TransactionId};
use rtc_stun::xoraddr::XorMappedAddress;

use super::respond::parse;

/// Pairs a response with its request. Random, so that nobody off the path can answer.
pub type TransactionIdBytes = [u8; 12];

/// A Binding request to a STUN server, without credentials. `None` if the codec fails, which it has no reason to.
pub fn binding_request(transaction_id: TransactionIdBytes) -> Option<Vec<u8>> {
    let mut request = Message::new();
    request.build(&[Box::new(TransactionId(transaction_id)), Box::new(BINDING_REQUEST), Box::new(FINGERPRINT)]).ok()?;
    Some(request.raw)
}

/// Why a datagram is not the answer one waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAResponse {
    #[error("not a STUN message")]
    NotStun,
    #[error("answers another request")]
    OtherTransaction,
    #[error("server refused the request")]
    Refused,
    #[error("response names no address")]
    NoAddress,
}

/// The address in the response to the request with this transaction id.
///
/// # Errors
/// See [`NotAResponse`].
pub fn parse_binding_response(datagram: &[u8], transaction_id: TransactionIdBytes) -> Result<SocketAddr, NotAResponse> {
    let response = parse(datagram).ok_or(NotAResponse::NotStun)?;
    if response.transaction_id != TransactionId(transaction_id) {
        return Err(NotAResponse::OtherTransaction);
    }
    if response.contains(ATTR_FINGERPRINT) && FINGERPRINT.check(&response).is_err() {
        return Err(NotAResponse::NotStun);
    }
    if response.typ != BINDING_SUCCESS {
        return Err(NotAResponse::Refused);
    }
    let mut xored = XorMappedAddress::default();
    if xored.get_from(&response).is_ok() {
        return Ok(SocketAddr::new(xored.ip, xored.port));
    }
    // Servers older than RFC 5389 know only the plain form.
    let mut mapped = MappedAddress::default();
    mapped.get_from(&response).map_err(|_| NotAResponse::NoAddress)?;
    Ok(SocketAddr::new(mapped.ip, mapped.port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtc_stun::message::BINDING_ERROR;

    use super::*;

    const ID: TransactionIdBytes = [9; 12];

    fn response(address: SocketAddr) -> Vec<u8> {
        let mut message = Message::new();
        let xored = XorMappedAddress { ip: address.ip(), port: address.port() };
        message.build(&[Box::new(TransactionId(ID)), Box::new(BINDING_SUCCESS), Box::new(xored)]).unwrap();
        message.raw
    }

    #[test]
    fn request_and_response_pair_up() {
        assert_eq!(parse(&binding_request(ID).unwrap()).unwrap().transaction_id, TransactionId(ID));
        for address in ["203.0.113.9:40000", "[2001:db8::9]:40000"] {
            let address = address.parse().unwrap();
            assert_eq!(parse_binding_response(&response(address), ID), Ok(address));
        }
    }

    #[test]
    fn the_sample_responses_of_the_standard_are_read() {
        // RFC 5769, sections 2.2 and 2.3.
        let id = *b"\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae";
        let ipv4 = b"\x01\x01\x00\x3c\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
            \x80\x22\x00\x0btest vector \x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43\
            \x00\x08\x00\x14\x2b\x91\xf5\x99\xfd\x9e\x90\xc3\x8c\x74\x89\xf9\x2a\xf9\xba\x53\xf0\x6b\xe7\xd7\
            \x80\x28\x00\x04\xc0\x7d\x4c\x96";
        assert_eq!(parse_binding_response(ipv4, id), Ok("192.0.2.1:32853".parse().unwrap()));
        let ipv6 = b"\x01\x01\x00\x48\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
            \x80\x22\x00\x0btest vector \x00\x20\x00\x14\x00\x02\xa1\x47\
            \x01\x13\xa9\xfa\xa5\xd3\xf1\x79\xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9\
            \x00\x08\x00\x14\xa3\x82\x95\x4e\x4b\xe6\x7b\xf1\x17\x84\xc9\x7c\x82\x92\xc2\x75\xbf\xe3\xed\x41\
            \x80\x28\x00\x04\xc8\xfb\x0b\x4c";
        let expected = "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap();
        assert_eq!(parse_binding_response(ipv6, id), Ok(expected));
    }

    #[test]
    fn another_requests_response_and_an_error_are_told_apart() {
        let address = "203.0.113.9:40000".parse().unwrap();
        assert_eq!(parse_binding_response(&response(address), [8; 12]), Err(NotAResponse::OtherTransaction));
        let mut refused = Message::new();
        refused.build(&[Box::new(TransactionId(ID)), Box::new(BINDING_ERROR)]).unwrap();
        assert_eq!(parse_binding_response(&refused.raw, ID), Err(NotAResponse::Refused));
        assert_eq!(parse_binding_response(b"nonsense", ID), Err(NotAResponse::NotStun));
    }

    proptest! {
        #[test]
        fn any_attribute_is_survived(typ: u16, value in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut message = Message::new();
            message.build(&[Box::new(TransactionId(ID)), Box::new(BINDING_SUCCESS)]).unwrap();
            for typ in [typ, 0x0001, 0x0020, 0x8028] {
                message.add(rtc_stun::attributes::AttrType(typ), &value);
            }
            let _ = parse_binding_response(&message.raw, ID);
        }
    }
}
