//! The tests of the outer rings, a file per subject. Each file has a table of its tests; this is the list of tables.
//!
//! To add one: a function that takes a [`crate::test::Stage`], and a line in its file's table.

mod autoscaling;
mod chaos;
mod earlier;
mod example;
mod fault;
mod faults;
mod fleet;
mod garbage;
mod holding;
mod invitations;
mod layers;
mod leaving;
mod monitor;
mod moving;
mod network;
mod page;
mod platform;
mod recording;
mod rights;
mod scale;
mod security;
mod soak;
mod spec;
mod targets;
mod uninstall;
mod usage;
mod watching;
mod wishes;

use crate::test::Test;

/// All of them, in the order they run in.
pub fn all() -> Vec<Test> {
    [
        platform::TESTS,
        page::TESTS,
        earlier::TESTS,
        network::TESTS,
        layers::TESTS,
        wishes::TESTS,
        moving::TESTS,
        recording::TESTS,
        fleet::TESTS,
        leaving::TESTS,
        autoscaling::TESTS,
        spec::TESTS,
        invitations::TESTS,
        monitor::TESTS,
        garbage::TESTS,
        faults::TESTS,
        security::TESTS,
        rights::TESTS,
        targets::TESTS,
        scale::TESTS,
        chaos::TESTS,
        soak::TESTS,
        // Takes away what the others stand on, and brings it back.
        uninstall::TESTS,
    ]
    .concat()
}
