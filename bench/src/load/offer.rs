//! What a client offers, and what it takes from the server's answer.
//!
//! One peer connection as livekit-client makes it: an m-line for what it publishes, three of each kind to receive on,
//! more when the server asks for them, and data channels.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, bail};
use sfu_core::sdp::{Description, Extension, SectionKind, Setup};
use sfu_core::transport::DtlsRole;
use sfu_core::transport::certificate::Fingerprint;
use sfu_core::transport::ice::IceCredentials;

use super::scenario::Source;

/// Payload types as browsers have them.
pub const OPUS: u8 = 111;
pub const VP8: u8 = 96;
/// M-lines of each kind that are offered before anybody asks.
const FIRST_SECTIONS: u32 = 3;
/// Header extensions, and the id we offer each under.
const EXTENSIONS: [(Extension, u8); 4] =
    [(Extension::Mid, 1), (Extension::AudioLevel, 2), (Extension::TransportCc, 3), (Extension::Rid, 4)];

/// One client's side of its session description.
#[derive(Debug)]
pub struct Offer {
    credentials: IceCredentials,
    fingerprint: Fingerprint,
    address: SocketAddr,
    published: Option<(Source, u32)>,
    sections: Vec<Section>,
    version: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Send(Source),
    Receive(Source),
    Data,
}

/// What a server answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub remote: IceCredentials,
    pub fingerprint: Fingerprint,
    /// Ours.
    pub role: DtlsRole,
    pub candidates: Vec<SocketAddr>,
    /// The ids of header extensions on what is published.
    pub sent: ExtensionIds,
    /// Of the transport-wide number on what is received.
    pub transport_cc: Option<u8>,
}

/// Ids of header extensions in use; `None` for those the server does not want.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExtensionIds {
    pub mid: Option<u8>,
    pub rid: Option<u8>,
    pub audio_level: Option<u8>,
    pub transport_cc: Option<u8>,
}

impl Offer {
    /// `published` has the SSRC it is sent with.
    pub fn new(
        credentials: IceCredentials,
        fingerprint: Fingerprint,
        address: SocketAddr,
        published: Option<(Source, u32)>,
    ) -> Self {
        let mut offer = Self { credentials, fingerprint, address, published, sections: Vec::new(), version: 0 };
        offer.sections.extend(published.map(|(source, _)| Section::Send(source)));
        offer.receive(FIRST_SECTIONS, FIRST_SECTIONS);
        offer.sections.push(Section::Data);
        offer
    }

    /// Adds m-lines to receive on.
    pub fn receive(&mut self, n_audios: u32, n_videos: u32) {
        self.sections.extend((0..n_audios).map(|_| Section::Receive(Source::Voice)));
        self.sections.extend((0..n_videos).map(|_| Section::Receive(Source::Screen)));
    }

