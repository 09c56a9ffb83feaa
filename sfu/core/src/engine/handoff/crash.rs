//! A session goes on after its owner has died, from what was written down a while before.
//!
//! What the owner did since is not known. So nothing it may have used is used again: numbers of packets, which are
//! nonces, go on behind a gap that is longer than what can have been sent in the life of a checkpoint. Each takeover has
//! an *epoch*, greater than the one before, chosen by whoever made sure that the owner is dead; takeovers from one
//! checkpoint in different epochs have gaps of their own.

use super::state::{Enclosed, SessionCheckpoint, SubscriptionState, TransportState, VERSION};
use crate::engine::Engine;
use crate::engine::subscription::Allowed;
use crate::engine::transport::Srtp;
use crate::id::TransportKey;
use crate::media::resend::SealedRing;
use crate::time::Time;
use crate::transport::ice::IceCredentials;
use crate::transport::srtp::{InvalidKey, Opener, OpenerState, SealerCheckpoint};

/// Numbers of each stream left out in each epoch. 5 s, the life of a checkpoint, of 819 packets a second; a screen in
/// the best quality has 400.
pub const GAP: u16 = 4096;
/// Takeovers from one checkpoint. All their gaps together stay below 2^15, across which receivers follow the roll-over
/// counter.
const MAX_EPOCHS: u32 = (1 << 15) / GAP as u32 - 1;

/// Why a checkpoint cannot be taken up. The client has to make a new connection.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    #[error("checkpoint has version {0} and this engine knows version {VERSION}")]
    Version(u32),
    #[error("epoch {epoch} does not follow epoch {known} of the checkpoint")]
    Epoch { epoch: u32, known: u32 },
    #[error("transport is here already")]
    Known,
    #[error("keys of the transport are of no use")]
    Keys(#[source] InvalidKey),
}

impl Engine {
    /// A copy of a session for the case that this process dies. To be made again at least every five seconds, when
    /// subscriptions are added, and before the first packet after a takeover. `None` for transports whose owner this
    /// engine is not.
    pub fn checkpoint(&self, key: TransportKey) -> Option<SessionCheckpoint> {
        let index = *self.index.transports.get(&key)?;
        let transport = self.transports.get(index).filter(|transport| transport.ownership.is_owner())?;
        let srtp = transport.srtp.as_ref();
        Some(SessionCheckpoint {
            version: VERSION,
            epoch: transport.epoch,
            key,
            keys: srtp.map(|srtp| (srtp.sealer.checkpoint(), srtp.opener.export())),
            transport: self.describe_transport(index)?,
            enclosed: Enclosed::default(),
        })
    }

    /// Goes on with a session whose owner is dead, under the credentials its client knows or is told. Media flows as soon
    /// as the client has checked a path. Audio goes on at once, video with its next keyframe, which is asked for.
    ///
    /// # Errors
    /// [`TakeOverError`]; nothing has changed then.
    pub fn take_over(
        &mut self,
        now: Time,
        checkpoint: SessionCheckpoint,
        epoch: u32,
        ice: IceCredentials,
    ) -> Result<(), TakeOverError> {
        let SessionCheckpoint { version, epoch: known, key, keys, transport: state, enclosed: _ } = checkpoint;
        if version != VERSION {
            return Err(TakeOverError::Version(version));
        }
        let steps = epoch.checked_sub(known).filter(|steps| (1..=MAX_EPOCHS).contains(steps));
        let Some(gap) = steps.and_then(|steps| u16::try_from(steps).ok()).map(|steps| steps * GAP) else {
            return Err(TakeOverError::Epoch { epoch, known });
        };
        if self.index.transports.contains_key(&key) {
            return Err(TakeOverError::Known);
        }
        let mut state = state.behind(gap, epoch);
        let keys = keys.map(|keys| take_over_keys(keys, &mut state, gap)).transpose().map_err(TakeOverError::Keys)?;
        self.forward_burst(now);
        self.add_transport(now, key, ice);
        let Some(index) = self.index.transports.get(&key).copied() else { return Ok(()) };
        let Some(transport) = self.transports.get_mut(index) else { return Ok(()) };
        transport.srtp = keys;
        self.install(now, index, state, None);
        self.schedule_transport(now, index);
        self.count_things();
        Ok(())
    }
}

impl TransportState {
    /// As it is to go on if its owner may have sent as much as `gap` packets on each stream.
    fn behind(mut self, gap: u16, epoch: u32) -> Self {
        self.epoch = epoch;
        self.next_transport_sequence += u64::from(gap);
        // What arrived of another owner's packets tells nothing about ours.
        self.adaptation = None;
        self.redundancy.fit(None, 0);
        for subscription in &mut self.subscriptions {
            subscription.leave_out(u64::from(gap));
        }
        self
    }
}

impl SubscriptionState {
    fn leave_out(&mut self, numbers: u64) {
        self.current = None;
        self.rewriter.leave_out(numbers);
        // The estimate is gone, and what it had limited with it.
        self.rest.allowed = Allowed::Everything;
        self.rest.next_rtx += numbers;
        self.rest.sealed = SealedRing::new();
    }
}

/// Both directions. Streams that had sent nothing begin behind what may have been sent since.
fn take_over_keys(
    (sealer, opener): (SealerCheckpoint, OpenerState),
    state: &mut TransportState,
    gap: u16,
) -> Result<Srtp, InvalidKey> {
    let mut sealer = sealer.take_over(gap)?;
    for subscription in &mut state.subscriptions {
        let description = subscription.rest.description();
        let media = sealer.open_stream_from(description.ssrc, subscription.rewriter.next());
        let repair = description.rtx_ssrc.map(|ssrc| sealer.open_stream_from(ssrc, subscription.rest.next_rtx));
        subscription.stream = media.ok();
        subscription.rest.rtx_stream = repair.and_then(Result::ok);
    }
    Ok(Srtp { sealer, opener: Opener::restore(opener)? })
}
