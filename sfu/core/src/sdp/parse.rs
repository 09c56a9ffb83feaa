//! Text to [`Description`].
//!
//! A scanner of our own: one pass over the lines, no intermediate tree, and every list bounded, because a client may
//! send a description as often as it likes. It is strict where something wrong would be echoed or would end in
//! another meaning, and passes over what it does not know, as RFC 8866 asks.

use std::collections::HashSet;

use thiserror::Error;

use super::description::{
    Description, Direction, ExtensionMap, Format, IcePwd, Msid, Section, SectionKind, Setup, SimulcastStream, SsrcGroup,
};
use crate::id::{Mid, Rid, Ssrc};
use crate::transport::certificate::Fingerprint;

/// Bytes of a description. A browser writes about 3 KiB an m-line, and signalling messages end at 2 MiB anyway.
pub const MAX_DESCRIPTION_BYTES: usize = 2 * 1024 * 1024;

/// M-lines of a description.
pub const MAX_SECTIONS: usize = 512;

/// SSRCs, groups, extensions, encodings or feedback lines of one m-line or payload type. Browsers stay below 30.
const MAX_LIST: usize = 64;

/// Bytes of an identification tag or encoding name: what a one-byte header extension holds (RFC 8285, section 4.2).
const MAX_TAG_BYTES: usize = 16;

/// What is wrong with a description, and in which line, counted from 1.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ParseError {
    #[error("a description of {0} bytes is too long")]
    TooLong(usize),
    #[error("more than {MAX_SECTIONS} m-lines")]
    TooManySections,
    #[error("line {line}: more than {MAX_LIST} {what} in one m-line")]
    TooMany { line: usize, what: &'static str },
    #[error("line {line} is not of the form letter=value")]
    MalformedLine { line: usize },
    #[error("line {line} has a control character")]
    ControlCharacter { line: usize },
    #[error("the first line is not v=0")]
    UnknownVersion,
    #[error("line {line}: {attribute} cannot be read")]
    Malformed { line: usize, attribute: &'static str },
    #[error("m-line {index} has no identification tag (a=mid)")]
    MissingMid { index: usize },
    #[error("two m-lines have the identification tag {0:?}")]
    DuplicateMid(Mid),
}

impl Description {
    /// Reads a description, of either side.
    ///
    /// # Errors
    /// The first thing found wrong; unknown lines and attributes are passed over.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if text.len() > MAX_DESCRIPTION_BYTES {
            return Err(ParseError::TooLong(text.len()));
        }
        let mut parser = Parser::default();
        for (index, line) in text.split('\n').enumerate() {
            let line = line.strip_suffix('\r').unwrap_or(line);
            if !line.is_empty() {
                parser.line = index + 1;
                parser.line(line)?;
            }
        }
        parser.finish()
    }
}

/// Attributes that may be given once for all m-lines.
#[derive(Default)]
struct Common {
    ice_ufrag: Option<String>,
    ice_pwd: Option<IcePwd>,
    fingerprint: Option<Fingerprint>,
    foreign_fingerprint: bool,
    setup: Option<Setup>,
    direction: Option<Direction>,
    extmap_allow_mixed: bool,
}

/// An m-line while it is read.
struct Draft {
    section: Section,
    common: Common,
    has_mid: bool,
    port: u16,
    bundle_only: bool,
}

#[derive(Default)]
struct Parser {
    line: usize,
    seen_version: bool,
    session: Common,
    description: Description,
    draft: Option<Draft>,
}

impl Parser {
    fn malformed(&self, attribute: &'static str) -> ParseError {
        ParseError::Malformed { line: self.line, attribute }
    }

    fn bounded<T>(&self, list: &[T], what: &'static str) -> Result<(), ParseError> {
        if list.len() < MAX_LIST { Ok(()) } else { Err(ParseError::TooMany { line: self.line, what }) }
    }

