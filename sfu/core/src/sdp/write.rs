//! The lines our descriptions are made of.

use std::borrow::Cow;
use std::fmt::{self, Display, Write as _};

use super::LocalTransport;
use super::codec::{AcceptedCodec, rtpmap};
use super::description::{Direction, SimulcastStream};
use super::extension::AcceptedExtension;
use super::parse::is_token_byte;
use super::subscription::Subscription;
use crate::engine::command::{Codec, MediaKind};
use crate::id::Mid;
use crate::transport::certificate::Fingerprint;

/// Bytes of the largest data channel message we take: what LiveKit's clients reckon with.
const MAX_MESSAGE_SIZE: u32 = 65_535;

/// The port SCTP has inside DTLS, by custom (RFC 8831).
const SCTP_PORT: u16 = 5000;

/// The protocols of an m-line over our one DTLS transport.
pub(super) const MEDIA_PROTOCOL: &str = "UDP/TLS/RTP/SAVPF";
pub(super) const DATA_PROTOCOL: &str = "UDP/DTLS/SCTP";

/// One media m-line of ours.
pub(super) struct MediaLines<'a> {
    pub kind: MediaKind,
    pub mid: &'a Mid,
    pub protocol: &'a str,
    pub direction: Direction,
    pub codecs: &'a [AcceptedCodec],
    pub extensions: &'a [AcceptedExtension],
    pub extmap_allow_mixed: bool,
    /// Encodings we receive.
    pub layers: &'a [SimulcastStream],
    /// What we send.
    pub sends: Option<&'a Subscription>,
    /// Appended to the `a=fmtp` of Opus, with a leading semicolon.
    pub opus_parameters: &'a str,
}

/// A description being written.
pub(super) struct Writer<'a> {
    text: String,
    local: &'a LocalTransport,
    setup: &'static str,
    /// Candidates belong to the bundle's first m-line.
    candidates_written: bool,
}

impl<'a> Writer<'a> {
    /// Starts a description of one session, `version` of which counts its descriptions (RFC 8866, section 5.2).
    pub fn new(local: &'a LocalTransport, setup: &'static str, session_id: u64, version: u64) -> Self {
        let mut writer = Self { text: String::with_capacity(8 * 1024), local, setup, candidates_written: false };
        writer.line("v=0");
        // Browsers read the number as signed.
        writer.line(format_args!("o=- {} {version} IN IP4 127.0.0.1", session_id & (u64::MAX >> 1)));
        writer.line("s=-");
        writer.line("t=0 0");
        writer
    }

