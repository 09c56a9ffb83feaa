//! The SFU of a calls cluster: page, signalling and media in one process.
//!
//! [`app`] and [`livekit`] take requests of clients, [`control`] owns calls and sessions, [`worker`] moves the media,
//! [`fleet_api`] talks to director and operator. [`serve`] puts them together.

pub mod address;
pub mod admit;
pub mod app;
pub mod claims;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod fleet_api;
pub mod health;
pub mod keys;
pub mod livekit;
pub mod metrics;
mod page;
pub mod program;
pub mod recordings;
pub mod serve;
pub mod tls;
pub mod turned_away;
pub mod worker;