    fn line(&mut self, line: &str) -> Result<(), ParseError> {
        if line.bytes().any(|byte| byte < 0x20 && byte != b'\t' || byte == 0x7f) {
            return Err(ParseError::ControlCharacter { line: self.line });
        }
        let mut characters = line.chars();
        let (letter, value) = match (characters.next(), characters.next()) {
            (Some(letter), Some('=')) if letter.is_ascii_lowercase() => (letter, characters.as_str()),
            _ => return Err(ParseError::MalformedLine { line: self.line }),
        };
        if !self.seen_version {
            self.seen_version = (letter, value) == ('v', "0");
            return if self.seen_version { Ok(()) } else { Err(ParseError::UnknownVersion) };
        }
        match letter {
            'm' => self.media(value),
            'a' => {
                let (name, value) = value.split_once(':').unwrap_or((value, ""));
                self.attribute(name, value)
            }
            _ => Ok(()),
        }
    }

    /// `m=<media> <port>[/<number>] <proto> <fmt> …` (RFC 8866, section 5.14).
    fn media(&mut self, value: &str) -> Result<(), ParseError> {
        self.end_section()?;
        if self.description.sections.len() == MAX_SECTIONS {
            return Err(ParseError::TooManySections);
        }
        let mut words = value.split_ascii_whitespace();
        let (Some(media), Some(port), Some(protocol)) = (words.next(), words.next(), words.next()) else {
            return Err(self.malformed("m="));
        };
        let port = port.split_once('/').map_or(port, |(port, _)| port);
        let port: u16 = port.parse().map_err(|_| self.malformed("port"))?;
        let kind = match media {
            "audio" => SectionKind::Audio,
            "video" => SectionKind::Video,
            "application" => SectionKind::Application,
            _ => SectionKind::Other,
        };
        let mut formats = Vec::new();
        if kind.media().is_some() {
            let mut seen = HashSet::new();
            for word in words {
                let payload_type = word.parse().ok().filter(|p| *p < 128).ok_or_else(|| self.malformed("format"))?;
                if seen.insert(payload_type) {
                    formats.push(static_format(payload_type));
                }
            }
        }
        let section = Section {
            kind,
            media: media.to_owned(),
            mid: Mid(String::new()),
            rejected: false,
            protocol: protocol.to_owned(),
            direction: Direction::default(),
            ice_ufrag: None,
            ice_pwd: None,
            fingerprint: None,
            foreign_fingerprint: false,
            setup: None,
            rtcp_mux: false,
            msid: None,
            formats,
            extensions: Vec::new(),
            extmap_allow_mixed: false,
            ssrcs: Vec::new(),
            ssrc_groups: Vec::new(),
            simulcast_send: Vec::new(),
            rids_send: Vec::new(),
            sctp_port: None,
            max_message_size: None,
        };
        self.draft = Some(Draft { section, common: Common::default(), has_mid: false, port, bundle_only: false });
        Ok(())
    }

    fn attribute(&mut self, name: &str, value: &str) -> Result<(), ParseError> {
        if self.common_attribute(name, value)? {
            return Ok(());
        }
        if self.draft.is_some() { self.section_attribute(name, value) } else { self.session_attribute(name, value) }
    }

