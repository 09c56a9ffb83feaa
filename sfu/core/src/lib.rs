//! The calls SFU without sockets, clocks or threads.
//!
//! A caller hands in datagrams, commands and the time; it takes out datagrams, events and the next deadline.
//! **The drain rule:** after every call of a `handle_*` method, poll until there is nothing left.
//!
//! - [`transport`]: one peer connection from its parts: ICE-lite, DTLS, SCTP, SRTP.
//! - [`engine`]: everything a media worker does with a packet; one value a worker, written down and read back at will.
//! - [`media`]: the small machines the engine is made of: history, NACK, rewriting, layers, feedback.
//! - [`sdp`]: session descriptions: parse an offer, write an answer or an offer of ours.
//! - [`call`]: who is here, who publishes, who receives what, who may.

pub mod call;
pub mod engine;
pub mod id;
pub mod media;
pub mod sdp;
pub mod time;
pub mod transport;