    /// The name of what is published, as the signalling calls it.
    pub const fn cid(source: Source) -> &'static str {
        match source {
            Source::Voice => "bench-voice",
            Source::Screen => "bench-screen",
            Source::Camera => "bench-camera",
        }
    }

    /// The next offer's text.
    pub fn write(&mut self) -> String {
        self.version += 1;
        let mids = (0..self.sections.len()).map(|mid| mid.to_string()).collect::<Vec<_>>().join(" ");
        let mut text = format!(
            "v=0\r\no=- 1 {} IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {mids}\r\na=extmap-allow-mixed\r\n\
             a=msid-semantic: WMS bench\r\n",
            self.version
        );
        for (mid, section) in self.sections.iter().enumerate() {
            let written = self.write_section(&mut text, mid, *section);
            debug_assert!(written.is_ok(), "a String takes everything");
        }
        text
    }

    fn write_section(&self, text: &mut String, mid: usize, section: Section) -> std::fmt::Result {
        match section {
            Section::Send(source) | Section::Receive(source) => {
                let (kind, payload_type) = match source {
                    Source::Voice => ("audio", OPUS),
                    Source::Screen | Source::Camera => ("video", VP8),
                };
                write!(text, "m={kind} 9 UDP/TLS/RTP/SAVPF {payload_type}\r\n")?;
            }
            Section::Data => write!(text, "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n")?,
        }
        write!(
            text,
            "c=IN IP4 0.0.0.0\r\na=candidate:1 1 udp 2130706431 {} {} typ host\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\n\
             a=ice-options:trickle\r\na=fingerprint:sha-256 {}\r\na=setup:actpass\r\na=mid:{mid}\r\n",
            self.address.ip(),
            self.address.port(),
            self.credentials.ufrag,
            self.credentials.pwd,
            self.fingerprint
        )?;
        match section {
            Section::Send(source) => {
                write_codec(text, source)?;
                let (cid, ssrc) = (Self::cid(source), self.published.map_or(0, |(_, ssrc)| ssrc));
                write!(text, "a=sendonly\r\na=msid:bench {cid}\r\n")?;
                let rids: Vec<&str> = source.layers().iter().filter_map(|layer| layer.rid).collect();
                if rids.is_empty() {
                    return write!(text, "a=ssrc:{ssrc} cname:bench\r\na=ssrc:{ssrc} msid:bench {cid}\r\n");
                }
                // Layers are told apart by their names in packets, as browsers do it (RFC 8853).
                rids.iter().try_for_each(|rid| write!(text, "a=rid:{rid} send\r\n"))?;
                write!(text, "a=simulcast:send {}\r\n", rids.join(";"))
            }
            Section::Receive(source) => {
                write_codec(text, source)?;
                write!(text, "a=recvonly\r\n")
            }
            Section::Data => write!(text, "a=sctp-port:5000\r\na=max-message-size:262144\r\n"),
        }
    }

    /// Reads the answer to an offer of ours.
    ///
    /// # Errors
    /// If it cannot be read or refuses what is published.
    pub fn accept(&self, answer: &str) -> Result<Answer> {
        let description = Description::parse(answer).context("failed to read the server's answer")?;
        let (transport, setup) = description.transport().context("the server's answer has no transport")?;
        let role = match setup {
            Setup::Active => DtlsRole::Server,
            Setup::Passive | Setup::ActPass | Setup::HoldConn => DtlsRole::Client,
        };
        let ids = |section: &sfu_core::sdp::Section| {
            let id = |extension: Extension| {
                section.extensions.iter().find(|map| map.uri == extension.uri()).map(|map| map.id)
            };
            ExtensionIds {
                mid: id(Extension::Mid),
                rid: id(Extension::Rid),
                audio_level: id(Extension::AudioLevel),
                transport_cc: id(Extension::TransportCc),
            }
        };
        let sent = match self.sections.first() {
            Some(Section::Send(_)) => {
                let section = description.sections.first().context("the server's answer has no m-lines")?;
                if section.rejected || !section.direction.receives() {
                    bail!("the server's answer refuses what is published");
                }
                ids(section)
            }
            _ => ExtensionIds::default(),
        };
        let media = description
            .sections
            .iter()
            .filter(|section| !section.rejected && matches!(section.kind, SectionKind::Audio | SectionKind::Video));
        let transport_cc =
            media.filter(|section| section.direction.sends()).find_map(|section| ids(section).transport_cc);
        Ok(Answer {
            remote: IceCredentials { ufrag: transport.ice_ufrag, pwd: transport.ice_pwd.0 },
            fingerprint: transport.fingerprint,
            role,
            candidates: answer.lines().filter_map(|line| parse_candidate(line.strip_prefix("a=")?)).collect(),
            sent,
            transport_cc,
        })
    }
}

fn write_codec(text: &mut String, source: Source) -> std::fmt::Result {
    for (extension, id) in EXTENSIONS {
        let is_for = match extension {
            Extension::AudioLevel => source == Source::Voice,
            Extension::Rid => source == Source::Camera,
            _ => true,
        };
        if is_for {
            write!(text, "a=extmap:{id} {}\r\n", extension.uri())?;
        }
    }
    text.push_str("a=rtcp-mux\r\na=rtcp-rsize\r\n");
    text.push_str(match source {
        Source::Voice => {
            "a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n"
        }
        Source::Screen | Source::Camera => {
            "a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 transport-cc\r\na=rtcp-fb:96 ccm fir\r\na=rtcp-fb:96 nack\r\n\
             a=rtcp-fb:96 nack pli\r\n"
        }
    });
    Ok(())
}

