//! Decides which records reach the library.
//!
//! The library keeps handshake fragments and records of the next epoch without a bound that counts, and answers
//! plaintext after the handshake. What passes here is bounded for the life of an association, and after the handshake
//! nothing passes that is not encrypted: who can spoof the client's address but has no keys changes nothing.

use std::collections::BTreeMap;

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
    messages: Messages,
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
            0 => !established && is_sound_plaintext(record) && self.is_news(record),
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

    /// Whether a plaintext handshake record adds to what is known. The library stops its timer for any handshake
    /// record; if repetitions got through, both sides could end up waiting for each other.
    fn is_news(&self, record: &Record<'_>) -> bool {
        record.content_type != ContentType::Handshake
            || fragments(record.content()).flatten().any(|fragment| self.messages.want(&fragment))
    }

    fn within_bounds(&mut self, record: &Record<'_>, established: bool) -> bool {
        if record.content_type == ContentType::Handshake {
            self.handshake_bytes = self.handshake_bytes.saturating_add(record.bytes.len());
            if self.handshake_bytes > MAX_HANDSHAKE_BYTES {
                return false;
            }
            if record.epoch == 0 {
                fragments(record.content()).flatten().for_each(|fragment| self.messages.insert(&fragment));
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
        ContentType::Alert => {
            matches!(content, [level, what] if *level != ALERT_WARNING || *what == ALERT_CLOSE_NOTIFY)
        }
        ContentType::Handshake => are_sound_fragments(content),
        ContentType::ApplicationData => false,
    }
}

/// Whether a record's content is nothing but handshake fragments within their messages.
fn are_sound_fragments(content: &[u8]) -> bool {
    fragments(content).all(|fragment| fragment.is_some())
}

/// The header of a handshake fragment (RFC 6347, section 4.2.2).
#[derive(Debug, Clone, Copy)]
struct Fragment {
    is_client_hello: bool,
    message: u16,
    message_len: usize,
    offset: usize,
    len: usize,
}

/// The fragments in a record; `None` for one that is not sound, which is then the last.
fn fragments(content: &[u8]) -> impl Iterator<Item = Option<Fragment>> {
    const HEADER_LEN: usize = 12;
    let mut rest = content;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let fragment = rest.split_at_checked(HEADER_LEN).and_then(|(header, body)| {
            let u24 = |at: usize| {
                usize::from(header[at]) << 16 | usize::from(header[at + 1]) << 8 | usize::from(header[at + 2])
            };
            let fragment = Fragment {
                is_client_hello: header[0] == 1,
                message: u16::from_be_bytes([header[4], header[5]]),
                message_len: u24(1),
                offset: u24(6),
                len: u24(9),
            };
            let after = body.get(fragment.len..)?;
            let whole = fragment.len == fragment.message_len;
            // The library takes the rest of the record for a part's body: so it has to be.
            let sound = fragment.offset + fragment.len <= fragment.message_len
                && (whole || (fragment.len > 0 && after.is_empty()));
            sound.then_some((fragment, after))
        });
        rest = fragment.map_or(&[], |(_, after)| after);
        Some(fragment.map(|(fragment, _)| fragment))
    })
}

/// Which handshake messages have arrived whole.
#[derive(Debug, Default)]
struct Messages {
    /// All before this one have.
    next: u16,
    /// Of later ones, the parts: start and end.
    parts: BTreeMap<u16, Vec<(usize, usize)>>,
    whole: Vec<u16>,
}

impl Messages {
    fn want(&self, fragment: &Fragment) -> bool {
        // A client repeats its first message when our answer to it was lost (RFC 6347, section 4.2.1), until the second.
        let repeats_first = fragment.is_client_hello && fragment.message == 0 && self.next <= 1;
        repeats_first || (fragment.message >= self.next && !self.whole.contains(&fragment.message))
    }

    fn insert(&mut self, fragment: &Fragment) {
        if fragment.message < self.next || self.whole.contains(&fragment.message) {
            return;
        }
        let parts = self.parts.entry(fragment.message).or_default();
        parts.push((fragment.offset, fragment.offset + fragment.len));
        parts.sort_unstable();
        let mut reached = 0;
        for (start, end) in parts.iter().copied() {
            if start <= reached {
                reached = reached.max(end);
            }
        }
        if reached < fragment.message_len {
            return;
        }
        self.parts.remove(&fragment.message);
        self.whole.push(fragment.message);
        while let Some(at) = self.whole.iter().position(|message| *message == self.next) {
            self.whole.swap_remove(at);
            self.next = self.next.saturating_add(1);
        }
    }
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
        let mut refused =
            |content_type, content: &[u8]| !admit(&mut intake, &record(content_type, 0, 1, content), false);
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
        let admitted = (0..1000).filter(|_| admit(&mut intake, &handshake, false)).count();
        assert_eq!(admitted, 48 * 1024 / 212, "a part of a message that never becomes whole");
        assert!(admit(&mut intake, &record(23, 1, 2, b"x"), true), "data after the handshake is not");
    }

    #[test]
    fn a_message_that_is_whole_is_not_taken_again() {
        let mut intake = Intake::default();
        let message = |number: u8, message_len: u8, offset: u8, body: &[u8]| {
            let mut content = fragment(message_len, offset, body);
            (content[0], content[5]) = (11, number);
            record(22, 0, 1, &content)
        };
        assert!(admit(&mut intake, &message(0, 3, 0, b"abc"), false));
        assert!(!admit(&mut intake, &message(0, 3, 0, b"abc"), false));
        assert!(admit(&mut intake, &message(2, 4, 2, b"cd"), false), "of a later one");
        assert!(admit(&mut intake, &message(2, 4, 2, b"cd"), false), "again, since it is not whole");
        assert!(admit(&mut intake, &message(2, 4, 0, b"ab"), false));
        assert!(!admit(&mut intake, &message(2, 4, 2, b"cd"), false));
        assert!(admit(&mut intake, &message(1, 0, 0, b""), false));
        assert!(!admit(&mut intake, &message(1, 0, 0, b""), false));
    }

    #[test]
    fn a_repeated_first_client_hello_is_taken_until_the_second_came() {
        let mut intake = Intake::default();
        let first = record(22, 0, 1, &fragment(3, 0, b"abc"));
        assert!(admit(&mut intake, &first, false) && admit(&mut intake, &first, false));
        let mut second = fragment(3, 0, b"abc");
        second[5] = 1;
        assert!(admit(&mut intake, &record(22, 0, 2, &second), false));
        assert!(!admit(&mut intake, &first, false));
        assert!(!admit(&mut intake, &record(22, 0, 2, &second), false));
    }

    #[test]
    fn a_restored_association_takes_only_later_records() {
        let mut intake = Intake::above(Some(7));
        assert!(!admit(&mut intake, &record(23, 1, 7, b"x"), true));
        assert!(admit(&mut intake, &record(23, 1, 8, b"x"), true));
        assert_eq!(intake.highest_record(), Some(7), "nothing was authentic yet");
    }
}
