//! The DTLS 1.2 record header (RFC 6347, section 4.1), which is never encrypted.

pub(super) const HEADER_LEN: usize = 13;

/// What a record carries (RFC 5246, section 6.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContentType {
    ChangeCipherSpec,
    Alert,
    Handshake,
    ApplicationData,
}

/// One record of a datagram.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) content_type: ContentType,
    pub(super) epoch: u16,
    /// Number within the epoch, 48 bits.
    pub(super) number: u64,
    /// Header and content.
    pub(super) bytes: &'a [u8],
}

impl<'a> Record<'a> {
    pub(super) fn content(&self) -> &'a [u8] {
        &self.bytes[HEADER_LEN..]
    }
}

/// The records of a datagram in order; `None` for one we have no use for, or for a rest that is none.
pub(super) fn records(datagram: &[u8]) -> impl Iterator<Item = Option<Record<'_>>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((record, after)) = split_first(rest) else {
            rest = &[];
            return Some(None);
        };
        rest = after;
        Some(parse(record))
    })
}

fn split_first(datagram: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = u16::from_be_bytes([*datagram.get(11)?, *datagram.get(12)?]);
    datagram.split_at_checked(HEADER_LEN + usize::from(len))
}

fn parse(record: &[u8]) -> Option<Record<'_>> {
    let content_type = match record[0] {
        20 => ContentType::ChangeCipherSpec,
        21 => ContentType::Alert,
        22 => ContentType::Handshake,
        23 => ContentType::ApplicationData,
        _ => return None,
    };
    // Versions 1.0 and 1.2; the first message of a handshake carries the former (RFC 6347, section 4.2.1).
    if record.len() == HEADER_LEN || record[1] != 0xFE || !matches!(record[2], 0xFD | 0xFF) {
        return None;
    }
    let word = u64::from_be_bytes(record[3..11].try_into().ok()?);
    Some(Record { content_type, epoch: (word >> 48) as u16, number: word & ((1 << 48) - 1), bytes: record })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::transport::dtls) fn record(content_type: u8, epoch: u16, number: u64, content: &[u8]) -> Vec<u8> {
        let mut record = vec![content_type, 0xFE, 0xFD];
        record.extend_from_slice(&(u64::from(epoch) << 48 | number).to_be_bytes());
        record.extend_from_slice(&(content.len() as u16).to_be_bytes());
        record.extend_from_slice(content);
        record
    }

    #[test]
    fn a_datagram_splits_into_its_records() {
        let mut datagram = record(22, 0, 7, b"abc");
        datagram.extend(record(23, 1, 8, b"de"));
        let found: Vec<_> = records(&datagram).map(Option::unwrap).collect();
        assert_eq!((found[0].content_type, found[0].epoch, found[0].number), (ContentType::Handshake, 0, 7));
        assert_eq!((found[1].content_type, found[1].epoch, found[1].number), (ContentType::ApplicationData, 1, 8));
        assert_eq!(found[1].content(), b"de");
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn what_is_no_record_is_told() {
        let none = |datagram: &[u8]| records(datagram).map(|record| record.is_none()).collect::<Vec<_>>();
        assert_eq!(none(&record(23, 1, 8, b"")), [true], "empty");
        assert_eq!(none(&record(24, 1, 8, b"heartbeat")), [true]);
        let mut cut = record(23, 1, 8, b"abc");
        cut.pop();
        assert_eq!(none(&cut), [true]);
        assert_eq!(none(&[23; 40]), [true], "longer than the datagram");
        let mut followed = record(23, 1, 8, b"abc");
        followed.push(0);
        assert_eq!(none(&followed), [false, true]);
    }
}