    /// Attributes of the session or of one m-line. Whether it was one.
    fn common_attribute(&mut self, name: &str, value: &str) -> Result<bool, ParseError> {
        let direction = Direction::from_name(name);
        let setup = match (name, value) {
            ("setup", "active") => Some(Setup::Active),
            ("setup", "passive") => Some(Setup::Passive),
            ("setup", "actpass") => Some(Setup::ActPass),
            ("setup", "holdconn") => Some(Setup::HoldConn),
            ("setup", _) => return Err(self.malformed("setup")),
            _ => None,
        };
        // RFC 8839, section 5.4: ice-char is alphanumeric, + or /; a ufrag has 4 to 256, a pwd 22 to 256 of them.
        let ice = |least: usize| {
            let is_ice =
                value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_' | b'='));
            (is_ice && (least..=256).contains(&value.len())).then(|| value.to_owned())
        };
        let (ufrag, pwd) = match name {
            "ice-ufrag" => (Some(ice(4).ok_or_else(|| self.malformed("ice-ufrag"))?), None),
            "ice-pwd" => (None, Some(IcePwd(ice(22).ok_or_else(|| self.malformed("ice-pwd"))?))),
            _ => (None, None),
        };
        let fingerprint = if name == "fingerprint" {
            let (algorithm, hash) = value.split_once(' ').ok_or_else(|| self.malformed("fingerprint"))?;
            if algorithm.eq_ignore_ascii_case("sha-256") {
                Some(Some(hash.trim().parse().map_err(|_| self.malformed("fingerprint"))?))
            } else {
                Some(None)
            }
        } else {
            None
        };
        let known = direction.is_some() || setup.is_some() || ufrag.is_some() || pwd.is_some() || fingerprint.is_some();
        let common = self.draft.as_mut().map_or(&mut self.session, |draft| &mut draft.common);
        common.direction = direction.or(common.direction);
        common.setup = setup.or(common.setup);
        common.ice_ufrag = ufrag.or_else(|| common.ice_ufrag.take());
        common.ice_pwd = pwd.or_else(|| common.ice_pwd.take());
        match fingerprint {
            Some(Some(hash)) => common.fingerprint = Some(hash),
            Some(None) => common.foreign_fingerprint = true,
            None => {}
        }
        Ok(known)
    }

    fn session_attribute(&mut self, name: &str, value: &str) -> Result<(), ParseError> {
        match name {
            "group" => {
                let mut words = value.split_ascii_whitespace();
                if words.next() == Some("BUNDLE") && self.description.bundle.is_empty() {
                    self.description.bundle =
                        words.map(|word| self.tag(word, "group").map(Mid)).collect::<Result<_, _>>()?;
                    if self.description.bundle.len() > MAX_SECTIONS {
                        return Err(ParseError::TooManySections);
                    }
                }
            }
            "ice-lite" => self.description.ice_lite = true,
            "extmap-allow-mixed" => self.session.extmap_allow_mixed = true,
            _ => {}
        }
        Ok(())
    }

    fn section_attribute(&mut self, name: &str, value: &str) -> Result<(), ParseError> {
        let Some(mut draft) = self.draft.take() else { return Ok(()) };
        let result = self.read_section_attribute(&mut draft, name, value);
        self.draft = Some(draft);
        result
    }

