//! Time, network and the engines: hands every datagram to whom it is for, when it arrives.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::fmt::Display;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;

use sfu_core::engine::command::{
    Codec, CodecMapping, Command, Extensions, Feed, MediaKind, Priority, Publish, SignalledSsrc, Subscribe, Target,
};
use sfu_core::engine::event::Event;
use sfu_core::engine::path::{Path, Transmit};
use sfu_core::engine::relay::message::{Relay, RelayMessage};
use sfu_core::engine::{Engine, EngineConfig, EngineState};
use sfu_core::id::{Mid, PeerKey, Rid, Ssrc, SubscriptionKey, TrackKey, TransportKey};
use sfu_core::media::random::Random;
use sfu_core::media::rtp::{FIXED_HEADER, is_rtcp};
use sfu_core::media::twcc::FeedbackGenerator;
use sfu_core::time::{NtpTime, Time};
use sfu_core::transport::DtlsRole;
use sfu_core::transport::ice::IceCredentials;
use sfu_core::transport::srtp::Profile;

use crate::allocations::allocations;
use crate::client::{Client, OPUS, RED, Received, Sender, keys};
use crate::moving::Moving;
use crate::network::{Bottleneck, Link, PERFECT};
use crate::payloads::PICTURES;
use crate::stun;

/// Ids of publishers.
pub const EXTENSIONS: Extensions = Extensions {
    mid: Some(1),
    rid: Some(2),
    repaired_rid: Some(3),
    audio_level: Some(4),
    transport_cc: Some(5),
    abs_send_time: None,
    abs_capture_time: Some(6),
    dependency_descriptor: Some(8),
    playout_delay: None,
    video_orientation: None,
};

/// Ids of subscribers: others, so that none can be passed on unseen.
pub const RECEIVER_EXTENSIONS: Extensions = Extensions {
    mid: Some(9),
    rid: Some(10),
    repaired_rid: Some(11),
    audio_level: Some(12),
    transport_cc: Some(13),
    abs_send_time: Some(14),
    abs_capture_time: Some(3),
    dependency_descriptor: Some(7),
    ..EXTENSIONS
};

/// What is added to a subscription's SSRC for its retransmissions.
pub const RTX: u32 = 500;

pub struct World {
    /// One at each site.
    engines: Vec<Option<Engine>>,
    pub now: Time,
    pub clients: BTreeMap<u64, Client>,
    pub up: Link,
    pub down: Link,
    /// Between engines.
    pub link: Link,
    /// Who has the transport of each client, as far as control has heard.
    pub sites: BTreeMap<u64, usize>,
    pub moving: Moving,
    /// Bytes of the largest message about a transport that moves, written as JSON.
    pub largest_handoff: usize,
    /// Allocations that engines made while they took datagrams and let time pass.
    pub engine_allocations: u64,
    /// The next session that moves comes from an engine of another version.
    pub newer: bool,
    /// Packets of one frame are sent this far apart, as browsers do.
    pub pacing: Duration,
    /// Slow links, and which clients are behind which, counted from the first.
    pub bottlenecks: Vec<Bottleneck>,
    pub behind: BTreeMap<u64, usize>,
    pub network: Random,
    /// What is under way: arrival, order, datagram.
    queue: BinaryHeap<Reverse<(Time, u64, Delivery)>>,
    order: u64,
    pub events: Vec<(Time, Event)>,
    /// Decides when the engine is restored; `None` for never.
    moves: Option<Random>,
    pub restored: u64,
    next_move: Time,
    transcript: DefaultHasher,
    /// Every index sealed, by (client's address, RTCP, SSRC, index), with a hash of what was sent under it.
    sealed: HashMap<(IpAddr, bool, u32, u32), u64>,
    next_report: Time,
    next_check: Time,
    /// Whether the engine is told the time only when it asked for that, or clients keep sending checks.
    pub checks: bool,
}

#[derive(Debug)]
enum Delivery {
    Server(Path, Vec<u8>),
    Client(Path, Vec<u8>),
    /// In the form in which it may go to another machine.
    Engine {
        from: usize,
        to: usize,
        message: Vec<u8>,
    },
}

/// Deliveries are in order by when they were sent.
impl Ord for Delivery {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}