    pub fn session<'m>(&mut self, mids: impl Iterator<Item = &'m Mid>) {
        self.line("a=ice-lite");
        self.put("a=group:BUNDLE");
        for mid in mids {
            self.put(format_args!(" {}", mid.0));
        }
        self.put("\r\n");
        self.line("a=msid-semantic: WMS *");
    }

    /// An m-line that is not in use.
    pub fn rejected(&mut self, media: &str, protocol: &str, format: &str, mid: &Mid) {
        self.line(format_args!("m={media} 0 {protocol} {format}"));
        self.line("c=IN IP4 0.0.0.0");
        self.line(format_args!("a=mid:{}", mid.0));
        self.line("a=inactive");
    }

    pub fn data(&mut self, mid: &Mid, protocol: &str) {
        self.line(format_args!("m=application 9 {protocol} webrtc-datachannel"));
        self.transport(mid);
        self.line(format_args!("a=sctp-port:{SCTP_PORT}"));
        self.line(format_args!("a=max-message-size:{MAX_MESSAGE_SIZE}"));
    }

    pub fn media(&mut self, lines: &MediaLines<'_>) {
        let kind = media_name(lines.kind);
        self.put(format_args!("m={kind} 9 {}", lines.protocol));
        for codec in lines.codecs {
            self.put(format_args!(" {}", codec.mapping.payload_type));
            if let Some(rtx) = codec.mapping.rtx_payload_type {
                self.put(format_args!(" {rtx}"));
            }
        }
        self.put("\r\n");
        self.transport(lines.mid);
        self.line(format_args!("a={}", lines.direction.name()));
        self.line("a=rtcp-mux");
        self.line("a=rtcp-rsize");
        for codec in lines.codecs {
            self.codec(codec, lines.opus_parameters);
        }
        if lines.extmap_allow_mixed {
            self.line("a=extmap-allow-mixed");
        }
        for accepted in lines.extensions {
            self.put(format_args!("a=extmap:{}", accepted.id));
            if accepted.direction != Direction::SendRecv {
                self.put(format_args!("/{}", accepted.direction.name()));
            }
            self.line(format_args!(" {}", accepted.extension.uri()));
        }
        self.layers(lines.layers);
        if let Some(subscription) = lines.sends {
            self.source(subscription);
        }
    }

    pub fn finish(self) -> String {
        self.text
    }

    fn transport(&mut self, mid: &Mid) {
        let local = self.local;
        self.line("c=IN IP4 0.0.0.0");
        self.line(format_args!("a=mid:{}", mid.0));
        self.line(format_args!("a=ice-ufrag:{}", local.ice_ufrag));
        self.line(format_args!("a=ice-pwd:{}", local.ice_pwd));
        self.fingerprint(local.fingerprint);
        if !self.candidates_written {
            self.candidates_written = true;
            for candidate in &local.candidates {
                self.line(format_args!("a={candidate}"));
            }
            if !local.candidates.is_empty() {
                self.line("a=end-of-candidates");
            }
        }
    }

    fn fingerprint(&mut self, fingerprint: Fingerprint) {
        let setup = self.setup;
        self.line(format_args!("a=fingerprint:sha-256 {fingerprint}"));
        self.line(format_args!("a=setup:{setup}"));
    }

    fn codec(&mut self, codec: &AcceptedCodec, opus_parameters: &str) {
        let payload_type = codec.mapping.payload_type;
        self.line(format_args!("a=rtpmap:{payload_type} {}", rtpmap(codec.mapping.codec)));
        for feedback in codec.feedback.names() {
            self.line(format_args!("a=rtcp-fb:{payload_type} {feedback}"));
        }
        if !codec.parameters.is_empty() {
            let more = if codec.mapping.codec == Codec::Opus { opus_parameters } else { "" };
            self.line(format_args!("a=fmtp:{payload_type} {}{more}", codec.parameters));
        }
        if let Some(rtx) = codec.mapping.rtx_payload_type {
            self.line(format_args!("a=rtpmap:{rtx} rtx/{}", codec.mapping.clock_rate));
            self.line(format_args!("a=fmtp:{rtx} apt={payload_type}"));
        }
    }

    fn layers(&mut self, layers: &[SimulcastStream]) {
        for layer in layers {
            self.line(format_args!("a=rid:{} recv", layer.rid.0));
        }
        for (index, layer) in layers.iter().enumerate() {
            let separator = if index == 0 { "a=simulcast:recv " } else { ";" };
            let paused = if layer.paused { "~" } else { "" };
            self.put(format_args!("{separator}{paused}{}", layer.rid.0));
        }
        if !layers.is_empty() {
            self.put("\r\n");
        }
    }

    fn source(&mut self, subscription: &Subscription) {
        let Subscription { ssrc, rtx_ssrc, .. } = subscription;
        let (stream, track) = (token(&subscription.stream_id), token(&subscription.track_id));
        let cname = token(&subscription.cname);
        self.line(format_args!("a=msid:{stream} {track}"));
        if let Some(rtx) = rtx_ssrc {
            self.line(format_args!("a=ssrc-group:FID {} {}", ssrc.0, rtx.0));
        }
        for ssrc in [Some(*ssrc), *rtx_ssrc].into_iter().flatten() {
            self.line(format_args!("a=ssrc:{} cname:{cname}", ssrc.0));
            self.line(format_args!("a=ssrc:{} msid:{stream} {track}", ssrc.0));
        }
    }

    fn line(&mut self, line: impl Display) {
        self.put(line);
        self.text.push_str("\r\n");
    }

    fn put(&mut self, text: impl Display) {
        // Writing to a string cannot fail.
        let _: fmt::Result = write!(self.text, "{text}");
    }
}

pub(super) const fn media_name(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    }
}

/// Text as a token: a stream's name comes from a client and ends in the description of another one.
fn token(text: &str) -> Cow<'_, str> {
    if text.is_empty() {
        Cow::Borrowed("-")
    } else if text.bytes().all(is_token_byte) {
        Cow::Borrowed(text)
    } else {
        let replace = |c: char| u8::try_from(c).ok().filter(|b| is_token_byte(*b)).map_or('_', char::from);
        Cow::Owned(text.chars().map(replace).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_become_a_line() {
        assert_eq!(token("PA_x|camera"), "PA_x|camera");
        assert_eq!(token("PA_x|my camera\r\na=ice-lite"), "PA_x|my_camera__a_ice-lite");
        assert_eq!(token("PA_x|kämera"), "PA_x|k_mera");
        assert_eq!(token(""), "-");
    }
}
