//! Two engines on two UDP ports, between which the sessions of a real browser move: the program `two-engines`.
//!
//! It serves a page (`page.html`, `page.js`) that is nothing but two peer connections: on one it publishes a microphone,
//! a camera and numbered messages, on the other it receives them. The page tells what it wants with [`ask::Ask`]; the
//! answers have descriptions, candidates, and what was counted so far. The program says where the page is in a line of
//! JSON, and ends when its standard input does.
//!
//! [`stage`] is control and both engines in one, [`session`] control's half of a connection, [`site`] an engine with its
//! sockets, [`between`] the way from one engine to the other, [`count`] what is seen of streams from outside.

mod ask;
mod between;
mod count;
mod page;
mod program;
mod session;
mod site;
mod stage;

pub use program::run;
