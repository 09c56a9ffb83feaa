//! SRTP and SRTCP (RFC 3711, RFC 7714) with all counters in our own hands.
//!
//! A [`Sealer`] encrypts what we send, an [`Opener`] decrypts what a client sends; each transport has one of each, made
//! from the keys its DTLS handshake exported ([`SrtpKeys`]). Both can be written down and read back, so that a running
//! session can move to another process.
//!
//! **No nonce is used twice.** With AES-GCM that would give the authentication key away. The `Sealer` alone counts: it
//! remembers which indices each SSRC has used, writes SSRC and sequence number into the header itself, so that packet
//! and nonce cannot disagree, and refuses an index a second time. It cannot be cloned, and [`Sealer::export`] consumes
//! it. A retransmission is a new packet on the stream's RTX SSRC (RFC 4588).

mod cipher;
mod keys;
mod open;
mod packet;
mod profile;
mod seal;
mod window;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

pub use keys::{InvalidKey, MasterKey, SrtpKeys};
pub use open::{OpenError, OpenedRtp, Opener, OpenerState};
pub use profile::Profile;
pub use seal::{OutboundStream, SealError, SealedStreamState, Sealer, SealerCheckpoint, SealerState};
pub use window::WindowState;
