//! A simulated browser: publishes, answers NACK and PLI; receives, asks for what is lost, remembers everything.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use sfu_core::engine::path::Path;
use sfu_core::id::Ssrc;
use sfu_core::media::extension::{Kind, Located};
use sfu_core::media::nack::NackGenerator;
use sfu_core::media::rtcp::{self, Packet, Packets, ReportBlock, SenderInfo};
use sfu_core::media::rtp::{ExtensionForm, ExtensionWriter, Header, write_header};
use sfu_core::media::sequence::nearest;
use sfu_core::media::twcc::FeedbackGenerator;
use sfu_core::media::{red, rtx};
use sfu_core::time::{NtpTime, Time};
use sfu_core::transport::DtlsRole;
use sfu_core::transport::ice::IceCredentials;
use sfu_core::transport::srtp::{Opener, OutboundStream, Profile, Sealer, SrtpKeys};

use crate::encoder::Encoder;
pub use crate::payloads::{AV1, VP8, VP9};
use crate::payloads::{Head, PICTURES, Place};
use crate::world::{EXTENSIONS, RECEIVER_EXTENSIONS};

pub const OPUS: u8 = 111;
pub const RED: u8 = 63;

/// The clients' wall clock at the origin of time: an hour other than the server's, as clocks are.
const CLOCK: NtpTime = NtpTime::from_bits(0xe000_0000_0000_0000);

#[derive(Debug)]
pub struct Client {
    pub path: Path,
    pub ice: IceCredentials,
    pub sealer: Sealer,
    pub opener: Opener,
    pub senders: Vec<Sender>,
    pub received: BTreeMap<Ssrc, Received>,
    /// Retransmission SSRC and the media it repairs.
    pub repairs: BTreeMap<Ssrc, Ssrc>,
    /// Whether lost packets are asked for.
    pub nacks: bool,
    pub transport_sequence: u16,
    /// Sender reports received, by SSRC: NTP time, timestamp, arrival.
    pub sender_reports: BTreeMap<Ssrc, Vec<(NtpTime, u32, Time)>>,
    /// Blocks about what this client sends.
    pub blocks: Vec<ReportBlock>,
    pub plis: Vec<(Time, Ssrc)>,
    pub nacked: u64,
    pub transport_feedback: u64,
    /// Arrivals to give transport-wide feedback of, if it gives any.
    pub arrivals: Option<FeedbackGenerator>,
    /// Empty packets received.
    pub padding: u64,
    pub answers: u64,
}

/// A stream this client sends: one layer of a track.
#[derive(Debug)]
pub struct Sender {
    pub ssrc: Ssrc,
    pub rtx: Option<Ssrc>,
    pub payload_type: u8,
    pub mid: &'static str,
    pub rid: Option<&'static str>,
    /// Frames are this far apart.
    pub period: Duration,
    pub packets_per_frame: u8,
    /// The same of a keyframe, if it is another number.
    pub packets_per_keyframe: Option<u8>,
    /// Bytes in a packet beside what every packet carries.
    pub filling: usize,
    pub next_frame: Time,
    pub index: u64,
    pub rtx_index: u64,
    /// What its timestamps begin with.
    pub timestamp: u32,
    pub clock_rate: u32,
    pub frame: u64,
    pub picture_id: u16,
    pub keyframe_wanted: bool,
    pub keyframes: u64,
    pub active: bool,
    pub level: u8,
    /// Payloads are redundant audio: so many frames before go along with each.
    pub redundancy: usize,
    /// Those frames, with their timestamps.
    past: VecDeque<(u32, Vec<u8>)>,
    /// What it says is nothing (DTX).
    pub silent: bool,
    /// Packets tell when they were captured: the number of the frame stands for it.
    pub tells_capture: bool,
    /// What it sends has layers.
    pub encoder: Option<Encoder>,
    /// The dependency descriptor of the packet being sent.
    descriptor: Vec<u8>,
    stream: OutboundStream,
    rtx_stream: Option<OutboundStream>,
    sent: BTreeMap<u64, Sent>,
}

#[derive(Debug)]
struct Sent {
    plain: Vec<u8>,
    sealed: Vec<u8>,
}

/// What arrived on one SSRC.
#[derive(Debug, Default)]
pub struct Received {
    pub packets: BTreeMap<u64, Arrived>,
    pub nack: NackGenerator,
    pub retransmitted: u64,
}

