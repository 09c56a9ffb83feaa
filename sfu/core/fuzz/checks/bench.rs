//! Two engines, a publisher and two subscribers whose keys are known, so that what fuzzing makes up can be sealed like
//! any client's packet. All that leaves an engine is looked at as its client would.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use sfu_core::engine::command::{
    Codec, CodecMapping, Command, Extensions, Feed, MediaKind, Priority, Publish, SignalledSsrc, Subscribe, Target,
};
use sfu_core::engine::event::Event;
use sfu_core::engine::handoff::Enclosed;
use sfu_core::engine::path::Path;
use sfu_core::engine::relay::message::RelayMessage;
use sfu_core::engine::{Engine, EngineConfig};
use sfu_core::id::{AudioGroupKey, Mid, PeerKey, Rid, Ssrc, SubscriptionKey, TrackKey, TransportKey};
use sfu_core::media::rtp::{FIXED_HEADER, is_rtcp};
use sfu_core::time::Time;
use sfu_core::transport::DtlsRole;
use sfu_core::transport::ice::IceCredentials;
use sfu_core::transport::srtp::{OpenError, Opener, OutboundStream, Profile, Sealer, SrtpKeys};

#[path = "../../tests/engine/stun.rs"]
#[allow(dead_code, reason = "scenarios use more of it")]
mod stun;

pub const CLIENTS: usize = 3;
pub const SITES: usize = 2;

/// Ids of all clients' extensions.
pub const IDS: Extensions = Extensions {
    mid: Some(1),
    rid: Some(2),
    repaired_rid: Some(3),
    audio_level: Some(4),
    transport_cc: Some(5),
    abs_send_time: Some(6),
    abs_capture_time: Some(7),
    dependency_descriptor: Some(8),
    playout_delay: Some(9),
    video_orientation: Some(10),
};

/// Tracks of the first client: a microphone, a camera with simulcast, a screen with layers in one stream.
pub const MICROPHONE: TrackKey = TrackKey(1);
pub const CAMERA: TrackKey = TrackKey(2);
pub const SCREEN: TrackKey = TrackKey(3);
pub const TRACKS: [TrackKey; 3] = [MICROPHONE, CAMERA, SCREEN];

/// More in answer to one input would be an amplifier: a keyframe that lets a second of video go, to both subscribers.
const MAX_ANSWERS: usize = 8192;
/// Rounds until an engine has nothing more to do at a time.
const MAX_ROUNDS: usize = 64;

pub struct Bench {
    engines: [Option<Engine>; SITES],
    pub now: Time,
    pub clients: [Client; CLIENTS],
    /// DTLS datagrams the engines gave control, of which client.
    pub dtls: Vec<(usize, Vec<u8>)>,
}

/// One client, as both ends know it.
pub struct Client {
    pub site: usize,
    /// How often it made a new connection.
    generation: u64,
    pub ice: IceCredentials,
    profile: Profile,
    sealer: Sealer,
    opener: Opener,
    /// The next index of each SSRC.
    streams: HashMap<Ssrc, (OutboundStream, u64)>,
    /// What was received, so that it may be received again.
    seen: HashSet<u64>,
}

impl Client {
    fn new(number: usize, generation: u64) -> Self {
        let profile = if number == 2 { Profile::Aes128CmHmacSha1_80 } else { Profile::AeadAes128Gcm };
        let keys = keys(number, generation, profile, DtlsRole::Client);
        Self {
            site: 0,
            generation,
            ice: credentials(number, generation),
            profile,
            sealer: Sealer::new(keys.local).expect("valid keys"),
            opener: Opener::new(keys.remote).expect("valid keys"),
            streams: HashMap::new(),
            seen: HashSet::new(),
        }
    }

