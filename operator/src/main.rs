//! The program: reads the command line, sets up logs, does what it is told.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use calls_operator::cli::{Cli, Command, RunArgs};
use calls_operator::traces::Traces;
use calls_operator::{api, invite, link, preuninstall, run};
use clap::Parser as _;
use tokio::runtime::Runtime;
use tracing::warn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match start(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("calls-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> anyhow::Result<ExitCode> {
    // kube takes the process's provider; there is only this one.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("failed to start threads")?;
    match cli.command {
        Command::Run(args) => return operate(args, &runtime),
        Command::Crd => {
            std::io::stdout().write_all(api::schema::crd_yaml()?.as_bytes()).context("failed to print the CRD")?;
        }
        Command::Link(args) => {
            let link = runtime.block_on(link::link(&args))?;
            println!("{link}");
            if invite::is_mute(&link) {
                eprintln!(
                    "calls-operator: this link is not HTTPS, and browsers give the microphone to HTTPS pages alone: put TLS \
                     in front of Service {} (docs/install.md) and give that address with --url",
                    args.name
                );
            }
        }
        Command::Preuninstall => runtime.block_on(preuninstall::preuninstall())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn operate(args: RunArgs, runtime: &Runtime) -> anyhow::Result<ExitCode> {
    let endpoint = args.otlp_endpoint.as_ref();
    let traces = endpoint.map(|endpoint| Traces::new(endpoint, runtime.handle().clone())).transpose()?;
    tracing_subscriber::registry().with(args.logs.layer()?).with(traces.as_ref().map(Traces::layer)).init();
    let ended = runtime.block_on(run::run(args));
    if let Some(Err(error)) = traces.map(|traces| traces.finish()) {
        warn!(error = &error as &dyn std::error::Error, "the last traces were not sent");
    }
    ended
}
