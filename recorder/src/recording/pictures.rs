//! Which of the shared screens is seen, and when each of its pictures is.
//!
//! The latest share wins, as soon as it has a keyframe; until then the one before it is seen on. When the one that is seen
//! ends, the picture is black until another has a keyframe.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use sfu_core::id::{Ssrc, TrackKey};
use sfu_core::media::rtp::Header;
use sfu_core::time::{NtpTime, Time};

use super::{Event, ParticipantKey};
use crate::screen::{Assembler, Picture, RATE, Received, VideoCodec};
use crate::timeline::{SenderClock, Stream};

/// How long an answer to a request for a keyframe is waited for. Each costs the sender a full frame.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Pictures and bytes that wait to be written at most: they wait for less than a second.
const MOST_WAITING: usize = 512;
const MOST_BYTES: usize = 16 << 20;

/// A shared screen.
#[derive(Debug)]
pub struct Screen {
    participant: ParticipantKey,
    ssrc: Option<Ssrc>,
    muted: bool,
    patience: Duration,
    stream: Stream,
    assembler: Assembler,
    /// Greater than that of screens shared before.
    turn: u64,
    asked: Option<Time>,
    last_keyframe: Option<Time>,
}

/// What is to be seen.
#[derive(Debug)]
pub enum Due {
    Black,
    Frame(Picture),
}

/// All shared screens.
#[derive(Debug)]
pub struct Pictures {
    codec: VideoCodec,
    started: Time,
    keyframe_interval: Duration,
    screens: BTreeMap<TrackKey, Screen>,
    turns: u64,
    shown: Option<TrackKey>,
    /// By time, in milliseconds of the file.
    waiting: VecDeque<(u64, Due)>,
    bytes: usize,
    last: Option<u64>,
    events: VecDeque<Event>,
}

impl Screen {
    pub fn new(participant: ParticipantKey, codec: VideoCodec, patience: Duration) -> Self {
        Self {
            participant,
            ssrc: None,
            muted: false,
            patience,
            stream: Stream::new(RATE, patience),
            assembler: Assembler::new(codec),
            turn: 0,
            asked: None,
            last_keyframe: None,
        }
    }

    pub const fn participant(&self) -> ParticipantKey {
        self.participant
    }

    pub fn handle_report(&mut self, clock: &mut SenderClock, now: Time, ntp: NtpTime, timestamp: u32) {
        self.stream.handle_report(clock, now, ntp, timestamp);
    }

    fn handle_rtp(&mut self, now: Time, header: &Header, payload: &[u8]) -> bool {
        if self.ssrc.replace(header.ssrc).is_some_and(|before| before != header.ssrc) {
            self.stream = Stream::new(RATE, self.patience);
            self.assembler.begin_anew();
        }
        let Some(timestamp) = self.stream.handle_packet(now, header.timestamp) else { return false };
        self.assembler.handle_rtp(Received { at: now, timestamp }, header, payload)
    }

    /// Whether its sender should be asked for a keyframe now.
    fn wants_keyframe(&self, now: Time, interval: Duration) -> bool {
        let is_old = self.last_keyframe.is_none_or(|last| now.since(last) >= interval);
        // Another one behind a large one would only make the way longer.
        let may_ask =
            self.asked.is_none_or(|asked| now.since(asked) >= ASK_AGAIN) && !self.assembler.has_begun_keyframe();
        self.ssrc.is_some() && may_ask && (self.assembler.needs_keyframe() || is_old)
    }
}

impl Pictures {
    pub const fn new(codec: VideoCodec, started: Time, keyframe_interval: Duration) -> Self {
        Self {
            codec,
            started,
            keyframe_interval,
            screens: BTreeMap::new(),
            turns: 0,
            shown: None,
            waiting: VecDeque::new(),
            bytes: 0,
            last: None,
            events: VecDeque::new(),
        }
    }

    pub const fn codec(&self) -> VideoCodec {
        self.codec
    }

    pub fn get_mut(&mut self, key: TrackKey) -> Option<&mut Screen> {
        self.screens.get_mut(&key)
    }

    pub fn participants(&self) -> impl Iterator<Item = ParticipantKey> {
        self.screens.values().map(Screen::participant)
    }

    pub fn add(&mut self, key: TrackKey, screen: Screen) {
        self.turns += 1;
        self.screens.insert(key, Screen { turn: self.turns, ..screen });
    }

