//! Reads the SRTP protection profiles out of a ClientHello before the library sees it.

use std::collections::BTreeMap;

use super::record::{ContentType, records};
use crate::transport::srtp::Profile;

const HANDSHAKE_HEADER_LEN: usize = 12;
const CLIENT_HELLO: u8 = 1;
/// Extension type of use_srtp (RFC 5764, section 9).
const USE_SRTP: u16 = 14;
/// A ClientHello with a post-quantum key share has about 1,400 bytes.
const MAX_HELLO_LEN: usize = 8 * 1024;
const MAX_DATAGRAMS: usize = 8;

/// Holds the client's first datagrams until its ClientHello is whole.
#[derive(Debug, Default)]
pub(super) struct HelloBuffer {
    datagrams: Vec<Vec<u8>>,
    /// Fragments by offset.
    fragments: BTreeMap<usize, Vec<u8>>,
    holds_last: bool,
}

/// A whole ClientHello.
#[derive(Debug)]
pub(super) struct Hello {
    /// The profiles it offers that we speak, in the client's order.
    pub(super) profiles: Vec<Profile>,
    /// What it came in, for the library.
    pub(super) datagrams: Vec<Vec<u8>>,
}

impl HelloBuffer {
    /// Takes a datagram; gives the ClientHello once it is whole. Datagrams without a part of one are not kept.
    pub(super) fn push(&mut self, datagram: &[u8]) -> Option<Hello> {
        self.holds_last = false;
        let mut message_len = None;
        for record in records(datagram).flatten() {
            if record.content_type != ContentType::Handshake || record.epoch != 0 {
                continue;
            }
            let Some((len, offset, body)) = parse_fragment(record.content()) else { continue };
            message_len = Some(len);
            self.fragments.entry(offset).or_insert_with(|| body.to_vec());
        }
        let message_len = message_len?;
        if self.datagrams.len() == MAX_DATAGRAMS {
            // A client that repeats its first fragment without ever sending the last; begin anew.
            *self = Self::default();
            return None;
        }
        self.holds_last = true;
        self.datagrams.push(datagram.to_vec());
        let body = self.assemble(message_len)?;
        Some(Hello {
            profiles: offered_profiles(&body).unwrap_or_default(),
            datagrams: std::mem::take(&mut self.datagrams),
        })
    }

    /// Whether the latest datagram was of use.
    pub(super) fn holds_last(&self) -> bool {
        self.holds_last
    }

    fn assemble(&self, message_len: usize) -> Option<Vec<u8>> {
        let mut body = Vec::with_capacity(message_len);
        for (offset, fragment) in &self.fragments {
            let known = body.len().checked_sub(*offset)?;
            body.extend_from_slice(fragment.get(known..).unwrap_or_default());
        }
        (body.len() == message_len).then_some(body)
    }
}

/// Length of the whole message, offset and body of a fragment of the first ClientHello.
fn parse_fragment(content: &[u8]) -> Option<(usize, usize, &[u8])> {
    let (header, body) = content.split_at_checked(HANDSHAKE_HEADER_LEN)?;
    let u24 =
        |at: usize| usize::from(header[at]) << 16 | usize::from(header[at + 1]) << 8 | usize::from(header[at + 2]);
    let (message_len, offset, fragment_len) = (u24(1), u24(6), u24(9));
    let first = header[0] == CLIENT_HELLO && header[4..6] == [0, 0];
    if !first || message_len > MAX_HELLO_LEN || offset + fragment_len > message_len {
        return None;
    }
    Some((message_len, offset, body.get(..fragment_len)?))
}

/// The profiles of use_srtp that we speak; `None` if the message is damaged. RFC 6347, section 4.2.1; RFC 5764,
/// section 4.1.1.
fn offered_profiles(client_hello: &[u8]) -> Option<Vec<Profile>> {
    let mut reader = Reader(client_hello);
    reader.take(2 + 32)?; // version, random
    reader.take_u8_prefixed()?; // session id
    reader.take_u8_prefixed()?; // cookie
    reader.take_u16_prefixed()?; // cipher suites
    reader.take_u8_prefixed()?; // compression methods
    let mut extensions = Reader(reader.take_u16_prefixed()?);
    while !extensions.0.is_empty() {
        let (extension, content) = (extensions.take_u16()?, extensions.take_u16_prefixed()?);
        if extension == USE_SRTP {
            let profiles = Reader(content).take_u16_prefixed()?.chunks_exact(2);
            return Some(profiles.filter_map(|pair| registered([pair[0], pair[1]])).collect());
        }
    }
    Some(Vec::new())
}

