//! One client's peer connection without its socket: ICE, DTLS with data channels, SRTP keys.
//!
//! In: STUN and DTLS datagrams, the time. Out, by [`Transport::poll`]: datagrams, the keys, the end. The parts are those
//! of the SFU, in the other role.

use std::collections::VecDeque;
use std::net::SocketAddr;

use sfu_core::time::Time;
use sfu_core::transport::association::{Association, AssociationOutput, CloseReason};
use sfu_core::transport::certificate::Fingerprint;
use sfu_core::transport::dtls::DtlsIdentity;
use sfu_core::transport::sctp::{ChannelOptions, Reliability};
use sfu_core::transport::srtp::SrtpKeys;
use sfu_core::transport::{DatagramKind, DtlsRole};
use thiserror::Error;

use super::ice::IceAgent;
use calls_client::peer::{LOSSY, RELIABLE};

/// A peer connection. Drain rule: after each call that takes the time, poll until `None`.
#[derive(Debug)]
pub struct Transport {
    ice: IceAgent,
    dtls: Dtls,
    outputs: VecDeque<TransportOutput>,
}

/// What a peer connection is made of. It is made on the thread it stays on.
#[derive(Debug)]
pub struct TransportPlan {
    /// With the server's candidates that are known.
    pub ice: IceAgent,
    /// Ours in the DTLS handshake.
    pub role: DtlsRole,
    pub identity: DtlsIdentity,
    /// Of the server's certificate.
    pub fingerprint: Fingerprint,
}

/// A client's handshake begins when there is a path; a server's may begin before we know.
#[derive(Debug)]
enum Dtls {
    AwaitingPath { identity: DtlsIdentity, fingerprint: Fingerprint },
    Running(Box<Association>),
    Ended,
}

/// What a transport gives out.
#[derive(Debug)]
pub enum TransportOutput {
    Datagram(SocketAddr, Vec<u8>),
    /// Media can flow.
    Connected(SrtpKeys),
    /// Nothing comes after it.
    Closed(Closed),
}

/// Why a transport ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Closed {
    #[error("the server stopped answering connectivity checks")]
    NoConsent,
    #[error("DTLS ended: {0}")]
    Dtls(CloseReason),
}

impl Transport {
    pub fn new(plan: TransportPlan, now: Time) -> Self {
        let TransportPlan { ice, role, identity, fingerprint } = plan;
        let dtls = match role {
            DtlsRole::Client => Dtls::AwaitingPath { identity, fingerprint },
            DtlsRole::Server => Dtls::Running(associate(role, identity, fingerprint, now)),
        };
        let mut transport = Self { ice, dtls, outputs: VecDeque::new() };
        transport.pump(now);
        transport
    }

    /// Where to send.
    pub const fn remote(&self) -> Option<SocketAddr> {
        self.ice.selected()
    }

    pub fn add_remote(&mut self, now: Time, candidate: SocketAddr) {
        self.ice.add_remote(now, candidate);
        self.pump(now);
    }

    /// Takes STUN and DTLS; others are none of its business.
    pub fn handle_datagram(&mut self, now: Time, from: SocketAddr, datagram: &[u8]) {
        match (DatagramKind::of(datagram), &mut self.dtls) {
            (Some(DatagramKind::Stun), _) => {
                let reply = self.ice.handle_datagram(now, from, datagram);
                self.outputs.extend(reply.map(|reply| TransportOutput::Datagram(from, reply)));
            }
            (Some(DatagramKind::Dtls), Dtls::Running(association)) => association.handle_datagram(now, datagram),
            _ => return,
        }
        self.pump(now);
    }

    /// To be called when [`next_at`](Self::next_at) has come.
    pub fn handle_timeout(&mut self, now: Time) {
        if let Dtls::Running(association) = &mut self.dtls
            && association.poll_timeout().is_some_and(|at| at <= now)
        {
            association.handle_timeout(now);
        }
        if self.ice.is_lost(now) {
            self.close(Closed::NoConsent);
        }
        self.pump(now);
    }

    pub fn next_at(&self) -> Option<Time> {
        let dtls = match &self.dtls {
            Dtls::Running(association) => association.poll_timeout(),
            Dtls::AwaitingPath { .. } => None,
            Dtls::Ended => return None,
        };
        self.ice.next_at().into_iter().chain(dtls).min()
    }

    pub fn poll(&mut self) -> Option<TransportOutput> {
        self.outputs.pop_front()
    }

    fn close(&mut self, why: Closed) {
        if !matches!(self.dtls, Dtls::Ended) {
            self.dtls = Dtls::Ended;
            self.outputs.push_back(TransportOutput::Closed(why));
        }
    }

