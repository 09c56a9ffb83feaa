//! Pictures that would fill a client's path leave a little at a time. Sound never waits.
//!
//! What waits is not copied: it is a number given out and a place in the publisher's history, and is sealed when it
//! leaves. All of a client's pictures wait in one line, as they came.

use serde::{Deserialize, Serialize};

use super::Engine;
use super::adapt::Adaptation;
use super::arena::{SubscriptionIndex, TransportIndex};
use super::forward::Original;
use super::transport::Transport;
use crate::media::rewrite::{Mapped, SourceId};
use crate::time::Time;

/// A packet of a subscription that has its number and is not sent yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    pub subscription: SubscriptionIndex,
    pub layer: u8,
    pub source: SourceId,
    /// Its number in the source.
    pub sequence: u64,
    pub mapped: Mapped,
    /// It is not for this subscriber, and only its number is sent.
    pub left_out: bool,
}

impl Transport {
    /// Whether a packet of a picture has to wait.
    pub fn must_wait(&self, now: Time) -> bool {
        self.adaptation.as_ref().is_some_and(|adaptation| adaptation.pacer.must_wait(now))
    }

    /// Has a packet of about so many bytes wait.
    pub fn wait(&mut self, now: Time, parcel: Parcel, bytes: usize) {
        if let Some(adaptation) = &mut self.adaptation {
            adaptation.pacer.push(now, parcel, bytes);
        }
    }

    /// When something that waits may leave.
    pub fn leaves_at(&self) -> Option<Time> {
        self.adaptation.as_ref()?.pacer.next_at()
    }

    /// Whether a packet of a subscription waits.
    pub fn is_waiting(&self, subscription: SubscriptionIndex, out: u64) -> bool {
        let is_it = |parcel: &Parcel| parcel.subscription == subscription && parcel.mapped.sequence == out;
        self.adaptation.as_ref().is_some_and(|adaptation| adaptation.pacer.waiting().any(is_it))
    }

    /// Whether so much is under way that what was lost is not sent again either.
    pub fn is_full(&self, now: Time) -> bool {
        self.adaptation.as_ref().is_some_and(|adaptation| adaptation.pacer.is_full(now))
    }

    /// A subscription ends: nothing of it leaves any more.
    pub fn forget_waiting(&mut self, subscription: SubscriptionIndex) {
        if let Some(adaptation) = &mut self.adaptation {
            adaptation.pacer.retain(|parcel| parcel.subscription != subscription);
        }
    }

    fn next_parcel(&mut self, now: Time) -> Option<Parcel> {
        self.adaptation.as_mut()?.pacer.pop(now)
    }
}

impl Adaptation {
    /// As another engine goes on with it. What waits stays: its numbers were given out, so the next owner finds that it
    /// was not sealed, and sends it from its own history.
    pub fn to_hand_over(&self) -> Self {
        let mut adaptation = self.clone();
        adaptation.pacer.retain(|_| false);
        adaptation
    }
}

impl Engine {
    /// Sends what may leave now. What is muted in the meantime, or has left the history, is not sent any more.
    pub(super) fn send_waiting(&mut self, now: Time, index: TransportIndex) {
        let Self { transports, tracks, subscriptions, output, scratch, .. } = self;
        let Some(transport) = transports.get_mut(index) else { return };
        while let Some(parcel) = transport.next_parcel(now) {
            let Some(subscription) = subscriptions.get_mut(parcel.subscription) else { continue };
            let Some(track) = tracks.get(subscription.track).filter(|track| !track.muted) else { continue };
            let Some(original) = Original::waiting(now, track, &parcel) else { continue };
            subscription.dispatch(&original, (parcel.mapped, parcel.left_out), transport, output, &mut scratch.copies);
        }
    }
}
