//! Messages on LiveKit's data channels; see the check.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/data_packet.rs"]
mod checks;

fuzz_target!(|bytes: &[u8]| checks::check(bytes));
