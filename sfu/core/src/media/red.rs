//! Redundant audio (RFC 2198): the primary encoding, for receivers that do not take the redundancy.

/// Blocks one packet may have. Browsers send two or three.
const MAX_BLOCKS: usize = 8;

/// The primary block of a redundant payload: its payload type and data. `None` if the payload is cut short.
pub fn primary(payload: &[u8]) -> Option<(u8, &[u8])> {
    let mut redundant = 0;
    let mut headers = payload;
    for _ in 0..MAX_BLOCKS {
        let first = *headers.first()?;
        if first & 0x80 == 0 {
            // The last header, one byte long, is the primary's; its data is what is left.
            return Some((first, headers.get(1 + redundant..)?));
        }
        let header = headers.get(..4)?;
        redundant += usize::from(u16::from_be_bytes([header[2], header[3]]) & 0x3ff);
        headers = &headers[4..];
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_primary_is_what_the_redundancy_leaves() {
        // One redundant block of 3 bytes, 960 samples old.
        let payload = [0xef, 0x0f, 0x00, 3, 111, 1, 2, 3, 9, 8];
        assert_eq!(primary(&payload), Some((111, &[9, 8][..])));
        assert_eq!(primary(&[111, 9, 8]), Some((111, &[9, 8][..])), "no redundancy");
        assert_eq!(primary(&[111]), Some((111, &[][..])));
    }

    #[test]
    fn cut_payloads_are_refused() {
        assert_eq!(primary(&[]), None);
        assert_eq!(primary(&[0xef, 0, 0]), None);
        assert_eq!(primary(&[0xef, 0, 0, 3, 111, 1]), None);
        assert_eq!(primary(&[0xef; 200]), None, "headers without end");
    }

    proptest! {
        #[test]
        fn any_payload_is_read_or_refused(payload in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Some((_, data)) = primary(&payload) {
                prop_assert!(payload.ends_with(data));
            }
        }
    }
}
