//! Real clients of a LiveKit server, cheap enough to run many, and what they measure.
//!
//! [`client`] joins a call over the signalling websocket and holds one peer connection (`str0m`: ICE, DTLS, SRTP), so
//! it measures any server that speaks the protocol. [`server`] starts ours and reads its CPU and memory from `/proc`.

pub mod client;
pub mod crowd;
pub mod measure;
pub mod network;
pub mod peer;
pub mod scenario;
pub mod server;
pub mod signal;
