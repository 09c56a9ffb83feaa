use std::process::ExitCode;

fn main() -> ExitCode {
    calls_sfu::program::run()
}
