use std::process::ExitCode;

use calls_sfu::cli::{Cli, Command};
use calls_sfu::serve::PortTaken;
use calls_sfu::{PORT_TAKEN, logging, serve};
use clap::Parser as _;

/// Kubernetes shows what is written here as the reason a container ended.
const TERMINATION_LOG: &str = "/dev/termination-log";

fn main() -> ExitCode {
    let Command::Serve(args) = Cli::parse().command;
    logging::start(args.log_format);
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
    ExitCode::from(if taken { PORT_TAKEN } else { 1 })
}
