//! The program: reads the command line, sets up logs, does what it is told.

use std::process::ExitCode;

use anyhow::Context as _;
use calls_operator::cli::{Cli, Command, LogFormat};
use calls_operator::{api, link, preuninstall, run};
use clap::Parser as _;
use tracing_subscriber::EnvFilter;

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
    runtime.block_on(async {
        match cli.command {
            Command::Run(args) => {
                init_logs(args.log_format);
                return run::run(args).await;
            }
            Command::Crd => print!("{}", api::schema::crd_yaml()?),
            Command::Link(args) => println!("{}", link::link(&args).await?),
            Command::Preuninstall => preuninstall::preuninstall().await?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn init_logs(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
