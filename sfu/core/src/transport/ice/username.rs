//! Finds out whose check a STUN datagram is without parsing the rest.

const HEADER_LEN: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const USERNAME: u16 = 0x0006;
/// RFC 8489, section 14.3 limits it to 508 bytes; ours and any client's are far shorter.
const MAX_USERNAME_LEN: usize = 508;

/// The receiver's ufrag of a Binding request: what stands before the colon of USERNAME. `None` if the datagram is no
/// Binding request or has none. Nothing is authenticated yet. RFC 8445, section 7.2.2.
pub fn peek_ufrag(datagram: &[u8]) -> Option<&str> {
    let header = datagram.get(..HEADER_LEN)?;
    if header[..2] != BINDING_REQUEST || header[4..8] != MAGIC_COOKIE {
        return None;
    }
    let mut rest = &datagram[HEADER_LEN..];
    while let [t0, t1, l0, l1, after @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*l0, *l1]));
        if u16::from_be_bytes([*t0, *t1]) == USERNAME {
            let username = std::str::from_utf8(after.get(..len.min(MAX_USERNAME_LEN))?).ok()?;
            return username.split_once(':').map(|(ufrag, _)| ufrag);
        }
        rest = after.get(len.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(attributes: &[u8]) -> Vec<u8> {
        let mut datagram = vec![0, 1, 0, attributes.len() as u8, 0x21, 0x12, 0xA4, 0x42];
        datagram.extend_from_slice(&[7; 12]);
        datagram.extend_from_slice(attributes);
        datagram
    }

    #[test]
    fn the_ufrag_before_the_colon_is_ours() {
        // SOFTWARE "abc" with one byte of padding, then USERNAME "me:you".
        let attributes = b"\x80\x22\x00\x03abc\x00\x00\x06\x00\x06me:you\x00\x00";
        assert_eq!(peek_ufrag(&request(attributes)), Some("me"));
    }

    #[test]
    fn no_username_no_ufrag() {
        assert_eq!(peek_ufrag(&request(b"")), None);
        assert_eq!(peek_ufrag(&request(b"\x00\x06\x00\x04abcd")), None, "without a colon");
        assert_eq!(peek_ufrag(&request(b"\x00\x06\x00\xFFme:you")), None, "cut short");
        assert_eq!(peek_ufrag(&request(b"\x00\x06\x00\x04\xFF:\xFF\xFF")), None, "not UTF-8");
        let mut response = request(b"\x00\x06\x00\x06me:you\x00\x00");
        response[0] = 1;
        assert_eq!(peek_ufrag(&response), None, "a response");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(attributes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = peek_ufrag(&request(&attributes));
            let _ = peek_ufrag(&attributes);
        }
    }
}
