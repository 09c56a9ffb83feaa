//! What a call publishes, as far as a recorder was told, and which packets belong to it.
//!
//! In: what the signalling says of participants, and the server's offers. Out: what changed. It must not know sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use livekit_protocol as proto;
use sfu_core::engine::command::Codec;
use sfu_core::sdp::Description;

/// Tracks of one call that are followed at once. More than people in the largest call speak at once, and no more than a
/// recorder bears.
const MAX_TRACKS: usize = 4096;

/// What a track shows or lets hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Microphone,
    Camera,
    Screen,
    /// What the computer of somebody who shares the screen plays.
    ScreenAudio,
}

impl Source {
    fn of(track: &proto::TrackInfo) -> Self {
        let is_sound = track.r#type() == proto::TrackType::Audio;
        match (track.source(), is_sound) {
            (proto::TrackSource::ScreenShare, false) => Self::Screen,
            (proto::TrackSource::ScreenShareAudio, true) => Self::ScreenAudio,
            (_, true) => Self::Microphone,
            (_, false) => Self::Camera,
        }
    }
}

/// One track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// Id of the track (`TR_…`).
    pub sid: String,
    pub source: Source,
    /// Whose it is.
    pub identity: String,
    /// What to call that participant.
    pub name: String,
    pub muted: bool,
    /// Its frames are encrypted from end to end: nobody but those with the key can make anything of them.
    pub encrypted: bool,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrackChange {
    Came(Track),
    Muted { sid: String, muted: bool },
    Went { sid: String },
}

/// The tracks of a call.
#[derive(Debug, Default)]
pub struct Tracks {
    /// By participant, then by id.
    of: BTreeMap<String, BTreeMap<String, Track>>,
    /// What the server sends, by SSRC.
    streams: BTreeMap<u32, Stream>,
}

/// What an offer says of one stream.
#[derive(Debug, Clone)]
struct Stream {
    track: String,
    /// By payload type.
    codecs: Arc<BTreeMap<u8, Codec>>,
}

impl Tracks {
    /// Takes in how participants are now; those not named are as they were.
    pub fn take_participants(&mut self, participants: &[proto::ParticipantInfo]) -> Vec<TrackChange> {
        let mut changes = Vec::new();
        for participant in participants {
            let is_here = participant.state() != proto::participant_info::State::Disconnected;
            let mut now: BTreeMap<String, Track> = BTreeMap::new();
            for track in participant.tracks.iter().filter(|_| is_here).take(MAX_TRACKS) {
                now.insert(track.sid.clone(), read(participant, track));
            }
            let before = self.of.remove(&participant.sid).unwrap_or_default();
            if is_here {
                changes.extend(self.replace(&participant.identity));
            }
            let n_others: usize = self.of.values().map(BTreeMap::len).sum();
            while n_others + now.len() > MAX_TRACKS {
                now.pop_last();
            }
            let gone = before.keys().filter(|sid| !now.contains_key(*sid));
            changes.extend(gone.map(|sid| TrackChange::Went { sid: sid.clone() }));
            for (sid, track) in &now {
                match before.get(sid) {
                    None => changes.push(TrackChange::Came(track.clone())),
                    Some(old) if old.muted != track.muted => {
                        changes.push(TrackChange::Muted { sid: sid.clone(), muted: track.muted });
                    }
                    Some(_) => (),
                }
            }
            if !now.is_empty() {
                self.of.insert(participant.sid.clone(), now);
            }
        }
        changes
    }

    /// Somebody of this identity is here under another id. Nobody says that the one before is gone: an identity is in a call
    /// once.
    fn replace(&mut self, identity: &str) -> Vec<TrackChange> {
        let is_theirs =
            |_: &String, tracks: &mut BTreeMap<String, Track>| tracks.values().any(|track| track.identity == identity);
        let gone = self.of.extract_if(.., is_theirs).flat_map(|(_, tracks)| tracks.into_keys());
        gone.map(|sid| TrackChange::Went { sid }).collect()
    }

