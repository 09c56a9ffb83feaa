//! A bad network in user space, between clients and a server's media port.
//!
//! In: datagrams, and the name of the network they are to go through. Out: those that come through, when they do. What
//! becomes of each is decided in [`link`], which knows neither sockets nor clocks; [`forward`] does it.
//!
//! Clients are to send to the relay's port where the server says its own: nothing in the datagrams is changed, and the
//! server sees each client at a port of the relay's.

pub mod forward;
pub mod link;
pub mod network;
pub mod serve;