/// A packet that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    pub at: Time,
    pub timestamp: u32,
    pub marker: bool,
    pub payload_type: u8,
    pub mid: Option<String>,
    pub level: Option<u8>,
    pub descriptor: Vec<u8>,
    /// Contents that came along as redundancy, with how much earlier they are.
    pub earlier: Vec<(u32, Content)>,
    /// The absolute capture time.
    pub capture: Vec<u8>,
    pub picture_id: Option<u16>,
    pub base_index: Option<u8>,
    pub keyframe: bool,
    /// Where it came from and what it is there.
    pub content: Option<Content>,
}

/// What each simulated packet carries: enough to see where it came from and whether it is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Content {
    pub ssrc: Ssrc,
    pub frame: u64,
    pub part: u8,
}

/// Length of a content on the wire; more of the same may follow it, as far as this tells it from redundant audio.
const CONTENT: usize = 53;
const LARGE: usize = 200;

/// What a content is filled up with.
const FILL: u8 = 0x5a;

impl Content {
    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.ssrc.0.to_be_bytes());
        out.extend_from_slice(&self.frame.to_be_bytes());
        out.push(self.part);
        out.extend_from_slice(&[FILL; 40]);
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (head, fill) = bytes.split_at_checked(13)?;
        assert!(fill.iter().all(|byte| *byte == FILL), "the payload arrived damaged");
        Some(Self {
            ssrc: Ssrc(u32::from_be_bytes(head[..4].try_into().ok()?)),
            frame: u64::from_be_bytes(head[4..12].try_into().ok()?),
            part: head[12],
        })
    }
}

/// Keys of a transport as both ends have them.
pub fn keys(number: u64, profile: Profile, role: DtlsRole) -> SrtpKeys {
    let material: Vec<u8> = (0..profile.keying_material_len()).map(|at| (at as u64 * 7 + number * 31) as u8).collect();
    SrtpKeys::from_keying_material(profile, &material, role).expect("as long as the profile wants it")
}

impl Client {
    pub fn new(number: u64, profile: Profile, path: Path, ice: IceCredentials) -> Self {
        let keys = keys(number, profile, DtlsRole::Client);
        Self {
            path,
            ice,
            sealer: Sealer::new(keys.local).expect("valid keys"),
            opener: Opener::new(keys.remote).expect("valid keys"),
            senders: Vec::new(),
            received: BTreeMap::new(),
            repairs: BTreeMap::new(),
            nacks: true,
            transport_sequence: 65_000,
            sender_reports: BTreeMap::new(),
            blocks: Vec::new(),
            plis: Vec::new(),
            nacked: 0,
            transport_feedback: 0,
            arrivals: None,
            padding: 0,
            answers: 0,
        }
    }

    pub fn add_sender(&mut self, mut sender: Sender) {
        sender.stream = self.sealer.open_stream(sender.ssrc).expect("few streams");
        sender.rtx_stream = sender.rtx.map(|ssrc| self.sealer.open_stream(ssrc).expect("few streams"));
        self.senders.push(sender);
    }

    pub fn sender(&mut self, ssrc: Ssrc) -> &mut Sender {
        self.senders.iter_mut().find(|sender| sender.ssrc == ssrc).expect("a sender of this client")
    }

    pub fn sender_of(&self, ssrc: Ssrc) -> &Sender {
        self.senders.iter().find(|sender| sender.ssrc == ssrc).expect("a sender of this client")
    }

    /// When the next frame or request is due.
    pub fn next_due(&self) -> Option<Time> {
        let frames = self.senders.iter().filter(|sender| sender.active).map(|sender| sender.next_frame);
        let feedback = self.arrivals.as_ref().and_then(FeedbackGenerator::next_at);
        frames.chain(self.received.values().filter_map(|received| received.nack.next_at())).chain(feedback).min()
    }

