//! A client's session description; see the check.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/sdp.rs"]
mod checks;

fuzz_target!(|text: &str| checks::check(text));