    fn read_section_attribute(&self, draft: &mut Draft, name: &str, value: &str) -> Result<(), ParseError> {
        let section = &mut draft.section;
        match name {
            "mid" => {
                section.mid = Mid(self.tag(value, "mid")?);
                draft.has_mid = true;
            }
            "bundle-only" => draft.bundle_only = true,
            "rtcp-mux" => section.rtcp_mux = true,
            "extmap-allow-mixed" => draft.common.extmap_allow_mixed = true,
            "msid" if section.msid.is_none() => section.msid = Some(self.msid(value)?),
            "rtpmap" => self.rtpmap(section, value)?,
            "fmtp" => {
                let (payload_type, parameters) = value.split_once(' ').ok_or_else(|| self.malformed("fmtp"))?;
                if let Some(format) = format_mut(section, payload_type) {
                    parameters.trim().clone_into(&mut format.parameters);
                }
            }
            "rtcp-fb" => self.feedback(section, value)?,
            "extmap" => self.extmap(section, value)?,
            "ssrc" => {
                let ssrc = value.split_once(' ').map_or(value, |(ssrc, _)| ssrc);
                let ssrc = Ssrc(ssrc.parse().map_err(|_| self.malformed("ssrc"))?);
                if !section.ssrcs.contains(&ssrc) {
                    self.bounded(&section.ssrcs, "SSRCs")?;
                    section.ssrcs.push(ssrc);
                }
            }
            "ssrc-group" => {
                self.bounded(&section.ssrc_groups, "SSRC groups")?;
                let mut words = value.split_ascii_whitespace();
                let semantics = words.next().ok_or_else(|| self.malformed("ssrc-group"))?.to_owned();
                let ssrcs = words
                    .take(MAX_LIST)
                    .map(|word| word.parse().map(Ssrc).map_err(|_| self.malformed("ssrc-group")))
                    .collect::<Result<_, _>>()?;
                section.ssrc_groups.push(SsrcGroup { semantics, ssrcs });
            }
            "rid" => {
                let mut words = value.split_ascii_whitespace();
                let (Some(rid), Some(direction)) = (words.next(), words.next()) else {
                    return Err(self.malformed("rid"));
                };
                let rid = self.rid(rid)?;
                if direction == "send" && !section.rids_send.contains(&rid) {
                    self.bounded(&section.rids_send, "encodings")?;
                    section.rids_send.push(rid);
                }
            }
            "simulcast" => self.simulcast(section, value)?,
            "sctp-port" => section.sctp_port = Some(value.parse().map_err(|_| self.malformed("sctp-port"))?),
            "max-message-size" => {
                section.max_message_size = Some(value.parse().map_err(|_| self.malformed("max-message-size"))?);
            }
            _ => {}
        }
        Ok(())
    }

    /// `<stream> [<track>]`, or the older `<stream>` alone (RFC 8830, section 2).
    fn msid(&self, value: &str) -> Result<Msid, ParseError> {
        let mut words = value.split_ascii_whitespace();
        let stream = words.next().filter(|word| word.len() <= 256).ok_or_else(|| self.malformed("msid"))?;
        let track = words.next().filter(|word| word.len() <= 256);
        Ok(Msid { stream: stream.to_owned(), track: track.map(str::to_owned) })
    }

    /// `<payload type> <name>/<clock rate>[/<channels>]`.
    fn rtpmap(&self, section: &mut Section, value: &str) -> Result<(), ParseError> {
        let (payload_type, codec) = value.split_once(' ').ok_or_else(|| self.malformed("rtpmap"))?;
        let mut parts = codec.trim().split('/');
        let (Some(name), Some(clock_rate)) = (parts.next(), parts.next()) else {
            return Err(self.malformed("rtpmap"));
        };
        let clock_rate = clock_rate.parse().map_err(|_| self.malformed("rtpmap"))?;
        let channels = parts.next().map(str::parse).transpose().map_err(|_| self.malformed("rtpmap"))?;
        if let Some(format) = format_mut(section, payload_type) {
            name.clone_into(&mut format.name);
            format.clock_rate = clock_rate;
            format.channels = channels;
        }
        Ok(())
    }

    /// `<payload type or *> <feedback>` (RFC 4585, section 4.2).
    fn feedback(&self, section: &mut Section, value: &str) -> Result<(), ParseError> {
        let (payload_type, feedback) = value.split_once(' ').ok_or_else(|| self.malformed("rtcp-fb"))?;
        let feedback = feedback.trim();
        for format in &mut section.formats {
            if payload_type == "*" || payload_type.parse() == Ok(format.payload_type) {
                self.bounded(&format.feedback, "feedback lines")?;
                format.feedback.push(feedback.to_owned());
            }
        }
        Ok(())
    }

    /// `<id>[/<direction>] <uri> [<attributes>]`.
    fn extmap(&self, section: &mut Section, value: &str) -> Result<(), ParseError> {
        self.bounded(&section.extensions, "header extensions")?;
        let mut words = value.split_ascii_whitespace();
        let (Some(id), Some(uri)) = (words.next(), words.next()) else { return Err(self.malformed("extmap")) };
        let (id, direction) = match id.split_once('/') {
            Some((id, name)) => (id, Direction::from_name(name).ok_or_else(|| self.malformed("extmap"))?),
            None => (id, Direction::SendRecv),
        };
        // 4096 to 4351 are placeholders without a meaning yet (RFC 8285, section 7); they fit nothing and are left out.
        let id: u16 = id.parse().map_err(|_| self.malformed("extmap"))?;
        if let Ok(id) = u8::try_from(id) {
            section.extensions.push(ExtensionMap { id, uri: uri.to_owned(), direction });
        }
        Ok(())
    }

