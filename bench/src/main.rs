use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use calls_bench::autoscale::run::{self as autoscale, AutoscaleArgs};
use calls_bench::crowd::{self, Crowd};
use calls_bench::load::churn;
use calls_bench::load::measure::Options;
use calls_bench::load::run::{Load, head, peer};
use calls_bench::load::scenario::{SCENARIOS, Scenario};
use calls_bench::load::{bare, picture, table};
use calls_bench::reach::{Bench, Row};
use calls_bench::relay::serve::{self as relay, RelayArgs};
use calls_bench::server::Ports;
use calls_client::signal::ApiKey;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Measures a calls server on this machine, over loopback, with real clients.
///
/// Build what is measured first: cargo build --release -p calls-sfu -p calls-bench
/// Absolute figures say little on a shared machine: compare those of one run.
#[derive(Debug, Parser)]
#[command(name = "calls-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Load(LoadArgs),
    Reach(ReachArgs),
    Churn(ChurnArgs),
    Crowd(CrowdArgs),
    Relay(RelayArgs),
    Autoscale(AutoscaleArgs),
    /// Sends what `load` tells it to, and nothing else.
    #[command(hide = true)]
    BareSend,
}

/// What a packet, a join and a session cost a server, beside a peer's server and the bare send of the same packets.
///
/// Each repeat starts every server anew, lets everyone join, lets media flow and reads what the server's process used.
/// Repeats of all servers take turns; the table has medians, with half the range of the repeats behind ±, and ratios
/// taken within a repeat.
///
/// The clients speak LiveKit's signalling, ICE, DTLS and SRTP, all on one media thread. Delay is from writing a frame to
/// reading it, the generator's own share included, at the clients that open what they receive (--opens-one-of). Loss is
/// what was sent and did not arrive. The bare send is a process that sends the same packets to as many sockets on the
/// same schedule with sendmmsg, bursts with UDP segmentation: nobody can be cheaper on this kernel.
#[derive(Debug, Args)]
struct LoadArgs {
    /// Scenarios by name; none for all but the largest.
    #[arg(value_name = "SCENARIO", value_parser = scenario, long_help = scenarios_help())]
    scenarios: Vec<Scenario>,

    /// How often everything is measured.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    repeats: u16,

    /// How long media flows while it is measured, in seconds. Short windows are dear: a few packets of each repeat pay
    /// for its timers.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    seconds: f64,

    /// A server to measure beside ours. LiveKit's is built once, with Go from its module proxy, below ~/.cache.
    #[arg(long, value_enum)]
    peer: Option<PeerName>,

    /// Also write the table's first rows as a picture (SVG).
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,

    /// Of this many clients, one decrypts what it receives and looks at its age; the others count it by its header,
    /// which keeps the generator cheap.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    opens_one_of: u16,

    /// Our server's program; without it, `calls-sfu` beside this one.
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,

    /// First of six ports to use on loopback: HTTP, UDP and TCP of ours, then of the peer's.
    #[arg(long, value_name = "PORT", default_value_t = 17880)]
    port: u16,
}

