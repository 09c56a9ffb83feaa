//! One DTLS 1.2 association on the `rtc-dtls` crate.
//!
//! In: datagrams, the time. Out, by [`Dtls::poll`]: datagrams, the SRTP keys once the handshake is done, application
//! data, the end. The library's network input passes [`intake`](mod@intake) first, which bounds what the library does
//! not. Whether the peer's certificate is the right one is for the caller to say.

mod checkpoint;
mod clock;
mod config;
mod hello;
mod intake;
mod record;

use std::collections::VecDeque;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use bytes::BytesMut;
use rkyv::util::AlignedVec;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::state::State;
use rtc_shared::TransportProtocol;
use rtc_shared::error::Error as LibraryError;
use serde::{Deserialize, Serialize};

pub use checkpoint::DtlsCheckpoint;
pub use config::{DtlsConfigError, DtlsIdentity};

use self::clock::instant;
use self::config::RETRANSMIT_INTERVAL;
use self::hello::HelloBuffer;
use self::intake::Intake;
use super::DtlsRole;
use super::certificate::Fingerprint;
use super::guard::{Panicked, guard};
use super::srtp::{Profile, SrtpKeys};
use crate::time::Time;

/// The library gives up after seven repetitions.
const MAX_DOUBLINGS: u32 = 7;
/// The label of the SRTP keying material (RFC 5764, section 4.2).
const SRTP_LABEL: &str = "EXTRACTOR-dtls_srtp";
/// No datagram of a WebRTC client is longer; also the size of the library's own buffer.
const MAX_DATAGRAM_LEN: usize = 8192;
/// The library keeps associations by address. Ours has no address: it survives any change of the client's.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

/// A DTLS association. Drain rule: after each `handle_*`, `send` and `close`, [`poll`](Self::poll) until `None`.
pub struct Dtls {
    role: DtlsRole,
    identity: DtlsIdentity,
    phase: Phase,
    intake: Intake,
    retransmission: Retransmission,
    outputs: VecDeque<DtlsOutput>,
    dropped: u64,
}

enum Phase {
    /// A server before the client's first message: its protection profiles decide our configuration.
    AwaitingHello(HelloBuffer),
    Handshaking(Box<Endpoint>),
    Established(Box<Endpoint>),
    Closed,
}

/// What a DTLS association gives out.
#[derive(Debug)]
pub enum DtlsOutput {
    /// To be sent to the peer. At most 1,200 bytes, unless the application data is longer.
    Datagram(Vec<u8>),
    /// The handshake is done. `peer` is the certificate the peer showed and proved to hold the key of.
    Connected {
        keys: SrtpKeys,
        peer: Fingerprint,
    },
    Data(Vec<u8>),
    /// Nothing comes after it.
    Closed(DtlsEnd),
}

/// Why a DTLS association ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DtlsEnd {
    #[error("peer closed the connection")]
    PeerClosed,
    #[error("handshake failed")]
    HandshakeFailed,
    #[error("peer did not answer during the handshake")]
    TimedOut,
    #[error("peer shares no SRTP protection profile with us")]
    NoProfile,
    #[error("peer sent a fatal alert")]
    Alert,
    #[error("DTLS library failed")]
    Internal,
}

/// A restorable DTLS association, written down. Carries its keys: whatever stores or sends it must keep it secret.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub struct DtlsState {
    role: DtlsRole,
    /// The library's own form.
    library: Vec<u8>,
    /// Highest record number received; the restored association takes only later ones, since the library's replay
    /// window is not part of its state.
    highest_record: Option<u64>,
}

impl fmt::Debug for DtlsState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DtlsState").field("role", &self.role).finish_non_exhaustive()
    }
}

/// Why a state was not restored.
#[derive(Debug, thiserror::Error)]
#[error("state is not a DTLS association's")]
pub struct DtlsRestoreError;

impl fmt::Debug for Dtls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match &self.phase {
            Phase::AwaitingHello(_) => "AwaitingHello",
            Phase::Handshaking(_) => "Handshaking",
            Phase::Established(_) => "Established",
            Phase::Closed => "Closed",
        };
        f.debug_struct("Dtls").field("role", &self.role).field("phase", &phase).finish_non_exhaustive()
    }
}

impl Dtls {
    /// A client sends its first message at once, a server waits for it.
    pub fn new(role: DtlsRole, identity: DtlsIdentity, now: Time) -> Self {
        let mut dtls = Self {
            role,
            identity,
            phase: Phase::AwaitingHello(HelloBuffer::default()),
            intake: Intake::default(),
            retransmission: Retransmission::default(),
            outputs: VecDeque::new(),
            dropped: 0,
        };
        if role == DtlsRole::Client {
            let mut endpoint = new_endpoint(None);
            let config = dtls.identity.client();
            let connected = guard(|| endpoint.connect(instant(now), PEER, config, None));
            dtls.phase = Phase::Handshaking(Box::new(endpoint));
            match connected {
                Ok(Ok(())) => {
                    dtls.collect_datagrams();
                    dtls.retransmission.observe(dtls.library_timeout());
                }
                Ok(Err(_)) | Err(Panicked) => dtls.end(DtlsEnd::Internal),
            }
        }
        dtls
    }

