//! `cargo e2e`: a local Kubernetes with the product on it, and the tests that need both.

use std::process::ExitCode;

use clap::Parser;
use e2e::cli::Cli;

fn main() -> ExitCode {
    match e2e::run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
