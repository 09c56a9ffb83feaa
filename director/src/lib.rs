//! The director: one stable address in front of a fleet of SFUs.
//!
//! What flows, in one direction:
//!
//! ```text
//! EndpointSlices ─▶ discover ─▶ watch (one stream per SFU) ─▶ table ─▶ trip ─▶ route ─▶ proxy ◀─▶ clients
//!                                                      given up ─────────────────────▶ connections cut
//! ```
//!
//! Deciding is in [`table`] (what is known), [`place`] (which SFU), [`claim`] (whose placement stands), [`trip`] (what to
//! do next for one request), [`wanted`] and [`forward`] (reading and writing heads): all pure. Doing is in
//! [`discover`], [`watch`], [`connect`], [`route`], [`proxy`] and [`listen`].
//!
//! Media never passes through it, it stores nothing, and two of them never speak with each other.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod claim;
pub mod cli;
pub mod connect;
pub mod director;
pub mod discover;
pub mod forward;
pub mod health;
pub mod listen;
pub mod metrics;
pub mod place;
pub mod proxy;
pub mod route;
pub mod sfu_address;
pub mod table;
pub mod trip;
pub mod view;
pub mod wanted;
pub mod watch;
