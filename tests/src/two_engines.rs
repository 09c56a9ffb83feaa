//! Two engines that move a browser's sessions between them; see `calls_tests::moving`.

use std::process::ExitCode;

fn main() -> ExitCode {
    calls_tests::moving::run()
}
