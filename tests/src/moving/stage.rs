//! Control of both engines: negotiates the browser's two connections, and moves them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use calls_sfu::address::local_addresses;
use calls_sfu::clock::Clock;
use serde_json::{Value, json};
use sfu_core::engine::command::{Command, Feed, MediaKind, Priority, Publish, Subscribe, Target};
use sfu_core::engine::event::Event;
use sfu_core::engine::handoff::Enclosed;
use sfu_core::engine::relay::message::Relay;
use sfu_core::id::{PeerKey, Ssrc, SubscriptionKey, TrackKey, TransportKey};
use sfu_core::sdp::{
    Assignment, Candidate, ClientOffers, CodecPolicy, DtlsRole, Handling, LocalTransport, Protocol, PublishOptions,
    ServerOffers, Subscription,
};
use sfu_core::time::Time;
use sfu_core::transport::certificate::Certificate;
use sfu_core::transport::dtls::DtlsIdentity;
use sfu_core::transport::ice::IceCredentials;
use tokio::sync::mpsc;

use super::ask::{Ask, Connection, Messages, Report, Way};
use super::between::Between;
use super::count::{Direction, Streams};
use super::session::{Drained, Session};
use super::site::{Datagram, Site};

/// What is left of a session where it was goes after this. What is under way to it has come by then.
const SHELL: Duration = Duration::from_secs(1);
/// Preference of the first candidate; each later one is preferred to those before.
const FIRST_PREFERENCE: u16 = 1_000;
const CNAME: &str = "publisher";

#[derive(Debug)]
pub struct Stage {
    clock: Clock,
    sites: [Site; 2],
    between: Between,
    identity: DtlsIdentity,
    sessions: BTreeMap<Connection, Session>,
    publisher: ClientOffers,
    receiver: ServerOffers,
    tracks: Vec<Track>,
    /// Where descriptions lead the browser.
    described: IpAddr,
    /// Candidates given out so far.
    candidates: u16,
    streams: Streams,
    messages: Messages,
    moved: usize,
}

/// What the browser publishes, and the copy it gets of it.
#[derive(Debug)]
struct Track {
    key: TrackKey,
    copy: Subscription,
}

impl Stage {
    pub fn new(clock: Clock, delay: Duration, incoming: &mpsc::Sender<Datagram>) -> Result<Self> {
        let certificate = Certificate::generate()?;
        Ok(Self {
            clock,
            sites: [0, 1].map(|number| Site::new(number, clock.origin_ntp(), incoming.clone())),
            between: Between::new(delay),
            identity: DtlsIdentity::new(&certificate)?,
            sessions: BTreeMap::new(),
            publisher: ClientOffers::new(1, CodecPolicy::default()),
            receiver: ServerOffers::new(2, CodecPolicy::default(), true),
            tracks: Vec::new(),
            described: Ipv4Addr::LOCALHOST.into(),
            candidates: 0,
            streams: Streams::default(),
            messages: Messages::default(),
            moved: 0,
        })
    }

    /// When there is something to do, if nothing comes before.
    pub fn due(&self) -> Option<Time> {
        let engines = self.sites.iter().filter_map(|site| site.engine.poll_timeout());
        let sessions = self.sessions.values().filter_map(Session::due);
        engines.chain(sessions).chain(self.between.due()).min()
    }

    /// Gives a datagram to the engine it came to. It is forwarded when the stage settles.
    pub fn receive(&mut self, Datagram { site, path, mut bytes }: Datagram) {
        let now = self.clock.now();
        self.streams.look(now, Direction::Up, &bytes);
        self.sites[site].engine.handle_datagram(now, path, &mut bytes);
    }

    /// Does all that is due, until neither engine has anything to say.
    pub fn settle(&mut self) -> Result<()> {
        let now = self.clock.now();
        while let Some((to, message)) = self.between.poll(now) {
            self.sites[to].engine.handle_relay(now, PeerKey(1 - to as u32), message);
        }
        self.end_shells(now);
        for site in &mut self.sites {
            site.engine.handle_timeout(now);
        }
        for session in self.sessions.values_mut() {
            session.handle_timeout(now);
        }
        while self.drain_engines(now)? | self.drain_sessions(now)? {}
        Ok(())
    }