/// Scenarios that are measured only when they are asked for: they want all of a machine.
const LARGE: [&str; 3] = ["F", "F2", "G"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PeerName {
    Livekit,
}

/// How soon people hear each other, and what idle sessions take: the figures of the server alone.
#[derive(Debug, Args)]
struct ReachArgs {
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

/// Whether a server's memory stays level while people come and go.
///
/// Ten calls of four last; visitors join them one after another, speak and hear for twenty seconds, and leave. Memory is
/// the process' resident set; what it grows by is the slope of a line through all looks after the first quarter.
#[derive(Debug, Args)]
struct ChurnArgs {
    /// How long, at each server.
    #[arg(long, value_name = "MINUTES", default_value_t = 10.0)]
    minutes: f64,

    /// Joins a minute, and as many leaves.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=600))]
    joins: u16,

    /// A server to measure after ours. LiveKit's is built once, with Go from its module proxy, below ~/.cache.
    #[arg(long, value_enum)]
    peer: Option<PeerName>,

    /// Our server's program; without it, `calls-sfu` beside this one.
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,

    /// First of six ports to use on loopback: HTTP, UDP and TCP of ours, then of the peer's.
    #[arg(long, value_name = "PORT", default_value_t = 17880)]
    port: u16,
}

/// Keeps many small calls alive on a running server, and writes once a second as JSON how they are.
///
/// Everybody speaks slowly and listens for everybody else of their call; who falls out comes back. Ends, and lets all
/// leave, when standard input ends.
#[derive(Debug, Args)]
struct CrowdArgs {
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

impl CrowdArgs {
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
    match Cli::parse().command {
        Command::Load(args) => load(args).await,
        Command::Reach(args) => reach(args).await,
        Command::Churn(args) => churn(args).await,
        Command::Crowd(args) => crowd::run(args.into_crowd()?).await,
        Command::Relay(args) => relay::serve(&args, || server(args.server.clone())),
        Command::Autoscale(args) => autoscale::run(args),
        Command::BareSend => bare::serve(),
    }
}

async fn load(args: LoadArgs) -> Result<()> {
    ensure!(args.seconds > 0.0 && args.seconds < 86_400.0, "--seconds: media has to flow for a while, at most a day");
    let mut scenarios = args.scenarios;
    if scenarios.is_empty() {
        scenarios.extend(SCENARIOS.iter().filter(|scenario| !LARGE.contains(&scenario.name)));
    }
    let load = Load {
        program: server(args.server)?,
        ports: ports(args.port, 0)?,
        peer: match args.peer {
            Some(PeerName::Livekit) => Some(peer(ports(args.port, 3)?)?),
            None => None,
        },
        scenarios,
        repeats: args.repeats.into(),
        options: Options {
            window: Duration::from_secs_f64(args.seconds),
            opens_one_of: args.opens_one_of.into(),
            busy: None,
        },
    };
    let results = load.run().await?;
    println!("{}", head(&load.program, &load));
    for results in &results {
        println!("\n{}", table::table(results).trim_end());
    }
    if let Some(file) = args.picture {
        write(&file, &picture::picture(&results))?;
    }
    Ok(())
}

async fn churn(args: ChurnArgs) -> Result<()> {
    ensure!(
        args.minutes > 0.1 && args.minutes < 1440.0,
        "--minutes: people need a while to come and go, at most a day"
    );
    let peer = match args.peer {
        Some(PeerName::Livekit) => Some(peer(ports(args.port, 3)?)?),
        None => None,
    };
    let options =
        churn::Options { lasting: Duration::from_secs_f64(args.minutes * 60.0), joins_a_minute: f64::from(args.joins) };
    println!("{}", churn::run(&server(args.server)?, ports(args.port, 0)?, peer, options).await?.trim_end());
    Ok(())
}

async fn reach(args: ReachArgs) -> Result<()> {
    let program = server(args.server)?;
    let bench = Bench {
        program: &program,
        ports: ports(args.port, 0)?,
        key: ApiKey::development(),
        window: Duration::from_secs(args.seconds),
    };
    println!("{} on loopback, {} s a scenario", program.display(), args.seconds);
    print(&bench.join_to_media(args.joins).await.context("joins")?);
    for people in [2, 20] {
        print(&bench.delay(people).await.with_context(|| format!("a call of {people}"))?);
    }
    print(&bench.idle(args.idle).await.context("idle sessions")?);
    Ok(())
}

fn print(rows: &[Row]) {
    for Row { what, value, target } in rows {
        let target = if target.is_empty() { String::new() } else { format!("(to reach: {target})") };
        println!("{what:<52} {value:>14}  {target}");
    }
}

fn scenario(name: &str) -> Result<Scenario, String> {
    Scenario::named(name).ok_or_else(|| {
        let known: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        format!("there is no such scenario, only {}", known.join(", "))
    })
}

fn scenarios_help() -> String {
    let lines = SCENARIOS.iter().map(|scenario| format!("  {:<3} {}", scenario.name, scenario.about));
    format!("Scenarios by name; none for all but {}:\n{}", LARGE.join(", "), lines.collect::<Vec<_>>().join("\n"))
}

/// Our server: the one named, or the one beside this program.
fn server(named: Option<PathBuf>) -> Result<PathBuf> {
    let program = match named {
        Some(program) => program,
        None => std::env::current_exe()?.with_file_name("calls-sfu"),
    };
    ensure!(
        program.exists(),
        "there is no {}: build it (cargo build --release -p calls-sfu), or name another with --server",
        program.display()
    );
    Ok(program)
}

fn ports(first: u16, offset: u16) -> Result<Ports> {
    let port = |number| first.checked_add(offset + number).context("--port is too high");
    Ok(Ports { http: port(0)?, udp: port(1)?, tcp: port(2)? })
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| format!("failed to write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn scenarios_are_named_and_others_refused() {
        let parse = |scenario| Cli::try_parse_from(["calls-bench", "load", scenario, "--peer", "livekit"]);
        let Command::Load(args) = parse("c").unwrap().command else { panic!("another command") };
        assert_eq!((args.scenarios[0].name, args.repeats), ("C", 3));
        let refused = parse("Z").unwrap_err().to_string();
        assert!(refused.contains("only A, B, C, D, E1, E2, F, F2, G"), "{refused}");
    }

    #[test]
    fn servers_have_ports_of_their_own() {
        assert_eq!((ports(17880, 0).unwrap().tcp, ports(17880, 3).unwrap().http), (17882, 17883));
        assert!(ports(u16::MAX - 1, 0).is_err());
    }
}
