//! ICE-lite (RFC 8445): answers connectivity checks, and asks STUN servers for our own address.
//!
//! A lite agent sends no checks. It answers those that carry the right password, and the client's nomination
//! (USE-CANDIDATE) says which path to send on. When consent ends (RFC 7675) is the caller's to decide: it notes the
//! time of each accepted check. This file must not know paths, workers or sockets.

mod credentials;
mod respond;
mod username;

pub mod discovery;

pub use credentials::{IceCredentials, MAX_WORKERS, worker_of_ufrag};
pub use respond::{IceAnswer, Rejected, respond};
pub use username::peek_ufrag;

use rtc_crypto::providers::AwsLcRsProvider;

/// The STUN codec's way to HMAC-SHA1.
static CRYPTO: std::sync::LazyLock<AwsLcRsProvider> = std::sync::LazyLock::new(AwsLcRsProvider::new);
