//! One m-line of our answer to a client's offer.

use serde::{Deserialize, Serialize};

use super::client_offers::PublishOptions;
use super::codec::{self, AcceptedCodec, CodecPolicy};
use super::description::{Direction, Section, SectionKind, SimulcastStream};
use super::extension::{self, AcceptedExtension};
use super::simulcast;
use super::subscription::Subscription;
use super::write::{DATA_PROTOCOL, MEDIA_PROTOCOL, MediaLines, Writer};
use crate::id::Mid;

/// What is left of an offered m-line after comparing it with what we can.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Accepted {
    pub kind: SectionKind,
    media: String,
    pub mid: Mid,
    protocol: String,
    /// We take part in it; otherwise it is answered with port 0.
    pub usable: bool,
    /// The client's.
    pub direction: Direction,
    pub codecs: Vec<AcceptedCodec>,
    pub extensions: Vec<AcceptedExtension>,
    extmap_allow_mixed: bool,
    pub layers: Vec<SimulcastStream>,
    /// The first payload type: an m-line needs one even if it is rejected.
    first_format: u8,
}

impl Accepted {
    pub fn new(section: &Section, bundled: bool, policy: &CodecPolicy) -> Self {
        let codecs = codec::accept(section, policy);
        let fits = match section.kind {
            SectionKind::Audio | SectionKind::Video => section.protocol == MEDIA_PROTOCOL && !codecs.is_empty(),
            SectionKind::Application => section.protocol == DATA_PROTOCOL && section.sctp_port.is_some(),
            SectionKind::Other => false,
        };
        Self {
            kind: section.kind,
            media: section.media.clone(),
            mid: section.mid.clone(),
            protocol: section.protocol.clone(),
            usable: fits && bundled && !section.rejected,
            direction: section.direction,
            codecs,
            extensions: extension::accept(section),
            extmap_allow_mixed: section.extmap_allow_mixed,
            layers: if section.direction.sends() { simulcast::accept(section) } else { Vec::new() },
            first_format: section.formats.first().map_or(0, |format| format.payload_type),
        }
    }

    /// Whether the client would send media on it.
    pub fn client_sends(&self) -> bool {
        self.usable && self.kind.media().is_some() && self.direction.sends()
    }

    /// Whether the client would take media on it.
    pub fn client_receives(&self) -> bool {
        self.usable && self.kind.media().is_some() && self.direction.receives()
    }
}

/// Our side of an m-line.
pub(super) struct Reply<'a> {
    pub accepted: &'a Accepted,
    /// Seen from us.
    pub direction: Direction,
    /// How a track the client sends shall be sent.
    pub options: PublishOptions,
    /// What we send.
    pub sends: Option<&'a Subscription>,
}

impl Reply<'_> {
    pub fn write(&self, writer: &mut Writer<'_>) {
        let accepted = self.accepted;
        if !accepted.usable {
            let format = match accepted.kind {
                SectionKind::Application => "webrtc-datachannel".to_owned(),
                _ => accepted.first_format.to_string(),
            };
            return writer.rejected(&accepted.media, &accepted.protocol, &format, &accepted.mid);
        }
        let Some(kind) = accepted.kind.media() else {
            return writer.data(&accepted.mid, &accepted.protocol);
        };
        let receives = self.direction.receives();
        writer.media(&MediaLines {
            kind,
            mid: &accepted.mid,
            protocol: &accepted.protocol,
            direction: self.direction,
            codecs: &accepted.codecs,
            extensions: &accepted.extensions,
            extmap_allow_mixed: accepted.extmap_allow_mixed,
            layers: if receives { &accepted.layers } else { &[] },
            sends: self.sends,
            opus_parameters: &self.opus_parameters(),
        });
    }

    /// What we ask of the client's encoder, and say of our own stream (RFC 7587, section 6.1).
    fn opus_parameters(&self) -> String {
        let mut parameters = String::new();
        if self.direction.receives() {
            if self.options.dtx {
                parameters.push_str(";usedtx=1");
            }
            if self.options.stereo {
                parameters.push_str(";stereo=1;maxaveragebitrate=510000");
            }
        }
        if self.sends.is_some_and(|subscription| subscription.stereo) {
            parameters.push_str(";sprop-stereo=1");
        }
        parameters
    }
}