    pub fn role(&self) -> DtlsRole {
        self.role
    }

    pub fn is_established(&self) -> bool {
        matches!(self.phase, Phase::Established(_))
    }

    /// Datagrams and records that were dropped as garbage, replays or beyond a bound, since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes a datagram whose first byte says DTLS (RFC 7983).
    pub fn handle_datagram(&mut self, now: Time, datagram: &[u8]) {
        if datagram.len() > MAX_DATAGRAM_LEN {
            self.dropped += 1;
            return;
        }
        if let Phase::AwaitingHello(buffer) = &mut self.phase {
            let Some(hello) = buffer.push(datagram) else {
                self.dropped += u64::from(!buffer.holds_last());
                return;
            };
            let Some(profile) = preferred(&hello.profiles) else {
                self.end(DtlsEnd::NoProfile);
                return;
            };
            self.phase = Phase::Handshaking(Box::new(new_endpoint(Some(self.identity.server(profile)))));
            for datagram in hello.datagrams {
                self.handle_records(now, &datagram);
            }
            return;
        }
        self.handle_records(now, datagram);
    }

    /// Gives the library one record at a time, so that each is judged alone.
    fn handle_records(&mut self, now: Time, datagram: &[u8]) {
        for record in record::records(datagram) {
            let Some(record) = record.filter(|record| self.intake.admit(record, self.is_established())) else {
                self.dropped += 1;
                continue;
            };
            self.handle_record(now, &record);
        }
        self.retransmission.observe(self.library_timeout());
    }

    fn handle_record(&mut self, now: Time, record: &record::Record<'_>) {
        let established = self.is_established();
        let (Phase::Handshaking(endpoint) | Phase::Established(endpoint)) = &mut self.phase else { return };
        let read = guard(|| endpoint.read(instant(now), PEER, None, BytesMut::from(record.bytes)));
        self.collect_datagrams();
        match read {
            Ok(Ok(events)) => {
                for event in events {
                    self.handle_event(event, record);
                }
            }
            Ok(Err(LibraryError::ErrAlertFatalOrClose)) => self.end(DtlsEnd::Alert),
            // An authenticated record that made no sense, or an alert that is only a warning.
            Ok(Err(_)) if established => self.dropped += 1,
            Ok(Err(_)) => self.end(DtlsEnd::HandshakeFailed),
            Err(Panicked) => self.end(DtlsEnd::Internal),
        }
    }

    fn handle_event(&mut self, event: EndpointEvent, record: &record::Record<'_>) {
        match event {
            EndpointEvent::HandshakeComplete => self.establish(),
            EndpointEvent::ApplicationData(data) => {
                self.intake.note_authentic(record);
                self.outputs.push_back(DtlsOutput::Data(data.to_vec()));
            }
            EndpointEvent::PeerClosed => self.end(DtlsEnd::PeerClosed),
            _ => {}
        }
    }

    fn establish(&mut self) {
        let Phase::Handshaking(endpoint) = std::mem::replace(&mut self.phase, Phase::Closed) else { return };
        let secrets = endpoint.get_connection_state(PEER).and_then(|state| secrets(state, self.role));
        self.phase = Phase::Established(endpoint);
        match secrets {
            Some((keys, peer)) => self.outputs.push_back(DtlsOutput::Connected { keys, peer }),
            None => self.end(DtlsEnd::NoProfile),
        }
    }

    /// To be called when [`poll_timeout`](Self::poll_timeout) has come.
    pub fn handle_timeout(&mut self, now: Time) {
        let Phase::Handshaking(endpoint) = &mut self.phase else { return };
        if self.retransmission.deadline().is_none_or(|deadline| instant(now) < deadline) {
            return;
        }
        let handled = guard(|| endpoint.handle_timeout(PEER, instant(now)));
        self.retransmission.fired();
        self.collect_datagrams();
        match handled {
            Ok(Ok(())) => self.retransmission.observe(self.library_timeout()),
            Ok(Err(_)) => self.end(DtlsEnd::TimedOut),
            Err(Panicked) => self.end(DtlsEnd::Internal),
        }
    }

    /// When the handshake's last flight is to be repeated; `None` if it is not waiting.
    pub fn poll_timeout(&self) -> Option<Time> {
        match self.phase {
            Phase::Handshaking(_) => self.retransmission.deadline().map(clock::time),
            _ => None,
        }
    }

    /// Encrypts application data. Dropped unless established.
    pub fn send(&mut self, now: Time, data: &[u8]) {
        let Phase::Established(endpoint) = &mut self.phase else { return };
        let written = guard(|| endpoint.write(instant(now), PEER, data));
        self.collect_datagrams();
        if !matches!(written, Ok(Ok(()))) {
            self.end(DtlsEnd::Internal);
        }
    }

