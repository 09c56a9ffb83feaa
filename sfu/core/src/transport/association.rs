//! The control half of one transport: DTLS with the data channels inside.
//!
//! In: DTLS datagrams of an ICE-authenticated path, the fingerprint from the session description, messages, the time.
//! Out, by [`Association::poll`]: datagrams, the SRTP keys, channels, messages, the end. Nothing leaves it, neither
//! keys nor a message, before the peer's certificate is known to be the one its description promised.
//!
//! **Drain rule:** after each call that takes the time or a fingerprint, poll until `None`.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::DtlsRole;
use super::certificate::Fingerprint;
use super::dtls::{Dtls, DtlsCheckpoint, DtlsEnd, DtlsIdentity, DtlsOutput, DtlsRestoreError, DtlsState};
use super::sctp::{
    ChannelError, ChannelId, ChannelOptions, DataChannel, NotReady, Sctp, SctpEnd, SctpOutput, SctpState, Sent,
};
use super::srtp::SrtpKeys;
use crate::time::Time;

/// Packets kept while the description with the fingerprint is on its way; SCTP repeats what is lost.
const MAX_UNVERIFIED_PACKETS: usize = 16;

/// One DTLS association and the SCTP association in it.
#[derive(Debug)]
pub struct Association {
    dtls: Dtls,
    sctp: Sctp,
    expected: Option<Fingerprint>,
    trust: Trust,
    outputs: VecDeque<AssociationOutput>,
    closed: bool,
}

/// How far the peer is known.
#[derive(Debug)]
enum Trust {
    /// No handshake yet.
    Unknown,
    /// The peer showed a certificate, and its description is still to come.
    Shown { peer: Fingerprint, keys: SrtpKeys, packets: VecDeque<Vec<u8>> },
    /// The certificate is the promised one.
    Verified { peer: Fingerprint },
}

/// What an association gives out.
#[derive(Debug)]
pub enum AssociationOutput {
    /// A DTLS datagram for the client.
    Datagram(Vec<u8>),
    /// The handshake is done and the peer is who it should be: SRTP may flow. Comes once, not after a restore.
    Connected {
        keys: SrtpKeys,
    },
    /// The client opened a channel, or acknowledged one of ours.
    ChannelOpened(DataChannel),
    ChannelClosed {
        channel: ChannelId,
    },
    Message {
        channel: ChannelId,
        data: Vec<u8>,
        binary: bool,
    },
    /// The transport is dead; nothing comes after it.
    Closed {
        reason: CloseReason,
    },
}

/// Why an association ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CloseReason {
    /// Somebody else is at the other end, or the description is of another connection.
    #[error("peer's certificate is not the one its session description promised")]
    WrongFingerprint,
    #[error(transparent)]
    Dtls(#[from] DtlsEnd),
    #[error(transparent)]
    Sctp(#[from] SctpEnd),
}

/// An established association, written down. Carries its keys: whatever stores or sends it must keep it secret.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssociationState {
    dtls: DtlsState,
    peer: Fingerprint,
    /// `None` if it had no data channels.
    sctp: Option<SctpState>,
}

/// An association of some time ago, for the case that its owner dies. Carries its keys.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssociationCheckpoint {
    dtls: DtlsCheckpoint,
    peer: Fingerprint,
    sctp: Option<SctpState>,
}

impl AssociationCheckpoint {
    /// The state to go on with after the owner's death, in the takeover of this number, counted from 1. Channels stay,
    /// messages under way are lost: SCTP restarts.
    ///
    /// # Errors
    /// [`DtlsRestoreError`] if the state was damaged.
    pub fn take_over(self, takeover: u32) -> Result<AssociationState, DtlsRestoreError> {
        Ok(AssociationState { dtls: self.dtls.take_over(takeover)?, peer: self.peer, sctp: self.sctp })
    }
}

/// Why an association was not exported. It comes back unharmed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("handshake is not done")]
    NotEstablished(Box<Association>),
    /// Try again after the next datagram or timeout, or export for a restart.
    #[error("data channels cannot be handed over now")]
    NotReady(Box<Association>, #[source] NotReady),
}

/// Whether a message half received may hold an export up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SctpExport {
    /// Nothing is lost, but the library may not be ready.
    Exact,
    /// SCTP restarts on the other side: always possible, messages under way are lost.
    Restart,
}

impl Association {
    /// `expected` may come later, with [`set_remote_fingerprint`](Self::set_remote_fingerprint): a client's first
    /// message can arrive before its answer does.
    pub fn new(role: DtlsRole, identity: DtlsIdentity, expected: Option<Fingerprint>, now: Time) -> Self {
        let mut association = Self {
            dtls: Dtls::new(role, identity, now),
            sctp: Sctp::new(role, now),
            expected,
            trust: Trust::Unknown,
            outputs: VecDeque::new(),
            closed: false,
        };
        association.pump(now);
        association
    }