impl PartialOrd for Delivery {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Delivery {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Delivery {}

/// Keys, as an engine would send them that another one does not understand.
fn of_another_version(message: &[u8]) -> Vec<u8> {
    let mut message: serde_json::Value = serde_json::from_slice(message).expect("as it was written");
    *message.pointer_mut("/Transport/content/Keys/version").expect("keys") = 99.into();
    message.to_string().into_bytes()
}

/// Runs a scenario with one engine, and with one that is restored all the time, and compares what came out.
pub fn scenario(run: impl Fn(&mut World)) {
    scenario_at(1, run);
}

/// A scenario with so many engines.
pub fn scenario_at(sites: usize, run: impl Fn(&mut World)) {
    let outcome = |moves| {
        let mut world = World::with_sites(sites, moves);
        run(&mut world);
        (world.transcript.finish(), world.restored)
    };
    let (plain, _) = outcome(None);
    let (moved, restored) = outcome(Some(Random::new(99)));
    assert!(restored > 3, "the engine was restored only {restored} times");
    assert_eq!(plain, moved, "a restored engine behaves differently");
}

/// A scenario with two engines side by side, and with 20 ms between them.
pub fn scenario_near_and_far(run: impl Fn(&mut World)) {
    for delay in [0, 20] {
        scenario_at(2, |world| {
            world.link.delay = Duration::from_millis(delay);
            run(world);
        });
    }
}

/// A scenario that must come out as well while the sessions in it move between two engines at random moments.
pub fn scenario_on_the_move(run: impl Fn(&mut World)) {
    scenario(&run);
    let mut world = World::with_sites(2, None);
    world.moving.roam(31);
    run(&mut world);
    assert!(world.moving.done > 2, "only {} moves", world.moving.done);
}

impl World {
    pub fn new(moves: Option<Random>) -> Self {
        Self::with_sites(1, moves)
    }

    pub fn with_sites(sites: usize, moves: Option<Random>) -> Self {
        Self {
            engines: (0..sites).map(|site| Some(Engine::new(Self::config(site)))).collect(),
            now: Time::ZERO,
            clients: BTreeMap::new(),
            up: PERFECT,
            down: PERFECT,
            link: Link { delay: Duration::ZERO, ..PERFECT },
            sites: BTreeMap::new(),
            moving: Moving::default(),
            largest_handoff: 0,
            engine_allocations: 0,
            newer: false,
            pacing: Duration::ZERO,
            bottlenecks: Vec::new(),
            behind: BTreeMap::new(),
            network: Random::new(4711),
            queue: BinaryHeap::new(),
            order: 0,
            events: Vec::new(),
            moves,
            restored: 0,
            next_move: Time::ZERO,
            transcript: DefaultHasher::new(),
            sealed: HashMap::new(),
            next_report: Time::from_millis(500),
            next_check: Time::from_millis(2_500),
            checks: true,
        }
    }

    fn config(site: usize) -> EngineConfig {
        let wall_clock = NtpTime::from_unix(Duration::from_secs(1_700_000_000));
        EngineConfig { wall_clock, seed: 42 + site as u64, video_history: 256, ..EngineConfig::default() }
    }

    /// An engine dies, and there is a new one that knows nothing.
    pub fn kill(&mut self, site: usize) {
        self.engines[site] = Some(Engine::new(Self::config(site)));
    }

    /// Ends an engine for good.
    pub fn stop(&mut self, site: usize) {
        self.engines[site] = None;
    }

    pub fn engine(&mut self) -> &mut Engine {
        self.engine_at(0)
    }

    pub fn engine_at(&mut self, site: usize) -> &mut Engine {
        self.engines[site].as_mut().expect("there is always one")
    }

    /// A client with its transport: checked, nominated, keys installed.
    pub fn join(&mut self, number: u64, profile: Profile) {
        self.join_at(0, number, profile);
    }

    pub fn join_at(&mut self, site: usize, number: u64, profile: Profile) {
        self.sites.insert(number, site);
        let ice = credentials(number, 0);
        self.command_at(site, Command::AddTransport { transport: TransportKey(number), ice: ice.clone() });
        self.clients.insert(number, Client::new(number, profile, udp_to(site, number, 50_000), ice));
        self.check(number, true);
        self.install_keys(number, profile);
    }

    pub fn install_keys(&mut self, number: u64, profile: Profile) {
        let keys = keys(number, profile, DtlsRole::Server);
        self.command_of(number, Command::InstallKeys { transport: TransportKey(number), keys });
    }

    /// Where the engine is that has a client's transport.
    pub fn site_of(&self, number: u64) -> usize {
        self.sites.get(&number).copied().unwrap_or_default()
    }

