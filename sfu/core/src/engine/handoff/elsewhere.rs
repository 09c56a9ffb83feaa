//! Commands about what has moved away.
//!
//! Control gives commands to the engine that has a session as far as it knows. What comes after the session has left is
//! not carried out and not lost either, but given back: control alone knows which tracks are relayed where, without which
//! a subscription would come to nothing at the other engine.

use super::Ownership;
use crate::engine::Engine;
use crate::engine::command::{Command, Feed};
use crate::engine::track::Origin;
use crate::id::{PeerKey, SubscriptionKey, TrackKey, TransportKey};

impl Engine {
    /// The engine that has what a command is about, if it went there from here.
    pub(in crate::engine) fn moved_to(&self, command: &Command) -> Option<PeerKey> {
        match command {
            Command::RestartIce { transport, .. }
            | Command::InstallKeys { transport, .. }
            | Command::OfferTransport { transport, .. }
            | Command::HandOver { transport, .. } => self.transport_moved_to(*transport),
            Command::Publish(publish) => match publish.feed {
                Feed::Transport(transport) => self.transport_moved_to(transport),
                Feed::Peer(_) => None,
            },
            Command::Subscribe(subscribe) => self.transport_moved_to(subscribe.transport),
            Command::Unsubscribe { subscription } | Command::SetTarget { subscription, .. } => {
                self.subscription_moved_to(*subscription)
            }
            Command::SetMuted { track, .. } => self.track_moved_to(*track),
            // DTLS is passed on, and the others are about what is here.
            Command::SendDtls { .. }
            | Command::AddTransport { .. }
            | Command::RemoveTransport { .. }
            | Command::AwaitTransport { .. }
            | Command::Unpublish { .. }
            | Command::LimitHeard { .. }
            | Command::RelayTo { .. }
            | Command::StopRelay { .. } => None,
        }
    }

    fn transport_moved_to(&self, key: TransportKey) -> Option<PeerKey> {
        match self.transports.get(*self.index.transports.get(&key)?)?.ownership {
            Ownership::Outgoing { successor } => Some(successor),
            Ownership::Active { .. } | Ownership::Incoming { .. } => None,
        }
    }

    /// Looks at all transports, but only for a subscription that is not here: one that ended meanwhile, or moved.
    fn subscription_moved_to(&self, key: SubscriptionKey) -> Option<PeerKey> {
        if self.index.subscriptions.contains_key(&key) {
            return None;
        }
        self.transports.iter().find_map(|(_, transport)| match transport.ownership {
            Ownership::Outgoing { successor } => transport.left.contains(&key).then_some(successor),
            Ownership::Active { .. } | Ownership::Incoming { .. } => None,
        })
    }

    /// Whether a publisher is muted is known where it is, and told from there.
    fn track_moved_to(&self, key: TrackKey) -> Option<PeerKey> {
        match &self.tracks.get(*self.index.tracks.get(&key)?)?.origin {
            Origin::Peer(relayed) => Some(relayed.peer),
            Origin::Transport(_) => None,
        }
    }
}
