//! RTP header extensions (RFC 8285): their names, and the ids of those both sides have.

use serde::{Deserialize, Serialize};

use super::description::{Direction, Section};
use crate::engine::command::{Extensions, MediaKind};

/// A header extension we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Extension {
    Mid,
    Rid,
    RepairedRid,
    AudioLevel,
    TransportCc,
    AbsSendTime,
    AbsCaptureTime,
    DependencyDescriptor,
    PlayoutDelay,
    VideoOrientation,
}

impl Extension {
    const ALL: [Self; 10] = [
        Self::Mid,
        Self::Rid,
        Self::RepairedRid,
        Self::AudioLevel,
        Self::TransportCc,
        Self::AbsSendTime,
        Self::AbsCaptureTime,
        Self::DependencyDescriptor,
        Self::PlayoutDelay,
        Self::VideoOrientation,
    ];

    pub const fn uri(self) -> &'static str {
        match self {
            Self::Mid => "urn:ietf:params:rtp-hdrext:sdes:mid",
            Self::Rid => "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
            Self::RepairedRid => "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
            Self::AudioLevel => "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            Self::TransportCc => "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
            Self::AbsSendTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            Self::AbsCaptureTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
            Self::DependencyDescriptor => {
                "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
            }
            Self::PlayoutDelay => "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
            Self::VideoOrientation => "urn:3gpp:video-orientation",
        }
    }

    pub fn from_uri(uri: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|extension| extension.uri() == uri)
    }

    /// Of use in what a client sends us.
    const fn wanted_from_client(self, kind: MediaKind) -> bool {
        match self {
            Self::Mid | Self::TransportCc | Self::AbsCaptureTime => true,
            Self::AudioLevel => matches!(kind, MediaKind::Audio),
            Self::Rid | Self::RepairedRid | Self::DependencyDescriptor | Self::VideoOrientation => {
                matches!(kind, MediaKind::Video)
            }
            Self::AbsSendTime | Self::PlayoutDelay => false,
        }
    }

    /// Of use in what we send a client: what tells it more than it would otherwise know, or us how it arrives.
    const fn wanted_to_client(self, kind: MediaKind) -> bool {
        match self {
            Self::Mid | Self::AbsCaptureTime => true,
            // Only video can be fitted to a network, and feedback on sound alone would be in vain.
            Self::DependencyDescriptor | Self::VideoOrientation | Self::PlayoutDelay | Self::TransportCc => {
                matches!(kind, MediaKind::Video)
            }
            Self::Rid | Self::RepairedRid | Self::AudioLevel | Self::AbsSendTime => false,
        }
    }
}

/// A header extension in use on an m-line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedExtension {
    pub extension: Extension,
    pub id: u8,
    /// Seen from us.
    pub direction: Direction,
}

/// Ids the one-byte form can carry; 15 is reserved (RFC 8285, section 4.2).
const IDS: std::ops::RangeInclusive<u8> = 1..=14;

/// The extensions of an m-line that we have a use for, in either direction of media.
///
/// An m-line on which the client only receives accepts what is of use for sending, too: Chromium leaves out of all
/// later offers what an answer did not accept for the kind of media, and then refuses simulcast for want of names.
pub(super) fn accept(section: &Section) -> Vec<AcceptedExtension> {
    let Some(kind) = section.kind.media() else { return Vec::new() };
    let mut accepted: Vec<AcceptedExtension> = Vec::new();
    for offered in &section.extensions {
        let Some(extension) = Extension::from_uri(&offered.uri) else { continue };
        let wanted = extension.wanted_from_client(kind) || extension.wanted_to_client(kind);
        let taken = accepted.iter().any(|a| a.id == offered.id || a.extension == extension);
        if wanted && IDS.contains(&offered.id) && !taken {
            accepted.push(AcceptedExtension { extension, id: offered.id, direction: offered.direction.reversed() });
        }
    }
    accepted
}