    pub fn role(&self) -> DtlsRole {
        self.dtls.role()
    }

    /// Whether the peer is connected and is who it should be.
    pub fn is_connected(&self) -> bool {
        matches!(self.trust, Trust::Verified { .. }) && !self.closed
    }

    /// What was dropped as garbage, replays or beyond a bound: datagrams, records, messages.
    pub fn dropped(&self) -> u64 {
        self.dtls.dropped() + self.sctp.dropped()
    }

    /// A channel by its id, open or opening.
    pub fn channel(&self, channel: ChannelId) -> Option<&DataChannel> {
        self.sctp.channel(channel)
    }

    /// Takes the fingerprint from the client's session description. Another one than the peer's certificate has, now
    /// or later, ends the association: a new certificate is a new transport (RFC 8842, section 5.5).
    pub fn set_remote_fingerprint(&mut self, now: Time, fingerprint: Fingerprint) {
        self.expected = Some(fingerprint);
        if let Trust::Verified { peer } = self.trust
            && peer != fingerprint
        {
            self.close_with(now, CloseReason::WrongFingerprint);
            return;
        }
        self.verify(now);
        self.pump(now);
    }

    /// Takes a datagram whose first byte says DTLS, from a path ICE has authenticated.
    pub fn handle_datagram(&mut self, now: Time, datagram: &[u8]) {
        if !self.closed {
            self.dtls.handle_datagram(now, datagram);
            self.pump(now);
        }
    }

