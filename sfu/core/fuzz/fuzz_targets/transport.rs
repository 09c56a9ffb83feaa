//! Whole engines with handshaken transports; see the check.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/transport.rs"]
mod checks;

fuzz_target!(|bytes: &[u8]| checks::check(bytes));