/// The extensions of an m-line we offer to send on.
pub(super) fn offered(kind: MediaKind) -> Vec<AcceptedExtension> {
    let to_client = Extension::ALL.into_iter().filter(|extension| extension.wanted_to_client(kind));
    // The same id for the same extension on every m-line, as a bundle requires (RFC 8843, section 9.2).
    let id = |extension: Extension| Extension::ALL.iter().zip(1..).find(|(e, _)| **e == extension).map(|(_, id)| id);
    to_client
        .filter_map(|extension| {
            Some(AcceptedExtension { extension, id: id(extension)?, direction: Direction::SendRecv })
        })
        .collect()
}

/// For the engine: ids of what a client sends.
pub(super) fn from_client(accepted: &[AcceptedExtension], kind: MediaKind) -> Extensions {
    ids(accepted, |a| a.direction.receives() && a.extension.wanted_from_client(kind))
}

/// For the engine: ids of what we send.
pub(super) fn to_client(accepted: &[AcceptedExtension], kind: MediaKind) -> Extensions {
    ids(accepted, |a| a.direction.sends() && a.extension.wanted_to_client(kind))
}

fn ids(accepted: &[AcceptedExtension], wanted: impl Fn(&AcceptedExtension) -> bool) -> Extensions {
    let mut ids = Extensions::default();
    for accepted in accepted.iter().filter(|a| wanted(a)) {
        let field = match accepted.extension {
            Extension::Mid => &mut ids.mid,
            Extension::Rid => &mut ids.rid,
            Extension::RepairedRid => &mut ids.repaired_rid,
            Extension::AudioLevel => &mut ids.audio_level,
            Extension::TransportCc => &mut ids.transport_cc,
            Extension::AbsSendTime => &mut ids.abs_send_time,
            Extension::AbsCaptureTime => &mut ids.abs_capture_time,
            Extension::DependencyDescriptor => &mut ids.dependency_descriptor,
            Extension::PlayoutDelay => &mut ids.playout_delay,
            Extension::VideoOrientation => &mut ids.video_orientation,
        };
        *field = Some(accepted.id);
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdp::Description;

    fn accepted(media: &str, lines: &str) -> Vec<AcceptedExtension> {
        let text = format!("v=0\nm={media} 9 UDP/TLS/RTP/SAVPF 96\na=mid:0\n{lines}");
        accept(&Description::parse(&text).expect("valid").sections[0])
    }

    #[test]
    fn ids_are_the_offers_and_each_is_used_once() {
        let lines = "a=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid\na=extmap:3 urn:3gpp:video-orientation\n\
                     a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\na=extmap:5 urn:unheard-of\n\
                     a=extmap:15 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\n";
        let facts: Vec<_> = accepted("video", lines).into_iter().map(|a| (a.extension, a.id)).collect();
        assert_eq!(facts, [(Extension::Mid, 3)]);
    }

    #[test]
    fn each_direction_has_its_own() {
        let lines = "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\n\
                     a=extmap:2/sendonly urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\n\
                     a=extmap:6/recvonly http://www.webrtc.org/experiments/rtp-hdrext/playout-delay\n";
        let accepted = accepted("video", lines);
        let directions: Vec<_> = accepted.iter().map(|a| a.direction).collect();
        assert_eq!(directions, [Direction::SendRecv, Direction::RecvOnly, Direction::SendOnly]);
        let from = Extensions { mid: Some(1), rid: Some(2), ..Extensions::default() };
        assert_eq!(from_client(&accepted, MediaKind::Video), from);
        let to = Extensions { mid: Some(1), playout_delay: Some(6), ..Extensions::default() };
        assert_eq!(to_client(&accepted, MediaKind::Video), to);
    }

    #[test]
    fn audio_is_measured_and_video_is_not() {
        let line = "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\n";
        assert_eq!((accepted("audio", line).len(), accepted("video", line).len()), (1, 0));
    }

    #[test]
    fn ids_of_ours_are_the_same_on_every_m_line() {
        let (audio, video) = (offered(MediaKind::Audio), offered(MediaKind::Video));
        for a in &audio {
            assert!(video.iter().all(|v| (v.id == a.id) == (v.extension == a.extension)));
        }
        assert!(audio.iter().chain(&video).all(|a| IDS.contains(&a.id)));
    }
}