    /// To be called when [`poll_timeout`](Self::poll_timeout) has come.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.closed {
            return;
        }
        self.dtls.handle_timeout(now);
        if self.is_connected() {
            self.sctp.handle_timeout(now);
        }
        self.pump(now);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` if nothing is under way.
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.closed {
            return None;
        }
        let sctp = if self.is_connected() { self.sctp.poll_timeout() } else { None };
        self.dtls.poll_timeout().into_iter().chain(sctp).min()
    }

    /// What is to be done next; `None` when nothing is left.
    pub fn poll(&mut self) -> Option<AssociationOutput> {
        self.outputs.pop_front()
    }

    /// Opens a channel of ours; it waits for the association if that is not up yet.
    ///
    /// # Errors
    /// [`ChannelError::TooManyChannels`] or [`ChannelError::Ended`].
    pub fn open_channel(&mut self, now: Time, options: ChannelOptions) -> Result<ChannelId, ChannelError> {
        if self.closed {
            return Err(ChannelError::Ended);
        }
        let opened = self.sctp.open_channel(now, options);
        self.pump(now);
        opened
    }

    /// Closes a channel.
    pub fn close_channel(&mut self, now: Time, channel: ChannelId) {
        self.sctp.close_channel(now, channel);
        self.pump(now);
    }

    /// Sends a message. One for a channel that may lose messages is dropped if its queue is full.
    ///
    /// # Errors
    /// [`ChannelError`]; a reliable channel whose queue is full gives [`ChannelError::BufferFull`].
    pub fn send(&mut self, now: Time, channel: ChannelId, data: &[u8], binary: bool) -> Result<Sent, ChannelError> {
        if self.closed {
            return Err(ChannelError::Ended);
        }
        let sent = self.sctp.send(now, channel, data, binary);
        self.pump(now);
        sent
    }

    /// Ends the association and tells the client. Datagrams are still to be polled; there is no `Closed` output.
    pub fn close(&mut self, now: Time) {
        if !self.closed {
            self.dtls.close(now);
            self.pump(now);
            self.closed = true;
        }
    }

    /// The state, for another process to go on with. Consumes the association, since two owners would use the same
    /// record numbers. Nothing exact is given out while there is still something to [`poll`](Self::poll): a message in
    /// there was acknowledged, and would be lost.
    ///
    /// # Errors
    /// [`ExportError`], with the association to go on with.
    pub fn export(mut self, how: SctpExport) -> Result<AssociationState, ExportError> {
        let Trust::Verified { peer } = self.trust else { return Err(ExportError::NotEstablished(Box::new(self))) };
        if self.closed || !self.dtls.is_established() {
            return Err(ExportError::NotEstablished(Box::new(self)));
        }
        let sctp = match how {
            SctpExport::Exact if !self.outputs.is_empty() => {
                return Err(ExportError::NotReady(Box::new(self), NotReady("not all was taken out".into())));
            }
            SctpExport::Exact => match self.sctp.export() {
                Ok(state) => state,
                Err(not_ready) => return Err(ExportError::NotReady(Box::new(self), not_ready)),
            },
            SctpExport::Restart => self.sctp.export_for_restart(),
        };
        let sctp = (!sctp.is_empty()).then_some(sctp);
        let Self { dtls, sctp: rest, expected, trust, outputs, closed } = self;
        match dtls.export() {
            Ok(dtls) => Ok(AssociationState { dtls, peer, sctp }),
            Err(dtls) => {
                let association = Self { dtls: *dtls, sctp: rest, expected, trust, outputs, closed };
                Err(ExportError::NotEstablished(Box::new(association)))
            }
        }
    }

    /// A copy for the case that this process dies. `None` unless connected.
    pub fn checkpoint(&self) -> Option<AssociationCheckpoint> {
        let Trust::Verified { peer } = self.trust else { return None };
        let sctp = self.sctp.export_for_restart();
        let dtls = self.dtls.checkpoint().filter(|_| !self.closed)?;
        Some(AssociationCheckpoint { dtls, peer, sctp: (!sctp.is_empty()).then_some(sctp) })
    }

    /// Goes on where the exported association stopped. `identity` has to be the one it was made with.
    ///
    /// # Errors
    /// [`DtlsRestoreError`] if the state was damaged.
    pub fn restore(state: AssociationState, identity: DtlsIdentity, now: Time) -> Result<Self, DtlsRestoreError> {
        let dtls = Dtls::restore(&state.dtls, identity, now)?;
        let role = dtls.role();
        let mut association = Self {
            dtls,
            sctp: Sctp::restore(state.sctp.unwrap_or_default(), role, now),
            expected: Some(state.peer),
            trust: Trust::Verified { peer: state.peer },
            outputs: VecDeque::new(),
            closed: false,
        };
        association.pump(now);
        Ok(association)
    }

    /// Passes everything between the two layers and to the caller, until both are quiet.
    fn pump(&mut self, now: Time) {
        loop {
            if let Some(output) = self.dtls.poll() {
                self.handle_dtls(now, output);
            } else if self.is_connected()
                && let Some(output) = self.sctp.poll()
            {
                self.handle_sctp(now, output);
            } else {
                return;
            }
        }
    }

    fn handle_dtls(&mut self, now: Time, output: DtlsOutput) {
        match output {
            DtlsOutput::Datagram(datagram) => self.outputs.push_back(AssociationOutput::Datagram(datagram)),
            DtlsOutput::Connected { keys, peer } => {
                self.trust = Trust::Shown { peer, keys, packets: VecDeque::new() };
                self.verify(now);
            }
            DtlsOutput::Data(packet) => match &mut self.trust {
                Trust::Unknown => {}
                Trust::Shown { packets, .. } => {
                    if packets.len() < MAX_UNVERIFIED_PACKETS {
                        packets.push_back(packet);
                    }
                }
                Trust::Verified { .. } => self.sctp.handle_packet(now, &packet),
            },
            DtlsOutput::Closed(end) => self.end(end.into()),
        }
    }

    fn handle_sctp(&mut self, now: Time, output: SctpOutput) {
        match output {
            SctpOutput::Packet(packet) => self.dtls.send(now, &packet),
            SctpOutput::ChannelOpened(channel) => self.outputs.push_back(AssociationOutput::ChannelOpened(channel)),
            SctpOutput::ChannelClosed(channel) => {
                self.outputs.push_back(AssociationOutput::ChannelClosed { channel });
            }
            SctpOutput::Message { channel, data, binary } => {
                self.outputs.push_back(AssociationOutput::Message { channel, data, binary });
            }
            SctpOutput::Closed(end) => self.close_with(now, end.into()),
        }
    }

    /// Compares the certificate shown with the one promised, once both are known.
    fn verify(&mut self, now: Time) {
        let Some(expected) = self.expected else { return };
        match std::mem::replace(&mut self.trust, Trust::Unknown) {
            Trust::Shown { peer, keys, packets } if peer == expected => {
                self.trust = Trust::Verified { peer };
                self.outputs.push_back(AssociationOutput::Connected { keys });
                self.sctp.start(now);
                for packet in packets {
                    self.sctp.handle_packet(now, &packet);
                }
            }
            Trust::Shown { .. } => self.close_with(now, CloseReason::WrongFingerprint),
            other => self.trust = other,
        }
    }

    fn close_with(&mut self, now: Time, reason: CloseReason) {
        if !self.closed {
            self.dtls.close(now);
            while let Some(output) = self.dtls.poll() {
                if let DtlsOutput::Datagram(datagram) = output {
                    self.outputs.push_back(AssociationOutput::Datagram(datagram));
                }
            }
            self.end(reason);
        }
    }

    fn end(&mut self, reason: CloseReason) {
        if !self.closed {
            self.closed = true;
            self.outputs.push_back(AssociationOutput::Closed { reason });
        }
    }
}

#[cfg(test)]
mod tests;
