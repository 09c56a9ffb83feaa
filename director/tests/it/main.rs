//! Directors and SFUs as they meet: over loopback with real mutual TLS, and as a model whose time and order are random.

#![allow(clippy::unwrap_used)]

mod certificates;
mod contract;
mod fake_sfu;
mod fleet_bench;
mod model;
mod proxying;
mod sfu;
