//! The server's side: engine, associations and keys, wired as control wires them, without sockets or threads.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use sfu_core::engine::command::Command;
use sfu_core::engine::event::Event;
use sfu_core::engine::path::Path;
use sfu_core::engine::{Engine, EngineConfig};
use sfu_core::id::TransportKey;
use sfu_core::sdp::{Candidate, DtlsRole, Fingerprint, LocalTransport, Protocol};
use sfu_core::time::Time;
use sfu_core::transport::association::{Association, AssociationOutput};
use sfu_core::transport::certificate::Certificate;
use sfu_core::transport::dtls::DtlsIdentity;
use sfu_core::transport::ice::IceCredentials;
use sfu_core::transport::sctp::{ChannelId, ChannelOptions, Reliability};

/// One SFU with one address.
#[derive(Debug)]
pub struct Sfu {
    address: SocketAddr,
    identity: DtlsIdentity,
    engine: Engine,
    transports: BTreeMap<TransportKey, Transport>,
    events: Vec<Event>,
}

/// What control keeps of a transport.
#[derive(Debug)]
struct Transport {
    ice: IceCredentials,
    association: Option<Association>,
    channels: BTreeMap<String, ChannelId>,
    messages: Vec<(ChannelId, Vec<u8>)>,
    has_keys: bool,
}

