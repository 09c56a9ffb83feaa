//! Payloads of video codecs; see the check.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/payload.rs"]
mod checks;

fuzz_target!(|bytes: &[u8]| checks::check(bytes));
