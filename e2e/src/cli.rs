//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cluster::layout::MAX_NODES;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// A local Kubernetes with calls on it, and the tests that need both.
#[derive(Debug, Parser)]
#[command(name = "cargo e2e", bin_name = "cargo e2e", version, arg_required_else_help = true, after_help = AFTER_HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
Kubernetes, images and the cluster are in one cache folder: $CALLS_E2E_CACHE, or calls-operator below $XDG_CACHE_HOME (~/.cache).

Examples:
  cargo e2e up                      two nodes, the operator, one CallsCluster; prints the page's address
  cargo e2e kubectl get calls -A    asks that cluster
  cargo e2e test --only cluster     the tests that need it
  cargo e2e down                    removes all of it, keeps what was built";

/// What `cargo e2e` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Brings up a Kubernetes with calls on it, or brings it up to date.
    ///
    /// Wants root on Debian 12 with Rust, Go and Node. Installs the Debian packages it lacks (their services are not
    /// started), builds Kubernetes and helm from their Go modules once, starts a control plane and the nodes (each a
    /// network and mount namespace with its own containerd and kubelet), builds the programs, the page and the images,
    /// installs the chart, applies examples/calls.yaml and waits until calls are ready.
    ///
    /// Run it again after a change: only what changed is built, imported and restarted.
    Up(UpOptions),
    /// Installs packages and builds everything `up` and `test` need, Go and Rust side by side; starts nothing.
    Prepare(PrepareOptions),
    /// Runs the tests, fast rings first, and tells how many passed.
    Test(TestOptions),
    /// Measures what needs a real Kubernetes, and prints it beside what is to be reached.
    ///
    /// Brings the cluster up to date first. How long an SFU takes to serve; how much memory the operator has with many
    /// CallsClusters, and what it writes while nothing happens. They are made in namespaces of their own, which go
    /// afterwards. Media is measured without a cluster, by `calls-bench`, and over bad networks by `bench network`.
    Bench(BenchOptions),
    /// Runs cargo-deny over the dependencies: bans, licences and sources, or what is asked for instead.
    ///
    /// Installs it into the cache first (minutes, once). `cargo e2e deny advisories` needs a network that reaches the
    /// database of advisories.
    Deny {
        /// Checks to run. Default: bans licenses sources.
        arguments: Vec<String>,
    },
    /// Tells what runs, where its logs are, and how to reach it.
    Status,
    /// Removes the cluster: processes, namespaces, mounts, links, cgroups, data. Keeps what was built.
    Down,
    /// Runs kubectl against the cluster: `cargo e2e kubectl get pods -A`.
    #[command(disable_help_flag = true)]
    Kubectl {
        /// Arguments for kubectl.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Forwards TCP connections from a loopback port to whichever node answers.
    #[command(hide = true)]
    Proxy(ProxyOptions),
}

/// How to bring it up.
#[derive(Clone, Debug, Args)]
pub struct UpOptions {
    /// Nodes of the local cluster; the example's replicas follow it.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_NODES)))]
    pub nodes: u8,

    /// Use a cluster you already have: a context of your kubeconfig (kind, k3s, a cloud's). No local cluster is made.
    ///
    /// Images are loaded with `kind load` where the context is kind's (its name starts with `kind-`), otherwise pushed
    /// with docker or podman to --registry. This way has not been tried by its authors' tests, which have no such
    /// engine: what it does is printed, step by step.
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,

    /// Where images are pushed to and pulled from with --context, e.g. registry.example.org/calls.
    #[arg(long, value_name = "REGISTRY", requires = "context")]
    pub registry: Option<String>,

    /// Cargo profile of the programs: release is what one ships, ci builds in a fraction of the time and checks overflow.
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    pub profile: Profile,

    /// Only the local cluster: nothing of calls is built or installed. To look at Kubernetes itself.
    #[arg(long, conflicts_with = "context")]
    pub bare: bool,
}

/// What to prepare.
#[derive(Clone, Debug, Args)]
pub struct PrepareOptions {
    /// Cargo profile of the programs.
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    pub profile: Profile,
}

/// Which tests to run.
#[derive(Clone, Debug, Args)]
pub struct TestOptions {
    /// Also the slow ones: chaos, scale, soak.
    #[arg(long)]
    pub slow: bool,

    /// Only this ring, or only tests whose name contains this.
    #[arg(long, value_name = "RING_OR_NAME")]
    pub only: Option<String>,

    /// List the tests instead of running them.
    #[arg(long)]
    pub list: bool,

    /// Nodes of the local cluster.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_NODES)))]
    pub nodes: u8,

    /// How long the slow tests take.
    #[command(flatten)]
    pub tuning: Tuning,
}

/// How long the slow tests take, and what chance tells them.
#[derive(Clone, Copy, Debug, Args)]
pub struct Tuning {
    /// Minutes that the soak test's calls last.
    #[arg(long, value_name = "MINUTES", default_value_t = Self::default().soak_minutes, requires = "slow")]
    pub soak_minutes: u64,

