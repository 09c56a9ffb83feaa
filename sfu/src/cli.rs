//! The command line of `calls-sfu`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use fleet::logs::LogArgs;

use crate::keys::Secret;
use crate::worker::pin::Pinning;

/// The server of a calls cluster: page, signalling and media in one process.
#[derive(Debug, Parser)]
#[command(name = "calls-sfu", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve calls.
    ///
    /// On one machine, with nothing to configure:
    ///   calls-sfu serve --dev
    /// then open the URL it prints in two browsers. The ports and the key are those LiveKit's tools expect of a
    /// development server (key devkey, secret secret), so that `lk`, SDKs and their tests find it.
    ///
    /// In Kubernetes the operator starts it with --config, --keys, --tls and its ports.
    #[command(verbatim_doc_comment)]
    Serve(Box<ServeArgs>),
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Everything in one process, for this machine and its network: anyone may join by name, the key is well known.
    #[arg(long, conflicts_with_all = ["config", "keys", "tls"], required_unless_present = "config")]
    pub dev: bool,

    /// Address of page and signalling in development. Browsers give the microphone only to localhost and to HTTPS.
    #[arg(
        long,
        value_name = "IP",
        default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST),
        conflicts_with = "config",
        help_heading = "Development"
    )]
    pub bind: IpAddr,

    /// HTTP port of page and signalling in development.
    #[arg(long, value_name = "PORT", default_value_t = 7880, conflicts_with = "config", help_heading = "Development")]
    pub port: u16,

    /// API key and secret that sign tokens; repeat it for more. Without it: devkey:secret.
    #[arg(long = "key", value_name = "KEY:SECRET", conflicts_with = "config", help_heading = "Development")]
    pub api_keys: Vec<KeyPair>,

    /// IPv4 address to tell clients, instead of every address of this machine; repeat it for more.
    #[arg(long, value_name = "IP", conflicts_with = "config", help_heading = "Development")]
    pub node_ip: Vec<Ipv4Addr>,

    /// Folder for recordings in development; made when the first one starts.
    #[arg(
        long,
        value_name = "FOLDER",
        default_value = "recordings",
        conflicts_with = "config",
        help_heading = "Development"
    )]
    pub recordings: PathBuf,

    /// Longest recording in development, in minutes.
    #[arg(
        long,
        value_name = "MINUTES",
        default_value_t = 60,
        value_parser = clap::value_parser!(u32).range(1..),
        conflicts_with = "config",
        help_heading = "Development"
    )]
    pub max_recording_minutes: u32,

    /// UDP port of the media, for everybody.
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 7882,
        value_parser = clap::value_parser!(u16).range(1..),
        help_heading = "Media"
    )]
    pub udp_port: u16,

    /// TCP port of the media, for clients whose network lets no UDP through; 0 turns it off.
    #[arg(long, value_name = "PORT", default_value_t = 7881, help_heading = "Media")]
    pub tcp_port: u16,

    /// Media threads; 0 for one a CPU.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Media")]
    pub workers: usize,

    /// Which media threads keep to one CPU.
    #[arg(long, value_name = "WHICH", value_enum, default_value_t, help_heading = "Media")]
    pub pin_workers: Pinning,

    /// People of one call on one media thread; the next ones live on another, for which the call's media is copied once.
    #[arg(
        long,
        value_name = "PEOPLE",
        default_value_t = 250,
        value_parser = clap::value_parser!(u32).range(1..),
        help_heading = "Media"
    )]
    pub people_per_worker: u32,

    /// Configuration file, written by the operator; changes apply at once.
    #[arg(long, value_name = "FILE", requires_all = ["keys", "tls"], help_heading = "In a cluster")]
    pub config: Option<PathBuf>,

    /// Directory of API keys: a file's name is the key, its content the secret. Changes apply at once.
    #[arg(long, value_name = "DIRECTORY", help_heading = "In a cluster")]
    pub keys: Option<PathBuf>,

    /// Directory with tls.crt, tls.key and ca.crt of the fleet. Renewed certificates apply at once.
    #[arg(long, value_name = "DIRECTORY", help_heading = "In a cluster")]
    pub tls: Option<PathBuf>,

    /// HTTPS port for the director and the operator: signalling, page and fleet API. Needs their certificates.
    #[arg(long, value_name = "PORT", default_value_t = 9443, help_heading = "In a cluster")]
    pub control_port: u16,

    /// HTTP port of /healthz, /readyz and /metrics.
    #[arg(long, value_name = "PORT", default_value_t = 9444, help_heading = "In a cluster")]
    pub health_port: u16,

    /// Longest time after SIGTERM, in seconds. Calls that leave one by one already go on doing so; others are sent
    /// elsewhere at once.
    #[arg(long, value_name = "SECONDS", default_value_t = fleet::names::DRAIN_SECONDS.into(), help_heading = "In a cluster")]
    pub drain_seconds: u64,

    /// Name of this SFU in the fleet.
    #[arg(long, env = fleet::names::env::POD_NAME, value_name = "NAME", help_heading = "In a cluster")]
    pub pod_name: Option<String>,

    /// Node this SFU runs on.
    #[arg(long, env = fleet::names::env::NODE_NAME, value_name = "NAME", help_heading = "In a cluster")]
    pub node_name: Option<String>,

    /// The node's own address. Control and health listen there, and on all addresses without it.
    #[arg(long, env = fleet::names::env::NODE_IP, value_name = "IP", help_heading = "In a cluster")]
    pub pod_node_ip: Option<IpAddr>,

    #[command(flatten)]
    pub logs: LogArgs,
}

/// An API key and its secret, as `KEY:SECRET`.
#[derive(Debug, Clone)]
pub struct KeyPair {
    pub key: String,
    pub secret: Secret,
}

impl FromStr for KeyPair {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some((key, secret)) if !key.is_empty() && !secret.is_empty() => {
                Ok(Self { key: key.trim().into(), secret: Secret::new(secret.trim()) })
            }
            _ => Err("write it as KEY:SECRET"),
        }
    }
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
    fn development_and_cluster_exclude_each_other() {
        assert!(Cli::try_parse_from(["calls-sfu", "serve", "--dev"]).is_ok());
        assert!(Cli::try_parse_from(["calls-sfu", "serve"]).is_err());
        assert!(Cli::try_parse_from(["calls-sfu", "serve", "--config", "f"]).is_err());
        let cluster = ["calls-sfu", "serve", "--config", "f", "--keys", "k", "--tls", "t"];
        assert!(Cli::try_parse_from(cluster).is_ok());
        assert!(Cli::try_parse_from(cluster.into_iter().chain(["--dev"])).is_err());
    }

    #[test]
    fn what_is_for_development_alone_is_refused_in_a_cluster() {
        let cluster = ["calls-sfu", "serve", "--config", "f", "--keys", "k", "--tls", "t"];
        for flag in [
            ["--bind", "10.0.0.1"],
            ["--port", "80"],
            ["--key", "a:b"],
            ["--node-ip", "10.0.0.1"],
            ["--recordings", "f"],
        ] {
            let parsed = Cli::try_parse_from(cluster.iter().chain(&flag));
            assert!(parsed.is_err(), "{flag:?} would do nothing");
            assert!(Cli::try_parse_from(["calls-sfu", "serve", "--dev"].iter().chain(&flag)).is_ok(), "{flag:?}");
        }
    }

    #[test]
    fn a_key_needs_its_secret() {
        assert!("devkey:secret".parse::<KeyPair>().is_ok());
        assert!("devkey".parse::<KeyPair>().is_err());
        assert!("devkey:".parse::<KeyPair>().is_err());
    }
}
