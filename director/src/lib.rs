//! The director: one stable address in front of a fleet of SFUs.
pub mod cli;
pub mod sfu_address;
