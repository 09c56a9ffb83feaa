//! People who talk and share screens over networks, and a recording of them. Time is virtual.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use calls_recorder::{
    Codec, Event, Finished, Kind, NtpTime, Options, ParticipantKey, Recording, Time, Track, TrackKey,
};
use opusic_c::{Application, Channels, Encoder, SampleRate};
use rtc_rtp::codec::av1::Av1Payloader;
use rtc_rtp::codec::vp8::Vp8Payloader;
use rtc_rtp::codec::vp9::Vp9Payloader;
use rtc_rtp::packetizer::Payloader;
use sfu_core::id::Ssrc;
use sfu_core::media::red;
use sfu_core::media::rtp::write_header;

use crate::file::File;

/// When recordings begin, on our clock: not at its origin.
pub const ORIGIN: Time = Time::from_millis(5_000_000);
pub const VOICE_RATE: u32 = 48_000;
pub const SCREEN_RATE: u32 = 90_000;
const STEP: f64 = 0.01;

/// Chances that are the same in every run.
#[derive(Debug, Clone)]
pub struct Chance(pub u64);

impl Chance {
    pub fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Between 0 and 1.
    pub fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// What a network does to packets.
#[derive(Debug, Clone, Copy)]
pub struct Path {
    /// In seconds.
    pub delay: f64,
    pub jitter: f64,
    /// Part of the packets.
    pub loss: f64,
}

pub const CLEAN: Path = Path { delay: 0.03, jitter: 0.0, loss: 0.0 };

/// What a person sends of one track.
pub struct Sender {
    pub key: TrackKey,
    pub participant: ParticipantKey,
    pub kind: Kind,
    pub path: Path,
    /// Bytes that fit through it in a second, and until when, in seconds, it is busy.
    pub width: f64,
    pub busy_until: f64,
    /// When it begins and ends, in seconds of the recording.
    pub from: f64,
    pub until: f64,
    /// How much faster than real time the device's clock runs, in millionths.
    pub ppm: f64,
    /// How far the person's wall clock is ahead, in seconds.
    pub wall: f64,
    pub reports: bool,
    /// Packets of 20 ms of sound, or pictures; again and again. Empty ones are not sent, and have no number.
    pub units: Vec<Bytes>,
    /// Seconds from unit to unit.
    pub period: f64,
    /// Between capture and sending.
    pub work: f64,
    pub redundancy: bool,
    /// Every so many packets, one is lost.
    pub loses_every: u64,
    pub payloader: Option<Box<dyn Payloader>>,
    pub n_sent: u64,
    pub next_report: f64,
    pub sequence: u16,
}

pub const OPUS: u8 = 111;
pub const RED: u8 = 63;

impl Sender {
    pub fn voice(key: u64, units: Vec<Bytes>) -> Self {
        Self {
            key: TrackKey(key),
            participant: ParticipantKey(key),
            kind: Kind::Voice { redundant: Some(RED) },
            path: CLEAN,
            width: f64::INFINITY,
            busy_until: 0.0,
            from: 0.0,
            until: f64::MAX,
            ppm: 0.0,
            wall: 17.0 * key as f64,
            reports: true,
            units,
            period: 0.02,
            work: 0.02,
            redundancy: false,
            loses_every: u64::MAX,
            payloader: None,
            n_sent: 0,
            next_report: 0.3,
            sequence: 65_500,
        }
    }

    pub fn screen(key: u64, codec: Codec, units: Vec<Bytes>) -> Self {
        let payloader: Box<dyn Payloader> = match codec {
            Codec::Vp8 => {
                let mut payloader = Vp8Payloader::default();
                payloader.enable_picture_id = true;
                Box::new(payloader)
            }
            Codec::Vp9 => Box::new(Vp9Payloader::default()),
            _ => Box::new(Av1Payloader::default()),
        };
        let voice = Self::voice(key, units);
        Self {
            kind: Kind::Screen { codec },
            period: 0.1,
            work: 0.03,
            payloader: Some(payloader),
            next_report: 0.7,
            ..voice
        }
    }

    const fn rate(&self) -> u32 {
        if self.payloader.is_some() { SCREEN_RATE } else { VOICE_RATE }
    }

    fn timestamp(&self, device: f64) -> u32 {
        let first = 0xffff_0000_u32;
        first.wrapping_add((device * f64::from(self.rate())).round() as i64 as u32)
    }

    /// Real time at which the device's clock, which begins with the track, says so.
    fn real(&self, device: f64) -> f64 {
        self.from + device / (1.0 + self.ppm * 1e-6)
    }

    fn packet(&mut self, marker: bool, timestamp: u32, payload_type: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        self.sequence = self.sequence.wrapping_add(1);
        write_header(&mut packet, payload_type, marker, self.sequence, timestamp, Ssrc(self.key.0 as u32));
        packet.extend_from_slice(payload);
        packet
    }

