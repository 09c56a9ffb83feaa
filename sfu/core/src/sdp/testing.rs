//! Small descriptions for tests.

use std::fmt::Write as _;

use super::{Candidate, Fingerprint, LocalTransport, Protocol, Subscription};
use crate::engine::command::MediaKind;
use crate::id::{Ssrc, SubscriptionKey};

/// A client's description, line by line.
pub(super) struct Client {
    pub ufrag: &'static str,
    pub setup: &'static str,
    pub fingerprint_byte: &'static str,
    pub sections: Vec<(String, String)>,
}

impl Client {
    pub fn new() -> Self {
        Self { ufrag: "theirs", setup: "actpass", fingerprint_byte: "CD", sections: Vec::new() }
    }

    /// Adds an m-line of `kind` (`audio`, `video`) with Opus or VP8, and more lines after it.
    pub fn media(mut self, kind: &str, mid: &str, direction: &str, more: &[&str]) -> Self {
        self.set(kind, mid, direction, more, 9);
        self
    }

    pub fn rejected(mut self, kind: &str, mid: &str) -> Self {
        self.set(kind, mid, "inactive", &[], 0);
        self
    }

    fn set(&mut self, kind: &str, mid: &str, direction: &str, more: &[&str], port: u16) {
        let codec = match kind {
            "audio" => "111\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc",
            _ => "96 97\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96",
        };
        let mut lines = format!("m={kind} {port} UDP/TLS/RTP/SAVPF {codec}\r\na=mid:{mid}\r\na={direction}\r\n");
        for line in more {
            write!(lines, "{line}\r\n").expect("a string");
        }
        self.sections.push((mid.to_owned(), lines));
    }

    pub fn data(mut self, mid: &str) -> Self {
        let lines = format!("m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:{mid}\r\na=sctp-port:5000\r\n");
        self.sections.push((mid.to_owned(), lines));
        self
    }

    pub fn raw(mut self, mid: &str, lines: &str) -> Self {
        self.sections.push((mid.to_owned(), lines.to_owned()));
        self
    }

    pub fn sdp(&self) -> String {
        let mids: Vec<_> = self.sections.iter().map(|(mid, _)| mid.as_str()).collect();
        let Self { ufrag, setup, fingerprint_byte, .. } = self;
        let fingerprint = [*fingerprint_byte; 32].join(":");
        let mut text = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\na=ice-ufrag:{ufrag}\r\n\
             a=ice-pwd:theirstheirstheirstheirs\r\na=fingerprint:sha-256 {fingerprint}\r\na=setup:{setup}\r\n",
            mids.join(" ")
        );
        text.extend(self.sections.iter().map(|(_, lines)| lines.as_str()));
        text
    }
}

pub(super) fn local() -> LocalTransport {
    LocalTransport {
        ice_ufrag: "ours".into(),
        ice_pwd: "oursoursoursoursoursours".into(),
        fingerprint: Fingerprint([0xab; 32]),
        candidates: vec![Candidate {
            protocol: Protocol::Udp,
            address: ([192, 0, 2, 1], 7882).into(),
            local_preference: u16::MAX,
        }],
    }
}

pub(super) fn subscription(key: u64, kind: MediaKind) -> Subscription {
    Subscription {
        key: SubscriptionKey(key),
        kind,
        stream_id: "PA_a|camera".into(),
        track_id: format!("TR_{key}"),
        ssrc: Ssrc(10),
        rtx_ssrc: None,
        cname: "PA_a".into(),
        stereo: false,
    }
}

/// Lines of one m-line of a description.
pub(super) fn section<'a>(sdp: &'a str, mid: &str) -> Vec<&'a str> {
    let wanted = format!("a=mid:{mid}");
    let sections = sdp.split("\r\nm=").skip(1).map(|section| section.lines().collect::<Vec<_>>());
    sections.into_iter().find(|lines| lines.contains(&wanted.as_str())).unwrap_or_default()
}

pub(super) fn direction<'a>(sdp: &'a str, mid: &str) -> &'a str {
    let names = ["a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"];
    section(sdp, mid).into_iter().find(|line| names.contains(line)).unwrap_or("none")
}
