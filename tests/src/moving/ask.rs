//! What the page may ask, and what it is answered.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::count::Seen;

/// One of the page's two connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Connection {
    Publisher,
    Receiver,
}

/// How a client comes to another engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// It is told a candidate of higher priority, and nothing else.
    Candidate,
    /// It restarts ICE, with the same DTLS.
    Restart,
}

#[derive(Deserialize)]
#[serde(tag = "ask", rename_all = "lowercase")]
pub enum Ask {
    /// The publisher's first offer, and how both connections will move.
    Publish {
        sdp: String,
        way: Way,
    },
    /// An offer for the receiver.
    Receive,
    /// The receiver's answer.
    Answer {
        sdp: String,
    },
    /// Move a connection to the other engine. A publisher that restarts ICE begins with an offer: [`Ask::Restart`].
    Move {
        connection: Connection,
        way: Way,
    },
    /// The publisher's offer with new credentials, which moves it.
    Restart {
        sdp: String,
    },
    Report,
}

impl fmt::Debug for Ask {
    /// Without descriptions, which have passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ask")
    }
}

/// What was counted since the beginning.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Sessions taken up by another engine.
    pub moved: usize,
    /// A session is on its way, or what is left of it where it was is still there.
    pub moving: bool,
    /// DTLS records of the browser's that belong to a handshake.
    pub handshakes: u64,
    /// Keyframes that the engines asked the browser for.
    pub keyframes: u64,
    /// Datagrams that the engines dropped because of a fault of theirs or of ours.
    pub dropped: u64,
    /// Datagrams that the kernel did not take.
    pub unsent: u64,
    /// How often data channels had to finish a message before they could move.
    pub not_ready: u64,
    /// Numbered messages of the publisher's.
    pub messages: Messages,
    pub streams: Vec<Seen>,
}

/// How the numbers came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Messages {
    pub received: u64,
    /// Another one came than was next.
    pub out_of_order: u64,
}
