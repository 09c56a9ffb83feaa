//! Sessions recorded from browsers, negotiated again: what we understand, and what we say, to the letter.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use sfu_core::engine::command::{Codec, CodecMapping, MediaKind};
use sfu_core::id::{Mid, Rid, Ssrc, SubscriptionKey, TrackKey};
use sfu_core::sdp::{
    Answer, Candidate, ClientOffers, CodecPolicy, Description, Fingerprint, LocalTransport, OfferOutcome, Protocol,
    PublishOptions, PublishedSection, SectionRequest, ServerOffers, Subscription,
};
use sfu_core::transport::DtlsRole;

#[path = "../fuzz/checks/sdp.rs"]
mod checks;

const BROWSERS: [&str; 2] = ["chromium", "firefox"];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sdp")
}

fn recorded(name: &str) -> String {
    let path = fixtures().join(format!("{name}.sdp"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Compares with what is checked in, or writes it anew if asked to.
fn check_snapshot(name: &str, sdp: &str) {
    let path = fixtures().join("ours").join(format!("{name}.sdp"));
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&path, sdp).expect("the folder of snapshots is writable");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    for (index, (ours, expected)) in sdp.lines().zip(expected.lines()).enumerate() {
        assert_eq!(ours, expected, "{name}, line {}", index + 1);
    }
    assert_eq!(sdp, expected, "{name}");
}

fn local() -> LocalTransport {
    let candidate = |protocol, address: &str| Candidate {
        protocol,
        address: address.parse().expect("an address"),
        local_preference: u16::MAX,
    };
    LocalTransport {
        ice_ufrag: "ours".into(),
        ice_pwd: "oursoursoursoursoursours".into(),
        fingerprint: Fingerprint([0xab; 32]),
        candidates: vec![candidate(Protocol::Udp, "192.0.2.1:7882"), candidate(Protocol::TcpPassive, "192.0.2.1:7881")],
    }
}

fn subscription(key: u64, kind: MediaKind) -> Subscription {
    let ssrc = 1000 + u32::try_from(key).expect("small") * 2;
    Subscription {
        key: SubscriptionKey(key),
        kind,
        stream_id: format!("PA_other|TR_{key}"),
        track_id: format!("TR_{key}"),
        ssrc: Ssrc(ssrc),
        rtx_ssrc: (kind == MediaKind::Video).then_some(Ssrc(ssrc + 1)),
        cname: "PA_other".into(),
        stereo: false,
    }
}

/// A recorded session, gone through again.
struct Session {
    browser: &'static str,
    negotiation: ClientOffers,
    n_tracks: u64,
}

impl Session {
    fn new(browser: &'static str) -> Self {
        Self { browser, negotiation: ClientOffers::new(4711, CodecPolicy::default()), n_tracks: 0 }
    }

    /// One offer and its answer; whatever the client begins to send is claimed with `options`. The negotiation is
    /// written down and read back at each step.
    fn step(&mut self, name: &str, options: PublishOptions) -> (OfferOutcome, Answer) {
        self.write_down_and_read_back();
        let name = format!("{}-{name}", self.browser);
        let outcome = self.negotiation.handle_offer(&recorded(&name)).expect("a browser's offer");
        self.write_down_and_read_back();
        for section in &outcome.published {
            self.n_tracks += 1;
            let claimed = self.negotiation.claim(&section.mid, TrackKey(self.n_tracks), options);
            assert_eq!(claimed.map(|claimed| claimed.mid), Some(section.mid.clone()));
        }
        let answer = self.negotiation.answer(&local()).expect("an offer waits");
        check_snapshot(&name, &answer.sdp);
        Description::parse(&answer.sdp).expect("what we write, we read");
        (outcome, answer)
    }

    fn write_down_and_read_back(&mut self) {
        let written = serde_json::to_string(&self.negotiation).expect("plain values");
        self.negotiation = serde_json::from_str(&written).expect("as written");
    }
}

fn codecs(section: &PublishedSection) -> Vec<(Codec, u8, Option<u8>)> {
    let facts = |m: &CodecMapping| (m.codec, m.payload_type, m.rtx_payload_type);
    section.codecs.iter().map(facts).collect()
}

fn rids(names: &[&str]) -> Vec<Rid> {
    names.iter().map(|name| Rid((*name).into())).collect()
}

#[test]
fn a_browser_session_with_one_peer_connection() {
    for browser in BROWSERS {
        let mut session = Session::new(browser);

        let (outcome, answer) = session.step("1-join", PublishOptions::default());
        assert_eq!(outcome.role, DtlsRole::Server);
        assert!(outcome.data_channels && outcome.published.is_empty() && answer.sending.is_empty());
        assert_eq!(session.negotiation.section_request(), None);

        let voice = PublishOptions { redundancy: true, ..PublishOptions::default() };
        let (outcome, _) = session.step("2-microphone", voice);
        let [microphone] = outcome.published.as_slice() else { panic!("{browser}: {outcome:?}") };
        assert_eq!((microphone.mid.0.as_str(), microphone.kind), ("7", MediaKind::Audio));
        // Chromium sends redundancy if it comes first in the answer; Firefox has none.
        let (opus, red) = if browser == "chromium" { (111, Some(63)) } else { (109, None) };
        let (opus, red) = ((Codec::Opus, opus, None), red.map(|red| (Codec::Red, red, None)));
        assert_eq!(codecs(microphone), [Some(opus), red].into_iter().flatten().collect::<Vec<_>>());
        let claimed = session.negotiation.published(TrackKey(1)).expect("claimed");
        assert_eq!(codecs(&claimed), [red, Some(opus)].into_iter().flatten().collect::<Vec<_>>());
        assert!(claimed.transport_cc, "as it says of the codec inside");
        assert!(microphone.extensions.mid.is_some() && microphone.extensions.audio_level.is_some());
        assert!(microphone.transport_cc && !microphone.nack);
        assert_eq!(microphone.ssrcs.len(), 1);
        assert!(microphone.msid.as_ref().is_some_and(|msid| msid.track.is_some()));

        let (outcome, _) = session.step("3-camera", PublishOptions::default());
        let [camera] = outcome.published.as_slice() else { panic!("{browser}: {outcome:?}") };
        assert_eq!(camera.rids, rids(&["q", "h", "f"]));
        let vp8 = if browser == "chromium" { (96, Some(97)) } else { (120, Some(124)) };
        assert_eq!(codecs(camera)[0], (Codec::Vp8, vp8.0, vp8.1));
        assert!(camera.extensions.rid.is_some() && camera.extensions.repaired_rid.is_some());
        assert!(camera.extensions.dependency_descriptor.is_some());
        assert!(camera.nack && camera.transport_cc);
        assert!(outcome.changed.is_empty() && outcome.unpublished.is_empty());

        let vp9 = PublishOptions { preferred_codec: Some(Codec::Vp9), ..PublishOptions::default() };
        let (outcome, _) = session.step("4-screen", vp9);
        assert_eq!(outcome.published.len(), 1);
        let screen = session.negotiation.published(TrackKey(3)).expect("claimed");
        assert_eq!(screen.rids, rids(&["q", "h"]));
        assert_eq!(codecs(&screen)[0].0, Codec::Vp9);

        // Four videos and two audios for three places each: one more video is asked for, once.
        let mut requests = Vec::new();
        for key in 1..=6 {
            let kind = if key > 4 { MediaKind::Audio } else { MediaKind::Video };
            session.negotiation.subscribe(subscription(key, kind));
            requests.extend(session.negotiation.section_request());
        }
        assert_eq!(requests, [SectionRequest { audio: 0, video: 0 }, SectionRequest { audio: 0, video: 1 }]);
        let (outcome, answer) = session.step("5-subscribed", PublishOptions::default());
        assert!(outcome.changed.is_empty(), "{browser}: {outcome:?}");
        let sending: Vec<_> = answer.sending.iter().map(|(mid, key)| (mid.0.as_str(), key.0)).collect();
        assert_eq!(sending, [("0", 5), ("1", 6), ("3", 1), ("4", 2), ("5", 3), ("10", 4)]);
        assert_eq!(answer.started.len(), 6);
        for started in &answer.started {
            let is_video = started.subscription.0 <= 4;
            assert!(started.extensions.mid.is_some());
            assert_eq!(started.extensions.transport_cc.is_some(), is_video, "only video is fitted to networks");
            assert!(!started.codecs.is_empty());
        }
        assert_eq!(session.negotiation.section_request(), None);

        let (outcome, _) = session.step("6-camera-stopped", PublishOptions::default());
        assert_eq!(outcome.unpublished, [TrackKey(2)]);
        assert!(!outcome.ice_restart && outcome.ended.is_empty());

        let (outcome, answer) = session.step("7-ice-restart", PublishOptions::default());
        assert!(outcome.ice_restart);
        assert_eq!(outcome.published.len(), 1, "the camera again, on the place of the stopped one");
        assert_eq!(answer.sending.len(), 6);
    }
}

#[test]
fn a_browser_session_with_offers_of_ours() {
    for browser in BROWSERS {
        let mut negotiation = ServerOffers::new(4712, CodecPolicy::default(), true);
        let step = |negotiation: &mut ServerOffers, name: &str| {
            let offer = negotiation.offer(&local()).expect("an offer is needed");
            check_snapshot(&format!("offer-{name}"), &offer.sdp);
            assert!(!negotiation.needs_offer(), "one is in flight");
            let written = serde_json::to_string(&negotiation).expect("plain values");
            *negotiation = serde_json::from_str(&written).expect("as written");
            let outcome = negotiation.apply_answer(&recorded(&format!("{browser}-answers-{name}"))).expect("an answer");
            assert_eq!((outcome.role, outcome.refused.len()), (DtlsRole::Server, 0));
            outcome.started
        };
        assert_eq!(step(&mut negotiation, "empty"), []);

        negotiation.subscribe(subscription(1, MediaKind::Video));
        negotiation.subscribe(subscription(2, MediaKind::Video));
        negotiation.subscribe(subscription(3, MediaKind::Audio));
        let started = step(&mut negotiation, "three");
        assert_eq!(
            started.iter().map(|s| (s.subscription.0, s.mid.0.as_str())).collect::<Vec<_>>(),
            [(1, "1"), (2, "2"), (3, "3")]
        );
        let vp8 = CodecMapping { codec: Codec::Vp8, payload_type: 96, rtx_payload_type: Some(97), clock_rate: 90_000 };
        assert_eq!(started[0].codecs[0], vp8);
        assert!(started.iter().all(|started| started.extensions.mid == Some(1)));
        let taken: Vec<Codec> = started[2].codecs.iter().map(|mapping| mapping.codec).collect();
        let expected: &[Codec] = if browser == "chromium" { &[Codec::Opus, Codec::Red] } else { &[Codec::Opus] };
        assert_eq!(taken, expected, "what it does not take, it does not get");

        negotiation.unsubscribe(SubscriptionKey(1));
        assert_eq!(step(&mut negotiation, "unsubscribed"), []);

        negotiation.subscribe(Subscription { key: SubscriptionKey(9), ..subscription(4, MediaKind::Video) });
        let started = step(&mut negotiation, "reused");
        assert_eq!(started.iter().map(|s| (s.subscription.0, s.mid.0.as_str())).collect::<Vec<_>>(), [(9, "1")]);
        assert!(!negotiation.needs_offer());
    }
}

#[test]
fn an_m_line_in_both_directions_publishes_and_receives() {
    for browser in BROWSERS {
        let mut session = Session::new(browser);
        session.negotiation.subscribe(subscription(1, MediaKind::Video));
        let (outcome, answer) = session.step("sendrecv", PublishOptions::default());
        assert_eq!(outcome.published.len(), 2);
        assert_eq!(answer.sending, [(Mid(outcome.published[1].mid.0.clone()), SubscriptionKey(1))]);
        let directions: Vec<_> =
            answer.sdp.lines().filter(|line| ["a=sendrecv", "a=recvonly"].contains(line)).collect();
        assert_eq!(directions, ["a=recvonly", "a=sendrecv"]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn text_of_any_kind_is_taken_without_a_panic(text in "(v=0\n)?([a-z]=[ -~]{0,40}\r?\n|\\PC{0,20}\n){0,30}") {
        checks::check(&text);
    }

    /// Lines of real offers removed, doubled, swapped and cut: close to what the parser expects.
    #[test]
    fn a_mangled_offer_is_taken_without_a_panic(
        browser in 0..BROWSERS.len(),
        edits in prop::collection::vec((0..5_u8, any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..12),
    ) {
        let text = recorded(&format!("{}-3-camera", BROWSERS[browser]));
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for (edit, one, other) in edits {
            let (one, other) = (one.index(lines.len()), other.index(lines.len()));
            match edit {
                0 => { lines.remove(one); }
                1 => { let line = lines[other].clone(); lines.insert(one, line); }
                2 => lines.swap(one, other),
                3 => { let cut = lines[one].len() / 2; lines[one].truncate(cut); }
                _ => { let tail = lines[other].get(2..).unwrap_or_default().to_owned(); lines[one].push_str(&tail); }
            }
        }
        checks::check(&lines.join("\r\n"));
    }
}