    /// Tells the peer that the association ends.
    pub fn close(&mut self, now: Time) {
        if let Phase::Handshaking(endpoint) | Phase::Established(endpoint) = &mut self.phase {
            let _ = guard(|| endpoint.stop(instant(now), PEER));
            self.collect_datagrams();
        }
        self.phase = Phase::Closed;
    }

    /// What is to be done next; `None` when nothing is left.
    pub fn poll(&mut self) -> Option<DtlsOutput> {
        self.outputs.pop_front()
    }

    /// The state of an established association, for another process to go on with. Consumes it: two owners would use
    /// the same record numbers.
    ///
    /// # Errors
    /// The association itself if it is not established.
    pub fn export(self) -> Result<DtlsState, Box<Self>> {
        let library = match &self.phase {
            Phase::Established(endpoint) => guard(|| endpoint.get_connection_state(PEER)?.marshal_binary().ok()).ok(),
            _ => None,
        };
        match library.flatten() {
            Some(library) => Ok(DtlsState { role: self.role, library, highest_record: self.intake.highest_record() }),
            None => Err(Box::new(self)),
        }
    }

    /// Goes on where the exported association stopped. There is no handshake and no [`DtlsOutput::Connected`].
    ///
    /// # Errors
    /// [`DtlsRestoreError`] if the state was damaged.
    pub fn restore(state: &DtlsState, identity: DtlsIdentity, now: Time) -> Result<Self, DtlsRestoreError> {
        // The library reads its state in place and wants it aligned, which a deserialized vector is not.
        let mut aligned = AlignedVec::<16>::new();
        aligned.extend_from_slice(&state.library);
        let mut endpoint = new_endpoint(None);
        let restored = guard(|| {
            let mut library = State::new(identity.provider(), state.role == DtlsRole::Client);
            library.unmarshal_binary(&aligned)?;
            endpoint.connect(instant(now), PEER, identity.client(), Some(library))
        });
        let Ok(Ok(())) = restored else { return Err(DtlsRestoreError) };
        Ok(Self {
            role: state.role,
            identity,
            phase: Phase::Established(Box::new(endpoint)),
            intake: Intake::above(state.highest_record),
            retransmission: Retransmission::default(),
            outputs: VecDeque::new(),
            dropped: 0,
        })
    }

    fn collect_datagrams(&mut self) {
        let (Phase::Handshaking(endpoint) | Phase::Established(endpoint)) = &mut self.phase else { return };
        while let Some(transmit) = endpoint.poll_transmit() {
            self.outputs.push_back(DtlsOutput::Datagram(transmit.message.to_vec()));
        }
    }

    fn library_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Handshaking(endpoint) => endpoint.poll_timeout(&PEER),
            _ => None,
        }
    }

    fn end(&mut self, reason: DtlsEnd) {
        if !matches!(self.phase, Phase::Closed) {
            self.phase = Phase::Closed;
            self.outputs.push_back(DtlsOutput::Closed(reason));
        }
    }
}

/// Doubles the interval between repetitions of a flight, which the library keeps the same (RFC 6347, section 4.2.4.1):
/// its timer says when a flight was sent, ours when to give it the time.
#[derive(Debug, Default)]
struct Retransmission {
    library: Option<Instant>,
    repetitions: u32,
}

impl Retransmission {
    /// Takes the library's timer after anything that may have changed it.
    fn observe(&mut self, library: Option<Instant>) {
        if library.is_none() {
            self.repetitions = 0;
        }
        self.library = library;
    }

    fn fired(&mut self) {
        self.repetitions += 1;
    }

    fn deadline(&self) -> Option<Instant> {
        let added = RETRANSMIT_INTERVAL * ((1 << self.repetitions.min(MAX_DOUBLINGS)) - 1);
        self.library.and_then(|at| at.checked_add(added))
    }
}

fn new_endpoint(server: Option<std::sync::Arc<rtc_dtls::config::HandshakeConfig>>) -> Endpoint {
    Endpoint::new(PEER, TransportProtocol::UDP, server)
}

/// Our choice of what a client offers. The client's own order would give AES-CM, which it lists first.
fn preferred(offered: &[Profile]) -> Option<Profile> {
    let order = [Profile::AeadAes128Gcm, Profile::AeadAes256Gcm, Profile::Aes128CmHmacSha1_80];
    order.into_iter().find(|profile| offered.contains(profile))
}

fn secrets(state: &State, role: DtlsRole) -> Option<(SrtpKeys, Fingerprint)> {
    let profile = config::profile(state.srtp_protection_profile())?;
    let material = state.export_keying_material(SRTP_LABEL, &[], profile.keying_material_len()).ok()?;
    let keys = SrtpKeys::from_keying_material(profile, material.as_ref(), role).ok()?;
    Some((keys, Fingerprint::of(state.peer_certificates.first()?)))
}