    fn pump(&mut self, now: Time) {
        while let Some((to, check)) = self.ice.poll(now) {
            self.outputs.push_back(TransportOutput::Datagram(to, check));
        }
        let Some(remote) = self.ice.selected() else { return };
        if let Dtls::AwaitingPath { identity, fingerprint } = &self.dtls {
            self.dtls = Dtls::Running(associate(DtlsRole::Client, identity.clone(), *fingerprint, now));
        }
        let Dtls::Running(association) = &mut self.dtls else { return };
        let mut ended = None;
        while let Some(output) = association.poll() {
            match output {
                AssociationOutput::Datagram(datagram) => {
                    self.outputs.push_back(TransportOutput::Datagram(remote, datagram));
                }
                AssociationOutput::Connected { keys } => self.outputs.push_back(TransportOutput::Connected(keys)),
                AssociationOutput::Closed { reason } => ended = Some(reason),
                AssociationOutput::ChannelOpened(_)
                | AssociationOutput::ChannelClosed { .. }
                | AssociationOutput::Message { .. } => (),
            }
        }
        if let Some(reason) = ended {
            self.close(Closed::Dtls(reason));
        }
    }
}

/// An association with the data channels every client of LiveKit opens.
fn associate(role: DtlsRole, identity: DtlsIdentity, fingerprint: Fingerprint, now: Time) -> Box<Association> {
    let mut association = Association::new(role, identity, Some(fingerprint), now);
    let channels = [(RELIABLE, true, Reliability::Reliable), (LOSSY, false, Reliability::MaxRetransmits(0))];
    for (label, ordered, reliability) in channels {
        let opened = association.open_channel(now, ChannelOptions { label: label.into(), ordered, reliability });
        debug_assert!(opened.is_ok(), "a new association takes two channels");
    }
    Box::new(association)
}

#[cfg(test)]
mod tests {
    use sfu_core::transport::certificate::Certificate;
    use sfu_core::transport::ice::{IceCredentials, respond};

    use super::*;

    fn credentials(name: &str) -> IceCredentials {
        IceCredentials { ufrag: format!("{name}Ufrag"), pwd: format!("the password of {name}...") }
    }

    /// Plays a lite server with this DTLS role until nothing is to be sent; returns the keys both sides have.
    fn connect(server_role: DtlsRole) -> (Option<SrtpKeys>, Option<SrtpKeys>) {
        let (now, at) = (Time::from_millis(1), "127.0.0.1:7882".parse().unwrap());
        let identity = |certificate: &Certificate| DtlsIdentity::new(certificate).unwrap();
        let (ours, theirs) = (Certificate::generate().unwrap(), Certificate::generate().unwrap());
        let role = match server_role {
            DtlsRole::Client => DtlsRole::Server,
            DtlsRole::Server => DtlsRole::Client,
        };
        let ice = IceAgent::new(credentials("ours"), credentials("theirs"), 1);
        let (identity_of_ours, fingerprint) = (identity(&ours), theirs.fingerprint());
        let mut client = Transport::new(TransportPlan { ice, role, identity: identity_of_ours, fingerprint }, now);
        let mut server = Association::new(server_role, identity(&theirs), Some(ours.fingerprint()), now);
        client.add_remote(now, at);
        let (mut our_keys, mut their_keys) = (None, None);
        loop {
            if let Some(output) = client.poll() {
                match output {
                    TransportOutput::Datagram(to, datagram)
                        if DatagramKind::of(&datagram) == Some(DatagramKind::Stun) =>
                    {
                        let from = "127.0.0.1:50000".parse().unwrap();
                        let answer = respond(&datagram, &credentials("theirs"), from).expect("an authentic check");
                        client.handle_datagram(now, to, &answer.reply);
                    }
                    TransportOutput::Datagram(_, datagram) => server.handle_datagram(now, &datagram),
                    TransportOutput::Connected(keys) => our_keys = Some(keys),
                    TransportOutput::Closed(why) => panic!("{why}"),
                }
            } else if let Some(output) = server.poll() {
                match output {
                    AssociationOutput::Datagram(datagram) => client.handle_datagram(now, at, &datagram),
                    AssociationOutput::Connected { keys } => their_keys = Some(keys),
                    AssociationOutput::Closed { reason } => panic!("{reason}"),
                    _ => (),
                }
            } else {
                return (our_keys, their_keys);
            }
        }
    }

    #[test]
    fn keys_come_whichever_side_begins_the_handshake() {
        for server_role in [DtlsRole::Server, DtlsRole::Client] {
            let (ours, theirs) = connect(server_role);
            let (ours, theirs) = (ours.expect("connected"), theirs.expect("connected"));
            assert_eq!((&ours.local, &ours.remote), (&theirs.remote, &theirs.local), "{server_role:?}");
        }
    }
}