impl Sfu {
    pub fn new(address: SocketAddr) -> Self {
        let certificate = Certificate::generate().expect("a certificate");
        Self {
            address,
            identity: DtlsIdentity::new(&certificate).expect("a certificate of ours"),
            engine: Engine::new(EngineConfig::default()),
            transports: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens a transport; its half of a description is what comes back.
    pub fn open(&mut self, now: Time, key: TransportKey) -> LocalTransport {
        let ice = IceCredentials::generate(0).expect("random numbers");
        self.command(now, Command::AddTransport { transport: key, ice: ice.clone() });
        let transport =
            Transport { ice, association: None, channels: BTreeMap::new(), messages: Vec::new(), has_keys: false };
        self.transports.insert(key, transport);
        self.local(key)
    }

    /// Our half of a transport's description.
    pub fn local(&self, key: TransportKey) -> LocalTransport {
        let ice = &self.transports[&key].ice;
        LocalTransport {
            ice_ufrag: ice.ufrag.clone(),
            ice_pwd: ice.pwd.clone(),
            fingerprint: Fingerprint(self.identity.fingerprint().0),
            candidates: vec![Candidate { protocol: Protocol::Udp, address: self.address, local_preference: u16::MAX }],
        }
    }

    /// New credentials for a transport, as an ICE restart wants them.
    pub fn restart_ice(&mut self, now: Time, key: TransportKey) -> LocalTransport {
        let ice = IceCredentials::generate(0).expect("random numbers");
        self.transports.get_mut(&key).expect("an open transport").ice = ice.clone();
        self.command(now, Command::RestartIce { transport: key, ice });
        self.local(key)
    }

    /// Starts DTLS. The fingerprint may come later: see [`trust`](Self::trust).
    pub fn start(&mut self, now: Time, key: TransportKey, role: DtlsRole, fingerprint: Option<Fingerprint>) {
        let association = Association::new(role, self.identity.clone(), fingerprint, now);
        self.transports.get_mut(&key).expect("an open transport").association = Some(association);
    }

    pub fn has_started(&self, key: TransportKey) -> bool {
        self.transports[&key].association.is_some()
    }

    /// Says whose certificate is expected.
    pub fn trust(&mut self, now: Time, key: TransportKey, fingerprint: Fingerprint) {
        let transport = self.transports.get_mut(&key).expect("an open transport");
        transport.association.as_mut().expect("DTLS has started").set_remote_fingerprint(now, fingerprint);
    }

    pub fn command(&mut self, now: Time, command: Command) {
        self.engine.handle_command(now, command);
    }

    /// Opens a reliable data channel from our side.
    pub fn open_channel(&mut self, now: Time, key: TransportKey, label: &str) {
        let transport = self.transports.get_mut(&key).expect("an open transport");
        let options = ChannelOptions { label: label.to_owned(), ordered: true, reliability: Reliability::Reliable };
        let association = transport.association.as_mut().expect("DTLS has started");
        association.open_channel(now, options).expect("room for a channel");
    }

    /// Sends on the channel with a label, which must be open.
    pub fn send(&mut self, now: Time, key: TransportKey, label: &str, data: &[u8]) {
        let transport = self.transports.get_mut(&key).expect("an open transport");
        let channel = transport.channels[label];
        let association = transport.association.as_mut().expect("DTLS has started");
        association.send(now, channel, data, true).expect("room to send");
    }

    pub fn is_connected(&self, key: TransportKey) -> bool {
        self.transports[&key].has_keys
    }

    /// Whether a channel with this label is open.
    pub fn has_channel(&self, key: TransportKey, label: &str) -> bool {
        self.transports[&key].channels.contains_key(label)
    }

    /// Messages that came on the channel with a label.
    pub fn messages(&self, key: TransportKey, label: &str) -> Vec<&[u8]> {
        let transport = &self.transports[&key];
        let on = transport.messages.iter().filter(|(channel, _)| transport.channels.get(label) == Some(channel));
        on.map(|(_, data)| data.as_slice()).collect()
    }

    /// Everything the engine has reported so far, but DTLS.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    pub fn handle_datagram(&mut self, now: Time, from: SocketAddr, mut datagram: Vec<u8>) {
        let path = Path::Udp { remote: from, local: Some(self.address.ip()) };
        self.engine.handle_datagram(now, path, &mut datagram);
        self.engine.handle_timeout(now);
    }

    pub fn handle_timeout(&mut self, now: Time) {
        self.engine.handle_timeout(now);
        for transport in self.transports.values_mut() {
            if let Some(association) = &mut transport.association {
                association.handle_timeout(now);
            }
        }
    }

    pub fn poll_timeout(&self) -> Option<Time> {
        let associations = self.transports.values().filter_map(|transport| transport.association.as_ref());
        associations.filter_map(Association::poll_timeout).chain(self.engine.poll_timeout()).min()
    }

    /// Lets control and engine talk until neither has anything to say; what leaves are datagrams.
    pub fn drain(&mut self, now: Time) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut datagrams = Vec::new();
        loop {
            let mut commands = Vec::new();
            while let Some(event) = self.engine.poll_event() {
                match event {
                    Event::Dtls { transport, datagram } => {
                        let association = self.transports.get_mut(&transport).and_then(|t| t.association.as_mut());
                        if let Some(association) = association {
                            association.handle_datagram(now, &datagram);
                        }
                    }
                    event => self.events.push(event),
                }
            }
            for (key, transport) in &mut self.transports {
                commands.extend(transport.take_outputs(*key));
            }
            let is_quiet = commands.is_empty();
            for command in commands {
                self.engine.handle_command(now, command);
            }
            while let Some(transmit) = self.engine.poll_transmit() {
                datagrams.push((transmit.path.remote(), transmit.payload));
            }
            if is_quiet {
                return datagrams;
            }
        }
    }
}

impl Transport {
    fn take_outputs(&mut self, key: TransportKey) -> Vec<Command> {
        let mut commands = Vec::new();
        while let Some(output) = self.association.as_mut().and_then(Association::poll) {
            match output {
                AssociationOutput::Datagram(datagram) => commands.push(Command::SendDtls { transport: key, datagram }),
                AssociationOutput::Connected { keys } => {
                    self.has_keys = true;
                    commands.push(Command::InstallKeys { transport: key, keys });
                }
                AssociationOutput::ChannelOpened(channel) => {
                    self.channels.insert(channel.label, channel.id);
                }
                AssociationOutput::ChannelClosed { channel } => self.channels.retain(|_, id| *id != channel),
                AssociationOutput::Message { channel, data, .. } => self.messages.push((channel, data)),
                AssociationOutput::Closed { reason } => panic!("transport {key:?} closed: {reason}"),
            }
        }
        commands
    }
}
