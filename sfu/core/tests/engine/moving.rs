//! What control and clients do when sessions move between engines.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sfu_core::engine::command::{Command, Feed, Publish};
use sfu_core::engine::event::Event;
use sfu_core::engine::handoff::Enclosed;
use sfu_core::engine::path::Path;
use sfu_core::id::{PeerKey, SubscriptionKey, TrackKey, TransportKey};
use sfu_core::media::random::Random;
use sfu_core::time::Time;
use sfu_core::transport::DtlsRole;
use sfu_core::transport::association::{Association, AssociationOutput, ExportError, SctpExport};
use sfu_core::transport::certificate::Certificate;
use sfu_core::transport::dtls::DtlsIdentity;
use sfu_core::transport::ice::IceCredentials;
use sfu_core::transport::sctp::{ChannelId, ChannelOptions, Reliability};

use crate::stun;
use crate::world::{World, credentials, udp_to};

/// Checks are repeated this often until one is answered.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);
const CHECKS: u32 = 10;
/// What is left of a transport that has moved stays this long.
const SHELL: Duration = Duration::from_millis(300);

/// How a client comes to another address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As Chromium does with a candidate of higher priority: it checks it with what it knows, sends media there as soon
    /// as an answer comes, and nominates it afterwards.
    Candidate,
    /// As Firefox does: with new credentials, it nominates with the first check, and stops to listen on the old path
    /// when the answer comes.
    Restart,
}

/// A client on its way.
#[derive(Debug, Clone)]
struct Move {
    path: Path,
    ice: IceCredentials,
    way: Way,
    /// Of its checks: an answer to one of another time says nothing.
    transaction: [u8; 12],
    /// The new site has the keys.
    taken_up: bool,
}

/// Control's side of all moves.
#[derive(Debug, Default)]
pub struct Moving {
    under_way: BTreeMap<u64, Move>,
    generations: BTreeMap<u64, u64>,
    /// Tracks of each client, which all sites have.
    pub tracks: BTreeMap<u64, Vec<TrackKey>>,
    begun: u32,
    pub done: usize,
    /// Moves that the other engine refused.
    pub given_back: usize,
    /// Old paths that a client listens to no more.
    pub deaf: BTreeSet<(u64, Path)>,
    data: BTreeMap<u64, Data>,
    /// Whose association was not ready to move when it was asked for.
    waiting: BTreeSet<u64>,
    pub not_ready: usize,
    /// Decides who moves when; `None` if nobody does by himself.
    roaming: Option<Random>,
    next: Time,
    /// Sessions that neither engine has.
    between: usize,
    /// Whose the subscriptions are.
    subscriptions: BTreeMap<SubscriptionKey, u64>,
}

impl Moving {
    /// From now on, people move at random.
    pub fn roam(&mut self, seed: u64) {
        self.roaming = Some(Random::new(seed));
    }

    pub const fn roams(&self) -> bool {
        self.roaming.is_some()
    }

    fn publisher(&self, track: TrackKey) -> Option<u64> {
        self.tracks.iter().find(|(_, tracks)| tracks.contains(&track)).map(|(number, _)| *number)
    }
}

/// The two ends of a client's data channel.
#[derive(Debug)]
struct Data {
    identity: DtlsIdentity,
    client: Association,
    /// `None` while it is between two sites.
    server: Option<Association>,
    channel: Option<ChannelId>,
    /// What arrived at the client and at the server.
    received: [Vec<Vec<u8>>; 2],
}

