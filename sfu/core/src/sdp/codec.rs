//! Codecs: which we take, which we send, and what is left of an offer.

use serde::{Deserialize, Serialize};

use super::description::{Format, Section};
use crate::engine::command::{Codec, CodecMapping, MediaKind};

/// Codecs a connection may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodecPolicy {
    pub enabled: Vec<Codec>,
}

impl Default for CodecPolicy {
    /// Opus, also with redundancy, VP8, VP9, H.264 and AV1.
    fn default() -> Self {
        Self { enabled: vec![Codec::Opus, Codec::Red, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1] }
    }
}

impl CodecPolicy {
    fn allows(&self, codec: Codec) -> bool {
        self.enabled.contains(&codec)
    }
}

/// Feedback messages (RFC 4585, RFC 5104) of a payload type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feedback {
    /// Generic NACK.
    pub nack: bool,
    /// Picture loss indication.
    pub pli: bool,
    /// Full intra request.
    pub fir: bool,
    /// Transport-wide congestion control.
    pub transport_cc: bool,
}

impl Feedback {
    /// What we take or send of a kind of media. Transport-wide feedback is ours to send, about what a client sends;
    /// it is accepted where the client only receives, too, as with header extensions.
    pub(super) const fn of(kind: MediaKind) -> Self {
        let video = matches!(kind, MediaKind::Video);
        Self { nack: true, pli: video, fir: video, transport_cc: true }
    }

    fn offered(format: &Format) -> Self {
        let has = |name: &str| format.feedback.iter().any(|f| f.eq_ignore_ascii_case(name));
        Self { nack: has("nack"), pli: has("nack pli"), fir: has("ccm fir"), transport_cc: has("transport-cc") }
    }

    const fn and(self, other: Self) -> Self {
        Self {
            nack: self.nack && other.nack,
            pli: self.pli && other.pli,
            fir: self.fir && other.fir,
            transport_cc: self.transport_cc && other.transport_cc,
        }
    }

    /// As `a=rtcp-fb` names them.
    pub(super) fn names(self) -> impl Iterator<Item = &'static str> {
        let all =
            [(self.transport_cc, "transport-cc"), (self.fir, "ccm fir"), (self.nack, "nack"), (self.pli, "nack pli")];
        all.into_iter().filter_map(|(on, name)| on.then_some(name))
    }
}

/// A codec both sides have, with the numbers of the side that offered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedCodec {
    pub mapping: CodecMapping,
    pub feedback: Feedback,
    /// `a=fmtp` of ours without the payload type; empty for none.
    pub parameters: String,
}

/// Name, channels and clock rate, as `a=rtpmap` writes them.
pub(super) const fn rtpmap(codec: Codec) -> &'static str {
    match codec {
        Codec::Opus => "opus/48000/2",
        Codec::Red => "red/48000/2",
        Codec::G711U => "PCMU/8000",
        Codec::G711A => "PCMA/8000",
        Codec::Vp8 => "VP8/90000",
        Codec::Vp9 => "VP9/90000",
        Codec::H264 => "H264/90000",
        Codec::H265 => "H265/90000",
        Codec::Av1 => "AV1/90000",
    }
}

const fn kind(codec: Codec) -> MediaKind {
    match codec {
        Codec::Opus | Codec::Red | Codec::G711U | Codec::G711A => MediaKind::Audio,
        Codec::Vp8 | Codec::Vp9 | Codec::H264 | Codec::H265 | Codec::Av1 => MediaKind::Video,
    }
}

const fn clock_rate(codec: Codec) -> u32 {
    match codec {
        Codec::Opus | Codec::Red => 48_000,
        Codec::G711U | Codec::G711A => 8000,
        Codec::Vp8 | Codec::Vp9 | Codec::H264 | Codec::H265 | Codec::Av1 => 90_000,
    }
}

const ALL: [Codec; 9] =
    [Codec::Opus, Codec::Red, Codec::G711U, Codec::G711A, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::H265, Codec::Av1];

/// The codec an `a=rtpmap` means, if we know it.
fn identify(format: &Format, media: MediaKind) -> Option<Codec> {
    ALL.into_iter().filter(|codec| kind(*codec) == media && clock_rate(*codec) == format.clock_rate).find(|codec| {
        let mut parts = rtpmap(*codec).split('/');
        let name = parts.next().unwrap_or_default();
        let channels = parts.nth(1).and_then(|c| c.parse().ok()).unwrap_or(1);
        name.eq_ignore_ascii_case(&format.name) && format.channels.unwrap_or(1) == channels
    })
}

