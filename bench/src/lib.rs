//! Real clients of a LiveKit server, cheap enough to run many, and what they measure.
//!
//! [`load`] has clients made of the SFU's own transports, many to a thread, and compares servers. [`client`] joins a call
//! over the signalling websocket and holds one peer connection of another implementation (`calls-client`); it is what
//! crowds and [`reach`] use. [`relay`] is a bad network before a server. [`server`] starts ours, [`process`] reads
//! what a server costs. [`autoscale`] needs no server: it lets weeks of calls pass before the operator's autoscaler.

pub mod autoscale;
pub mod client;
pub mod crowd;
pub mod load;
pub mod process;
pub mod reach;
pub mod relay;
pub mod server;