    /// The packets of a unit.
    fn packets(&mut self, at: u64) -> Vec<Vec<u8>> {
        let unit = |at: u64| &self.units[at as usize % self.units.len()];
        let data = unit(at).clone();
        if data.is_empty() {
            return Vec::new();
        }
        let timestamp = self.timestamp(at as f64 * self.period);
        if let Some(payloader) = &mut self.payloader {
            let payloads = payloader.payload(1100, &data).expect("a frame");
            let last = payloads.len() - 1;
            return payloads
                .iter()
                .enumerate()
                .map(|(at, payload)| self.packet(at == last, timestamp, 96, payload))
                .collect();
        }
        if self.redundancy && at > 0 {
            let earlier = unit(at - 1).clone();
            let mut payload = Vec::new();
            red::write(
                &mut payload,
                [red::Earlier { payload_type: OPUS, age: 960, data: &earlier }].into_iter(),
                (OPUS, &data),
            );
            return vec![self.packet(false, timestamp, RED, &payload)];
        }
        vec![self.packet(false, timestamp, OPUS, &data)]
    }
}

enum Arrival {
    Packet(TrackKey, Vec<u8>),
    Report(TrackKey, NtpTime, u32),
}

/// A recording, and those who are recorded.
pub struct World {
    pub recording: Recording,
    pub senders: Vec<Sender>,
    pub events: Vec<(f64, Event)>,
    pub bytes: Vec<u8>,
    pub chance: Chance,
    /// In seconds since the recording began.
    pub now: f64,
    /// CPU time that the recording took for what it was told.
    pub busy: Duration,
    arrivals: BTreeMap<(u64, u64), Arrival>,
    n_arrivals: u64,
}

pub fn time(seconds: f64) -> Time {
    ORIGIN + Duration::from_micros((seconds * 1e6).round() as u64)
}

/// CPU time of this thread so far, whatever else the machine does.
fn on_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    Duration::from_nanos(text.split(' ').next().and_then(|first| first.parse().ok()).expect("a number"))
}

impl World {
    pub fn new(options: Options) -> Self {
        Self {
            recording: Recording::new(options, ORIGIN).expect("begun"),
            senders: Vec::new(),
            events: Vec::new(),
            bytes: Vec::new(),
            chance: Chance(7),
            now: 0.0,
            busy: Duration::ZERO,
            arrivals: BTreeMap::new(),
            n_arrivals: 0,
        }
    }

    /// Somebody publishes a track now.
    pub fn join(&mut self, sender: Sender) {
        let name = format!("Person {}", sender.participant.0);
        let track = Track { participant: sender.participant, name, kind: sender.kind };
        self.recording.add_track(time(self.now), sender.key, track).expect("added");
        let from = self.now.max(sender.from);
        let next_report = from + sender.next_report;
        self.senders.push(Sender { from, next_report, ..sender });
    }

    pub fn leave(&mut self, key: u64) {
        self.recording.remove_track(time(self.now), TrackKey(key));
        self.senders.retain(|sender| sender.key != TrackKey(key));
    }

    /// Lets time pass.
    pub fn run_until(&mut self, end: f64) {
        while self.now < end - STEP / 2.0 {
            self.send();
            self.now += STEP;
            let now = time(self.now);
            let began = on_cpu();
            while let Some(entry) = self.arrivals.first_entry()
                && entry.key().0 <= now.as_micros()
            {
                let at = Time::from_micros(entry.key().0);
                match entry.remove() {
                    Arrival::Packet(key, packet) => self.recording.handle_rtp(at, key, &packet),
                    Arrival::Report(key, ntp, timestamp) => {
                        self.recording.handle_sender_report(at, key, ntp, timestamp);
                    }
                }
            }
            self.recording.advance(now);
            self.busy += on_cpu().saturating_sub(began);
            self.drain();
        }
    }

    /// Ends the recording: the file and what goes with it.
    pub fn finish(mut self, name: &str) -> (File, Finished) {
        let finished = self.recording.finish(time(self.now));
        self.drain();
        for patch in &finished.patches {
            let offset = patch.offset as usize;
            self.bytes[offset..offset + patch.bytes.len()].copy_from_slice(&patch.bytes);
        }
        (File::new(name, self.bytes), finished)
    }

    fn drain(&mut self) {
        while let Some(bytes) = self.recording.poll_output() {
            self.bytes.extend(bytes);
        }
        while let Some(event) = self.recording.poll_event() {
            self.events.push((self.now, event));
        }
    }