    /// A check of a client, at once.
    pub fn check(&mut self, number: u64, nominate: bool) {
        let client = &self.clients[&number];
        let (path, datagram) = (client.path, stun::check(&client.ice, nominate));
        self.deliver_to_server(path, datagram);
    }

    /// Publishes what the senders of this client send on the m-line `mid`.
    pub fn publish(&mut self, number: u64, track: u64, senders: Vec<Sender>) {
        let publish = description(number, track, &senders);
        let client = self.clients.get_mut(&number).expect("has joined");
        for sender in senders {
            client.add_sender(sender);
        }
        self.command_of(number, Command::Publish(Box::new(publish)));
    }

    /// Has a track that a client publishes relayed to another engine.
    pub fn relay(&mut self, number: u64, track: u64, senders: &[Sender], to: usize) {
        let (track, from) = (description(number, track, senders), self.site_of(number));
        self.relay_described(track, from, to);
    }

    pub fn relay_described(&mut self, mut publish: Publish, from: usize, to: usize) {
        publish.feed = Feed::Peer(PeerKey(from as u32));
        let track = publish.track;
        self.command_at(to, Command::Publish(Box::new(publish)));
        self.command_at(from, Command::RelayTo { track, peer: PeerKey(to as u32) });
    }

    /// Subscribes a client to a track under an SSRC; returns that.
    pub fn subscribe(&mut self, number: u64, track: u64, ssrc: u32, kind: MediaKind) -> Ssrc {
        self.subscribe_as(number, subscription(number, track, ssrc, kind))
    }

    /// Subscribes a client to audio that it takes with redundancy, too.
    pub fn subscribe_redundant(&mut self, number: u64, track: u64, ssrc: u32) -> Ssrc {
        let mut subscribe = subscription(number, track, ssrc, MediaKind::Audio);
        subscribe.codecs = vec![OPUS_CODEC, RED_CODEC];
        self.subscribe_as(number, subscribe)
    }

    /// How much later sound is played than the picture that was captured with it, in seconds, by the reports and packets
    /// that this client got last.
    pub fn skew(&self, number: u64, audio: u32, video: u32) -> f64 {
        // The publisher's clock at the capture of what was heard and seen last.
        let captured = |ssrc: u32, rate: f64| {
            let client = &self.clients[&number];
            let (ntp, timestamp, _) = *client.sender_reports[&Ssrc(ssrc)].last().expect("reported");
            let last = client.received[&Ssrc(ssrc)].packets.values().last().expect("received");
            let since = f64::from(last.timestamp.wrapping_sub(timestamp).cast_signed()) / rate;
            (ntp.bits() as f64 / 4_294_967_296.0 + since, last.at)
        };
        let ((audio, heard), (video, seen)) = (captured(audio, 48_000.0), captured(video, 90_000.0));
        (audio - video) - (heard.as_micros() as f64 - seen.as_micros() as f64) / 1e6
    }

    pub fn subscribe_as(&mut self, number: u64, subscribe: Subscribe) -> Ssrc {
        let ssrc = subscribe.ssrc;
        let client = self.clients.get_mut(&number).expect("has joined");
        client.received.entry(ssrc).or_default();
        if let Some(rtx) = subscribe.rtx_ssrc {
            client.repairs.insert(rtx, ssrc);
        }
        self.command_of(number, Command::Subscribe(Box::new(subscribe)));
        ssrc
    }

    pub fn command(&mut self, command: Command) {
        if self.moving.roams() { self.route(command) } else { self.command_at(0, command) }
    }

    /// A command about a client's session.
    fn command_of(&mut self, number: u64, command: Command) {
        if self.moving.roams() { self.route(command) } else { self.command_at(self.site_of(number), command) }
    }

    pub fn command_at(&mut self, site: usize, command: Command) {
        let now = self.now;
        self.engine_at(site).handle_command(now, command);
        self.drain(site);
    }

    pub fn received(&self, number: u64, ssrc: Ssrc) -> &Received {
        &self.clients[&number].received[&ssrc]
    }

