//! A server of its own for each test, and people who join it over loopback.
//!
//! [`Server`] is a process: what it logs, how much memory it has and how it ends are part of what is tested.
//! [`Person`] is a client in the background: it keeps what it sees, and tests wait for what they expect to be among it.

mod http;
mod join;
mod person;
mod running;
mod seen;
mod server;

pub use calls_client::peer::{LOSSY, RELIABLE, Reach};
pub use calls_client::signal::Frames;
pub use http::{Answer, get, request, upgrade};
pub use join::{Join, Mode};
pub use person::{Person, packet};
pub use seen::{Heard, Payloads, Seen, frame, user_payloads};
pub use server::Server;

use std::net::SocketAddr;
use std::time::Duration;

use calls_client::signal::ApiKey;

/// Where people join: a server, or a director in front of several.
pub trait Door {
    /// Where pages and signalling are.
    fn http(&self) -> SocketAddr;

    /// What signs tokens for it.
    fn key(&self) -> &ApiKey;
}

/// Longest wait for anything that should take a moment: ten times what a busy machine needs.
pub const LIMIT: Duration = Duration::from_mins(1);

/// The server under test, in a process of its own.
#[macro_export]
macro_rules! server {
    () => {
        $crate::server!("info")
    };
    ($level:expr) => {
        $crate::server!($level, &[])
    };
    ($level:expr, $args:expr) => {
        $crate::live::Server::start(env!("CARGO_BIN_EXE_sfu-under-test"), $args, $level)
    };
}
