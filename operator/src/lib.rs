//! The calls operator: turns a `CallsCluster` into SFUs on host ports, a director in front of them, and what both need.
//!
//! - [`api`]: the custom resource.
//! - [`cluster`]: its controller; read `cluster/mod.rs` first.
//! - pure, beside it: [`name`], [`port`], [`address`], [`certificates`], [`keys`], [`invite`], [`lease`], [`hash`].
//! - thin, with a client: [`connect`], [`watch`], [`elect`], [`fleet_client`], [`discovery`], [`health`], [`run`], [`link`],
//!   [`preuninstall`], [`traces`].
//!
//! It meets SFUs and director in data alone: arguments, a configuration file, ports, probes and the fleet API, all defined
//! in the crate `fleet`.

pub mod address;
pub mod api;
pub mod certificates;
pub mod cli;
pub mod cluster;
pub mod connect;
pub mod discovery;
pub mod elect;
pub mod fleet_client;
pub mod hash;
pub mod health;
pub mod invite;
pub mod keys;
pub mod lease;
pub mod link;
pub mod metrics;
pub mod name;
pub mod port;
pub mod preuninstall;
pub mod run;
pub mod traces;
pub mod watch;
