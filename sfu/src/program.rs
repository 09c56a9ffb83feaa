//! The program `calls-sfu`: command line, logs, exit codes.

use std::process::ExitCode;

use clap::Parser as _;
use fleet::names::EXIT_PORT_TAKEN;

use crate::cli::{Cli, Command};
use crate::serve;
use crate::serve::PortTaken;

/// Kubernetes shows what is written here as the reason a container ended.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// Runs until told to stop. Errors are said on standard error.
pub fn run() -> ExitCode {
    let Command::Serve(args) = Cli::parse().command;
    if let Err(error) = args.logs.start() {
        eprintln!("calls-sfu: {error}");
        return ExitCode::FAILURE;
    }
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(serve::serve(*args)));
    let Err(error) = result else { return ExitCode::SUCCESS };
    eprintln!("calls-sfu: {error:#}");
    if std::path::Path::new(TERMINATION_LOG).exists() {
        // Best effort: the message is in the log as well.
        let _ = std::fs::write(TERMINATION_LOG, format!("{error:#}"));
    }
    let taken = error.downcast_ref::<PortTaken>().is_some();
    ExitCode::from(if taken { EXIT_PORT_TAKEN } else { 1 })
}

/// Held by threads without which nothing works: when one of them panics, the process ends and is started anew, instead
/// of looking healthy without it.
#[derive(Debug)]
pub struct EndsTheProcess(pub &'static str);

impl Drop for EndsTheProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("calls-sfu: the {} panicked, ending", self.0);
            std::process::exit(PANICKED);
        }
    }
}

/// Exit code after a panic, as the standard library's.
const PANICKED: i32 = 101;
