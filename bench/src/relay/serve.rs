//! `calls-bench relay`: a relay for who is told to use it, and if need be the server behind it.

use std::io::{Write as _, stdin, stdout};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::forward::Relay;
use super::network::{NETWORKS, Network};
use crate::load::livekit::{self, LiveKit};
use crate::server::{Ports, Server};
use calls_client::signal::ApiKey;

/// Puts a bad network before a server's media port, on loopback.
///
/// Writes a line of JSON that says where it is: `media`, the server's UDP port, `relay`, the port to use in its place, and
/// with --start also `url`, `key` and `secret` of the server. The network is the first of the list until a line on
/// standard input names another, with the seconds its course takes: `steps 30`. Each such line is answered with one of
/// JSON: how many datagrams and bytes went through since the line before, down (from the server) and up, and how many
/// were lost or found the queue full. Ends when standard input does.
#[derive(Debug, Args)]
#[command(after_long_help = networks_help())]
pub struct RelayArgs {
    /// The media port of a server that runs already.
    #[arg(long, value_name = "IP:PORT", required_unless_present_any = ["start", "list"], conflicts_with = "start")]
    to: Option<SocketAddr>,

    /// Starts a server of its own to relay to.
    #[arg(long, value_enum)]
    start: Option<Kind>,

    /// Only lists the networks, as JSON.
    #[arg(long, conflicts_with_all = ["to", "start"])]
    list: bool,

    /// What chance tells the network.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,

    /// Our server's program; without it, `calls-sfu` beside this one.
    #[arg(long, value_name = "PATH")]
    pub server: Option<PathBuf>,

    /// First of three ports of the server that is started: HTTP, UDP, TCP.
    #[arg(long, value_name = "PORT", default_value_t = 17880)]
    port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Calls,
    Livekit,
}

/// Where things are.
#[derive(Debug, Serialize)]
struct Hello {
    relay: u16,
    media: u16,
    #[serde(flatten)]
    server: Option<Entrance>,
}

#[derive(Debug, Serialize)]
struct Entrance {
    url: String,
    key: String,
    secret: String,
}

/// A server, to be ended.
enum Started {
    Calls(Server),
    Livekit(LiveKit),
}

/// Relays until standard input ends. `program` finds our server's, if it is to be started.
///
/// # Errors
/// When the server does not start, or a line names no network.
pub fn serve(args: &RelayArgs, program: impl FnOnce() -> Result<PathBuf>) -> Result<()> {
    if args.list {
        return say(&NETWORKS);
    }
    let (started, to) = match (args.to, args.start) {
        (Some(to), _) => (None, to),
        (None, kind) => {
            let port = |offset| args.port.checked_add(offset).context("--port is too high");
            let ports = Ports { http: port(0)?, udp: port(1)?, tcp: port(2)? };
            let started = start(kind.unwrap_or(Kind::Calls), program, ports)?;
            (Some(started), (Ipv4Addr::LOCALHOST, ports.udp).into())
        }
    };
    let relay = Relay::start(to, NETWORKS[0], args.seed)?;
    let server = started.as_ref().map(Started::entrance);
    say(&Hello { relay: relay.port(), media: to.port(), server })?;
    for line in stdin().lines() {
        let (network, course) = parse(&line?)?;
        say(&relay.change(network, course)?)?;
    }
    Ok(())
}

fn start(kind: Kind, program: impl FnOnce() -> Result<PathBuf>, ports: Ports) -> Result<Started> {
    Ok(match kind {
        Kind::Calls => Started::Calls(Server::start(&program()?, ports)?),
        Kind::Livekit => Started::Livekit(LiveKit::start(&livekit::build(&livekit::cache()?)?, ports)?),
    })
}

impl Started {
    fn entrance(&self) -> Entrance {
        let (url, ApiKey { key, secret }) = match self {
            Self::Calls(server) => (server.url(), ApiKey::development()),
            Self::Livekit(server) => (server.url(), LiveKit::key()),
        };
        Entrance { url, key, secret }
    }
}

/// Reads the name of a network and the seconds of its course.
fn parse(line: &str) -> Result<(Network, Duration)> {
    let (name, seconds) =
        line.trim().split_once(' ').with_context(|| format!("a line is `NAME SECONDS`, not {line:?}"))?;
    let network = Network::named(name).with_context(|| format!("there is no network {name:?}"))?;
    let seconds: f64 = seconds.parse().with_context(|| format!("{seconds:?} are no seconds"))?;
    ensure!(seconds > 0.0 && seconds < 86_400.0, "a course takes a while, at most a day");
    Ok((network, Duration::from_secs_f64(seconds)))
}

fn say(line: &impl Serialize) -> Result<()> {
    let mut stdout = stdout().lock();
    serde_json::to_writer(&mut stdout, line)?;
    stdout.write_all(b"\n")?;
    Ok(stdout.flush()?)
}

fn networks_help() -> String {
    let lines = NETWORKS.iter().map(|network| format!("  {:<7} {}", network.name, network.about));
    format!("Networks, alike in both directions:\n{}", lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_a_network_and_its_course() {
        let (network, course) = parse("steps 7.5\n").unwrap();
        assert_eq!((network.name, course), ("steps", Duration::from_millis(7500)));
        for wrong in ["steps", "perfect 3", "steps soon", "steps 0", "steps -1", "steps NaN", ""] {
            assert!(parse(wrong).is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn networks_are_listed_with_what_others_need_of_them() {
        let listed = serde_json::to_value(NETWORKS).unwrap();
        let narrow = listed.as_array().unwrap().iter().find(|network| network["name"] == "narrow").unwrap();
        let about = "a link of 1 Mbit/s with a queue of 250 ms";
        assert_eq!(*narrow, serde_json::json!({"name": "narrow", "about": about, "rates": [1_000_000]}));
    }

    #[test]
    fn what_is_relayed_to_shows_no_server() {
        let hello = Hello { relay: 1, media: 2, server: None };
        assert_eq!(serde_json::to_string(&hello).unwrap(), r#"{"relay":1,"media":2}"#);
    }
}
