//! Feeds a recording with what a session tells.
//!
//! In: tracks that come and go, their packets, the time. Out: the recording's bytes, and of whom a keyframe is wanted.
//! Tracks are known to a session by their ids, to a recording by keys; people by their identity, however often they come
//! back.

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use str0m::rtp::RtpPacket;
use str0m::rtp::rtcp::SenderInfo;

use crate::session::{self, Source, TrackChange};
use crate::{AddTrackError, Codec, Event, Finished, Kind, NtpTime, OpenError, Options, ParticipantKey, Recording};
use crate::{Time, Track, TrackKey};

/// Bytes of an RTP header without contributors and extensions (RFC 3550, section 5.1).
const HEADER_BYTES: usize = 12;

/// A recording and what feeds it.
#[derive(Debug)]
pub struct Feed {
    recording: Recording,
    tracks: BTreeMap<String, Fed>,
    people: BTreeMap<String, ParticipantKey>,
    last_key: u64,
    packet: Vec<u8>,
}

/// A track that is followed. The recording has it from its first packet on, which says what codec it is.
#[derive(Debug)]
struct Fed {
    key: TrackKey,
    track: session::Track,
    codec: Option<Codec>,
    ssrc: u32,
    report: Option<SenderInfo>,
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
            packet: Vec::new(),
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
                let fed = Fed { key, codec: None, ssrc: 0, report: None, track };
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
    pub fn handle_packet(&mut self, now: Time, sid: &str, codec: Codec, packet: &RtpPacket) {
        let Some(fed) = self.tracks.get_mut(sid) else { return };
        fed.ssrc = *packet.header.ssrc;
        if fed.codec != Some(codec) {
            fed.codec = Some(codec);
            let last_key = &mut self.last_key;
            let participant = *self.people.entry(fed.track.identity.clone()).or_insert_with(|| {
                *last_key += 1;
                ParticipantKey(*last_key)
            });
            if let Err(error) = add(&mut self.recording, now, fed, participant, codec) {
                tracing::warn!(name = fed.track.name, source = ?fed.track.source, "left out: {error}");
            }
        }
        if let Some(report) = packet.last_sender_info
            && fed.report != Some(report)
        {
            fed.report = Some(report);
            let since_epoch = report.ntp_time.duration_since(UNIX_EPOCH).unwrap_or_default();
            let timestamp = report.rtp_time.numer() as u32;
            self.recording.handle_sender_report(now, fed.key, NtpTime::from_unix(since_epoch), timestamp);
        }
        self.packet.clear();
        write(&mut self.packet, packet);
        self.recording.handle_rtp(now, fed.key, &self.packet);
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
                    if let Some(fed) = self.tracks.values().find(|fed| fed.key == track) {
                        return Some(fed.ssrc);
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
        self.tracks.values().filter(|fed| fed.codec.is_some()).count()
    }

    fn next_key(&mut self) -> u64 {
        self.last_key += 1;
        self.last_key
    }
}

fn add(
    recording: &mut Recording,
    now: Time,
    fed: &Fed,
    participant: ParticipantKey,
    codec: Codec,
) -> Result<(), AddTrackError> {
    let kind = match fed.track.source {
        Source::Microphone | Source::ScreenAudio => Kind::Voice { redundant: None },
        Source::Screen | Source::Camera => Kind::Screen { codec },
    };
    recording.add_track(now, fed.key, Track { participant, name: fed.track.name.clone(), kind })?;
    recording.set_muted(now, fed.key, fed.track.muted);
    Ok(())
}

/// Writes a packet without its header extensions.
fn write(out: &mut Vec<u8>, packet: &RtpPacket) {
    let header = &packet.header;
    out.reserve(HEADER_BYTES + packet.payload.len());
    out.push(0x80);
    out.push(u8::from(header.marker) << 7 | (*header.payload_type & 0x7f));
    out.extend_from_slice(&header.sequence_number.to_be_bytes());
    out.extend_from_slice(&header.timestamp.to_be_bytes());
    out.extend_from_slice(&(*header.ssrc).to_be_bytes());
    out.extend_from_slice(&packet.payload);
}
