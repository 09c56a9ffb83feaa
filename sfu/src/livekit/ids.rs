//! Ids as LiveKit's clients expect them: a prefix that tells the kind, and random letters.

use sfu_core::call::{ParticipantId, TrackId, TrackSource};
use sfu_core::engine::command::MediaKind;

const RANDOM_CHARACTERS: usize = 12;
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A random string of letters and digits, about 6 bits each.
pub fn random(characters: usize) -> String {
    let mut bytes = vec![0; characters];
    // The generator cannot fail on Linux once the system has booted; zeros would still be valid ids.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect()
}

pub fn room() -> String {
    format!("RM_{}", random(RANDOM_CHARACTERS))
}

pub fn participant() -> ParticipantId {
    ParticipantId(format!("PA_{}", random(RANDOM_CHARACTERS)))
}

/// Of a recording.
pub fn egress() -> String {
    format!("EG_{}", random(RANDOM_CHARACTERS))
}

/// Track ids tell kind and source in two letters, as LiveKit's do.
pub fn track(kind: MediaKind, source: TrackSource) -> TrackId {
    let kind = match kind {
        MediaKind::Audio => 'A',
        MediaKind::Video => 'V',
    };
    let source = match source {
        TrackSource::Camera => 'C',
        TrackSource::Microphone => 'M',
        TrackSource::ScreenShare => 'S',
        TrackSource::ScreenShareAudio => 's',
        TrackSource::Unknown => 'U',
    };
    TrackId(format!("TR_{kind}{source}{}", random(RANDOM_CHARACTERS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_their_prefix_and_differ() {
        assert!(participant().0.starts_with("PA_"));
        assert!(track(MediaKind::Audio, TrackSource::Microphone).0.starts_with("TR_AM"));
        assert_ne!(room(), room());
    }
}