impl World {
    /// Has a client's session move to another site.
    pub fn begin_move(&mut self, number: u64, to: usize, way: Way) {
        let (transport, from) = (TransportKey(number), self.site_of(number));
        let mut ice = self.clients[&number].ice.clone();
        if way == Way::Restart {
            let generation = self.moving.generations.entry(number).or_default();
            *generation += 1;
            ice = credentials(number, *generation);
        }
        self.command_at(from, Command::OfferTransport { transport, to: PeerKey(to as u32) });
        let owner = PeerKey(from as u32);
        self.command_at(to, Command::AwaitTransport { transport, ice: ice.clone(), owner });
        let path = udp_to(to, number, 50_000);
        self.moving.deaf.remove(&(number, path));
        self.moving.begun += 1;
        let mut transaction = [7; 12];
        transaction[..4].copy_from_slice(&self.moving.begun.to_be_bytes());
        let check = stun::check_numbered(&ice, way == Way::Restart, transaction);
        for turn in 0..CHECKS {
            self.send_later(CHECK_INTERVAL * turn, path, &check);
        }
        self.moving.under_way.insert(number, Move { path, ice, way, transaction, taken_up: false });
    }

    /// Has somebody move, if it is time.
    pub fn roam(&mut self) {
        let now = self.now;
        let Some(random) = self.moving.roaming.as_mut().filter(|_| self.moving.next <= now) else { return };
        self.moving.next = now + Duration::from_millis(100 + random.next() % 700);
        let at = random.next() as usize % self.sites.len().max(1);
        let way = if random.next().is_multiple_of(2) { Way::Candidate } else { Way::Restart };
        let Some((number, site)) = self.sites.iter().nth(at).map(|(number, site)| (*number, *site)) else { return };
        if !self.is_moving(number) {
            self.begin_move(number, 1 - site, way);
        }
    }

    /// Gives a command to the engine that has what it is about, and to the other one what it has to know of it.
    pub fn route(&mut self, command: Command) {
        while self.moving.between > 0 {
            self.step();
        }
        let number = match command {
            Command::Publish(publish) => return self.publish_at_both(*publish),
            Command::LimitHeard { voices } => {
                self.command_at(1, Command::LimitHeard { voices });
                return self.command_at(0, command);
            }
            Command::Unpublish { track } => {
                self.command_at(1, Command::Unpublish { track });
                return self.command_at(0, command);
            }
            Command::Subscribe(ref subscribe) => {
                self.moving.subscriptions.insert(subscribe.subscription, subscribe.transport.0);
                Some(subscribe.transport.0)
            }
            Command::Unsubscribe { subscription } | Command::SetTarget { subscription, .. } => {
                self.moving.subscriptions.get(&subscription).copied()
            }
            Command::SetMuted { track, .. } => self.moving.publisher(track),
            Command::InstallKeys { transport, .. } => Some(transport.0),
            _ => None,
        };
        let site = number.map_or(0, |number| self.site_of(number));
        self.command_at(site, command);
    }

    fn publish_at_both(&mut self, publish: Publish) {
        let Feed::Transport(TransportKey(number)) = publish.feed else { return };
        let (site, track) = (self.site_of(number), publish.track);
        let known = self.moving.tracks.entry(number).or_default();
        if !known.contains(&track) {
            known.push(track);
        }
        self.command_at(site, Command::Publish(Box::new(publish.clone())));
        self.relay_described(publish, site, 1 - site);
    }

    pub fn is_moving(&self, number: u64) -> bool {
        self.moving.under_way.contains_key(&number)
    }

    pub fn nobody_moves(&self) -> bool {
        self.moving.under_way.is_empty()
    }

    /// Whether a client has turned away from the path a datagram came on.
    pub fn is_deaf(&self, number: u64, path: &Path) -> bool {
        self.moving.deaf.contains(&(number, *path))
    }

    /// A check on the new path was answered: from now on the client sends there.
    pub fn note_answer(&mut self, number: u64, path: Path, datagram: &[u8]) {
        let Some(Move { path: new, ice, way, transaction, taken_up }) = self.moving.under_way.get(&number).cloned()
        else {
            return;
        };
        let client = self.clients.get_mut(&number).expect("it moves");
        if !stun::answers(datagram, transaction) || path != new || client.path == new {
            return;
        }
        let old = std::mem::replace(&mut client.path, new);
        client.ice = ice.clone();
        if way == Way::Restart {
            self.moving.deaf.insert((number, old));
        } else {
            let check = stun::check(&ice, true);
            for turn in 1..=2 {
                self.send_later(CHECK_INTERVAL * turn, path, &check);
            }
        }
        if taken_up {
            self.moving.under_way.remove(&number);
        }
    }

