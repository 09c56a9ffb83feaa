//! The program `calls-recorder`: command line, logs, signals, exit codes.

use std::io;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::cli::{Cli, Command};
use crate::record::{Job, record};

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
        .and_then(|runtime| runtime.block_on(run_until_told(&args.job())));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("calls-recorder: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run_until_told(job: &Job) -> Result<()> {
    // How far it is, is in the log.
    let progress = watch::Sender::default();
    record(job, told_to_stop()?, &progress).await?;
    Ok(())
}

/// Is ready when the process is asked to end: Ctrl-C, or SIGTERM as Kubernetes sends it.
fn told_to_stop() -> io::Result<impl Future<Output = ()> + Send> {
    let (mut interrupted, mut terminated) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupted.recv() => (),
            _ = terminated.recv() => (),
        }
    })
}
