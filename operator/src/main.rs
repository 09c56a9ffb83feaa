//! The program: reads the command line, sets up logs, does what it is told.

use std::process::ExitCode;

use anyhow::Context as _;
use calls_operator::cli::{Cli, Command, LogFormat, RunArgs};
use calls_operator::traces::Traces;
use calls_operator::{api, link, preuninstall, run};
use clap::Parser as _;
use tokio::runtime::Runtime;
use tracing::warn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

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
        Command::Crd => print!("{}", api::schema::crd_yaml()?),
        Command::Link(args) => println!("{}", runtime.block_on(link::link(&args))?),
        Command::Preuninstall => runtime.block_on(preuninstall::preuninstall())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn operate(args: RunArgs, runtime: &Runtime) -> anyhow::Result<ExitCode> {
    let endpoint = args.otlp_endpoint.as_ref();
    let traces = endpoint.map(|endpoint| Traces::new(endpoint, runtime.handle().clone())).transpose()?;
    init_logs(args.log_format, traces.as_ref());
    let ended = runtime.block_on(run::run(args));
    if let Some(Err(error)) = traces.map(|traces| traces.finish()) {
        warn!(error = &error as &dyn std::error::Error, "the last traces were not sent");
    }
    ended
}

fn init_logs(format: LogFormat, traces: Option<&Traces>) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // Each has its own filter: what is logged does not decide what is traced.
    tracing_subscriber::registry().with(lines.with_filter(filter)).with(traces.map(Traces::layer)).init();
}
