//! The server as it is shipped, built with the tests, so that they never meet an old one.

use std::process::ExitCode;

fn main() -> ExitCode {
    calls_sfu::program::run()
}
