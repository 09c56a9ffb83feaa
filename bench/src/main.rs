use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use calls_bench::scenario::{Bench, Row};
use calls_bench::server::Ports;
use calls_bench::signal::ApiKey;
use clap::Parser;

/// Measures a calls server on this machine, over loopback, with real clients.
///
/// Build what is measured first: cargo build --release -p calls-sfu -p calls-bench
/// Absolute times say little on a shared machine; compare figures of one run.
#[derive(Debug, Parser)]
#[command(name = "calls-bench", version)]
struct Cli {
    /// The server's program; without it, `calls-sfu` beside this one.
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,

    /// First of three ports to use on loopback: HTTP, UDP, TCP.
    #[arg(long, value_name = "PORT", default_value_t = 17880)]
    port: u16,

    /// How long media is measured in each scenario, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    seconds: u64,

    /// Joins measured one after the other.
    #[arg(long, value_name = "N", default_value_t = 50)]
    joins: usize,

    /// Sessions in the idle scenario.
    #[arg(long, value_name = "N", default_value_t = 200)]
    idle: usize,
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let program = match cli.server {
        Some(program) => program,
        None => std::env::current_exe()?.with_file_name("calls-sfu"),
    };
    let free = |offset| cli.port.checked_add(offset).context("--port is too high");
    let bench = Bench {
        program: &program,
        ports: Ports { http: cli.port, udp: free(1)?, tcp: free(2)? },
        key: ApiKey::development(),
        window: Duration::from_secs(cli.seconds),
    };
    println!("{} on loopback, {} s a scenario", program.display(), cli.seconds);
    print(&bench.join_to_media(cli.joins).await.context("joins")?);
    for people in [2, 20] {
        print(&bench.delay(people).await.with_context(|| format!("a call of {people}"))?);
    }
    print(&bench.idle(cli.idle).await.context("idle sessions")?);
    Ok(())
}

fn print(rows: &[Row]) {
    for Row { what, value, target } in rows {
        let target = if target.is_empty() { String::new() } else { format!("(to reach: {target})") };
        println!("{what:<52} {value:>14}  {target}");
    }
}