    /// The datagrams of all frames that are due.
    pub fn send_frames(&mut self, now: Time) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        for at in 0..self.senders.len() {
            while self.senders[at].active && self.senders[at].next_frame <= now {
                self.send_frame(at, now, &mut datagrams);
            }
        }
        datagrams
    }

    fn send_frame(&mut self, at: usize, now: Time, datagrams: &mut Vec<Vec<u8>>) {
        let sender = &mut self.senders[at];
        sender.next_frame += sender.period;
        let keyframe = std::mem::take(&mut sender.keyframe_wanted);
        sender.keyframes += u64::from(keyframe);
        if let Some(encoder) = &mut sender.encoder {
            let frames = encoder.encode(keyframe, sender.packets_per_frame);
            let packets: Vec<_> = frames
                .into_iter()
                .flat_map(|(number, packets)| (0..).zip(packets).map(move |(part, heading)| (number, part, heading)))
                .collect();
            let last = packets.len() - 1;
            for (at, (frame, part, heading)) in packets.into_iter().enumerate() {
                let mut payload = heading.payload;
                Content { ssrc: sender.ssrc, frame, part }.write(&mut payload);
                // A layer of twice the width has several times the bits.
                payload.resize(payload.len() + sender.filling * (1 + heading.spatial).pow(2) / 9, FILL);
                let number = self.transport_sequence;
                self.transport_sequence = number.wrapping_add(1);
                sender.descriptor = heading.descriptor;
                let timestamp = sender.timestamp_at(now);
                sender.send(timestamp, at == last, number, &payload, &mut self.sealer, datagrams);
            }
            return;
        }
        let packets = sender.packets_per_keyframe.filter(|_| keyframe).unwrap_or(sender.packets_per_frame);
        for part in 0..packets {
            let content = Content { ssrc: sender.ssrc, frame: sender.frame, part };
            let mut payload = Vec::new();
            if sender.is_video() {
                let (picture_id, base_index) = (sender.picture_id, sender.frame as u8);
                let place = Place { part, is_last: part + 1 == packets, is_keyframe: keyframe, picture_id, base_index };
                payload = place.head(sender.payload_type);
            }
            content.write(&mut payload);
            payload.resize(payload.len() + sender.filling, FILL);
            payload.truncate(if sender.silent { 2 } else { usize::MAX });
            let marker = part + 1 == packets;
            let timestamp = sender.timestamp_at(now);
            if sender.redundancy > 0 {
                payload = sender.add_earlier(timestamp, payload);
            }
            let number = self.transport_sequence;
            self.transport_sequence = number.wrapping_add(1);
            sender.send(timestamp, marker, number, &payload, &mut self.sealer, datagrams);
        }
        sender.frame += 1;
        sender.picture_id = sender.picture_id.wrapping_add(1) & 0x7fff;
    }

    /// Sends a packet that is nothing but padding, as browsers do to probe.
    pub fn send_padding(&mut self, ssrc: Ssrc, now: Time) -> Vec<Vec<u8>> {
        self.send_payload(ssrc, now, &[])
    }

    /// Sends a packet of this payload.
    pub fn send_payload(&mut self, ssrc: Ssrc, now: Time, payload: &[u8]) -> Vec<Vec<u8>> {
        let at = self.senders.iter().position(|sender| sender.ssrc == ssrc).expect("a sender of this client");
        let sender = &mut self.senders[at];
        let mut datagrams = Vec::new();
        let timestamp = sender.timestamp_at(now);
        sender.send(timestamp, false, 0, payload, &mut self.sealer, &mut datagrams);
        datagrams
    }

    /// Seals one compound RTCP packet.
    pub fn seal_rtcp(&mut self, mut compound: Vec<u8>) -> Vec<u8> {
        self.sealer.seal_rtcp(&mut compound).expect("few packets");
        compound
    }

    /// A sender report for each stream that sends, once a second.
    pub fn send_reports(&mut self, now: Time) -> Vec<Vec<u8>> {
        let mut compound = Vec::new();
        for sender in self.senders.iter().filter(|sender| sender.active && sender.index > 0) {
            let ntp = CLOCK + now.since(Time::ZERO);
            let info =
                SenderInfo { ssrc: sender.ssrc, ntp, timestamp: sender.timestamp_at(now), packets: 0, octets: 0 };
            rtcp::write_sender_report(&mut compound, &info);
        }
        self.write_receiver_report(now, &mut compound);
        if compound.is_empty() { Vec::new() } else { vec![self.seal_rtcp(compound)] }
    }

    fn write_receiver_report(&self, now: Time, compound: &mut Vec<u8>) {
        let mut blocks = Vec::new();
        for ssrc in self.received.keys() {
            let Some((ntp, _, at)) = self.sender_reports.get(ssrc).and_then(|reports| reports.last()) else { continue };
            blocks.push(ReportBlock {
                ssrc: *ssrc,
                fraction_lost: 0,
                total_lost: 0,
                highest_sequence: 0,
                jitter: 0,
                last_sender_report: ntp.middle(),
                delay_since_last_sender_report: (now.since(*at).as_micros() * 65_536 / 1_000_000) as u32,
            });
        }
        if !blocks.is_empty() {
            rtcp::write_receiver_report(compound, Ssrc(1), &blocks);
        }
    }

    /// NACKs that are due.
    pub fn send_nacks(&mut self, now: Time) -> Vec<Vec<u8>> {
        let mut compound = Vec::new();
        let mut due = Vec::new();
        for (ssrc, received) in &mut self.received {
            due.clear();
            received.nack.take_due(now, &mut due);
            if self.nacks && !due.is_empty() {
                rtcp::write_nack(&mut compound, Ssrc(1), *ssrc, &due);
            }
        }
        if compound.is_empty() { Vec::new() } else { vec![self.seal_rtcp(compound)] }
    }

    /// Transport-wide feedback that is due.
    pub fn send_feedback(&mut self, now: Time) -> Vec<Vec<u8>> {
        let mut compound = Vec::new();
        if let Some(arrivals) = &mut self.arrivals {
            arrivals.write_due(now, &mut compound, Ssrc(1), Ssrc(2));
        }
        if compound.is_empty() { Vec::new() } else { vec![self.seal_rtcp(compound)] }
    }

    pub fn picture_loss(&mut self, ssrc: Ssrc) -> Vec<u8> {
        let mut compound = Vec::new();
        rtcp::write_picture_loss(&mut compound, Ssrc(1), ssrc);
        self.seal_rtcp(compound)
    }

    /// Takes a datagram from the server; returns the answers.
    pub fn handle_datagram(&mut self, now: Time, datagram: &[u8]) -> Vec<Vec<u8>> {
        let mut datagram = datagram.to_vec();
        match datagram[0] {
            0..=3 => {
                self.answers += 1;
                Vec::new()
            }
            _ if datagram[1] >= 192 && datagram[1] <= 223 => match self.opener.open_rtcp(&mut datagram) {
                Ok(length) => self.handle_rtcp(now, &datagram[..length]),
                Err(_) => Vec::new(),
            },
            _ => {
                if let Ok(opened) = self.opener.open_rtp(&mut datagram) {
                    self.handle_rtp(now, opened.index, &datagram[..opened.len]);
                }
                Vec::new()
            }
        }
    }

    fn handle_rtp(&mut self, now: Time, index: u64, packet: &[u8]) {
        let header = Header::parse(packet).expect("the server sends whole packets");
        let located = Located::find(&header, packet, &RECEIVER_EXTENSIONS);
        if let (Some(arrivals), Some(number)) = (&mut self.arrivals, located.transport_sequence(packet)) {
            arrivals.handle_packet(now, number);
        }
        let Some(media) = self.repairs.get(&header.ssrc).copied() else {
            self.received.entry(header.ssrc).or_default().handle_packet(now, index, &header, packet);
            return;
        };
        let Some(retransmission) = rtx::read(&header, packet) else {
            self.padding += 1;
            return;
        };
        let received = self.received.entry(media).or_default();
        let highest = received.packets.last_key_value().map_or(0, |(highest, _)| *highest);
        let index = nearest(highest, retransmission.sequence_number);
        let mut restored = Vec::new();
        let header = rtx::restore(&mut restored, (&header, packet), retransmission, media, header.payload_type - 1)
            .expect("a whole packet");
        received.retransmitted += 1;
        received.handle_packet(now, index, &header, &restored);
    }

    fn handle_rtcp(&mut self, now: Time, compound: &[u8]) -> Vec<Vec<u8>> {
        let mut answers = Vec::new();
        for packet in Packets::new(compound) {
            match packet {
                Packet::Nack { media, lost } => {
                    for number in lost {
                        self.nacked += 1;
                        self.answer_nack(media, number, &mut answers);
                    }
                }
                Packet::PictureLoss { media } => {
                    self.plis.push((now, media));
                    if let Some(sender) = self.senders.iter_mut().find(|sender| sender.ssrc == media) {
                        sender.keyframe_wanted = true;
                    }
                }
                Packet::SenderReport { ssrc, ntp, timestamp, .. } => {
                    self.sender_reports.entry(ssrc).or_default().push((ntp, timestamp, now));
                }
                Packet::ReceiverReport { blocks, .. } => self.blocks.extend(blocks),
                Packet::TransportWide { .. } => self.transport_feedback += 1,
                _ => {}
            }
        }
        answers
    }

    fn answer_nack(&mut self, media: Ssrc, number: u16, answers: &mut Vec<Vec<u8>>) {
        let Some(sender) = self.senders.iter_mut().find(|sender| sender.ssrc == media) else { return };
        let Some(sent) = sender.sent.get(&nearest(sender.index, number)) else { return };
        let Some(stream) = sender.rtx_stream else {
            answers.push(sent.sealed.clone());
            return;
        };
        let header = Header::parse(&sent.plain).expect("ours");
        let mut out = sent.plain[..usize::from(header.payload.start)].to_vec();
        out[1] += 1;
        rtx::write_payload(&mut out, number, header.payload.of(&sent.plain));
        self.sealer.seal_rtp(stream, sender.rtx_index, &mut out).expect("a new index");
        sender.rtx_index += 1;
        answers.push(out);
    }
}