    /// What control does about an event.
    pub fn control(&mut self, site: usize, event: &Event) {
        match event {
            Event::HandoffAsked { transport } => self.hand_over(transport.0),
            Event::HandedOver { .. } => self.moving.between += 1,
            Event::TakenUp { transport, enclosed } => self.note_taken_up(site, transport.0, enclosed),
            Event::GivenBack { transport, enclosed } => self.note_given_back(transport.0, enclosed),
            Event::Dtls { transport, datagram } => {
                let now = self.now;
                let data = self.moving.data.get_mut(&transport.0);
                if let Some(server) = data.and_then(|data| data.server.as_mut()) {
                    server.handle_datagram(now, datagram);
                    self.pump_server(transport.0);
                }
            }
            _ => {}
        }
    }

    fn hand_over(&mut self, number: u64) {
        let mut enclosed = Enclosed::default();
        if let Some(data) = self.moving.data.get_mut(&number) {
            let Some(server) = data.server.take() else { return };
            match server.export(SctpExport::Exact) {
                Ok(state) => enclosed = Enclosed(serde_json::to_vec(&state).expect("it can be written")),
                Err(ExportError::NotReady(server, _) | ExportError::NotEstablished(server)) => {
                    data.server = Some(*server);
                    self.moving.waiting.insert(number);
                    self.moving.not_ready += 1;
                    return;
                }
            }
        }
        self.moving.waiting.remove(&number);
        let site = self.site_of(number);
        self.command_at(site, Command::HandOver { transport: TransportKey(number), enclosed });
    }

    fn note_taken_up(&mut self, site: usize, number: u64, enclosed: &Enclosed) {
        self.sites.insert(number, site);
        self.moving.done += 1;
        self.moving.between -= 1;
        let path = self.clients[&number].path;
        if let Some(under_way) = self.moving.under_way.get_mut(&number) {
            under_way.taken_up = true;
            if under_way.path == path {
                self.moving.under_way.remove(&number);
            }
        }
        for track in self.moving.tracks.get(&number).cloned().unwrap_or_default() {
            self.command_at(site, Command::RelayTo { track, peer: PeerKey(1 - site as u32) });
        }
        self.restore_data(number, enclosed);
    }

    fn note_given_back(&mut self, number: u64, enclosed: &Enclosed) {
        self.moving.between -= 1;
        self.moving.given_back += 1;
        self.moving.under_way.remove(&number);
        self.restore_data(number, enclosed);
    }

    fn restore_data(&mut self, number: u64, enclosed: &Enclosed) {
        let now = self.now;
        if let Some(data) = self.moving.data.get_mut(&number) {
            let state = serde_json::from_slice(&enclosed.0).expect("what was enclosed");
            data.server = Some(Association::restore(state, data.identity.clone(), now).expect("it goes on"));
            self.pump_server(number);
        }
    }

    /// Runs until all who are on their way have arrived, and what is left of them has been removed.
    pub fn settle_moves(&mut self) {
        let end = self.now + Duration::from_secs(5);
        while !self.nobody_moves() {
            assert!(self.now < end, "stuck: {:?}", self.moving.under_way);
            self.run_for(Duration::from_millis(10));
        }
        self.run_for(SHELL);
        for (number, site) in self.sites.clone() {
            self.command_at(1 - site, Command::RemoveTransport { transport: TransportKey(number) });
        }
    }

