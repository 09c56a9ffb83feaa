//! What a client asks for when it opens the websocket; see the check.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/join.rs"]
mod checks;

fuzz_target!(|bytes: &[u8]| checks::check(bytes));