    /// The screen is shared no more.
    pub fn remove(&mut self, now: Time, key: TrackKey) {
        if self.screens.remove(&key).is_some() {
            self.hide(now, key);
        }
    }

    /// A screen that is no longer muted is the latest share.
    pub fn set_muted(&mut self, now: Time, key: TrackKey, muted: bool) {
        let turn = self.turns + 1;
        let Some(screen) = self.screens.get_mut(&key) else { return };
        if screen.muted == muted {
            return;
        }
        (screen.muted, screen.turn) = (muted, turn);
        self.turns = turn;
        screen.assembler.begin_anew();
        if muted {
            self.hide(now, key);
        }
    }

    /// Takes in a packet. Returns whether it is of use.
    pub fn handle_rtp(&mut self, now: Time, key: TrackKey, header: &Header, payload: &[u8]) -> bool {
        if self.shown != Some(key) && self.latest() != Some(key) {
            return false;
        }
        self.screens.get_mut(&key).is_some_and(|screen| screen.handle_rtp(now, header, payload))
    }

    /// Takes the frames that are whole, and asks for keyframes. Returns how many frames were left out.
    pub fn collect(&mut self, now: Time, clocks: &BTreeMap<ParticipantKey, SenderClock>) -> u64 {
        let mut left_out = 0;
        let latest = self.latest();
        for key in self.shown.into_iter().chain(latest.filter(|latest| self.shown != Some(*latest))) {
            left_out += self.collect_from(key, now, clocks);
        }
        left_out
    }

    /// What is to be seen at a moment of the file, in milliseconds; the oldest first.
    pub fn take_due(&mut self, now: u64) -> Option<(u64, Due)> {
        self.waiting.front().filter(|(at, _)| *at <= now)?;
        let (at, due) = self.waiting.pop_front()?;
        if let Due::Frame(picture) = &due {
            self.bytes -= picture.data.len();
        }
        Some((at, due))
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn latest(&self) -> Option<TrackKey> {
        let candidates = self.screens.iter().filter(|(_, screen)| !screen.muted);
        candidates.max_by_key(|(_, screen)| screen.turn).map(|(key, _)| *key)
    }

    fn collect_from(&mut self, key: TrackKey, now: Time, clocks: &BTreeMap<ParticipantKey, SenderClock>) -> u64 {
        let mut left_out = 0;
        while let Some(screen) = self.screens.get_mut(&key)
            && let Some(frame) = screen.assembler.poll(now)
        {
            let Some(clock) = clocks.get(&screen.participant) else { break };
            let Some(captured) = screen.stream.captured(clock, now, frame.timestamp) else { break };
            if frame.picture.keyframe {
                (screen.last_keyframe, screen.asked) = (Some(now), None);
            }
            if self.waiting.len() >= MOST_WAITING || self.bytes + frame.picture.data.len() > MOST_BYTES {
                screen.assembler.begin_anew();
                left_out += 1;
                continue;
            }
            let since_start = captured - self.started.as_micros() as i64;
            let at = u64::try_from(since_start / 1000).unwrap_or(0);
            if self.shown != Some(key) {
                self.show(key);
            }
            self.bytes += frame.picture.data.len();
            self.push(at, Due::Frame(frame.picture));
        }
        let interval = self.keyframe_interval;
        if let Some(screen) = self.screens.get_mut(&key)
            && screen.wants_keyframe(now, interval)
        {
            screen.asked = Some(now);
            self.events.push_back(Event::KeyframeWanted { track: key });
        }
        left_out
    }

    /// A screen's first frame, a keyframe, has come.
    fn show(&mut self, key: TrackKey) {
        if let Some(before) = self.shown.replace(key).and_then(|before| self.screens.get_mut(&before)) {
            before.assembler.begin_anew();
        }
        self.events.push_back(Event::Shown { track: Some(key) });
    }

    fn hide(&mut self, now: Time, key: TrackKey) {
        if self.shown == Some(key) {
            self.shown = None;
            self.events.push_back(Event::Shown { track: None });
            self.push(now.since(self.started).as_millis() as u64, Due::Black);
        }
    }

    fn push(&mut self, at: u64, due: Due) {
        let at = self.last.map_or(at, |last| at.max(last + 1));
        self.last = Some(at);
        self.waiting.push_back((at, due));
    }
}