/// RFC 5764, section 4.1.2; RFC 7714, section 14.2.
fn registered(value: [u8; 2]) -> Option<Profile> {
    match value {
        [0, 1] => Some(Profile::Aes128CmHmacSha1_80),
        [0, 7] => Some(Profile::AeadAes128Gcm),
        [0, 8] => Some(Profile::AeadAes256Gcm),
        _ => None,
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn take_u16(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn take_u8_prefixed(&mut self) -> Option<&'a [u8]> {
        let len = self.take(1)?[0];
        self.take(len.into())
    }

    fn take_u16_prefixed(&mut self) -> Option<&'a [u8]> {
        let len = self.take_u16()?;
        self.take(len.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::record::tests::record;
    use super::*;

    fn client_hello() -> Vec<u8> {
        let mut body = vec![0xFE, 0xFD];
        body.extend_from_slice(&[9; 32]);
        body.extend_from_slice(&[0, 0]); // no session id, no cookie
        body.extend_from_slice(&[0, 2, 0xC0, 0x2B, 1, 0]);
        let extensions = [0, 23, 0, 0, 0, 14, 0, 9, 0, 6, 0, 1, 0, 8, 0, 7, 0];
        body.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
        body.extend_from_slice(&extensions);
        body
    }

    fn datagram(body: &[u8], offset: usize, len: usize) -> Vec<u8> {
        let u24 = |value: usize| [(value >> 16) as u8, (value >> 8) as u8, value as u8];
        let mut fragment = vec![CLIENT_HELLO];
        fragment.extend_from_slice(&u24(body.len()));
        fragment.extend_from_slice(&[0, 0]);
        fragment.extend_from_slice(&u24(offset));
        fragment.extend_from_slice(&u24(len));
        fragment.extend_from_slice(&body[offset..offset + len]);
        record(22, 0, 0, &fragment)
    }

    #[test]
    fn profiles_are_read_in_the_clients_order() {
        let body = client_hello();
        let hello = HelloBuffer::default().push(&datagram(&body, 0, body.len())).unwrap();
        let order = [Profile::Aes128CmHmacSha1_80, Profile::AeadAes256Gcm, Profile::AeadAes128Gcm];
        assert_eq!(hello.profiles, order);
        assert_eq!(hello.datagrams.len(), 1);
    }

    #[test]
    fn a_fragmented_hello_is_put_together_in_any_order() {
        let body = client_hello();
        let mut buffer = HelloBuffer::default();
        assert!(buffer.push(&datagram(&body, 30, body.len() - 30)).is_none());
        assert!(buffer.push(b"noise").is_none());
        assert!(!buffer.holds_last());
        let hello = buffer.push(&datagram(&body, 0, 40)).unwrap();
        assert_eq!(hello.profiles.len(), 3);
        assert_eq!(hello.datagrams.len(), 2);
    }

    #[test]
    fn a_hello_without_srtp_offers_nothing() {
        let mut body = client_hello();
        let at = body.len() - 13;
        body[at..at + 2].copy_from_slice(&[0, 99]);
        let hello = HelloBuffer::default().push(&datagram(&body, 0, body.len())).unwrap();
        assert_eq!(hello.profiles, []);
    }

    #[test]
    fn a_hello_that_never_ends_is_not_kept() {
        let body = client_hello();
        let mut buffer = HelloBuffer::default();
        for _ in 0..100 {
            assert!(buffer.push(&datagram(&body, 0, 40)).is_none());
            assert!(buffer.datagrams.len() <= MAX_DATAGRAMS);
        }
    }

    proptest! {
        #[test]
        fn any_hello_is_survived(mut body in Just(client_hello()), changes in proptest::collection::vec((0_usize..64, any::<u8>()), 0..8), cut in 0_usize..64) {
            for (at, value) in changes {
                let at = at % body.len();
                body[at] = value;
            }
            body.truncate(body.len() - cut.min(body.len() - 1));
            let _ = HelloBuffer::default().push(&datagram(&body, 0, body.len()));
        }

        #[test]
        fn any_fragments_are_survived(contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..6)) {
            let mut buffer = HelloBuffer::default();
            for mut content in contents {
                if let Some(first) = content.first_mut() { *first = CLIENT_HELLO; }
                let _ = buffer.push(&record(22, 0, 0, &content));
            }
        }
    }
}
