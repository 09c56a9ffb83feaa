//! What operator, director and SFU say to each other, as plain types; and, behind features, what they serve and log alike.
//!
//! - [`config`]: the file the operator writes and the SFU reads, live.
//! - [`api`]: what the SFU answers on its control port (JSON over HTTPS with client certificates).
//! - [`invite`]: what an invitation link says.
//! - [`keys`]: which secrets are good enough for API keys.
//! - `logs` (feature `logs`): how every program logs.
//! - [`names`]: labels, paths, environment variables and port arithmetic, defined here and nowhere else.
//! - `probes` (feature `probes`): the listener of probes and metrics.
//! - `tls` (feature `tls`): the certificate directory as TLS configurations of either side.
//! - `listen` (feature `tls`): the loop that accepts connections.

pub mod api;
pub mod config;
pub mod invite;
pub mod keys;
#[cfg(feature = "tls")]
pub mod listen;
#[cfg(feature = "logs")]
pub mod logs;
pub mod names;
#[cfg(feature = "probes")]
pub mod probes;
#[cfg(feature = "tls")]
pub mod tls;
