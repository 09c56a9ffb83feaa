use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use calls_bench::crowd::{self, Crowd};
use calls_bench::scenario::{Bench, Row};
use calls_bench::server::Ports;
use calls_bench::signal::ApiKey;
use clap::{Args, Parser, Subcommand};

/// Measures a calls server on this machine, over loopback, with real clients.
///
/// Build what is measured first: cargo build --release -p calls-sfu -p calls-bench
/// Absolute times say little on a shared machine; compare figures of one run.
#[derive(Debug, Parser)]
#[command(name = "calls-bench", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

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

#[derive(Debug, Subcommand)]
enum Command {
    /// Keeps many small calls alive on a running server, and writes once a second as JSON how they are.
    ///
    /// Everybody speaks slowly and listens for everybody else of their call; who falls out comes back. Ends, and lets
    /// all leave, when standard input ends.
    Crowd(CrowdOptions),
}

#[derive(Debug, Args)]
struct CrowdOptions {
    /// Where signalling is.
    #[arg(long, default_value = "ws://127.0.0.1:7880")]
    url: String,

    /// API key and secret as KEY:SECRET; without it, the environment's CALLS_KEY, or a development server's.
    #[arg(long, value_name = "KEY:SECRET")]
    key: Option<String>,

    /// The address of this machine that media is sent from.
    #[arg(long, default_value_t = Ipv4Addr::LOCALHOST)]
    from: Ipv4Addr,

    /// What calls are called, before their number.
    #[arg(long, default_value = "crowd")]
    name: String,

    /// How many calls.
    #[arg(long, default_value_t = 10)]
    calls: u32,

    /// People in each call.
    #[arg(long, default_value_t = 3)]
    people: u32,

    /// How long the first of each call stays before leaving and coming back; each next stays that much longer. Without
    /// it, all stay.
    #[arg(long, value_name = "SECONDS")]
    stay: Option<u64>,
}

impl CrowdOptions {
    fn into_crowd(self) -> Result<Crowd> {
        let key = match self.key.or_else(|| std::env::var("CALLS_KEY").ok()) {
            Some(text) => {
                let (key, secret) = text.split_once(':').context("a key is written KEY:SECRET")?;
                ApiKey { key: key.to_owned(), secret: secret.to_owned() }
            }
            None => ApiKey::development(),
        };
        let Self { url, from, name, calls, people, .. } = self;
        Ok(Crowd { url, key, from, name, calls, people, stay: self.stay.map(Duration::from_secs) })
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    if let Some(Command::Crowd(options)) = cli.command {
        return crowd::run(options.into_crowd()?).await;
    }
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
