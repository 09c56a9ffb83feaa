//! What a client of a LiveKit server is made of, without microphone and camera: the recorder, the benchmarks and the
//! tests join calls with it.
//!
//! [`signal`] speaks LiveKit's websocket. [`peer`] is a peer connection that sends and hears voices, made of an
//! implementation (`str0m`) that is not the SFU's own; [`link`] is the socket under it.

pub mod link;
pub mod peer;
pub mod signal;
