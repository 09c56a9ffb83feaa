//! The native front: LiveKit's signalling, so that any of its clients works unchanged.
//!
//! [`http`] takes the request and verifies its token, [`join`] reads what the client wants, [`socket`] carries
//! messages in the [`frame`]s the client chose, [`session`] is one participant's connection: it negotiates and
//! translates between LiveKit's messages and the call. `../control` owns the sessions. [`egress`] is the part of LiveKit's
//! server API that is about recordings.

pub mod convert;
pub mod data;
pub mod egress;
pub mod frame;
pub mod http;
pub mod ids;
pub mod join;
pub mod session;
pub mod socket;
pub mod token;
mod twirp;

/// Newest version of the signalling protocol this server speaks.
pub const PROTOCOL_VERSION: i32 = 17;

/// What clients are told as the server's version. Some clients look at the number to decide what the server can do;
/// it names the release of LiveKit's server whose behaviour this one follows.
pub const SERVER_VERSION: &str = "1.11.0";

/// Seconds between a client's pings, and of silence after which it gives the connection up.
pub const PING_INTERVAL_SECONDS: i32 = 5;
pub const PING_TIMEOUT_SECONDS: i32 = 15;