impl Sender {
    pub fn video(ssrc: u32, mid: &'static str, rid: Option<&'static str>) -> Self {
        Self {
            ssrc: Ssrc(ssrc),
            rtx: Some(Ssrc(ssrc + 1000)),
            payload_type: VP8,
            mid,
            rid,
            period: Duration::from_millis(40),
            packets_per_frame: 3,
            packets_per_keyframe: None,
            filling: 0,
            next_frame: Time::ZERO,
            index: u64::from(ssrc % 60_000),
            rtx_index: 77,
            timestamp: ssrc.wrapping_mul(0x9e37_79b9),
            clock_rate: 90_000,
            frame: 0,
            picture_id: ((ssrc * 1234) & 0x7fff) as u16,
            keyframe_wanted: true,
            keyframes: 0,
            active: true,
            level: 127,
            redundancy: 0,
            past: VecDeque::new(),
            silent: false,
            tells_capture: rid.is_some(),
            encoder: None,
            descriptor: Vec::new(),
            stream: placeholder(),
            rtx_stream: None,
            sent: BTreeMap::new(),
        }
    }

    pub fn audio(ssrc: u32, mid: &'static str) -> Self {
        Self {
            rtx: None,
            payload_type: OPUS,
            period: Duration::from_millis(20),
            packets_per_frame: 1,
            clock_rate: 48_000,
            keyframe_wanted: false,
            level: 30,
            ..Self::video(ssrc, mid, None)
        }
    }

