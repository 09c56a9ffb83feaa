//! A recording: everything together, told what happens and what time it is.

mod pictures;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use sfu_core::engine::command::Codec;
use sfu_core::id::{Ssrc, TrackKey};
use sfu_core::media::rtp::Header;
use sfu_core::time::{NtpTime, Time};

use self::pictures::{Due, Pictures, Screen};
use crate::screen::{VideoCodec, black};
use crate::speakers::Speakers;
use crate::timeline::SenderClock;
use crate::voices::{FRAME, Mixdown, OpusError, Voice};
use crate::webm::{AudioTrack, Block, Header as FileHeader, Patch, TrackNumber, Writer};

/// What is mixed and encoded at a time.
const STEP: Duration = Duration::from_millis(20);
/// How long before it is due a voice's packet has to come at the latest: what the clocks' estimates may be wrong by.
const MARGIN: Duration = Duration::from_millis(150);
/// A picture may be later than that and is still shown, if not in time: a large one takes long on a narrow path.
const PICTURE_PATIENCE: Duration = Duration::from_secs(3);
/// How often black is repeated, in milliseconds, so that playing can begin anywhere in it. In VP8 it takes 14 kbit/s.
const BLACK_INTERVAL: u64 = 2000;
/// Events that wait at most. A caller that keeps the drain rule never has more than a few.
const MOST_EVENTS: usize = 256;
/// Voices that are heard out at most after their tracks ended, of those that still have something to be heard: more than an
/// SFU forwards at once. Who comes and goes more often than that a second is cut.
const MOST_LEAVING: usize = 64;

/// One person, whose tracks share a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParticipantKey(pub u64);

/// What a file is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The codec of the file's pictures; a file has one. `None` for sound alone.
    pub video: Option<VideoCodec>,
    /// How far the file is behind the call, so that what is sent again or takes long comes in time. What is missing when
    /// the recorder dies is this and a cluster. At least 0.2 s.
    pub delay: Duration,
    /// Of the sound, in bits a second.
    pub bitrate: u32,
    /// How often a shared screen's sender is asked for a keyframe: seeking goes to one, and decodes from there.
    pub keyframe_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            video: None,
            delay: Duration::from_millis(800),
            bitrate: 48_000,
            // A browser decodes so many seconds of a screen within one.
            keyframe_interval: Duration::from_secs(20),
        }
    }
}

/// A track to record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    pub participant: ParticipantKey,
    /// As people know its owner.
    pub name: String,
    pub kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Opus; with the payload type that means redundancy, if there is one.
    Voice {
        redundant: Option<u8>,
    },
    /// Opus that is nobody's speech: what a computer plays beside its screen.
    Sound,
    Screen {
        codec: Codec,
    },
}

/// libopus could not be set up: no recording.
#[derive(Debug, thiserror::Error)]
#[error("failed to begin a recording")]
pub struct OpenError(#[from] OpusError);

#[derive(Debug, thiserror::Error)]
pub enum AddTrackError {
    #[error("failed to decode a voice")]
    Voice(#[from] OpusError),
    /// Its pictures are left out; the sound goes on. H.264 and H.265 need an MP4 file, which is not written yet.
    #[error("a WebM file cannot have pictures of {0:?}")]
    NotForWebm(Codec),
    /// Its pictures are left out; the sound goes on.
    #[error("the file has pictures of {file:?}, not of {track:?}")]
    OtherCodec { track: VideoCodec, file: VideoCodec },
}

/// What the caller should know or do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Ask the track's sender for a keyframe (PLI).
    KeyframeWanted { track: TrackKey },
    /// From here on this screen is seen; `None`: black.
    Shown { track: Option<TrackKey> },
}

/// What became of what came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that were dropped at once: broken, doubled, of no known or no shown track, with absurd timestamps.
    pub dropped: u64,
    /// Packets of voices that came too late for their place.
    pub late: u64,
    /// Samples of voices made up for lost ones.
    pub concealed: u64,
    /// Pictures that were written, black ones apart.
    pub pictures: u64,
    /// Pictures that were left out because too many waited.
    pub pictures_left_out: u64,
    /// Entries that who spoke when lacks, because there were too many.
    pub speech_left_out: u64,
}

