//! An SFU and its clients in one address space, and over loopback ([`live`]); two engines for a browser ([`moving`]).
//!
//! In one address space: on one side the parts of `sfu-core`, put together as the server does; on the other `str0m`, a WebRTC implementation
//! that shares no code with them; between them a network that delivers at once, and time that passes when told.

mod client;
pub mod live;
pub mod moving;
mod sfu;
mod world;

pub use client::{Client, Frame};
pub use sfu::Sfu;
pub use world::World;
