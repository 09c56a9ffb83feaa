//! Feeds a recording with what a session tells.
//!
//! In: tracks that come and go, their packets, the time. Out: the recording's bytes, and of whom a keyframe is wanted.
//! Tracks are known to a session by their ids, to a recording by keys; people by their identity, however often they come
//! back.

use std::collections::BTreeMap;

use sfu_core::id::Ssrc;
use sfu_core::media::rtp::Header;

use crate::session::{self, Source, TrackChange};
use crate::{AddTrackError, Codec, Event, Finished, Kind, NtpTime, OpenError, Options, ParticipantKey, Recording};
use crate::{Time, Track, TrackKey};

/// A recording and what feeds it.
#[derive(Debug)]
pub struct Feed {
    recording: Recording,
    tracks: BTreeMap<String, Fed>,
    people: BTreeMap<String, ParticipantKey>,
    last_key: u64,
}

/// A track that is followed. The recording has it from its first packet on, which says what codec it is.
#[derive(Debug)]
struct Fed {
    key: TrackKey,
    track: session::Track,
    /// What is sent, and in which codec: decided by the first packet of each stream.
    stream: Option<(Ssrc, Codec)>,
    /// A sender report that came before the first packet, and when.
    report: Option<(Time, NtpTime, u32)>,
}

impl Feed {
    /// Begins a recording.
    ///
    /// # Errors
    /// If there can be none.
    pub fn new(options: Options, now: Time) -> Result<Self, OpenError> {
        Ok(Self {
            recording: Recording::new(options, now)?,
            tracks: BTreeMap::new(),
            people: BTreeMap::new(),
            last_key: 0,
        })
    }

    /// Takes in a change of what is published.
    pub fn handle_change(&mut self, now: Time, change: TrackChange) {
        match change {
            TrackChange::Came(track) => {
                if track.encrypted {
                    let (name, source) = (&track.name, track.source);
                    tracing::warn!(name, ?source, "left out: encrypted from end to end, and this recorder has no key");
                    return;
                }
                let key = TrackKey(self.next_key());
                let fed = Fed { key, stream: None, report: None, track };
                tracing::info!(name = fed.track.name, source = ?fed.track.source, "a track came");
                self.tracks.insert(fed.track.sid.clone(), fed);
            }
            TrackChange::Muted { sid, muted } => {
                if let Some(fed) = self.tracks.get_mut(&sid) {
                    fed.track.muted = muted;
                    self.recording.set_muted(now, fed.key, muted);
                }
            }
            TrackChange::Went { sid } => {
                if let Some(fed) = self.tracks.remove(&sid) {
                    tracing::info!(name = fed.track.name, source = ?fed.track.source, "a track went");
                    self.recording.remove_track(now, fed.key);
                    if !self.tracks.values().any(|other| other.track.identity == fed.track.identity) {
                        self.people.remove(&fed.track.identity);
                    }
                }
            }
        }
    }

    /// The session is over: all its tracks have ended.
    pub fn lose_all(&mut self, now: Time) {
        for fed in std::mem::take(&mut self.tracks).into_values() {
            self.recording.remove_track(now, fed.key);
        }
        self.people.clear();
    }

    /// Takes in a packet of a track.
    pub fn handle_packet(&mut self, now: Time, sid: &str, codec: Codec, header: &Header, payload: &[u8]) {
        let Some(fed) = self.tracks.get_mut(sid) else { return };
        if fed.stream.is_none_or(|(ssrc, _)| ssrc != header.ssrc) {
            let before = fed.stream.replace((header.ssrc, codec));
            if before.is_none_or(|(_, before)| before != codec) {
                let last_key = &mut self.last_key;
                let participant = *self.people.entry(fed.track.identity.clone()).or_insert_with(|| {
                    *last_key += 1;
                    ParticipantKey(*last_key)
                });
                if let Err(error) = add(&mut self.recording, now, fed, participant, codec) {
                    tracing::warn!(name = fed.track.name, source = ?fed.track.source, "left out: {error}");
                }
            }
        }
        if fed.stream == Some((header.ssrc, codec)) {
            self.recording.handle_packet(now, fed.key, header, payload);
        }
    }

    /// Takes in a sender report of a track, which came `at` that time.
    pub fn handle_report(&mut self, at: Time, sid: &str, ntp: NtpTime, timestamp: u32) {
        let Some(fed) = self.tracks.get_mut(sid) else { return };
        if fed.stream.is_some() {
            self.recording.handle_sender_report(at, fed.key, ntp, timestamp);
        } else {
            fed.report = Some((at, ntp, timestamp));
        }
    }