    /// Redundant audio, with so many earlier frames.
    pub fn redundant(ssrc: u32, mid: &'static str, redundancy: usize) -> Self {
        Self { payload_type: RED, redundancy, ..Self::audio(ssrc, mid) }
    }

    fn add_earlier(&mut self, timestamp: u32, frame: Vec<u8>) -> Vec<u8> {
        let mut payload = Vec::new();
        let age = |at: &u32| timestamp.wrapping_sub(*at);
        let earlier = self.past.iter().map(|(at, data)| red::Earlier { payload_type: OPUS, age: age(at), data });
        red::write(&mut payload, earlier, (OPUS, &frame));
        self.past.push_back((timestamp, frame));
        if self.past.len() > self.redundancy {
            self.past.pop_front();
        }
        payload
    }

    pub fn is_video(&self) -> bool {
        PICTURES.iter().any(|(_, known)| *known == self.payload_type)
    }

    pub fn timestamp_at(&self, now: Time) -> u32 {
        let ticks = u128::from(now.as_micros()) * u128::from(self.clock_rate) / 1_000_000;
        self.timestamp.wrapping_add(ticks as u32)
    }

    fn send(
        &mut self,
        timestamp: u32,
        marker: bool,
        number: u16,
        payload: &[u8],
        sealer: &mut Sealer,
        datagrams: &mut Vec<Vec<u8>>,
    ) {
        let mut plain = Vec::new();
        write_header(&mut plain, self.payload_type, marker, self.index as u16, timestamp, self.ssrc);
        let form = if self.descriptor.len() > 16 { ExtensionForm::TwoByte } else { ExtensionForm::OneByte };
        let mut writer = ExtensionWriter::new(&mut plain, form);
        writer.push(EXTENSIONS.mid.unwrap_or_default(), self.mid.as_bytes());
        if let Some(rid) = self.rid {
            writer.push(EXTENSIONS.rid.unwrap_or_default(), rid.as_bytes());
            writer.push(EXTENSIONS.repaired_rid.unwrap_or_default(), rid.as_bytes());
        }
        if !self.descriptor.is_empty() {
            writer.push(EXTENSIONS.dependency_descriptor.unwrap_or_default(), &self.descriptor);
        }
        if self.tells_capture {
            writer.push(EXTENSIONS.abs_capture_time.unwrap_or_default(), &self.frame.to_be_bytes());
        }
        if self.is_video() {
            writer.push(EXTENSIONS.transport_cc.unwrap_or_default(), &number.to_be_bytes());
        } else {
            writer.push(EXTENSIONS.audio_level.unwrap_or_default(), &[self.level]);
        }
        writer.finish();
        plain.extend_from_slice(payload);
        if payload.is_empty() {
            plain[0] |= 0x20;
            plain.extend_from_slice(&[0, 0, 0, 4]);
        }
        let mut sealed = plain.clone();
        sealer.seal_rtp(self.stream, self.index, &mut sealed).expect("a new index");
        datagrams.push(sealed.clone());
        self.sent.insert(self.index, Sent { plain, sealed });
        if self.sent.len() > 1_000 {
            self.sent.pop_first();
        }
        self.index += 1;
    }
}