    /// A packet of a stream, `step` numbers after the one before. `None` where its sealer refuses.
    pub fn seal(&mut self, ssrc: Ssrc, step: i8, mut packet: Vec<u8>) -> Option<Vec<u8>> {
        let (stream, next) = match self.streams.get(&ssrc) {
            Some(known) => *known,
            None => (self.sealer.open_stream(ssrc).ok()?, 65_500),
        };
        let index = next.checked_add_signed(i64::from(step))?;
        self.streams.insert(ssrc, (stream, next.max(index + 1)));
        self.sealer.seal_rtp(stream, index, &mut packet).ok()?;
        Some(packet)
    }

    pub fn seal_rtcp(&mut self, compound: &[u8]) -> Option<Vec<u8>> {
        let mut compound = compound.to_vec();
        self.sealer.seal_rtcp(&mut compound).ok()?;
        Some(compound)
    }

    /// Looks at what an engine sent.
    fn receive(&mut self, datagram: &[u8]) {
        if !(128..=191).contains(&datagram[0]) {
            return;
        }
        let mut hasher = DefaultHasher::new();
        datagram.hash(&mut hasher);
        let hash = hasher.finish();
        let mut opened = datagram.to_vec();
        let result = if is_rtcp(datagram) {
            self.opener.open_rtcp(&mut opened).map(drop)
        } else {
            assert!(datagram.len() >= FIXED_HEADER);
            self.opener.open_rtp(&mut opened).map(drop)
        };
        match result {
            Ok(()) => drop(self.seen.insert(hash)),
            // Without a stream for retransmissions the same bytes go out again, and no others.
            Err(OpenError::Replayed | OpenError::TooOld) => assert!(self.seen.contains(&hash), "a nonce twice"),
            Err(error) => panic!("an engine sent what its client cannot open: {error}"),
        }
    }
}

fn keys(number: usize, generation: u64, profile: Profile, role: DtlsRole) -> SrtpKeys {
    let material = (0..profile.keying_material_len()).map(|at| (at as u64 * 7 + number as u64 * 31 + generation) as u8);
    SrtpKeys::from_keying_material(profile, &material.collect::<Vec<_>>(), role).expect("as long as it should be")
}

fn credentials(number: usize, generation: u64) -> IceCredentials {
    IceCredentials { ufrag: format!("A{number:03}{generation:08}"), pwd: format!("password-{number}-{generation:06}") }
}

pub fn path(client: usize, site: usize) -> Path {
    let local = Some(IpAddr::from([192, 0, 2, 1 + site as u8]));
    Path::Udp { remote: ([10, 0, 0, client as u8], 50_000).into(), local }
}

const fn mapping(codec: Codec, payload_type: u8) -> CodecMapping {
    CodecMapping { codec, payload_type, rtx_payload_type: Some(payload_type + 1), clock_rate: 90_000 }
}

const AUDIO: [CodecMapping; 2] = [
    CodecMapping { codec: Codec::Opus, payload_type: 111, rtx_payload_type: None, clock_rate: 48_000 },
    CodecMapping { codec: Codec::Red, payload_type: 63, rtx_payload_type: None, clock_rate: 48_000 },
];
const VIDEO: [CodecMapping; 5] = [
    mapping(Codec::Vp8, 96),
    mapping(Codec::Vp9, 98),
    mapping(Codec::H264, 100),
    mapping(Codec::H265, 102),
    mapping(Codec::Av1, 35),
];
/// Payload types that are known.
pub const PAYLOAD_TYPES: [u8; 12] = [111, 63, 96, 97, 98, 99, 100, 101, 102, 103, 35, 36];
/// Streams of the publisher: media, and what repairs it.
pub const SSRCS: [u32; 10] = [11, 21, 22, 23, 31, 121, 122, 123, 131, 99];