    /// Takes in an offer of the server: it names the streams it sends, and their tracks.
    pub fn take_offer(&mut self, offer: &Description) {
        self.streams.clear();
        for section in offer.sections.iter().filter(|section| !section.rejected && section.direction.sends()) {
            let Some(track) = section.msid.as_ref().and_then(|msid| msid.track.as_ref()) else { continue };
            let codecs =
                section.formats.iter().filter_map(|format| Some((format.payload_type, codec_of(&format.name)?)));
            let stream = Stream { track: track.clone(), codecs: Arc::new(codecs.collect()) };
            self.streams.extend(section.ssrcs.iter().map(|ssrc| (ssrc.0, stream.clone())));
        }
    }

    /// The track that a packet belongs to, and its codec. `None` for what nobody told of.
    pub fn of_packet(&self, ssrc: u32, payload_type: u8) -> Option<(&str, Codec)> {
        let stream = self.streams.get(&ssrc)?;
        Some((&stream.track, *stream.codecs.get(&payload_type)?))
    }

    /// The track that a stream belongs to.
    pub fn of_stream(&self, ssrc: u32) -> Option<&str> {
        self.streams.get(&ssrc).map(|stream| stream.track.as_str())
    }

    /// The track ids of participants, to be asked for by participant.
    pub fn by_participant(&self, wanted: impl Fn(&Track) -> bool) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (participant, tracks) in &self.of {
            for track in tracks.values().filter(|track| wanted(track)) {
                found.entry(participant).or_default().insert(&track.sid);
            }
        }
        found
    }
}

/// A codec by its encoding name (RFC 4855), which is the same in any case; `None` for what is none, as `rtx`.
fn codec_of(name: &str) -> Option<Codec> {
    const NAMES: [(&str, Codec); 6] = [
        ("opus", Codec::Opus),
        ("VP8", Codec::Vp8),
        ("VP9", Codec::Vp9),
        ("AV1", Codec::Av1),
        ("H264", Codec::H264),
        ("H265", Codec::H265),
    ];
    NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, codec)| *codec)
}