    /// Gives a client a reliable data channel to the server.
    pub fn open_data(&mut self, number: u64) {
        let now = self.now;
        let identity = || DtlsIdentity::new(&Certificate::generate().expect("a key")).expect("ours");
        let (ours, theirs) = (identity(), identity());
        let server = Association::new(DtlsRole::Server, ours.clone(), Some(theirs.fingerprint()), now);
        let client = Association::new(DtlsRole::Client, theirs, Some(ours.fingerprint()), now);
        let data = Data { identity: ours, client, server: Some(server), channel: None, received: Default::default() };
        self.moving.data.insert(number, data);
        self.pump_client(number);
        self.run_for(Duration::from_secs(1));
        let now = self.now;
        let data = self.moving.data.get_mut(&number).expect("just made");
        let options = ChannelOptions { label: "data".into(), ordered: true, reliability: Reliability::Reliable };
        data.channel = Some(data.client.open_channel(now, options).expect("it has few"));
        self.pump_client(number);
        self.run_for(Duration::from_secs(1));
    }

    /// Sends a message from each end that is there.
    pub fn say(&mut self, number: u64, message: &[u8]) -> usize {
        let now = self.now;
        let data = self.moving.data.get_mut(&number).expect("has a channel");
        let channel = data.channel.expect("open");
        data.client.send(now, channel, message, true).expect("there is room");
        let mut said = 1;
        if let Some(server) = &mut data.server {
            server.send(now, channel, message, true).expect("there is room");
            said += 1;
        }
        self.pump_client(number);
        self.pump_server(number);
        said
    }

    /// What arrived at the client's end, and at the server's.
    pub fn heard(&self, number: u64) -> &[Vec<Vec<u8>>; 2] {
        &self.moving.data[&number].received
    }

    pub fn handle_client_dtls(&mut self, number: u64, datagram: &[u8]) {
        let now = self.now;
        if (20..=63).contains(&datagram[0])
            && let Some(data) = self.moving.data.get_mut(&number)
        {
            data.client.handle_datagram(now, datagram);
            self.pump_client(number);
        }
    }

    fn pump_client(&mut self, number: u64) {
        let path = self.clients[&number].path;
        let mut out = Vec::new();
        let Some(data) = self.moving.data.get_mut(&number) else { return };
        while let Some(output) = data.client.poll() {
            match output {
                AssociationOutput::Datagram(datagram) => out.push(datagram),
                AssociationOutput::Message { data: message, .. } => data.received[0].push(message),
                AssociationOutput::Closed { reason } => panic!("the client's end closed: {reason}"),
                _ => {}
            }
        }
        for datagram in out {
            self.send_to_server(path, &datagram);
        }
    }

    fn pump_server(&mut self, number: u64) {
        let mut out = Vec::new();
        let Some(data) = self.moving.data.get_mut(&number) else { return };
        while let Some(output) = data.server.as_mut().and_then(Association::poll) {
            match output {
                AssociationOutput::Datagram(datagram) => out.push(datagram),
                AssociationOutput::Message { data: message, .. } => data.received[1].push(message),
                AssociationOutput::Closed { reason } => panic!("the server's end closed: {reason}"),
                _ => {}
            }
        }
        let site = self.site_of(number);
        for datagram in out {
            self.command_at(site, Command::SendDtls { transport: TransportKey(number), datagram });
        }
        if self.moving.waiting.contains(&number) {
            self.hand_over(number);
        }
    }

    pub fn associations_due(&self) -> Option<Time> {
        let all = self.moving.data.values().flat_map(|data| [Some(&data.client), data.server.as_ref()]);
        all.flatten().filter_map(Association::poll_timeout).min()
    }

    pub fn handle_association_timeouts(&mut self) {
        let now = self.now;
        for number in self.moving.data.keys().copied().collect::<Vec<_>>() {
            let Some(data) = self.moving.data.get_mut(&number) else { continue };
            if data.client.poll_timeout().is_some_and(|at| at <= now) {
                data.client.handle_timeout(now);
                self.pump_client(number);
            }
            let Some(data) = self.moving.data.get_mut(&number) else { continue };
            if let Some(server) =
                data.server.as_mut().filter(|server| server.poll_timeout().is_some_and(|at| at <= now))
            {
                server.handle_timeout(now);
                self.pump_server(number);
            }
        }
    }
}