    /// Faults of the chaos test, each kind once before one comes again.
    #[arg(long, value_name = "N", default_value_t = Self::default().rounds, requires = "slow")]
    pub rounds: u32,

    /// What chance tells the chaos test, to repeat a run; another one each time without it.
    #[arg(long, value_name = "NUMBER", requires = "slow")]
    pub seed: Option<u64>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { soak_minutes: 10, rounds: 12, seed: None }
    }
}

impl Tuning {
    /// The seed that was asked for, or one of the moment.
    pub fn seed(&self) -> u64 {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::from(since.subsec_nanos()));
        self.seed.unwrap_or_else(now)
    }
}

/// What to measure.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchOptions {
    /// Something that needs no Kubernetes.
    #[command(subcommand)]
    pub command: Option<BenchCommand>,

    /// CallsClusters the operator has to look after.
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub clusters: usize,

    /// How long the operator is watched while nothing happens, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub idle_seconds: u64,

    /// Starts of an SFU.
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub starts: usize,

    /// Cargo profile of the programs.
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    pub profile: Profile,

    /// Nodes of the local cluster.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_NODES)))]
    pub nodes: u8,
}

/// What can be measured without a Kubernetes.
#[derive(Clone, Debug, Subcommand)]
pub enum BenchCommand {
    /// Measures calls between real browsers over bad networks.
    ///
    /// One Chromium sends a voice, a camera in three layers and a shared screen; another receives them through a relay of
    /// ours that delays, loses, reorders and limits datagrams in both directions. Both join on a clean network; once all
    /// is there, the network changes, and what the receiver's own statistics say from then on is the table. Each repeat
    /// starts every server anew, in turns, and gives all of them the same pages and the same seed.
    ///
    /// Browsers encode and decode on this machine: what else runs on it shows in the figures.
    Network(NetworkOptions),
}

/// How to measure calls over bad networks.
#[derive(Clone, Debug, Args)]
pub struct NetworkOptions {
    /// Only this network; repeat it for more. `calls-bench relay --help` lists them.
    #[arg(long, value_name = "NETWORK")]
    pub only: Vec<String>,

    /// A server to measure beside ours. LiveKit's is built once, with Go from its module proxy.
    #[arg(long, value_enum)]
    pub peer: Option<Peer>,

    /// End with an error if ours is worse than the peer's in any row, by more than chance.
    #[arg(long, requires = "peer")]
    pub fail_if_worse: bool,

    /// How long each network lasts, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, value_parser = seconds)]
    pub seconds: f64,

    /// How often everything is measured.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    pub repeats: u16,

    /// What chance tells the networks; each repeat adds its number.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,

    /// Also write every look at the statistics, and what our server exports after each call: a line of JSON for each call.
    #[arg(long, value_name = "FILE")]
    pub samples: Option<PathBuf>,

    /// Our server's program, with `calls-bench` beside this one; without it, both are built.
    #[arg(long, value_name = "PATH", conflicts_with = "profile")]
    pub server: Option<PathBuf>,

    /// Cargo profile of the programs.
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    pub profile: Profile,
}

/// A server to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// LiveKit's.
    Livekit,
}

/// From where to where the proxy forwards.
#[derive(Clone, Debug, Args)]
pub struct ProxyOptions {
    /// The address to listen on.
    #[arg(long)]
    pub listen: SocketAddr,

    /// The addresses to forward to: the first that answers is used.
    #[arg(long, required = true)]
    pub to: Vec<SocketAddr>,
}

/// A Cargo profile of this workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// What one ships: link-time optimisation.
    Release,
    /// What tests use: the same checks as a debug build, nearly as fast as a release, built in a fraction of the time.
    Ci,
}

impl Profile {
    /// The name Cargo knows it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Ci => "ci",
        }
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "no number".to_owned())?;
    if (1.0..=3600.0).contains(&seconds) { Ok(seconds) } else { Err("between a second and an hour".into()) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn networks_are_measured_without_what_a_cluster_wants() {
        let cli =
            Cli::parse_from(["cargo e2e", "bench", "network", "--only", "loss", "--peer", "livekit", "--seconds", "5"]);
        let Command::Bench(BenchOptions { command: Some(BenchCommand::Network(options)), .. }) = cli.command else {
            panic!("not the networks: {cli:?}")
        };
        assert_eq!((options.only, options.peer, options.seconds), (vec!["loss".to_owned()], Some(Peer::Livekit), 5.0));
        for wrong in [["bench", "--starts", "1", "network"], ["bench", "network", "--seconds", "0"]] {
            assert!(Cli::try_parse_from([&["cargo e2e"][..], &wrong].concat()).is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn kubectl_gets_its_flags_untouched() {
        let cli = Cli::parse_from(["cargo e2e", "kubectl", "get", "pods", "-A", "--help"]);
        let Command::Kubectl { arguments } = cli.command else { panic!("not kubectl: {cli:?}") };
        assert_eq!(arguments, ["get", "pods", "-A", "--help"]);
    }
}