    /// `send <list> [recv <list>]` in either order; encodings are separated by `;`, alternatives by `,`.
    fn simulcast(&self, section: &mut Section, value: &str) -> Result<(), ParseError> {
        let mut words = value.split_ascii_whitespace();
        while let (Some(direction), Some(list)) = (words.next(), words.next()) {
            if direction != "send" {
                continue;
            }
            section.simulcast_send.clear();
            for stream in list.split(';') {
                self.bounded(&section.simulcast_send, "encodings")?;
                let first = stream.split_once(',').map_or(stream, |(first, _)| first);
                let (paused, rid) = first.strip_prefix('~').map_or((false, first), |rid| (true, rid));
                section.simulcast_send.push(SimulcastStream { rid: self.rid(rid)?, paused });
            }
        }
        Ok(())
    }

    /// A token (RFC 8866, section 9) of at most [`MAX_TAG_BYTES`].
    fn tag(&self, text: &str, attribute: &'static str) -> Result<String, ParseError> {
        if is_token(text) && text.len() <= MAX_TAG_BYTES { Ok(text.to_owned()) } else { Err(self.malformed(attribute)) }
    }

    /// RFC 8851, section 10: alphanumeric, `-` or `_`.
    fn rid(&self, text: &str) -> Result<Rid, ParseError> {
        let valid = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if valid && (1..=MAX_TAG_BYTES).contains(&text.len()) {
            Ok(Rid(text.to_owned()))
        } else {
            Err(self.malformed("rid"))
        }
    }

    fn end_section(&mut self) -> Result<(), ParseError> {
        let Some(Draft { mut section, common, has_mid, port, bundle_only }) = self.draft.take() else { return Ok(()) };
        if !has_mid {
            return Err(ParseError::MissingMid { index: self.description.sections.len() });
        }
        let session = &self.session;
        section.rejected = port == 0 && !bundle_only;
        section.direction = common.direction.or(session.direction).unwrap_or_default();
        section.ice_ufrag = common.ice_ufrag.or_else(|| session.ice_ufrag.clone());
        section.ice_pwd = common.ice_pwd.or_else(|| session.ice_pwd.clone());
        section.fingerprint = common.fingerprint.or(session.fingerprint);
        section.foreign_fingerprint = common.foreign_fingerprint || session.foreign_fingerprint;
        section.setup = common.setup.or(session.setup);
        section.extmap_allow_mixed = common.extmap_allow_mixed || session.extmap_allow_mixed;
        self.description.sections.push(section);
        Ok(())
    }

    fn finish(mut self) -> Result<Description, ParseError> {
        if !self.seen_version {
            return Err(ParseError::UnknownVersion);
        }
        self.end_section()?;
        let mut mids = HashSet::new();
        for section in &self.description.sections {
            if !mids.insert(&section.mid) {
                return Err(ParseError::DuplicateMid(section.mid.clone()));
            }
        }
        Ok(self.description)
    }
}

/// A payload type before its `a=rtpmap`; two need none (RFC 3551, section 6).
fn static_format(payload_type: u8) -> Format {
    let name = match payload_type {
        0 => "PCMU",
        8 => "PCMA",
        _ => "",
    };
    Format {
        payload_type,
        name: name.to_owned(),
        clock_rate: if name.is_empty() { 0 } else { 8000 },
        channels: None,
        parameters: String::new(),
        feedback: Vec::new(),
    }
}

