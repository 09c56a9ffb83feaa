//! The way back: who cannot use the keys returns them, and who gave them away goes on.

use super::state::{SessionState, VERSION};
use super::{Handoff, Held};
use crate::engine::Engine;
use crate::engine::event::Event;
use crate::engine::relay::message::RelayMessage;
use crate::id::{PeerKey, TransportKey};
use crate::time::Time;
use crate::transport::DatagramKind;
use crate::transport::srtp::InvalidKey;

/// Why keys go back.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("session has version {0} and this engine knows version {VERSION}")]
    Version(u32),
    #[error("keys do not fit their profile")]
    Keys(#[from] InvalidKey),
    #[error("nobody waits for them")]
    Unexpected,
}

impl SessionState {
    /// Whether this engine can go on with it.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if self.version != VERSION {
            return Err(Refusal::Version(self.version));
        }
        if let Some((sealer, opener)) = &self.keys {
            sealer.check()?;
            opener.check()?;
        }
        Ok(())
    }
}

impl Engine {
    /// Gives a session back to who sent it, and after it what was held for it.
    pub(super) fn refuse(&mut self, from: PeerKey, key: TransportKey, state: Box<SessionState>, why: &Refusal) {
        let transport = self.index.transports.get(&key).and_then(|index| self.transports.get_mut(*index));
        if transport.as_ref().is_some_and(|transport| transport.ownership.is_owner()) {
            // Of its own session, an owner believes nobody else.
            tracing::error!(transport = key.0, "another engine claims to have had the keys of this one");
            self.output.stats.dropped.unrelated += 1;
            return;
        }
        tracing::warn!(transport = key.0, error = %why, "a session is given back");
        let held = transport.map(|transport| {
            transport.ownership.refuse(from);
            std::mem::take(&mut transport.held)
        });
        self.output.relay(from, RelayMessage::transport(key, Handoff::Refused(state)));
        for Held { path, datagram } in held.unwrap_or_default() {
            // A check that was not answered is repeated on paths that are.
            if DatagramKind::of(&datagram) != Some(DatagramKind::Stun) {
                self.pass_on(key, from, path, &datagram, 0);
            }
        }
    }

    /// A session comes back as it went: goes on with it on the path the client had.
    pub(super) fn take_back(&mut self, now: Time, from: PeerKey, key: TransportKey, state: SessionState) {
        let index = self.index.transports.get(&key).copied();
        let is_ours = |index: &_| self.transports.get_mut(*index).is_some_and(|known| known.ownership.take_back(from));
        let Some(index) = index.filter(is_ours) else {
            // Control had removed what was left of it.
            tracing::warn!(transport = key.0, "a session comes back and is not expected");
            self.output.stats.dropped.unrelated += 1;
            return;
        };
        let Some(enclosed) = self.resume(now, index, state, from) else { return };
        self.output.event(Event::GivenBack { transport: key, enclosed });
        self.schedule_transport(now, index);
    }
}
