//! The server as a whole, over loopback, with clients that share no code with it; but for the load generator's, whose
//! transports are the server's own.
//!
//! Each test has a server of its own, in a process of its own.

mod data;
mod drain;
mod frames;
mod garbage;
mod load;
mod media;
mod participants;
mod resume;
mod secrets;
mod simulate;
mod speakers;
mod tcp;
mod threads;
mod tokens;
mod webrtc_crate;
