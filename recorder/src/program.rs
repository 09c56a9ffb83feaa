//! The program `calls-recorder`: command line, logs, exit codes.

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};
use crate::record;

/// Runs until the recording is finished. Errors are said on standard error.
pub fn run() -> ExitCode {
    let Command::Record(args) = Cli::parse().command;
    if let Err(error) = args.logs.start() {
        eprintln!("calls-recorder: {error}");
        return ExitCode::FAILURE;
    }
    let result = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(record::record(&args)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("calls-recorder: {error:#}");
            ExitCode::FAILURE
        }
    }
}