    pub fn run_for(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    pub fn run_until(&mut self, end: Time) {
        loop {
            let clients = self.clients.values().filter_map(Client::next_due).min();
            let arrival = self.queue.peek().map(|Reverse((at, _, _))| *at);
            let due = self.engines.iter().flatten().filter_map(Engine::poll_timeout).min();
            let rounds = [Some(self.next_report), Some(self.next_check), self.associations_due()];
            let next = rounds.into_iter().chain([clients, arrival, due]).flatten().min();
            let next = next.unwrap_or(end).max(self.now);
            if next > end {
                self.now = end;
                return;
            }
            self.now = next;
            self.step();
        }
    }

    pub fn step(&mut self) {
        let now = self.now;
        for site in 0..self.engines.len() {
            let before = allocations();
            self.engine_at(site).handle_timeout(now);
            self.engine_allocations += allocations() - before;
            self.drain(site);
        }
        self.handle_association_timeouts();
        while let Some(Reverse((at, _, _))) = self.queue.peek() {
            if *at > now {
                break;
            }
            let Some(Reverse((_, _, delivery))) = self.queue.pop() else { break };
            self.deliver(delivery);
        }
        for site in 0..self.engines.len() {
            self.forward_burst(site);
        }
        let (report, check) = (self.next_report <= now, self.next_check <= now);
        let (mut paced, mut datagrams) = (Vec::new(), Vec::new());
        for client in self.clients.values_mut() {
            let path = client.path;
            let frames = client.send_frames(now);
            paced.extend((0..).zip(frames).map(|(position, datagram)| (path, self.pacing * position, datagram)));
            let mut send = |list: Vec<Vec<u8>>| datagrams.extend(list.into_iter().map(|datagram| (path, datagram)));
            send(client.send_nacks(now));
            send(client.send_feedback(now));
            if report {
                send(client.send_reports(now));
            }
            if check && self.checks {
                send(vec![stun::check(&client.ice, true)]);
            }
        }
        for (path, pause, datagram) in paced {
            for delay in self.up.carry(&mut self.network) {
                self.queue_delivery(pause + delay, Delivery::Server(path, datagram.clone()));
            }
        }
        for (path, datagram) in datagrams {
            self.send_to_server(path, &datagram);
        }
        self.roam();
        self.next_report = if report { now + Duration::from_secs(1) } else { self.next_report };
        self.next_check = if check { now + Duration::from_millis(2_500) } else { self.next_check };
    }

    /// Puts a datagram of a client on its way.
    pub fn send_to_server(&mut self, path: Path, datagram: &[u8]) {
        self.send_later(Duration::ZERO, path, datagram);
    }

    /// Puts a datagram of a client on its way, after a pause.
    pub fn send_later(&mut self, pause: Duration, path: Path, datagram: &[u8]) {
        for delay in self.up.carry(&mut self.network) {
            self.queue_delivery(pause + delay, Delivery::Server(path, datagram.to_vec()));
        }
    }

    fn queue_delivery(&mut self, delay: Duration, delivery: Delivery) {
        self.order += 1;
        self.queue.push(Reverse((self.now + delay, self.order, delivery)));
    }

    fn deliver(&mut self, delivery: Delivery) {
        let now = self.now;
        match delivery {
            // What arrives at one time is one burst.
            Delivery::Server(path, mut datagram) => {
                let before = allocations();
                self.engine_at(site(&path)).handle_datagram(now, path, &mut datagram);
                self.engine_allocations += allocations() - before;
            }
            Delivery::Engine { from, to: site, message } => {
                let message: RelayMessage = serde_json::from_slice(&message).expect("as it was sent");
                self.engine_at(site).handle_relay(now, PeerKey(from as u32), message);
            }
            Delivery::Client(path, datagram) => {
                let Some(number) = self.number_of(&path).filter(|number| !self.is_deaf(*number, &path)) else { return };
                self.note_answer(number, path, &datagram);
                self.handle_client_dtls(number, &datagram);
                let client = self.clients.get_mut(&number).expect("just found");
                let answers = client.handle_datagram(now, &datagram);
                let path = client.path;
                for answer in answers {
                    self.send_to_server(path, &answer);
                }
            }
        }
    }

    pub fn deliver_to_server(&mut self, path: Path, mut datagram: Vec<u8>) {
        let (now, site) = (self.now, site(&path));
        self.engine_at(site).handle_datagram(now, path, &mut datagram);
        self.forward_burst(site);
    }

    /// Has an engine forward what it was given, and takes that out.
    pub fn forward_burst(&mut self, site: usize) {
        let (now, before) = (self.now, allocations());
        self.engine_at(site).handle_timeout(now);
        self.engine_allocations += allocations() - before;
        self.drain(site);
        self.maybe_move(site);
    }

    /// Takes out all there is.
    pub fn drain(&mut self, site: usize) {
        while let Some(Relay { peer: PeerKey(to), message }) = self.engine_at(site).poll_relay() {
            let written = serde_json::to_vec(&message).expect("a message can be written");
            let delivery = |message| Delivery::Engine { from: site, to: to as usize, message };
            if !message.may_be_lost() {
                self.largest_handoff = self.largest_handoff.max(written.len());
                let written = if std::mem::take(&mut self.newer) { of_another_version(&written) } else { written };
                self.queue_delivery(self.link.delay, delivery(written));
                continue;
            }
            for delay in self.link.carry(&mut self.network) {
                self.queue_delivery(delay, delivery(written.clone()));
            }
        }
        while let Some(event) = self.engine_at(site).poll_event() {
            (self.now, format!("{event:?}")).hash(&mut self.transcript);
            self.control(site, &event);
            self.events.push((self.now, event));
        }
        while let Some(Transmit { path, payload }) = self.engine_at(site).poll_transmit() {
            (self.now, path, &payload).hash(&mut self.transcript);
            self.audit(path, &payload);
            let waited = self.wait(path, &payload);
            if let Some(waited) = waited {
                for delay in self.down.carry(&mut self.network) {
                    self.queue_delivery(waited + delay, Delivery::Client(path, payload.clone()));
                }
            }
            self.engine_at(site).recycle(payload);
        }
    }

    /// Whose address it is. A client has one for all sites.
    fn number_of(&self, path: &Path) -> Option<u64> {
        let known = self.clients.iter().find(|(_, client)| client.path.remote() == path.remote());
        known.map(|(number, _)| *number)
    }

    /// How long a datagram to a client waits at the bottleneck it is behind; `None` if it is lost there.
    fn wait(&mut self, path: Path, datagram: &[u8]) -> Option<Duration> {
        let Some(at) = self.number_of(&path).and_then(|number| self.behind.get(&number)) else {
            return Some(Duration::ZERO);
        };
        self.bottlenecks[*at].carry(self.now, datagram, &mut self.network)
    }

    /// Puts clients behind a slow link, and has them tell how packets arrive.
    pub fn narrow(&mut self, numbers: &[u64], bottleneck: Bottleneck) {
        for number in numbers {
            self.behind.insert(*number, self.bottlenecks.len());
            self.clients.get_mut(number).expect("has joined").arrivals = Some(FeedbackGenerator::default());
        }
        self.bottlenecks.push(bottleneck);
    }

    /// Puts an engine to the test of being written down.
    fn maybe_move(&mut self, site: usize) {
        let Some(moves) = &mut self.moves else { return };
        if self.now < self.next_move {
            return;
        }
        // Ever less often, so that an hour does not take an hour: the pause doubles with every 16 moves.
        let pause = Duration::from_millis(moves.next() % 200) * (1 << (self.restored / 16).min(20));
        self.next_move = self.now + pause;
        self.restored += 1;
        let state = self.engines[site].take().expect("there is always one").export();
        let json = serde_json::to_vec(&state).expect("a state can be written");
        drop(state);
        let state: EngineState = serde_json::from_slice(&json).expect("what was written can be read");
        self.engines[site] = Some(Engine::restore(state, Self::config(site)).expect("of this version"));
    }

    /// One index, one ciphertext: a second one with other bytes would be the end of GCM.
    fn audit(&mut self, path: Path, payload: &[u8]) {
        if payload[0] < 128 || payload[0] > 191 {
            return;
        }
        let address = path.remote().ip();
        let key = if is_rtcp(payload) {
            // The index is in the clear behind the ciphertext; with HMAC the tag follows it.
            let client = self.clients.values().find(|client| client.path.remote().ip() == address);
            let has_tag = client.is_some_and(|client| client.sealer.profile() == Profile::Aes128CmHmacSha1_80);
            let end = payload.len() - if has_tag { 10 } else { 0 };
            (address, true, 0, u32::from_be_bytes(payload[end - 4..end].try_into().expect("four bytes")))
        } else {
            let number = u16::from_be_bytes([payload[2], payload[3]]);
            let ssrc = u32::from_be_bytes(payload[8..FIXED_HEADER].try_into().expect("four bytes"));
            (address, false, ssrc, self.wide(address, ssrc, number))
        };
        let mut hasher = DefaultHasher::new();
        payload.hash(&mut hasher);
        let hash = hasher.finish();
        let known = *self.sealed.entry(key).or_insert(hash);
        assert_eq!(known, hash, "sealed twice: {key:?}");
    }

    /// The index of a packet by the highest known one, as receivers guess it.
    fn wide(&mut self, address: IpAddr, ssrc: u32, number: u16) -> u32 {
        let highest = self.sealed.entry((address, false, ssrc, u32::MAX)).or_insert(u64::from(number));
        let index = sfu_core::media::sequence::nearest(*highest, number);
        *highest = index.max(*highest);
        index as u32
    }

    /// Whether this is the run in which engines are left alone, which is the one to tell of.
    pub const fn is_plain(&self) -> bool {
        self.moves.is_none() && !self.moving.roams()
    }

    /// Prints a line, once for all runs of a scenario.
    pub fn tell(&self, line: impl Display) {
        if self.is_plain() {
            println!("{line}");
        }
    }

    pub fn events_of<'a, T>(&'a self, pick: impl Fn(&'a Event) -> Option<T> + 'a) -> Vec<T> {
        self.events.iter().filter_map(|(_, event)| pick(event)).collect()
    }
}

/// Credentials of a transport, by generation.
pub fn credentials(number: u64, generation: u64) -> IceCredentials {
    IceCredentials {
        ufrag: format!("A{number:04}{generation:04}xyz"),
        pwd: format!("password-{number}-{generation}-long"),
    }
}

/// An address of a client.
pub fn udp(number: u64, port: u16) -> Path {
    udp_to(0, number, port)
}

/// An address of a client that talks to the engine of a site.
pub fn udp_to(site: usize, number: u64, port: u16) -> Path {
    let local = Some(IpAddr::from([192, 0, 2, 1 + site as u8]));
    Path::Udp { remote: ([10, 0, (number >> 8) as u8, number as u8], port).into(), local }
}

const OPUS_CODEC: CodecMapping =
    CodecMapping { codec: Codec::Opus, payload_type: OPUS, rtx_payload_type: None, clock_rate: 48_000 };
const RED_CODEC: CodecMapping =
    CodecMapping { codec: Codec::Red, payload_type: RED, rtx_payload_type: None, clock_rate: 48_000 };

fn video_codecs() -> Vec<CodecMapping> {
    let mapping = |(codec, payload_type): (Codec, u8)| CodecMapping {
        codec,
        payload_type,
        rtx_payload_type: Some(payload_type + 1),
        clock_rate: 90_000,
    };
    PICTURES.map(mapping).into()
}

/// Where the engine is to which a path leads.
pub fn site(path: &Path) -> usize {
    match path {
        Path::Udp { local: Some(IpAddr::V4(address)), .. } => usize::from(address.octets()[3]) - 1,
        _ => 0,
    }
}

/// How a client describes what it publishes.
pub fn description(number: u64, track: u64, senders: &[Sender]) -> Publish {
    let is_video = senders[0].is_video();
    let rids: Vec<Rid> = senders.iter().filter_map(|sender| Some(Rid(sender.rid?.to_owned()))).collect();
    let signalled = |sender: &Sender| SignalledSsrc { media: sender.ssrc, rtx: sender.rtx };
    Publish {
        track: TrackKey(track),
        feed: Feed::Transport(TransportKey(number)),
        mid: Mid(senders[0].mid.to_owned()),
        kind: if is_video { MediaKind::Video } else { MediaKind::Audio },
        codecs: if is_video { video_codecs() } else { vec![OPUS_CODEC, RED_CODEC] },
        extensions: EXTENSIONS,
        ssrcs: if rids.is_empty() { senders.iter().map(signalled).collect() } else { Vec::new() },
        rids,
        nack: true,
        transport_cc: is_video,
        group: None,
        encrypted: false,
        redundancy: true,
    }
}

/// Names a subscription; those of client 2 have the number of their SSRC.
pub const fn subscription_key(number: u64, ssrc: u32) -> SubscriptionKey {
    SubscriptionKey(if number == 2 { 0 } else { number * 10_000 } + ssrc as u64)
}

/// How a client is offered a track.
pub fn subscription(number: u64, track: u64, ssrc: u32, kind: MediaKind) -> Subscribe {
    let is_video = kind == MediaKind::Video;
    Subscribe {
        subscription: subscription_key(number, ssrc),
        transport: TransportKey(number),
        track: TrackKey(track),
        mid: Mid(format!("s{track}")),
        ssrc: Ssrc(ssrc),
        rtx_ssrc: is_video.then_some(Ssrc(ssrc + RTX)),
        codecs: if is_video { video_codecs() } else { vec![OPUS_CODEC] },
        extensions: RECEIVER_EXTENSIONS,
        cname: "publisher".to_owned(),
        target: Target::HIGHEST,
        priority: Priority::Camera,
    }
}
