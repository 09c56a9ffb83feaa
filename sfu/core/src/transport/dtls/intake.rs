//! Decides which records reach the library.
//!
//! The library keeps handshake fragments and records of the next epoch without a bound that counts, and answers
//! plaintext after the handshake. What passes here is bounded for the life of an association, and after the handshake
//! nothing passes that is not encrypted: who can spoof the client's address but has no keys changes nothing.

use super::record::{ContentType, Record};

/// Handshake bytes an association takes in its life. A handshake has about 3 KiB, 6 with a long chain; lossy ones
/// repeat it a few times. The library stores and walks them by fragment, so it must also bound its recursion.
const MAX_HANDSHAKE_BYTES: usize = 48 * 1024;
/// Records the library may keep until it has the keys: the peer's Finished, and data that overtook it.
const MAX_EARLY_RECORDS: u32 = 64;
const ALERT_WARNING: u8 = 1;
const ALERT_CLOSE_NOTIFY: u8 = 0;

#[derive(Debug, Default)]
pub(super) struct Intake {
    handshake_bytes: usize,
    early_records: u32,
    /// Records with this number and below belong to a former owner of the association.
    floor: Option<u64>,
    highest_record: Option<u64>,
}

impl Intake {
    /// For a restored association: takes only records above `highest`.
    pub(super) fn above(highest: Option<u64>) -> Self {
        Self { floor: highest, highest_record: highest, ..Self::default() }
    }

    pub(super) fn highest_record(&self) -> Option<u64> {
        self.highest_record
    }

    /// Notes the number of a record that was decrypted.
    pub(super) fn note_authentic(&mut self, record: &Record<'_>) {
        if record.epoch == 1 {
            self.highest_record = self.highest_record.max(Some(record.number));
        }
    }

    pub(super) fn admit(&mut self, record: &Record<'_>, established: bool) -> bool {
        let possible = match record.epoch {
            0 => !established && is_sound_plaintext(record),
            // There is no renegotiation, so no change of keys after the first.
            1 if established => record.content_type != ContentType::ChangeCipherSpec && self.is_new(record),
            1 => true,
            _ => false,
        };
        possible && self.within_bounds(record, established)
    }

    fn is_new(&self, record: &Record<'_>) -> bool {
        self.floor.is_none_or(|floor| record.number > floor)
    }

    fn within_bounds(&mut self, record: &Record<'_>, established: bool) -> bool {
        if record.content_type == ContentType::Handshake {
            self.handshake_bytes = self.handshake_bytes.saturating_add(record.bytes.len());
            if self.handshake_bytes > MAX_HANDSHAKE_BYTES {
                return false;
            }
        }
        if !established && (record.epoch == 1 || record.content_type == ContentType::ChangeCipherSpec) {
            self.early_records = self.early_records.saturating_add(1);
            return self.early_records <= MAX_EARLY_RECORDS;
        }
        true
    }
}

/// Whether a plaintext record is one a handshake can have. The library answers others with a fatal alert, which would
/// let a single stray datagram end the handshake.
fn is_sound_plaintext(record: &Record<'_>) -> bool {
    let content = record.content();
    match record.content_type {
        ContentType::ChangeCipherSpec => content == [1],
        // A warning means nothing to us, but the library would end over it.
        ContentType::Alert => matches!(content, [level, what] if *level != ALERT_WARNING || *what == ALERT_CLOSE_NOTIFY),
        ContentType::Handshake => are_sound_fragments(content),
        ContentType::ApplicationData => false,
    }
}

/// Whether a record's content is nothing but handshake fragments within their messages (RFC 6347, section 4.2.2).
fn are_sound_fragments(mut content: &[u8]) -> bool {
    const HEADER_LEN: usize = 12;
    while !content.is_empty() {
        let Some((header, rest)) = content.split_at_checked(HEADER_LEN) else { return false };
        let u24 = |at: usize| usize::from(header[at]) << 16 | usize::from(header[at + 1]) << 8 | usize::from(header[at + 2]);
        let (message_len, offset, fragment_len) = (u24(1), u24(6), u24(9));
        if offset + fragment_len > message_len || (fragment_len == 0 && message_len != 0) {
            return false;
        }
        // The library takes the rest of the record for a fragment's body: so it has to be.
        let Some(rest) = rest.get(fragment_len..) else { return false };
        if fragment_len < message_len && !rest.is_empty() {
            return false;
        }
        content = rest;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::record::records;
    use super::super::record::tests::record;
    use super::*;

    fn admit(intake: &mut Intake, bytes: &[u8], established: bool) -> bool {
        let record = records(bytes).next().unwrap().unwrap();
        intake.admit(&record, established)
    }

    fn fragment(message_len: u8, offset: u8, body: &[u8]) -> Vec<u8> {
        let mut fragment = vec![1, 0, 0, message_len, 0, 0, 0, 0, offset, 0, 0, body.len() as u8];
        fragment.extend_from_slice(body);
        fragment
    }

    #[test]
    fn plaintext_is_refused_once_established() {
        let mut intake = Intake::default();
        let alert = record(21, 0, 5, &[2, 40]);
        assert!(admit(&mut intake, &alert, false));
        assert!(!admit(&mut intake, &alert, true));
        assert!(!admit(&mut intake, &record(22, 0, 5, &fragment(3, 0, b"abc")), true));
        assert!(admit(&mut intake, &record(22, 1, 5, b"encrypted Finished"), true));
    }

    #[test]
    fn plaintext_that_no_handshake_has_is_refused() {
        let mut intake = Intake::default();
        let mut refused = |content_type, content: &[u8]| !admit(&mut intake, &record(content_type, 0, 1, content), false);
        assert!(refused(23, b"data"));
        assert!(refused(20, &[2]));
        assert!(refused(21, &[1, 90]), "a warning");
        assert!(refused(21, &[2]), "half an alert");
        assert!(refused(22, &fragment(3, 0, b"abc")[..14]), "a fragment cut short");
        assert!(refused(22, &fragment(3, 2, b"abc")), "a fragment beyond its message");
        assert!(refused(22, &fragment(3, 1, b"")), "an empty fragment");
        assert!(!refused(22, &fragment(9, 3, b"abc")));
        assert!(!refused(22, &fragment(0, 0, b"")), "a message without a body");
    }

    #[test]
    fn epochs_that_cannot_come_are_refused() {
        let mut intake = Intake::default();
        assert!(!admit(&mut intake, &record(23, 2, 1, b"x"), false));
        assert!(!admit(&mut intake, &record(23, 2, 1, b"x"), true));
    }

    #[test]
    fn what_the_library_keeps_is_bounded() {
        let mut intake = Intake::default();
        let early = record(23, 1, 1, b"x");
        assert_eq!((0..1000).filter(|_| admit(&mut intake, &early, false)).count(), 64);
        let handshake = record(22, 0, 1, &fragment(200, 0, &[0; 187]));
        assert_eq!((0..1000).filter(|_| admit(&mut intake, &handshake, false)).count(), 48 * 1024 / 212);
        assert!(admit(&mut intake, &record(23, 1, 2, b"x"), true), "data after the handshake is not");
    }

    #[test]
    fn a_restored_association_takes_only_later_records() {
        let mut intake = Intake::above(Some(7));
        assert!(!admit(&mut intake, &record(23, 1, 7, b"x"), true));
        assert!(admit(&mut intake, &record(23, 1, 8, b"x"), true));
        assert_eq!(intake.highest_record(), Some(7), "nothing was authentic yet");
    }
}