/// What is left when all bytes are out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    pub duration: Duration,
    /// What makes the file's duration and index known at its front. Without, it plays too.
    pub patches: Vec<Patch>,
    /// Who spoke when, as WebVTT.
    pub speakers: String,
    pub counters: Counters,
}

/// A recording that runs.
#[derive(Debug)]
pub struct Recording {
    options: Options,
    started: Time,
    clocks: BTreeMap<ParticipantKey, SenderClock>,
    voices: BTreeMap<TrackKey, VoiceTrack>,
    /// Voices of tracks that have ended, in that order, with what they said last still to be mixed.
    leaving: VecDeque<Leaving>,
    pictures: Option<Pictures>,
    mixdown: Mixdown,
    /// Frames that were mixed. The last of them is not written yet.
    mixed: u64,
    /// When black is next repeated, in milliseconds of the file, while it is seen.
    black_due: Option<u64>,
    /// Time of the last picture, in milliseconds of the file.
    last_picture: Option<u64>,
    writer: Writer,
    speakers: Speakers,
    events: VecDeque<Event>,
    counters: Counters,
}

#[derive(Debug)]
struct VoiceTrack {
    participant: ParticipantKey,
    /// Whose speech it is, as people know them. `None` for what is nobody's.
    speaker: Option<String>,
    ssrc: Option<Ssrc>,
    muted: bool,
    voice: Voice,
}

#[derive(Debug)]
struct Leaving {
    at: Time,
    key: TrackKey,
    voice: VoiceTrack,
}

impl Recording {
    /// Begins a file, whose time zero is `now`.
    pub fn new(options: Options, now: Time) -> Result<Self, OpenError> {
        let mixdown = Mixdown::new(options.bitrate)?;
        let writer = Writer::new(&FileHeader {
            video: options.video.map(black::track),
            audio: AudioTrack { pre_skip: mixdown.pre_skip() },
        });
        let delay = options.delay.max(Duration::from_millis(200));
        Ok(Self {
            pictures: options.video.map(|codec| Pictures::new(codec, now, options.keyframe_interval)),
            options: Options { delay, ..options },
            started: now,
            clocks: BTreeMap::new(),
            voices: BTreeMap::new(),
            leaving: VecDeque::new(),
            mixdown,
            mixed: 0,
            black_due: Some(0),
            last_picture: None,
            writer,
            speakers: Speakers::default(),
            events: VecDeque::new(),
            counters: Counters::default(),
        })
    }

    /// A track is recorded from now on. One of the same key is replaced.
    ///
    /// # Errors
    /// When the file cannot have it; nothing else is changed then. Screens are no error in a file of sound alone.
    pub fn add_track(&mut self, now: Time, key: TrackKey, track: Track) -> Result<(), AddTrackError> {
        self.remove_track(now, key);
        let Track { participant, name, kind } = track;
        match kind {
            Kind::Voice { .. } | Kind::Sound => {
                let (redundant, speaker) = match kind {
                    Kind::Voice { redundant } => (redundant, Some(name)),
                    _ => (None, None),
                };
                let voice = Voice::new(redundant, self.options.delay.saturating_sub(MARGIN))?;
                self.voices.insert(key, VoiceTrack { participant, speaker, ssrc: None, muted: false, voice });
            }
            Kind::Screen { codec } => {
                let Some(pictures) = &mut self.pictures else { return Ok(()) };
                let codec = VideoCodec::of(codec).ok_or(AddTrackError::NotForWebm(codec))?;
                if codec != pictures.codec() {
                    return Err(AddTrackError::OtherCodec { track: codec, file: pictures.codec() });
                }
                pictures.add(key, Screen::new(participant, codec, PICTURE_PATIENCE));
            }
        }
        self.clocks.entry(participant).or_default();
        Ok(())
    }