    /// Takes out what engines have. Whether control was told something.
    fn drain_engines(&mut self, now: Time) -> Result<bool> {
        let mut told = false;
        for site in 0..self.sites.len() {
            while let Some(Relay { peer: PeerKey(to), message }) = self.sites[site].engine.poll_relay() {
                self.between.send(now, to as usize, message);
            }
            while let Some(transmit) = self.sites[site].engine.poll_transmit() {
                self.streams.look(now, Direction::Down, &transmit.payload);
                self.sites[site].send(transmit);
            }
            while let Some(event) = self.sites[site].engine.poll_event() {
                told = true;
                self.handle_event(now, site, event)?;
            }
        }
        Ok(told)
    }

    fn handle_event(&mut self, now: Time, site: usize, event: Event) -> Result<()> {
        match event {
            Event::Dtls { transport, datagram } => {
                if let Some((_, session)) = self.session_of(transport) {
                    session.handle_datagram(now, &datagram);
                }
            }
            Event::HandoffAsked { transport } => {
                if let Some((connection, _)) = self.session_of(transport) {
                    self.hand_over(now, connection)?;
                }
            }
            Event::TakenUp { transport, enclosed } => self.note_taken_up(now, site, transport, &enclosed)?,
            Event::ConsentLost { transport } => bail!("the browser checks no path of {transport:?} any more"),
            _ => {}
        }
        Ok(())
    }

    fn session_of(&mut self, key: TransportKey) -> Option<(Connection, &mut Session)> {
        let found = self.sessions.iter_mut().find(|(_, session)| session.key == key);
        found.map(|(connection, session)| (*connection, session))
    }

    fn session(&mut self, connection: Connection) -> Result<&mut Session> {
        self.sessions.get_mut(&connection).with_context(|| format!("there is no {connection:?} yet"))
    }

    /// Sends what associations have to send, and passes messages on. Whether there was something.
    fn drain_sessions(&mut self, now: Time) -> Result<bool> {
        let mut worked = false;
        for connection in [Connection::Publisher, Connection::Receiver] {
            let Some(session) = self.sessions.get_mut(&connection) else { continue };
            let (site, is_wanted) = (session.site, session.is_wanted);
            let Drained { commands, messages } = session.drain(now)?;
            worked |= !commands.is_empty() || !messages.is_empty();
            for command in commands {
                self.sites[site].engine.handle_command(now, command);
            }
            for message in messages {
                self.pass_on(connection, &message);
            }
            if is_wanted {
                self.hand_over(now, connection)?;
            }
        }
        Ok(worked)
    }

    /// The publisher gets its messages back, and the receiver a copy.
    fn pass_on(&mut self, from: Connection, message: &[u8]) {
        if from == Connection::Publisher {
            let number = std::str::from_utf8(message).ok().and_then(|text| text.parse::<u64>().ok());
            self.messages.out_of_order += u64::from(number != Some(self.messages.received));
            self.messages.received += 1;
            for session in self.sessions.values_mut() {
                session.send(message.to_vec());
            }
        }
    }

    pub async fn grant(&mut self, ask: Ask) -> Result<Value> {
        let now = self.clock.now();
        match ask {
            Ask::Publish { sdp, way } => self.publish(now, &sdp, way).await,
            Ask::Receive => self.receive_copies(now).await,
            Ask::Answer { sdp } => self.take_answer(now, &sdp),
            Ask::Move { connection, way: Way::Candidate } => self.offer_candidate(now, connection).await,
            Ask::Move { connection, way: Way::Restart } => {
                ensure!(connection == Connection::Receiver, "the publisher offers itself");
                self.offer_restart(now).await
            }
            Ask::Restart { sdp } => self.answer_restart(now, &sdp).await,
            Ask::Report => Ok(serde_json::to_value(self.report())?),
        }
    }

    /// Opens a connection at the first engine.
    fn open(&mut self, now: Time, connection: Connection) -> Result<()> {
        ensure!(!self.sessions.contains_key(&connection), "there is a {connection:?} already");
        let key = TransportKey(connection as u64 + 1);
        let ice = IceCredentials::generate(0)?;
        self.sites[0].engine.handle_command(now, Command::AddTransport { transport: key, ice: ice.clone() });
        self.sessions.insert(connection, Session::new(key, ice, 0, self.identity.clone()));
        Ok(())
    }

