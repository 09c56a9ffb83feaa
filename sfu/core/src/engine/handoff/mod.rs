//! A session moves to another engine, and its client notices nothing but another address.
//!
//! [`ownership`] says who has the keys; [`state`] is what goes over; [`give`] is the half of who had them, [`take`] that
//! of who gets them, [`crash`] goes on where an owner died. Control begins it: it has the tracks of the session, and
//! those it subscribes to, relayed to the new engine ([`Command::Publish`](super::command::Command::Publish) with
//! [`Feed::Peer`](super::command::Feed::Peer)), tells the owner to whom it may hand over
//! ([`Command::OfferTransport`](super::command::Command::OfferTransport)) and the new one what to expect
//! ([`Command::AwaitTransport`](super::command::Command::AwaitTransport)), and gives the client the new address. The
//! rest follows from what the client does. Who cannot use the keys gives them back, and the session goes on where it was.
//! What control orders of a session that has left comes back to it
//! ([`Event::Elsewhere`](super::event::Event::Elsewhere)). Tracks of the session stay where it was as relayed ones, so that neither
//! publishers nor subscribers need to move together or in any order.

mod crash;
mod elsewhere;
mod give;
mod ownership;
mod refuse;
mod state;
mod take;

use serde::{Deserialize, Serialize};

use super::path::Path;

pub use self::crash::TakeOverError;
pub use self::ownership::{Nomination, Ownership, Use};
pub(super) use self::state::SubscriptionState;
pub use self::state::{Enclosed, SessionCheckpoint, SessionState};

/// What two engines tell each other about a transport that moves, in its order.
#[derive(Debug, Serialize, Deserialize)]
pub enum Handoff {
    /// The client has come: hand over. Said again while nothing comes of it.
    Ask,
    /// From here on the receiver is the owner. Has to arrive: while it is under way, nobody has the keys.
    Keys(Box<SessionState>),
    /// Keys that the receiver had sent and that were of no use: it is the owner again. Has to arrive, as they had to.
    Refused(Box<SessionState>),
    /// A datagram of the client's that came to who is not the owner.
    Stray(Stray),
    /// DTLS of control's for the client, on whatever path that uses now.
    Dtls(Vec<u8>),
}

/// A datagram that another engine received, on one of its paths.
#[derive(Debug, Serialize, Deserialize)]
pub struct Stray {
    pub(super) path: Path,
    pub(super) datagram: Vec<u8>,
    /// How often it was passed on.
    pub(super) hops: u8,
}

/// A check, or media, that waits for the keys.
#[derive(Debug, Serialize, Deserialize)]
pub struct Held {
    pub(super) path: Path,
    pub(super) datagram: Vec<u8>,
}

/// Datagrams kept of one transport while its keys are on their way: what a publisher of three screens sends in 100 ms.
const MAX_HELD: usize = 512;
/// A datagram passed on more often than this goes round in circles.
const MAX_HOPS: u8 = 4;

impl Handoff {
    /// Whether a session lives on if this is lost: what is asked is asked again, and datagrams are lost on any network.
    pub(super) const fn may_be_lost(&self) -> bool {
        match self {
            Self::Ask | Self::Stray(_) | Self::Dtls(_) => true,
            Self::Keys(_) | Self::Refused(_) => false,
        }
    }
}