    /// A track has ended.
    pub fn remove_track(&mut self, now: Time, key: TrackKey) {
        match self.voices.remove(&key) {
            Some(voice) if voice.voice.has_more() => {
                if self.leaving.len() >= MOST_LEAVING {
                    self.leaving.pop_front();
                }
                self.leaving.push_back(Leaving { at: now, key, voice });
            }
            Some(_) => self.speakers.handle_end(key),
            None => (),
        }
        if let Some(pictures) = &mut self.pictures {
            pictures.remove(now, key);
        }
        self.forget_clocks();
        self.gather_events();
    }

    /// A track is muted or heard again. What has come until then is recorded, what comes of a muted track is not.
    pub fn set_muted(&mut self, now: Time, key: TrackKey, muted: bool) {
        if let Some(track) = self.voices.get_mut(&key) {
            track.muted = muted;
        }
        if let Some(pictures) = &mut self.pictures {
            pictures.set_muted(now, key, muted);
        }
        self.gather_events();
    }

    /// Takes in a packet of a track's media, decrypted. Retransmissions come as the packets they repeat.
    pub fn handle_rtp(&mut self, now: Time, key: TrackKey, packet: &[u8]) {
        match Header::parse(packet) {
            Some(header) => self.handle_packet(now, key, &header, header.payload.of(packet)),
            None => self.counters.dropped += 1,
        }
    }

    /// The same of a packet that is taken apart already.
    pub fn handle_packet(&mut self, now: Time, key: TrackKey, header: &Header, payload: &[u8]) {
        if !self.take(now, key, header, payload) {
            self.counters.dropped += 1;
        }
        self.gather_events();
    }

    /// Takes in what a sender report says of a track's stream.
    pub fn handle_sender_report(&mut self, now: Time, key: TrackKey, ntp: NtpTime, timestamp: u32) {
        if let Some(track) = self.voices.get_mut(&key) {
            if let Some(clock) = self.clocks.get_mut(&track.participant) {
                track.voice.handle_report(clock, now, ntp, timestamp);
            }
        } else if let Some(screen) = self.pictures.as_mut().and_then(|pictures| pictures.get_mut(key))
            && let Some(clock) = self.clocks.get_mut(&screen.participant())
        {
            screen.handle_report(clock, now, ntp, timestamp);
        }
    }

    /// Time passes: what is due is mixed and written. Wants to be called every 20 ms; more seldom, the file is more behind.
    pub fn advance(&mut self, now: Time) {
        self.collect_pictures(now);
        let due = now.since(self.started).saturating_sub(self.options.delay);
        while STEP * (self.mixed as u32 + 1) <= due {
            self.step(now);
        }
        self.gather_events();
    }