    /// Time passes.
    pub fn advance(&mut self, now: Time) {
        self.recording.advance(now);
    }

    /// The next bytes of the file.
    pub fn poll_output(&mut self) -> Option<Vec<u8>> {
        self.recording.poll_output()
    }

    /// The SSRC of a stream of which a keyframe is wanted.
    pub fn poll_keyframe(&mut self) -> Option<u32> {
        loop {
            match self.recording.poll_event()? {
                Event::KeyframeWanted { track } => {
                    let wanted = self.tracks.values().find(|fed| fed.key == track);
                    if let Some((ssrc, _)) = wanted.and_then(|fed| fed.stream) {
                        return Some(ssrc.0);
                    }
                }
                Event::Shown { track } => {
                    let shown = track.and_then(|track| self.tracks.values().find(|fed| fed.key == track));
                    tracing::info!(of = shown.map(|fed| &fed.track.name), "screen in the picture");
                }
            }
        }
    }

    /// Ends the file; its last bytes are to be polled.
    pub fn finish(&mut self, now: Time) -> Finished {
        self.recording.finish(now)
    }

    /// Tracks that are recorded.
    pub fn n_tracks(&self) -> usize {
        self.tracks.values().filter(|fed| fed.stream.is_some()).count()
    }

    fn next_key(&mut self) -> u64 {
        self.last_key += 1;
        self.last_key
    }
}

fn add(
    recording: &mut Recording,
    now: Time,
    fed: &mut Fed,
    participant: ParticipantKey,
    codec: Codec,
) -> Result<(), AddTrackError> {
    let kind = match fed.track.source {
        Source::Microphone => Kind::Voice { redundant: None },
        Source::ScreenAudio => Kind::Sound,
        Source::Screen | Source::Camera => Kind::Screen { codec },
    };
    recording.add_track(now, fed.key, Track { participant, name: fed.track.name.clone(), kind })?;
    recording.set_muted(now, fed.key, fed.track.muted);
    if let Some((at, ntp, timestamp)) = fed.report.take() {
        recording.handle_sender_report(at, fed.key, ntp, timestamp);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sfu_core::media::rtp::Span;

    use super::*;
    use crate::screen::VideoCodec;

    fn feed(source: Source) -> Feed {
        let options = Options { video: Some(VideoCodec::Vp8), ..Options::default() };
        let mut feed = Feed::new(options, Time::ZERO).unwrap();
        let (sid, identity, name) = ("TR_1".to_owned(), "ana".to_owned(), "Ana".to_owned());
        let track = session::Track { sid, source, identity, name, muted: false, encrypted: false };
        feed.handle_change(Time::ZERO, TrackChange::Came(track));
        feed
    }

    fn header(ssrc: u32, sequence_number: u16) -> Header {
        let timestamp = u32::from(sequence_number) * 960;
        let (ssrc, payload) = (Ssrc(ssrc), Span { start: 0, end: 0 });
        Header { marker: true, payload_type: 111, sequence_number, timestamp, ssrc, extension: None, payload }
    }

    /// Half a second of packets that decoders hear something in, be it noise. Returns who is said to have spoken.
    fn speakers(source: Source) -> String {
        let mut feed = feed(source);
        let packet = [&[0x78][..], &[0xa5; 80]].concat();
        for n in 0..100 {
            let now = Time::ZERO + Duration::from_millis(20) * n;
            feed.handle_packet(now, "TR_1", Codec::Opus, &header(1, n as u16), &packet);
            feed.advance(now);
        }
        feed.finish(Time::from_millis(2_000)).speakers
    }

    #[test]
    fn what_a_shared_screen_plays_is_nobodys_speech() {
        assert!(speakers(Source::Microphone).contains("Ana"));
        assert_eq!(speakers(Source::ScreenAudio), "WEBVTT\n");
    }

    #[test]
    fn a_stream_has_the_codec_of_its_first_packet() {
        let mut feed = feed(Source::Screen);
        for (n, codec) in [Codec::Vp8, Codec::H264, Codec::Vp8, Codec::H264].into_iter().enumerate() {
            feed.handle_packet(Time::ZERO, "TR_1", codec, &header(1, n as u16), &[0x10]);
        }
        let stream = |feed: &Feed| feed.tracks["TR_1"].stream;
        assert_eq!(stream(&feed), Some((Ssrc(1), Codec::Vp8)));
        feed.handle_packet(Time::ZERO, "TR_1", Codec::H264, &header(2, 9), &[0x10]);
        assert_eq!(stream(&feed), Some((Ssrc(2), Codec::H264)), "another stream, another codec");
    }
}
