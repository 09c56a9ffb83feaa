//! The server as a whole, over loopback, with clients that share no code with it; but for the load generator's, whose
//! transports are the server's own.
//!
//! Each test has a server of its own, in a process of its own; or several, with a director in front of them.

mod data;
mod drain;
mod fleet;
mod frames;
mod garbage;
mod leaving;
mod load;
mod media;
mod participants;
mod recordings;
mod resume;
mod secrets;
mod simulate;
mod speakers;
mod tcp;
mod threads;
mod tokens;
mod webrtc_crate;