    async fn publish(&mut self, now: Time, sdp: &str, way: Way) -> Result<Value> {
        self.open(now, Connection::Publisher)?;
        self.described = described_address(way);
        let outcome = self.publisher.handle_offer(sdp)?;
        let session = self.session(Connection::Publisher)?;
        session.start(now, outcome.role, Some(outcome.remote.fingerprint));
        let transport = session.key;
        for (number, section) in (0_u32..).zip(outcome.published) {
            let key = TrackKey(10 + u64::from(number));
            let options = PublishOptions { dtx: false, ..PublishOptions::default() };
            let section = self.publisher.claim(&section.mid, key, options).context("it was just offered")?;
            let publish = section.publish(key, transport, Handling::default());
            self.tracks.push(Track::new(number, key, publish.kind));
            self.publish_at_both(now, publish);
        }
        let local = self.local(Connection::Publisher, 0).await?;
        Ok(json!({ "answer": self.publisher.answer(&local)?.sdp }))
    }

    /// The second engine has it relayed from the first.
    fn publish_at_both(&mut self, now: Time, publish: Publish) {
        let relayed = Publish { feed: Feed::Peer(PeerKey(0)), ..publish.clone() };
        let track = publish.track;
        self.sites[0].engine.handle_command(now, Command::Publish(Box::new(publish)));
        self.sites[1].engine.handle_command(now, Command::Publish(Box::new(relayed)));
        self.sites[0].engine.handle_command(now, Command::RelayTo { track, peer: PeerKey(1) });
    }

    async fn receive_copies(&mut self, now: Time) -> Result<Value> {
        ensure!(!self.tracks.is_empty(), "nothing is published yet");
        self.open(now, Connection::Receiver)?;
        for track in &self.tracks {
            self.receiver.subscribe(track.copy.clone());
        }
        let session = self.session(Connection::Receiver)?;
        // The browser's first record may come before its answer.
        session.start(now, DtlsRole::Server, None);
        session.open_channel(now)?;
        self.offer(0).await
    }

    async fn offer(&mut self, site: usize) -> Result<Value> {
        let local = self.local(Connection::Receiver, site).await?;
        let offer = self.receiver.offer(&local).context("there is nothing to offer")?;
        Ok(json!({ "offer": offer.sdp }))
    }

    fn take_answer(&mut self, now: Time, sdp: &str) -> Result<Value> {
        let outcome = self.receiver.apply_answer(sdp)?;
        let session = self.session(Connection::Receiver)?;
        session.trust(now, outcome.remote.fingerprint);
        let (transport, site) = (session.key, session.site);
        for Assignment { subscription, mid, codecs, extensions } in outcome.started {
            let track = self.tracks.iter().find(|track| track.copy.key == subscription).context("nobody's copy")?;
            let subscribe = Subscribe {
                subscription,
                transport,
                track: track.key,
                mid,
                ssrc: track.copy.ssrc,
                rtx_ssrc: track.copy.rtx_ssrc,
                codecs,
                extensions,
                cname: CNAME.into(),
                target: Target::HIGHEST,
                priority: Priority::Camera,
            };
            self.sites[site].engine.handle_command(now, Command::Subscribe(Box::new(subscribe)));
        }
        Ok(json!({}))
    }

    /// Prepares both engines for a move; returns where it goes.
    fn begin_move(&mut self, now: Time, connection: Connection, ice: Option<IceCredentials>) -> Result<usize> {
        let session = self.session(connection)?;
        ensure!(!session.is_moving && session.shell_ends.is_none(), "the move before is not done");
        session.is_moving = true;
        self.streams.forget_pauses();
        let session = self.session(connection)?;
        session.ice = ice.unwrap_or_else(|| session.ice.clone());
        let (transport, from, ice) = (session.key, session.site, session.ice.clone());
        let to = 1 - from;
        let offer = Command::OfferTransport { transport, to: PeerKey(to as u32) };
        self.sites[from].engine.handle_command(now, offer);
        let owner = PeerKey(from as u32);
        self.sites[to].engine.handle_command(now, Command::AwaitTransport { transport, ice, owner });
        Ok(to)
    }

    /// Chromium forgets an address it has turned away from only after half a minute, and until then does not come back
    /// to it: each candidate is another one.
    async fn offer_candidate(&mut self, now: Time, connection: Connection) -> Result<Value> {
        let to = self.begin_move(now, connection, None)?;
        let address = Ipv4Addr::LOCALHOST.to_bits() + u32::from(self.candidates);
        let address = self.sites[to].listen(Ipv4Addr::from_bits(address).into()).await?;
        let candidate = self.candidate(address);
        Ok(json!({ "candidate": { "candidate": candidate.to_string(), "sdpMid": "0", "sdpMLineIndex": 0 } }))
    }

