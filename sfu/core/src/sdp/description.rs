//! A session description as types, reduced to what an SFU negotiates.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::NegotiationError;
use crate::engine::command::MediaKind;
use crate::id::{Mid, Rid, Ssrc};
use crate::transport::certificate::Fingerprint;

/// A parsed description. Attributes an SFU has no use for are not kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// `a=group:BUNDLE` (RFC 8843); empty if there is none.
    pub bundle: Vec<Mid>,
    pub ice_lite: bool,
    /// The m-lines in order.
    pub sections: Vec<Section>,
}

/// One m-line and what follows it. Attributes given for the whole session are repeated in each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    pub kind: SectionKind,
    /// The kind as written, e.g. `audio`.
    pub media: String,
    pub mid: Mid,
    /// Port 0 without `a=bundle-only`: the m-line is not in use.
    pub rejected: bool,
    /// As written, e.g. `UDP/TLS/RTP/SAVPF`; an answer repeats it.
    pub protocol: String,
    pub direction: Direction,
    pub ice_ufrag: Option<String>,
    pub ice_pwd: Option<IcePwd>,
    pub fingerprint: Option<Fingerprint>,
    /// A fingerprint is given, but none with SHA-256.
    pub foreign_fingerprint: bool,
    pub setup: Option<Setup>,
    pub rtcp_mux: bool,
    pub msid: Option<Msid>,
    /// Payload types in order of preference.
    pub formats: Vec<Format>,
    pub extensions: Vec<ExtensionMap>,
    /// One-byte and two-byte header extensions may be mixed (RFC 8285, section 6).
    pub extmap_allow_mixed: bool,
    /// Every SSRC named by `a=ssrc`, in order.
    pub ssrcs: Vec<Ssrc>,
    pub ssrc_groups: Vec<SsrcGroup>,
    /// Encodings the describing side sends, in its order (RFC 8853).
    pub simulcast_send: Vec<SimulcastStream>,
    /// `a=rid … send`, in order (RFC 8851).
    pub rids_send: Vec<Rid>,
    pub sctp_port: Option<u16>,
    /// Bytes of the largest data channel message the describing side takes; 0 is no limit (RFC 8841, section 6).
    pub max_message_size: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SectionKind {
    Audio,
    Video,
    /// Data channels.
    Application,
    /// Anything else; always rejected.
    Other,
}

impl SectionKind {
    /// The kind of media, if it is media.
    pub const fn media(self) -> Option<MediaKind> {
        match self {
            Self::Audio => Some(MediaKind::Audio),
            Self::Video => Some(MediaKind::Video),
            Self::Application | Self::Other => None,
        }
    }
}

impl From<MediaKind> for SectionKind {
    fn from(kind: MediaKind) -> Self {
        match kind {
            MediaKind::Audio => Self::Audio,
            MediaKind::Video => Self::Video,
        }
    }
}

/// Direction of media, seen from the describing side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    #[default]
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    pub const fn new(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The same, seen from the other side.
    pub const fn reversed(self) -> Self {
        Self::new(self.receives(), self.sends())
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive].into_iter().find(|d| d.name() == name)
    }
}

/// Who opens the DTLS connection (RFC 8842).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Setup {
    /// Sends the ClientHello.
    Active,
    /// Waits for it.
    Passive,
    /// Leaves it to the answer.
    ActPass,
    HoldConn,
}

/// Which stream and track a section's media belongs to (RFC 8830).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Msid {
    /// `-` for a track without stream.
    pub stream: String,
    /// Often missing with today's browsers on m-lines reused by them.
    pub track: Option<String>,
}

/// One payload type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    pub payload_type: u8,
    /// Encoding name as written, e.g. `opus`, `VP8`, `rtx`.
    pub name: String,
    /// Clock rate in Hz.
    pub clock_rate: u32,
    pub channels: Option<u8>,
    /// `a=fmtp`, without the payload type; empty if there is none.
    pub parameters: String,
    /// `a=rtcp-fb`, without the payload type (RFC 4585).
    pub feedback: Vec<String>,
}

impl Format {
    /// Value of one parameter of `a=fmtp`, compared without case.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .split(';')
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(key, _)| key.trim().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }
}

/// `a=extmap` (RFC 8285, section 8).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtensionMap {
    pub id: u8,
    pub uri: String,
    pub direction: Direction,
}

/// `a=ssrc-group` (RFC 5576, section 4.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SsrcGroup {
    /// E.g. `FID`: media and its retransmission.
    pub semantics: String,
    pub ssrcs: Vec<Ssrc>,
}

/// One encoding of `a=simulcast`; of alternatives, the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimulcastStream {
    pub rid: Rid,
    /// Written with `~`.
    pub paused: bool,
}

/// An ICE password. Debug output does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IcePwd(pub String);

impl fmt::Debug for IcePwd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IcePwd(…)")
    }
}

/// The other side's half of a transport.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteTransport {
    pub ice_ufrag: String,
    pub ice_pwd: IcePwd,
    /// What the certificate shown in the DTLS handshake must hash to.
    pub fingerprint: Fingerprint,
}

impl Description {
    /// The m-line that carries the bundle's transport: the first of the group, or the first in use.
    fn tagged(&self) -> Option<&Section> {
        let tag = self.bundle.first();
        let in_use = || self.sections.iter().filter(|section| !section.rejected);
        in_use().find(|section| Some(&section.mid) == tag).or_else(|| in_use().next())
    }

    /// The describing side's transport, and its say on the DTLS roles.
    ///
    /// # Errors
    /// [`NegotiationError::Incomplete`] and [`NegotiationError::FingerprintAlgorithm`].
    pub fn transport(&self) -> Result<(RemoteTransport, Setup), NegotiationError> {
        let section = self.tagged().ok_or(NegotiationError::Incomplete("any media or data"))?;
        let ice_ufrag = section.ice_ufrag.clone().ok_or(NegotiationError::Incomplete("ice-ufrag"))?;
        let ice_pwd = section.ice_pwd.clone().ok_or(NegotiationError::Incomplete("ice-pwd"))?;
        let fingerprint = section.fingerprint.ok_or(if section.foreign_fingerprint {
            NegotiationError::FingerprintAlgorithm
        } else {
            NegotiationError::Incomplete("fingerprint")
        })?;
        let setup = section.setup.unwrap_or(Setup::ActPass);
        Ok((RemoteTransport { ice_ufrag, ice_pwd, fingerprint }, setup))
    }

    /// Whether an m-line shares the one transport there is.
    pub(super) fn bundles(&self, section: &Section) -> bool {
        if self.bundle.is_empty() { self.sections.len() == 1 } else { self.bundle.contains(&section.mid) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_found_whatever_its_spaces_and_case() {
        let format = Format {
            payload_type: 102,
            name: "H264".into(),
            clock_rate: 90_000,
            channels: None,
            parameters: "level-asymmetry-allowed=1; Packetization-Mode=1;profile-level-id=42e01f".into(),
            feedback: vec![],
        };
        assert_eq!(format.parameter("packetization-mode"), Some("1"));
        assert_eq!(format.parameter("profile-level-id"), Some("42e01f"));
        assert_eq!(format.parameter("mode"), None);
    }

    #[test]
    fn directions_turn_around() {
        assert_eq!(Direction::SendOnly.reversed(), Direction::RecvOnly);
        assert_eq!(Direction::SendRecv.reversed(), Direction::SendRecv);
        assert_eq!(Direction::from_name("inactive"), Some(Direction::Inactive));
        assert_eq!(Direction::from_name("sideways"), None);
    }
}