/// The address of a candidate on UDP and IPv4, as `candidate:…` writes it (RFC 8839, section 5.1); `None` for others.
pub fn parse_candidate(line: &str) -> Option<SocketAddr> {
    let mut words = line.strip_prefix("candidate:")?.split_ascii_whitespace();
    let (_foundation, component, protocol, _priority) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let (ip, port): (IpAddr, u16) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    (component == "1" && protocol.eq_ignore_ascii_case("udp") && ip.is_ipv4()).then_some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_sdp_reads_every_offer() {
        use SectionKind::{Application, Audio, Video};

        let credentials = IceCredentials::generate(0).unwrap();
        let fingerprint = Fingerprint([7; 32]);
        let address = "127.0.0.1:50000".parse().unwrap();
        let mut offer = Offer::new(credentials.clone(), fingerprint, address, Some((Source::Screen, 4711)));
        let first = Description::parse(&offer.write()).unwrap();
        let (transport, setup) = first.transport().unwrap();
        assert_eq!(
            (transport.ice_ufrag, transport.fingerprint, setup),
            (credentials.ufrag, fingerprint, Setup::ActPass)
        );
        let kinds = |description: &Description| description.sections.iter().map(|s| s.kind).collect::<Vec<_>>();
        assert_eq!(kinds(&first), [Video, Audio, Audio, Audio, Video, Video, Video, Application]);
        assert_eq!(first.sections[0].ssrcs, [sfu_core::id::Ssrc(4711)]);
        assert_eq!(first.sections[0].msid.as_ref().unwrap().track.as_deref(), Some("bench-screen"));
        offer.receive(1, 0);
        let second = Description::parse(&offer.write()).unwrap();
        assert_eq!(second.sections.len(), 9, "what was there stays where it was");
        assert_eq!(kinds(&second)[..8], kinds(&first));
    }

    #[test]
    fn a_camera_is_offered_in_layers() {
        let credentials = IceCredentials::generate(0).unwrap();
        let address = "127.0.0.1:50000".parse().unwrap();
        let mut offer = Offer::new(credentials, Fingerprint([7; 32]), address, Some((Source::Camera, 4711)));
        let text = offer.write();
        assert!(text.contains("a=rid:q send\r\na=rid:h send\r\na=rid:f send\r\na=simulcast:send q;h;f\r\n"), "{text}");
        assert!(!text.contains("a=ssrc"), "{text}");
        assert_eq!(text.matches("rtp-stream-id").count(), 1, "only on what is sent");
        let section = &Description::parse(&text).unwrap().sections[0];
        assert_eq!(section.rids_send.len(), 3, "{section:?}");
    }

    fn voice() -> Offer {
        let credentials = IceCredentials::generate(0).unwrap();
        Offer::new(credentials, Fingerprint([7; 32]), "127.0.0.1:50000".parse().unwrap(), Some((Source::Voice, 1)))
    }

    fn answer(direction: &str, setup: &str) -> String {
        let fingerprint = Fingerprint([9; 32]);
        format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na={direction}\r\na=setup:{setup}\r\n\
             a=ice-ufrag:theirs\r\na=ice-pwd:their password of 22 bytes\r\na=fingerprint:sha-256 {fingerprint}\r\n\
             a=candidate:1 1 udp 1 127.0.0.1 7882 typ host\r\na=extmap:2 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:1\r\na=sendonly\r\n\
             a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n"
        )
        .replace("their password of 22 bytes", "their+password+of+22+bytes")
    }

    #[test]
    fn an_answer_says_all_that_media_needs() {
        let answered = voice().accept(&answer("recvonly", "active")).unwrap();
        assert_eq!(answered.remote.ufrag, "theirs");
        assert_eq!((answered.fingerprint, answered.role), (Fingerprint([9; 32]), DtlsRole::Server));
        assert_eq!(answered.candidates, ["127.0.0.1:7882".parse::<std::net::SocketAddr>().unwrap()]);
        let sent = ExtensionIds { mid: None, rid: None, audio_level: Some(2), transport_cc: None };
        assert_eq!((answered.sent, answered.transport_cc), (sent, Some(3)));
        assert_eq!(voice().accept(&answer("recvonly", "passive")).unwrap().role, DtlsRole::Client);
    }

    #[test]
    fn a_refused_publication_is_an_error() {
        let error = voice().accept(&answer("inactive", "passive")).unwrap_err();
        assert_eq!(error.to_string(), "the server's answer refuses what is published");
    }

    #[test]
    fn candidates_other_than_udp_on_ipv4_are_passed_over() {
        let parse = |line: &str| parse_candidate(line).map(|address| address.to_string());
        let udp = "candidate:842163049 1 udp 2130706431 127.0.0.1 7882 typ host";
        assert_eq!(parse(udp).as_deref(), Some("127.0.0.1:7882"));
        assert_eq!(parse("candidate:1 1 tcp 1 127.0.0.1 7881 typ host tcptype passive"), None);
        assert_eq!(parse("candidate:1 1 udp 1 ::1 7882 typ host"), None);
        assert_eq!(parse("candidate:1 2 udp 1 127.0.0.1 7882 typ host"), None, "a component of its own for RTCP");
        assert_eq!(parse("candidate:1 1 udp"), None);
    }
}