    async fn offer_restart(&mut self, now: Time) -> Result<Value> {
        let to = self.begin_move(now, Connection::Receiver, Some(IceCredentials::generate(0)?))?;
        self.receiver.restart_ice();
        self.offer(to).await
    }

    async fn answer_restart(&mut self, now: Time, sdp: &str) -> Result<Value> {
        let outcome = self.publisher.handle_offer(sdp)?;
        ensure!(outcome.ice_restart, "the offer has no new credentials");
        ensure!(outcome.published.is_empty() && outcome.changed.is_empty(), "the offer changes what is published");
        let to = self.begin_move(now, Connection::Publisher, Some(IceCredentials::generate(0)?))?;
        let local = self.local(Connection::Publisher, to).await?;
        Ok(json!({ "answer": self.publisher.answer(&local)?.sdp }))
    }

    /// Our half of a description that leads a connection to an engine.
    async fn local(&mut self, connection: Connection, site: usize) -> Result<LocalTransport> {
        let address = self.sites[site].listen(self.described).await?;
        let candidates = vec![self.candidate(address)];
        let fingerprint = self.identity.fingerprint();
        let ice = &self.session(connection)?.ice;
        Ok(LocalTransport { ice_ufrag: ice.ufrag.clone(), ice_pwd: ice.pwd.clone(), fingerprint, candidates })
    }

    fn candidate(&mut self, address: SocketAddr) -> Candidate {
        self.candidates += 1;
        Candidate { protocol: Protocol::Udp, address, local_preference: FIRST_PREFERENCE + self.candidates }
    }

    /// The other engine asked for a session: it goes, as soon as its data channels can.
    fn hand_over(&mut self, now: Time, connection: Connection) -> Result<()> {
        let session = self.session(connection)?;
        let (transport, site) = (session.key, session.site);
        if let Some(enclosed) = session.enclose()? {
            self.sites[site].engine.handle_command(now, Command::HandOver { transport, enclosed });
        }
        Ok(())
    }

    fn note_taken_up(&mut self, now: Time, site: usize, key: TransportKey, enclosed: &Enclosed) -> Result<()> {
        let (_, session) = self.session_of(key).context("nobody's session was taken up")?;
        session.take_up(now, enclosed)?;
        session.site = site;
        session.is_moving = false;
        session.shell_ends = Some(now + SHELL);
        self.moved += 1;
        Ok(())
    }

    fn end_shells(&mut self, now: Time) {
        for session in self.sessions.values_mut() {
            if session.shell_ends.take_if(|end| *end <= now).is_some() {
                let former = &mut self.sites[1 - session.site].engine;
                former.handle_command(now, Command::RemoveTransport { transport: session.key });
            }
        }
    }

    fn report(&self) -> Report {
        let stats = self.sites.each_ref().map(|site| *site.engine.stats());
        let faults = |stats: &sfu_core::engine::EngineStats| {
            let dropped = stats.dropped;
            dropped.unsealable + dropped.forged + dropped.no_keys + dropped.unrelated + dropped.overflow
        };
        Report {
            moved: self.moved,
            moving: self.sessions.values().any(|session| session.is_moving || session.shell_ends.is_some()),
            handshakes: self.streams.handshakes,
            keyframes: stats.iter().map(|stats| stats.feedback.plis_sent).sum(),
            dropped: stats.iter().map(faults).sum(),
            unsent: self.sites.iter().map(|site| site.unsent).sum(),
            not_ready: self.sessions.values().map(|session| session.not_ready).sum(),
            messages: self.messages,
            streams: self.streams.tell(),
        }
    }
}

impl Track {
    fn new(number: u32, key: TrackKey, kind: MediaKind) -> Self {
        let copy = Subscription {
            key: SubscriptionKey(20 + u64::from(number)),
            kind,
            stream_id: CNAME.into(),
            track_id: format!("copy-{number}"),
            ssrc: Ssrc(1_000 + number),
            rtx_ssrc: (kind == MediaKind::Video).then_some(Ssrc(2_000 + number)),
            cname: CNAME.into(),
            stereo: false,
        };
        Self { key, copy }
    }
}

/// Where descriptions lead a browser of this machine. To Firefox, loopback is nothing while there is another network.
/// Chromium takes both, but prefers the other one whatever a candidate's priority is: who is to follow candidates from one
/// address of loopback to the next has to begin on one.
fn described_address(way: Way) -> IpAddr {
    let other = local_addresses().into_iter().find(|address| way == Way::Restart && !address.is_loopback());
    other.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}
