use std::process::ExitCode;

fn main() -> ExitCode {
    calls_recorder::program::run()
}