/// What is left of an m-line's codecs: those we know and `policy` allows, in the offered order, profiles we can
/// forward between browsers only, each with its retransmissions.
pub(super) fn accept(section: &Section, policy: &CodecPolicy) -> Vec<AcceptedCodec> {
    let Some(media) = section.kind.media() else { return Vec::new() };
    let allowed = Feedback::of(media);
    let mut accepted: Vec<AcceptedCodec> = Vec::new();
    for format in &section.formats {
        let Some(codec) = identify(format, media).filter(|codec| policy.allows(*codec)) else { continue };
        let Some(parameters) = parameters(section, format, codec) else { continue };
        let mapping = CodecMapping {
            codec,
            payload_type: format.payload_type,
            rtx_payload_type: rtx_of(section, format.payload_type),
            clock_rate: clock_rate(codec),
        };
        accepted.push(AcceptedCodec { mapping, feedback: Feedback::offered(format).and(allowed), parameters });
    }
    // Redundancy without the codec inside it says nothing.
    if !accepted.iter().any(|a| a.mapping.codec == Codec::Opus) {
        accepted.retain(|a| a.mapping.codec != Codec::Red);
    }
    accepted
}

/// Payload type of the retransmissions of another one (RFC 4588, section 8).
fn rtx_of(section: &Section, payload_type: u8) -> Option<u8> {
    let is_rtx = |format: &&Format| {
        format.name.eq_ignore_ascii_case("rtx")
            && format.parameter("apt").and_then(|apt| apt.parse().ok()) == Some(payload_type)
    };
    section.formats.iter().find(is_rtx).map(|format| format.payload_type)
}

/// Our `a=fmtp` for an offered format; `None` if the profile is not one we take.
///
/// One profile of each codec, the one all browsers decode: what an SFU forwards cannot be converted.
fn parameters(section: &Section, format: &Format, codec: Codec) -> Option<String> {
    match codec {
        Codec::Opus => Some(OPUS_PARAMETERS.to_owned()),
        Codec::Red => {
            let primary: u8 = format.parameters.split('/').next()?.trim().parse().ok()?;
            let primary = section.formats.iter().find(|f| f.payload_type == primary)?;
            let is_opus = identify(primary, MediaKind::Audio) == Some(Codec::Opus);
            is_opus.then(|| format!("{0}/{0}", primary.payload_type))
        }
        Codec::G711U | Codec::G711A | Codec::Vp8 => Some(String::new()),
        Codec::Vp9 => (format.parameter("profile-id").unwrap_or("0") == "0").then(|| VP9_PARAMETERS.to_owned()),
        Codec::H264 => {
            let profile = format.parameter("profile-level-id").filter(|id| is_constrained_baseline(id))?;
            // Absent means 0 (RFC 6184, section 8.1).
            let mode = format.parameter("packetization-mode").unwrap_or("0");
            matches!(mode, "0" | "1").then(|| h264_parameters(profile, mode))
        }
        Codec::H265 => {
            let main = format.parameter("profile-id").unwrap_or("1") == "1";
            let parameters = format.parameters.clone();
            main.then_some(parameters)
        }
        Codec::Av1 => {
            let main = format.parameter("profile").unwrap_or("0") == "0";
            main.then(|| format.parameters.clone())
        }
    }
}

const OPUS_PARAMETERS: &str = "minptime=10;useinbandfec=1";
const VP9_PARAMETERS: &str = "profile-id=0";

fn h264_parameters(profile_level_id: &str, packetization_mode: &str) -> String {
    format!("level-asymmetry-allowed=1;packetization-mode={packetization_mode};profile-level-id={profile_level_id}")
}

/// Three bytes in hexadecimal: profile, constraints, level. Baseline with constraint 1 set (RFC 6184, table 5).
fn is_constrained_baseline(profile_level_id: &str) -> bool {
    if profile_level_id.len() != 6 || !profile_level_id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return false;
    }
    let value = u32::from_str_radix(profile_level_id, 16).unwrap_or_default();
    let (profile, constraints) = (value >> 16, (value >> 8) & 0xff);
    match profile {
        0x42 => constraints & 0x4f == 0x40,
        0x4d => constraints & 0x8f == 0x80,
        0x58 => constraints & 0xcf == 0xc0,
        _ => false,
    }
}