pub fn publish(track: TrackKey, feed: Feed) -> Publish {
    let is_video = track != MICROPHONE;
    let rids = if track == CAMERA { ["q", "h", "f"].map(|rid| Rid(rid.to_owned())).to_vec() } else { Vec::new() };
    let ssrcs = match track {
        MICROPHONE => vec![SignalledSsrc { media: Ssrc(11), rtx: None }],
        SCREEN => vec![SignalledSsrc { media: Ssrc(31), rtx: Some(Ssrc(131)) }],
        _ => Vec::new(),
    };
    Publish {
        track,
        feed,
        mid: Mid(track.0.to_string()),
        kind: if is_video { MediaKind::Video } else { MediaKind::Audio },
        codecs: if is_video { VIDEO.to_vec() } else { AUDIO.to_vec() },
        extensions: IDS,
        rids,
        ssrcs,
        nack: true,
        transport_cc: true,
        group: (!is_video).then_some(AudioGroupKey(1)),
        encrypted: false,
        redundancy: true,
    }
}

pub fn subscribe(client: usize, track: TrackKey) -> Subscribe {
    let is_video = track != MICROPHONE;
    let ssrc = client as u32 * 1000 + track.0 as u32;
    // The last client takes neither redundancy nor retransmissions.
    let is_plain = client == 2;
    Subscribe {
        subscription: SubscriptionKey(u64::from(ssrc)),
        transport: TransportKey(client as u64),
        track,
        mid: Mid(format!("s{}", track.0)),
        ssrc: Ssrc(ssrc),
        rtx_ssrc: (is_video && !is_plain).then_some(Ssrc(ssrc + 500)),
        codecs: if is_video { VIDEO.to_vec() } else { AUDIO[..2 - usize::from(is_plain)].to_vec() },
        extensions: if is_plain { Extensions { mid: Some(15), ..Extensions::default() } } else { IDS },
        cname: "publisher".to_owned(),
        target: Target::HIGHEST,
        priority: if track == SCREEN { Priority::Screen } else { Priority::Camera },
    }
}

impl Bench {
    pub fn new() -> Self {
        let config = |site: usize| EngineConfig { seed: site as u64, video_history: 64, ..EngineConfig::default() };
        let mut bench = Self {
            engines: [0, 1].map(|site| Some(Engine::new(config(site)))),
            now: Time::from_millis(1000),
            clients: [0, 1, 2].map(|number| Client::new(number, 0)),
            dtls: Vec::new(),
        };
        for number in 0..CLIENTS {
            bench.connect(number);
        }
        for track in TRACKS {
            bench.command(0, Command::Publish(Box::new(publish(track, Feed::Transport(TransportKey(0))))));
            for client in 1..CLIENTS {
                bench.command(0, Command::Subscribe(Box::new(subscribe(client, track))));
            }
        }
        bench
    }

    /// The transport of a client, checked and with its keys, at the first engine.
    pub fn connect(&mut self, number: usize) {
        let Client { generation, profile, ice, .. } = &self.clients[number];
        let transport = TransportKey(number as u64);
        let keys = keys(number, *generation, *profile, DtlsRole::Server);
        let ice = ice.clone();
        self.command(0, Command::AddTransport { transport, ice });
        self.check(number, 0, true);
        self.command(0, Command::InstallKeys { transport, keys });
    }

    /// The client's connection ends, and it makes another one.
    pub fn reconnect(&mut self, number: usize) {
        for site in 0..SITES {
            self.command(site, Command::RemoveTransport { transport: TransportKey(number as u64) });
        }
        self.clients[number] = Client::new(number, self.clients[number].generation + 1);
        self.connect(number);
    }

    /// Another engine is to have a client's session, and the client goes there.
    pub fn hand_over(&mut self, number: usize) {
        let (transport, from) = (TransportKey(number as u64), self.clients[number].site);
        let to = 1 - from;
        let ice = self.clients[number].ice.clone();
        self.command(from, Command::OfferTransport { transport, to: PeerKey(to as u32) });
        self.command(to, Command::AwaitTransport { transport, ice, owner: PeerKey(from as u32) });
        self.check(number, to, true);
    }

    pub fn limit_heard(&mut self, site: usize, voices: u16) {
        self.command(site, Command::LimitHeard { voices: NonZeroU16::new(voices) });
    }

