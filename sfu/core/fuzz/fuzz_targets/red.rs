//! Redundant audio; see the check.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/red.rs"]
mod checks;

fuzz_target!(|bytes: &[u8]| checks::check(bytes));