/// What goes along in redundant audio.
fn earlier(payload_type: u8, payload: &[u8]) -> Vec<(u32, Content)> {
    if payload_type != RED {
        return Vec::new();
    }
    let frames = red::earlier(payload).filter(|frame| frame.payload_type == OPUS && frame.data.len() == CONTENT);
    frames.filter_map(|frame| Some((frame.age, Content::read(frame.data)?))).collect()
}

/// Replaced when the sender is added to a client.
fn placeholder() -> OutboundStream {
    let keys = keys(0, Profile::AeadAes128Gcm, DtlsRole::Client);
    Sealer::new(keys.local).expect("valid keys").open_stream(Ssrc(0)).expect("the first")
}

impl Received {
    fn handle_packet(&mut self, now: Time, index: u64, header: &Header, packet: &[u8]) {
        self.nack.handle_packet(now, index);
        let located = Located::find(header, packet, &RECEIVER_EXTENSIONS);
        let payload = header.payload.of(packet);
        let head = Head::read(header.payload_type, payload);
        let skipped = match header.payload_type {
            RED => payload.len() - red::primary(payload).map_or(0, |(_, data)| data.len()),
            _ => head.length,
        };
        let arrived = Arrived {
            at: now,
            timestamp: header.timestamp,
            marker: header.marker,
            payload_type: header.payload_type,
            mid: located.text(Kind::Mid, packet).map(str::to_owned),
            level: located.audio_level(packet),
            descriptor: located.get(Kind::DependencyDescriptor, packet).to_vec(),
            earlier: earlier(header.payload_type, payload),
            capture: located.get(Kind::AbsCaptureTime, packet).to_vec(),
            picture_id: head.picture_id,
            base_index: head.base_index,
            keyframe: head.starts_keyframe,
            content: payload
                .get(skipped..)
                .filter(|rest| rest.len() == CONTENT || rest.len() >= LARGE)
                .and_then(Content::read),
        };
        // The first copy counts; a second one must say the same.
        let same = |known: &Arrived| known.content == arrived.content && known.timestamp == arrived.timestamp;
        if let Some(known) = self.packets.get(&index) {
            assert!(same(known), "two packets under one number: {known:?} and {arrived:?}");
            return;
        }
        self.packets.insert(index, arrived);
    }

    /// Numbers between the first and the last packet that never arrived.
    pub fn gaps(&self) -> Vec<u64> {
        let (Some((first, _)), Some((last, _))) = (self.packets.first_key_value(), self.packets.last_key_value())
        else {
            return Vec::new();
        };
        (*first..=*last).filter(|index| !self.packets.contains_key(index)).collect()
    }

    /// When each picture of which nothing is missing could be shown: none before the one it follows.
    pub fn whole_pictures(&self) -> Vec<Time> {
        let (mut before, mut count, mut shown) = (None, 0, Time::ZERO);
        let mut pictures = Vec::new();
        let mut came = Time::ZERO;
        for (number, packet) in &self.packets {
            (count, came) = (count + 1, came.max(packet.at));
            if packet.marker {
                if before.is_none_or(|before| before + count == *number) {
                    shown = came.max(shown);
                    pictures.push(shown);
                }
                (before, count, came) = (Some(*number), 0, Time::ZERO);
            }
        }
        pictures
    }

    pub fn contents(&self) -> impl Iterator<Item = Content> {
        self.packets.values().filter_map(|arrived| arrived.content)
    }
}