    pub fn check(&mut self, client: usize, site: usize, nominate: bool) {
        let datagram = stun::check(&self.clients[client].ice, nominate);
        self.datagram(client, site, datagram);
    }

    pub fn datagram(&mut self, client: usize, site: usize, mut datagram: Vec<u8>) {
        let now = self.now;
        self.engine(site).handle_datagram(now, path(client, site), &mut datagram);
    }

    /// What came is forwarded and what is due is done, until there is nothing left at this time.
    pub fn settle(&mut self) {
        let now = self.now;
        for site in 0..SITES {
            self.engine(site).handle_timeout(now);
            self.drain(site);
        }
        let mut rounds = 0;
        while let Some(site) = (0..SITES).find(|site| self.engine(*site).poll_timeout().is_some_and(|at| at <= now)) {
            self.engine(site).handle_timeout(now);
            self.drain(site);
            rounds += 1;
            assert!(rounds < MAX_ROUNDS, "there is always something to do");
        }
    }

    /// Time passes, with all that is due in it.
    pub fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        for _ in 0..4 * MAX_ROUNDS {
            let next = (0..SITES).filter_map(|site| self.engine(site).poll_timeout()).min();
            let Some(next) = next.filter(|next| *next < end) else { break };
            self.now = self.now.max(next);
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    pub fn command(&mut self, site: usize, command: Command) {
        let now = self.now;
        self.engine(site).handle_command(now, command);
        self.drain(site);
    }

    fn relay(&mut self, site: usize, message: RelayMessage) {
        let now = self.now;
        self.engine(site).handle_relay(now, PeerKey(1 - site as u32), message);
        self.drain(site);
    }

    pub fn close_path(&mut self, client: usize, site: usize) {
        let now = self.now;
        self.engine(site).handle_path_closed(now, path(client, site));
        self.drain(site);
    }

    /// Another engine goes on from one's state.
    pub fn restore(&mut self, site: usize) {
        let state = self.engines[site].take().expect("there is always one").export();
        let config = EngineConfig { seed: site as u64, video_history: 64, ..EngineConfig::default() };
        self.engines[site] = Some(Engine::restore(state, config).expect("of this version"));
    }

    pub fn engine(&mut self, site: usize) -> &mut Engine {
        self.engines[site].as_mut().expect("there is always one")
    }

    fn drain(&mut self, site: usize) {
        let mut answers = 0;
        while let Some(transmit) = self.engine(site).poll_transmit() {
            answers += 1;
            assert!(answers < MAX_ANSWERS, "too much for one input");
            let client = match transmit.path.remote().ip() {
                IpAddr::V4(address) => usize::from(address.octets()[3]),
                IpAddr::V6(_) => continue,
            };
            if let Some(client) = self.clients.get_mut(client) {
                client.receive(&transmit.payload);
            }
            self.engine(site).recycle(transmit.payload);
        }
        while let Some(event) = self.engine(site).poll_event() {
            answers += 1;
            assert!(answers < MAX_ANSWERS, "too much to tell");
            match event {
                Event::Dtls { transport, datagram } => self.dtls.push((transport.0 as usize, datagram)),
                Event::HandoffAsked { transport } => {
                    self.command(site, Command::HandOver { transport, enclosed: Enclosed(vec![1, 2, 3]) });
                }
                Event::TakenUp { transport, .. } => {
                    if let Some(client) = self.clients.get_mut(transport.0 as usize) {
                        client.site = site;
                    }
                }
                _ => {}
            }
        }
        let mut relays = Vec::new();
        while let Some(relay) = self.engine(site).poll_relay() {
            relays.push(relay);
        }
        assert!(relays.len() < MAX_ANSWERS, "too much to relay");
        for relay in relays {
            if (relay.peer.0 as usize) < SITES && relay.peer.0 as usize != site {
                self.relay(relay.peer.0 as usize, relay.message);
            }
        }
    }
}
