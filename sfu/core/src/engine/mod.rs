//! Everything a media worker does with a packet, as one value without sockets or clocks.
//!
//! In: datagrams with the path they came on, commands from control, the time. Out: datagrams with the path they go,
//! events for control, the next deadline. It must not know: calls, participants, SDP, LiveKit.

pub mod command;
pub mod event;
pub mod path;