    /// The next bytes of the file.
    pub fn poll_output(&mut self) -> Option<Vec<u8>> {
        self.writer.poll_output()
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Ends the file: what has come until now is in it. Afterwards its last bytes are put out.
    pub fn finish(&mut self, now: Time) -> Finished {
        self.collect_pictures(now);
        let passed = now.since(self.started);
        while STEP * (self.mixed as u32 + 1) <= passed || self.mixed == 0 {
            self.step(now);
        }
        if let Some(packet) = self.mixdown.finish() {
            self.write(self.mixed - 1, &packet);
        }
        let duration = STEP * self.mixed as u32;
        let patches = self.writer.finish(duration);
        let spoken = std::mem::take(&mut self.speakers).write();
        self.counters.speech_left_out = spoken.left_out;
        Finished { duration, patches, speakers: spoken.text, counters: self.counters }
    }

    fn forget_clocks(&mut self) {
        let screens = self.pictures.iter().flat_map(Pictures::participants);
        let leaving = self.leaving.iter().map(|leaving| leaving.voice.participant);
        let present: BTreeSet<ParticipantKey> =
            self.voices.values().map(|voice| voice.participant).chain(leaving).chain(screens).collect();
        self.clocks.retain(|participant, _| present.contains(participant));
    }

    /// Returns whether the packet is of use.
    fn take(&mut self, now: Time, key: TrackKey, header: &Header, payload: &[u8]) -> bool {
        if let Some(track) = self.voices.get_mut(&key) {
            if track.ssrc.replace(header.ssrc).is_some_and(|before| before != header.ssrc) {
                track.voice.begin_anew();
            }
            return !track.muted && track.voice.handle_rtp(now, header, payload);
        }
        let Some(pictures) = &mut self.pictures else { return false };
        let is_of_use = pictures.handle_rtp(now, key, header, payload);
        if header.marker {
            self.collect_pictures(now);
        }
        is_of_use
    }

    fn collect_pictures(&mut self, now: Time) {
        if let Some(pictures) = &mut self.pictures {
            self.counters.pictures_left_out += pictures.collect(now, &self.clocks);
        }
    }

    fn gather_events(&mut self) {
        let Some(pictures) = &mut self.pictures else { return };
        while let Some(event) = pictures.poll_event() {
            if self.events.len() < MOST_EVENTS {
                self.events.push_back(event);
            }
        }
    }

    /// Mixes the next 20 ms, and writes those before it.
    fn step(&mut self, now: Time) {
        let mut sum = [0.0; FRAME];
        let start = self.mixed as i64 * FRAME as i64;
        let time = STEP * (self.mixed as u32 + 1);
        let leaving = self.leaving.iter_mut().map(|leaving| (&leaving.key, &mut leaving.voice));
        for (key, track) in self.voices.iter_mut().chain(leaving) {
            let Some(clock) = self.clocks.get(&track.participant) else { continue };
            let heard = track.voice.mix(now, clock, self.started, start, &mut sum);
            self.counters.late += u64::from(heard.late);
            self.counters.concealed += u64::from(heard.concealed);
            if let Some(speaker) = &track.speaker {
                self.speakers.handle_voice(*key, speaker, time, heard.power);
            }
        }
        if let Some(packet) = self.mixdown.push(&sum) {
            self.write(self.mixed - 1, &packet);
        }
        self.mixed += 1;
        let heard_until = self.started + time;
        while self.leaving.front().is_some_and(|leaving| leaving.at <= heard_until) {
            if let Some(Leaving { key, .. }) = self.leaving.pop_front()
                && !self.voices.contains_key(&key)
            {
                self.speakers.handle_end(key);
            }
            self.forget_clocks();
        }
    }

    /// Writes the pictures that are due before a frame of sound, and the frame.
    fn write(&mut self, frame: u64, packet: &[u8]) {
        let now = frame * STEP.as_millis() as u64;
        while let Some((at, due)) = self.pictures.as_mut().and_then(|pictures| pictures.take_due(now)) {
            // One that came too late is shown as soon as it can be.
            let earliest =
                self.last_picture.map_or(0, |last| last + 1).max(now.saturating_sub(STEP.as_millis() as u64));
            match due {
                Due::Black => self.black_due = Some(at.max(earliest)),
                Due::Frame(picture) => {
                    self.black_due = None;
                    self.counters.pictures += 1;
                    self.write_picture(at.max(earliest), picture.keyframe, &picture.data);
                }
            }
        }
        if let Some(codec) = self.options.video
            && self.black_due.is_some_and(|due| due <= now)
        {
            self.black_due = Some(now + BLACK_INTERVAL);
            self.write_picture(now, true, black::keyframe(codec));
        }
        let time = Duration::from_millis(now);
        self.writer.write(Block { track: TrackNumber::Audio, time, keyframe: true, data: packet });
    }

    fn write_picture(&mut self, at: u64, keyframe: bool, data: &[u8]) {
        self.last_picture = Some(at);
        self.writer.write(Block { track: TrackNumber::Video, time: Duration::from_millis(at), keyframe, data });
    }
}