    fn send(&mut self) {
        let mut senders = std::mem::take(&mut self.senders);
        for sender in &mut senders {
            loop {
                let real = sender.real(sender.n_sent as f64 * sender.period);
                let sent = real + sender.work;
                if sent > self.now + STEP || real >= sender.until {
                    break;
                }
                let is_lost = sender.n_sent % sender.loses_every == sender.loses_every - 1;
                for packet in sender.packets(sender.n_sent).into_iter().filter(|_| !is_lost) {
                    sender.busy_until = sender.busy_until.max(sent) + packet.len() as f64 / sender.width;
                    self.deliver(sender.busy_until, sender.path, Arrival::Packet(sender.key, packet));
                }
                sender.n_sent += 1;
            }
            if sender.reports && sender.next_report <= self.now && sender.next_report < sender.until {
                let at = sender.next_report;
                let ntp = NtpTime::from_unix(Duration::from_secs_f64(1.7e9 + sender.wall + at));
                let timestamp = sender.timestamp((at - sender.from) * (1.0 + sender.ppm * 1e-6));
                self.deliver(at, sender.path, Arrival::Report(sender.key, ntp, timestamp));
                sender.next_report += 2.0;
            }
        }
        self.senders = senders;
    }

    fn deliver(&mut self, sent: f64, path: Path, arrival: Arrival) {
        if self.chance.part() < path.loss {
            return;
        }
        let at = time(sent + path.delay + path.jitter * self.chance.part());
        self.n_arrivals += 1;
        self.arrivals.insert((at.as_micros(), self.n_arrivals), arrival);
    }
}

/// Encodes what `sound` gives for each second, in packets of 20 ms. With what repairs one lost packet, if the network is
/// known to lose some.
pub fn encode(seconds: f64, lossy: bool, sound: impl Fn(f64) -> f64) -> Vec<Bytes> {
    // What repairs a packet is of voices only.
    let application = if lossy { Application::Voip } else { Application::Audio };
    let mut encoder = Encoder::new(Channels::Mono, SampleRate::Hz48000, application).expect("an encoder");
    encoder.set_bitrate(opusic_c::Bitrate::Value(32_000)).expect("set");
    encoder.set_complexity(3).expect("set");
    if lossy {
        encoder.set_inband_fec(opusic_c::InbandFec::Mode1).expect("set");
        encoder.set_packet_loss(20).expect("set");
    }
    let delay = f64::from(encoder.get_look_ahead().expect("known"));
    let n_packets = (seconds * 50.0).round() as usize;
    let packet = |at: usize| {
        // What the encoder delays, it is given early.
        let sample = |n: usize| sound(((at * 960 + n) as f64 + delay) / 48_000.0) as f32;
        let samples: Vec<f32> = (0..960).map(sample).collect();
        let mut out = vec![0; 1275];
        let length = encoder.encode_float_to_slice(&samples, &mut out).expect("encoded");
        out.truncate(length);
        Bytes::from(out)
    };
    (0..n_packets).map(packet).collect()
}

/// A tone that never ends: periods fit into a second.
pub fn tone(hertz: f64, loudness: f64) -> Vec<Bytes> {
    encode(1.0, false, |at| loudness * (std::f64::consts::TAU * hertz * at).sin())
}

/// A second of silence, a beep of 100 ms, and silence until two seconds are over.
pub fn beeps() -> Vec<Bytes> {
    encode(2.0, true, |at| {
        let beep = if (1.0..1.1).contains(&at) { 0.5 } else { 0.0 };
        beep * (std::f64::consts::TAU * 1000.0 * at).sin()
    })
}

/// Two seconds of black with a white picture after the first, ten pictures a second, the first of which is a keyframe.
pub fn flashes(codec: Codec) -> Vec<Bytes> {
    let flash = "color=black:size=160x90:rate=10:duration=2,drawbox=color=white:t=fill:enable='between(t,0.95,1.05)'";
    pictures(codec, flash)
}

/// Pictures that ffmpeg makes, encoded as browsers do: without looking ahead, one keyframe.
pub fn pictures(codec: Codec, source: &str) -> Vec<Bytes> {
    let encoder: &[&str] = match codec {
        Codec::Vp8 => &["libvpx", "-deadline", "realtime", "-cpu-used", "8"],
        Codec::Vp9 => &["libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"],
        _ => &["libaom-av1", "-usage", "realtime", "-cpu-used", "8"],
    };
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", "-c:v"])
        .args(encoder)
        .args(["-lag-in-frames", "0", "-auto-alt-ref", "0", "-b:v", "500k", "-g", "999", "-f", "ivf", "-"])
        .stdin(Stdio::null())
        .output()
        .expect("ffmpeg, a Debian package");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // IVF: a header of 32 bytes; 12 bytes before each frame, the first four its length.
    let mut frames = Vec::new();
    let mut rest = &output.stdout[32..];
    while let Some((header, after)) = rest.split_at_checked(12) {
        let length = u32::from_le_bytes(header[..4].try_into().expect("four")) as usize;
        frames.push(Bytes::copy_from_slice(&after[..length]));
        rest = &after[length..];
    }
    frames
}