fn format_mut<'a>(section: &'a mut Section, payload_type: &str) -> Option<&'a mut Format> {
    let payload_type: u8 = payload_type.parse().ok()?;
    section.formats.iter_mut().find(|format| format.payload_type == payload_type)
}

/// `token` of RFC 8866, section 9.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

pub(super) const fn is_token_byte(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x27 | 0x2a | 0x2b | 0x2d | 0x2e | 0x30..=0x39 | 0x41..=0x5a | 0x5e..=0x7e)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";

    fn parse(lines: &str) -> Result<Description, ParseError> {
        Description::parse(&format!("{SESSION}{lines}"))
    }

    fn section(lines: &str) -> Section {
        let description = parse(&format!("m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:0\r\n{lines}"));
        description.expect("valid").sections.remove(0)
    }

    fn error_of(line: &str) -> ParseError {
        let lines = format!("m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n{line}\r\n");
        parse(&lines).expect_err(line)
    }

    #[test]
    fn attributes_of_the_session_hold_for_each_m_line_that_has_none_of_its_own() {
        let description = parse(
            "a=ice-ufrag:sess\r\na=setup:actpass\r\na=recvonly\r\na=extmap-allow-mixed\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:1\r\na=ice-ufrag:own1\r\na=setup:active\r\na=inactive\r\n",
        )
        .expect("valid");
        let facts = |s: &Section| (s.ice_ufrag.clone(), s.setup, s.direction, s.extmap_allow_mixed);
        let of_session = (Some("sess".into()), Some(Setup::ActPass), Direction::RecvOnly, true);
        assert_eq!(facts(&description.sections[0]), of_session);
        let own = (Some("own1".into()), Some(Setup::Active), Direction::Inactive, true);
        assert_eq!(facts(&description.sections[1]), own);
    }

    #[test]
    fn port_zero_rejects_unless_the_m_line_is_bundled_only() {
        let rejected = |lines: &str| parse(lines).expect("valid").sections[0].rejected;
        assert!(rejected("m=audio 0 UDP/TLS/RTP/SAVPF 0\na=mid:0\n"));
        assert!(!rejected("m=audio 0 UDP/TLS/RTP/SAVPF 0\na=mid:0\na=bundle-only\n"));
        assert!(!rejected("m=audio 9/2 UDP/TLS/RTP/SAVPF 0\na=mid:0\n"));
    }

    #[test]
    fn payload_types_have_their_names_parameters_and_feedback() {
        let section = section(
            "a=rtpmap:96 VP8/90000\r\na=rtcp-fb:* nack\r\na=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\n\
             a=fmtp:97 apt=96\r\na=rtpmap:98 unknown/1\r\n",
        );
        let [vp8, rtx] = section.formats.as_slice() else { panic!("{:?}", section.formats) };
        assert_eq!((vp8.payload_type, vp8.name.as_str(), vp8.clock_rate), (96, "VP8", 90_000));
        assert_eq!(vp8.feedback, ["nack", "nack pli"]);
        assert_eq!((rtx.parameter("apt"), rtx.feedback.as_slice()), (Some("96"), &["nack".to_owned()][..]));
    }

    #[test]
    fn simulcast_takes_the_first_of_alternatives_and_knows_what_is_paused() {
        let section =
            section("a=rid:q send\r\na=rid:h send pt=96\r\na=rid:x recv\r\na=simulcast:recv x send ~q,z;h\r\n");
        let streams: Vec<_> = section.simulcast_send.iter().map(|s| (s.rid.0.as_str(), s.paused)).collect();
        assert_eq!(streams, [("q", true), ("h", false)]);
        assert_eq!(section.rids_send, [Rid("q".into()), Rid("h".into())]);
    }

    #[test]
    fn of_several_fingerprints_the_one_with_sha_256_counts() {
        let hash = ["0A"; 32].join(":");
        let section = section(&format!("a=fingerprint:sha-1 00:11\r\na=fingerprint:SHA-256 {hash}\r\n"));
        assert_eq!(section.fingerprint, Some(Fingerprint([10; 32])));
    }

    #[test]
    fn unknown_lines_and_attributes_are_passed_over() {
        let section = section("b=AS:1\r\na=unheard-of\r\na=msid-semantic: WMS\r\nz=0 0\r\na=extmap:4096 urn:x\r\n");
        assert!(section.extensions.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let malformed = |attribute| ParseError::Malformed { line: 7, attribute };
        for (line, attribute) in [
            ("a=mid:two words", "mid"),
            ("a=mid:longer-than-16-by", "mid"),
            ("a=rid:a/b send", "rid"),
            ("a=simulcast:send a;;b", "rid"),
            ("a=ice-ufrag:abc", "ice-ufrag"),
            ("a=ice-pwd:tooshort", "ice-pwd"),
            ("a=setup:maybe", "setup"),
            ("a=fingerprint:sha-256 00:11", "fingerprint"),
            ("a=rtpmap:96", "rtpmap"),
            ("a=rtpmap:96 VP8/fast", "rtpmap"),
            ("a=extmap:0x1 urn:x", "extmap"),
            ("a=extmap:1/upwards urn:x", "extmap"),
            ("a=ssrc:-1 cname:x", "ssrc"),
            ("a=sctp-port:70000", "sctp-port"),
            ("m=audio", "m="),
            ("m=audio x UDP/TLS/RTP/SAVPF 0", "port"),
            ("m=audio 9 UDP/TLS/RTP/SAVPF 128", "format"),
        ] {
            assert_eq!(error_of(line), malformed(attribute), "{line}");
        }
        assert_eq!(error_of("no letter"), ParseError::MalformedLine { line: 7 });
        assert_eq!(error_of("a=mid:0\r\r"), ParseError::ControlCharacter { line: 7 });
        assert_eq!(Description::parse(""), Err(ParseError::UnknownVersion));
        assert_eq!(Description::parse("v=1\n"), Err(ParseError::UnknownVersion));
        assert_eq!(parse("m=audio 9 UDP/TLS/RTP/SAVPF 0\n"), Err(ParseError::MissingMid { index: 0 }));
        let twice = "m=audio 9 X 0\na=mid:0\nm=audio 9 X 0\na=mid:0\n";
        assert_eq!(parse(twice), Err(ParseError::DuplicateMid(Mid("0".into()))));
    }

    #[test]
    fn every_list_is_bounded() {
        let m_lines = |n: usize| {
            let line = |mid| format!("m=audio 9 X 0\na=mid:{mid}\n");
            (0..n).map(line).collect::<Vec<_>>().concat()
        };
        assert_eq!(parse(&m_lines(MAX_SECTIONS)).map(|d| d.sections.len()), Ok(MAX_SECTIONS));
        assert_eq!(parse(&m_lines(MAX_SECTIONS + 1)), Err(ParseError::TooManySections));
        assert!(matches!(Description::parse(&"a".repeat(MAX_DESCRIPTION_BYTES + 1)), Err(ParseError::TooLong(_))));
        let repeated: [fn(usize) -> String; 5] = [
            |n| format!("a=ssrc:{n} cname:x\n"),
            |n| format!("a=ssrc-group:FID {n} 1\n"),
            |n| format!("a=extmap:{} urn:x\n", n % 14 + 1),
            |n| format!("a=rid:{n} send\n"),
            |_| "a=rtcp-fb:96 nack\n".to_owned(),
        ];
        for line in repeated {
            let lines = |n: usize| format!("m=video 9 X 96\na=mid:0\n{}", (0..n).map(line).collect::<String>());
            assert!(parse(&lines(MAX_LIST)).is_ok(), "{}", line(0));
            assert!(matches!(parse(&lines(MAX_LIST + 1)), Err(ParseError::TooMany { .. })), "{}", line(0));
        }
    }
}