fn read(participant: &proto::ParticipantInfo, track: &proto::TrackInfo) -> Track {
    let name = if participant.name.is_empty() { &participant.identity } else { &participant.name };
    Track {
        sid: track.sid.clone(),
        source: Source::of(track),
        identity: participant.identity.clone(),
        name: name.clone(),
        muted: track.muted,
        encrypted: track.encryption() != proto::encryption::Type::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(sid: &str, source: proto::TrackSource, muted: bool) -> proto::TrackInfo {
        let is_sound = matches!(source, proto::TrackSource::Microphone | proto::TrackSource::ScreenShareAudio);
        let r#type = if is_sound { proto::TrackType::Audio } else { proto::TrackType::Video };
        proto::TrackInfo { sid: sid.into(), r#type: r#type as i32, source: source as i32, muted, ..Default::default() }
    }

    fn ana(tracks: Vec<proto::TrackInfo>) -> proto::ParticipantInfo {
        let state = proto::participant_info::State::Active as i32;
        proto::ParticipantInfo { sid: "PA_ana".into(), identity: "ana".into(), state, tracks, ..Default::default() }
    }

    #[test]
    fn a_track_comes_is_muted_and_goes_with_its_participant() {
        let mut tracks = Tracks::default();
        let microphone = |muted| track("TR_1", proto::TrackSource::Microphone, muted);
        let came = tracks.take_participants(&[ana(vec![microphone(false)])]);
        let [TrackChange::Came(track)] = came.as_slice() else { panic!("{came:?}") };
        assert_eq!((track.sid.as_str(), track.source, track.name.as_str()), ("TR_1", Source::Microphone, "ana"));
        assert_eq!(tracks.take_participants(&[ana(vec![microphone(false)])]), []);
        assert_eq!(
            tracks.take_participants(&[ana(vec![microphone(true)])]),
            [TrackChange::Muted { sid: "TR_1".into(), muted: true }]
        );
        let mut gone = ana(vec![microphone(true)]);
        gone.state = proto::participant_info::State::Disconnected as i32;
        assert_eq!(tracks.take_participants(&[gone]), [TrackChange::Went { sid: "TR_1".into() }]);
        assert!(tracks.of.is_empty(), "nothing is kept of who left");
    }

    #[test]
    fn who_joins_anew_takes_the_place_of_who_was_there_before() {
        let mut tracks = Tracks::default();
        let came = |changes: &[TrackChange]| {
            let came = changes.iter().filter(|change| matches!(change, TrackChange::Came(_)));
            came.count()
        };
        let screen = |sid| track(sid, proto::TrackSource::ScreenShare, false);
        let bo = proto::ParticipantInfo { sid: "PA_bo".into(), identity: "bo".into(), ..ana(vec![screen("TR_b")]) };
        assert_eq!(came(&tracks.take_participants(&[ana(vec![screen("TR_1"), screen("TR_2")]), bo])), 2 + 1);
        let again = proto::ParticipantInfo { sid: "PA_ana2".into(), ..ana(vec![screen("TR_3")]) };
        let changes = tracks.take_participants(std::slice::from_ref(&again));
        let went = ["TR_1", "TR_2"].map(|sid| TrackChange::Went { sid: sid.into() });
        assert_eq!((&changes[..2], came(&changes)), (&went[..], 1));
        assert_eq!(tracks.of.len(), 2, "nothing is kept of the one before");
        assert_eq!(tracks.take_participants(&[again]), []);
        let left = proto::participant_info::State::Disconnected as i32;
        let late = proto::ParticipantInfo { state: left, ..ana(vec![]) };
        assert_eq!(tracks.take_participants(&[late]), [], "that the one before left, said late, is no news");
    }

    #[test]
    fn a_screen_and_its_sound_are_told_apart_from_camera_and_microphone() {
        let sources = [
            (proto::TrackSource::Camera, Source::Camera),
            (proto::TrackSource::Microphone, Source::Microphone),
            (proto::TrackSource::ScreenShare, Source::Screen),
            (proto::TrackSource::ScreenShareAudio, Source::ScreenAudio),
        ];
        for (said, understood) in sources {
            assert_eq!(Source::of(&track("TR_1", said, false)), understood);
        }
        let unnamed = proto::TrackInfo { r#type: proto::TrackType::Video as i32, ..Default::default() };
        assert_eq!(Source::of(&unnamed), Source::Camera);
    }

    #[test]
    fn packets_find_their_track_by_the_servers_offer() {
        let section = |mid: &str, direction: &str, track: &str, ssrc: u32| {
            format!(
                "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:{mid}\r\na={direction}\r\na=msid:PA_ana {track}\r\n\
                 a=ssrc:{ssrc} cname:ana\r\na=rtpmap:111 opus/48000/2\r\n"
            )
        };
        let offer = |sections: &[String]| {
            Description::parse(&format!("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n{}", sections.concat()))
                .unwrap()
        };
        let mut tracks = Tracks::default();
        let found = |tracks: &Tracks| {
            [11, 22, 33].map(|ssrc| tracks.of_packet(ssrc, 111).map(|(track, codec)| (track.to_owned(), codec)))
        };
        let voice = |track: &str| Some((track.to_owned(), Codec::Opus));
        tracks.take_offer(&offer(&[section("1", "sendonly", "TR_1", 11), section("2", "sendonly", "TR_2", 22)]));
        assert_eq!(found(&tracks), [voice("TR_1"), voice("TR_2"), None]);
        assert_eq!(tracks.of_packet(11, 96), None, "a payload type that was not offered");
        assert_eq!((tracks.of_stream(22), tracks.of_stream(33)), (Some("TR_2"), None));
        tracks.take_offer(&offer(&[section("1", "inactive", "TR_1", 11), section("2", "sendonly", "TR_3", 33)]));
        assert_eq!(found(&tracks), [None, None, voice("TR_3")]);
    }

    #[test]
    fn what_is_followed_is_bounded() {
        let mut tracks = Tracks::default();
        let many = (0..MAX_TRACKS + 10).map(|n| track(&format!("TR_{n}"), proto::TrackSource::Camera, false)).collect();
        assert_eq!(tracks.take_participants(&[ana(many)]).len(), MAX_TRACKS);
        let other = proto::ParticipantInfo {
            sid: "PA_bo".into(),
            tracks: vec![track("TR_bo", proto::TrackSource::Camera, false)],
            ..Default::default()
        };
        assert_eq!(tracks.take_participants(&[other]), []);
    }
}