/// The codecs of an m-line we offer, with numbers of ours.
///
/// The numbers are the ones browsers use themselves, so that traces read the same on both peer connections.
pub(super) fn offered(media: MediaKind, policy: &CodecPolicy) -> Vec<AcceptedCodec> {
    const BASELINE: &str = "42e01f";
    let table: [(Codec, u8, Option<u8>, String); 10] = [
        (Codec::Opus, 111, None, OPUS_PARAMETERS.to_owned()),
        (Codec::Red, 63, None, "111/111".to_owned()),
        (Codec::G711U, 0, None, String::new()),
        (Codec::G711A, 8, None, String::new()),
        (Codec::Vp8, 96, Some(97), String::new()),
        (Codec::Vp9, 98, Some(99), VP9_PARAMETERS.to_owned()),
        (Codec::H264, 108, Some(109), h264_parameters(BASELINE, "1")),
        (Codec::H264, 125, Some(126), h264_parameters(BASELINE, "0")),
        (Codec::Av1, 35, Some(36), String::new()),
        (Codec::H265, 116, Some(117), String::new()),
    ];
    table
        .into_iter()
        .filter(|(codec, ..)| kind(*codec) == media && policy.allows(*codec))
        .map(|(codec, payload_type, rtx_payload_type, parameters)| AcceptedCodec {
            mapping: CodecMapping { codec, payload_type, rtx_payload_type, clock_rate: clock_rate(codec) },
            // We estimate nothing from the feedback of receivers, so none is asked for. Of redundant audio, feedback is
            // about the codec inside.
            feedback: match codec {
                Codec::Red => Feedback::default(),
                _ => Feedback { transport_cc: false, ..Feedback::of(media) },
            },
            parameters,
        })
        .collect()
}

/// Moves a codec's payload types to the front; browsers send the first one.
pub(super) fn prefer(codecs: &mut [AcceptedCodec], preferred: Codec) {
    codecs.sort_by_key(|accepted| accepted.mapping.codec != preferred);
}

/// Has Opus sent with redundancy or without, where it is what is sent. Browsers add redundancy if it comes before Opus.
pub(super) fn prefer_redundancy(codecs: &mut [AcceptedCodec], redundancy: bool) {
    if codecs.first().is_some_and(|first| matches!(first.mapping.codec, Codec::Opus | Codec::Red)) {
        prefer(codecs, Codec::Opus);
        if redundancy {
            prefer(codecs, Codec::Red);
        }
    }
}

/// Feedback about what a client sends if it sends the first of these codecs. That of redundant audio belongs to the
/// codec inside.
pub(super) fn feedback(codecs: &[AcceptedCodec]) -> Feedback {
    let sent = codecs.iter().find(|accepted| accepted.mapping.codec != Codec::Red);
    sent.map(|accepted| accepted.feedback).unwrap_or_default()
}

pub(super) fn mappings(codecs: &[AcceptedCodec]) -> Vec<CodecMapping> {
    codecs.iter().map(|accepted| accepted.mapping).collect()
}

