//! Two associations against each other, over a network whose time and faults are ours.

mod channels;
mod faults;
mod handshake;
mod moving;
mod network;