/// Whether two lists mean the same by the same payload types, in whatever order.
pub(super) fn same_numbers(one: &[AcceptedCodec], other: &[AcceptedCodec]) -> bool {
    let within = |a: &[AcceptedCodec], b: &[AcceptedCodec]| a.iter().all(|x| b.iter().any(|y| x.mapping == y.mapping));
    within(one, other) && within(other, one)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdp::Description;

    fn section(media: &str, formats: &[(u8, &str, &str)]) -> Section {
        let numbers: Vec<_> = formats.iter().map(|(payload_type, ..)| payload_type.to_string()).collect();
        let mut text = format!("v=0\nm={media} 9 UDP/TLS/RTP/SAVPF {}\na=mid:0\n", numbers.join(" "));
        for (payload_type, name, parameters) in formats {
            let lines = format!("a=rtpmap:{payload_type} {name}\na=fmtp:{payload_type} {parameters}\n");
            text.push_str(&lines);
        }
        Description::parse(&text).expect("valid").sections.remove(0)
    }

    fn accepted(media: &str, formats: &[(u8, &str, &str)]) -> Vec<(u8, Option<u8>, String)> {
        let accepted = accept(&section(media, formats), &CodecPolicy { enabled: ALL.to_vec() });
        accepted.into_iter().map(|a| (a.mapping.payload_type, a.mapping.rtx_payload_type, a.parameters)).collect()
    }

    #[test]
    fn one_profile_of_each_codec_is_taken() {
        let h264 =
            |id: &str, mode: &str| format!("level-asymmetry-allowed=1;packetization-mode={mode};profile-level-id={id}");
        let parameters = [
            ("VP9/90000", "profile-id=0", Some("profile-id=0".to_owned())),
            ("VP9/90000", "", Some("profile-id=0".to_owned())),
            ("VP9/90000", "profile-id=2", None),
            ("H264/90000", "profile-level-id=42e01f;packetization-mode=1", Some(h264("42e01f", "1"))),
            ("H264/90000", "profile-level-id=42E01F", Some(h264("42E01F", "0"))),
            ("H264/90000", "profile-level-id=4d801f;packetization-mode=1", Some(h264("4d801f", "1"))),
            ("H264/90000", "profile-level-id=42001f;packetization-mode=1", None),
            ("H264/90000", "profile-level-id=640c1f;packetization-mode=1", None),
            ("H264/90000", "profile-level-id=42e01f;packetization-mode=2", None),
            ("H264/90000", "profile-level-id=+2e01f;packetization-mode=1", None),
            ("H264/90000", "packetization-mode=1", None),
            ("AV1/90000", "level-idx=5;profile=0;tier=0", Some("level-idx=5;profile=0;tier=0".to_owned())),
            ("AV1/90000", "profile=1", None),
            ("vp8/90000", "max-fs=12288;max-fr=60", Some(String::new())),
            ("VP8/48000", "", None),
            ("ulpfec/90000", "", None),
        ];
        for (name, offered, expected) in parameters {
            let result = accepted("video", &[(100, name, offered)]);
            assert_eq!(result.into_iter().next().map(|(_, _, ours)| ours), expected, "{name} {offered}");
        }
    }

    #[test]
    fn retransmissions_are_found_by_what_they_repeat() {
        let formats =
            [(96, "VP8/90000", "x"), (98, "VP9/90000", "x"), (99, "rtx/90000", "apt=98"), (97, "rtx/90000", "apt=100")];
        let facts: Vec<_> = accepted("video", &formats).into_iter().map(|(pt, rtx, _)| (pt, rtx)).collect();
        assert_eq!(facts, [(96, None), (98, Some(99))]);
    }

    #[test]
    fn redundant_audio_is_taken_around_opus_only() {
        let opus = (111, "opus/48000/2", "minptime=10");
        let numbers = |formats: &[_]| accepted("audio", formats).into_iter().map(|(pt, ..)| pt).collect::<Vec<_>>();
        assert_eq!(numbers(&[(63, "red/48000/2", "111/111"), opus]), [63, 111]);
        assert_eq!(numbers(&[(63, "red/48000/2", "9/9"), opus, (9, "G722/8000", "x")]), [111]);
        assert_eq!(numbers(&[(63, "red/48000/2", "x"), opus]), [111]);
        assert_eq!(numbers(&[(111, "opus/48000/1", "x"), (0, "PCMU/8000", "x")]), [0]);
        let without_opus = CodecPolicy { enabled: vec![Codec::Red] };
        assert_eq!(accept(&section("audio", &[(63, "red/48000/2", "111/111"), opus]), &without_opus), []);
    }

    #[test]
    fn numbers_of_ours_are_never_used_twice() {
        let policy = CodecPolicy { enabled: ALL.to_vec() };
        let mut numbers: Vec<u8> = [MediaKind::Audio, MediaKind::Video]
            .into_iter()
            .flat_map(|media| offered(media, &policy))
            .flat_map(|codec| [Some(codec.mapping.payload_type), codec.mapping.rtx_payload_type])
            .flatten()
            .collect();
        let n = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), n);
        // 64 to 95 would be taken for RTCP on a multiplexed port (RFC 5761, section 4); 63 is the last below.
        assert!(numbers.iter().all(|number| *number < 64 || *number > 95));
    }
}
