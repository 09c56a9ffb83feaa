//! The command line.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use fleet::logs::LogArgs;

use crate::traces::Endpoint;

const EXAMPLES: &str = "\
Examples:
  A link by which anybody may join the call standup for a week:
    calls-operator link --namespace calls --call standup --ttl 7d
  The newest CustomResourceDefinition, without the chart:
    calls-operator crd | kubectl apply --server-side -f -";

/// The operator of CallsClusters, and the small commands that go with it.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Turn CallsClusters into SFUs, for ever. In a pod with its service account, elsewhere with the kubeconfig.
    Run(RunArgs),
    /// Print the CustomResourceDefinition of CallsCluster as YAML.
    Crd,
    /// Make an invitation link to a call, with the kubeconfig's rights to read the CallsCluster's key Secret.
    Link(LinkArgs),
    /// Succeed only if no CallsCluster exists. The chart runs it before it is uninstalled.
    Preuninstall,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// Image of SFUs whose CallsCluster names none.
    #[arg(long, env = "SFU_IMAGE", value_name = "IMAGE")]
    pub sfu_image: String,
    /// Secrets with credentials for that image, separated by commas; each namespace with a CallsCluster has its own of
    /// these names.
    #[arg(long, env = "SFU_PULL_SECRETS", value_name = "NAMES", value_delimiter = ',')]
    pub sfu_pull_secrets: Vec<String>,
    /// Image of directors.
    #[arg(long, env = "DIRECTOR_IMAGE", value_name = "IMAGE")]
    pub director_image: String,
    /// Secrets with credentials for that image, separated by commas, as for SFUs.
    #[arg(long, env = "DIRECTOR_PULL_SECRETS", value_name = "NAMES", value_delimiter = ',')]
    pub director_pull_secrets: Vec<String>,
    /// Namespace of the Lease by which operators elect their leader. Default: the operator's own.
    #[arg(long, env = "LEASE_NAMESPACE", value_name = "NAMESPACE")]
    pub lease_namespace: Option<String>,
    /// Name of that Lease.
    #[arg(long, env = "LEASE_NAME", value_name = "NAME", default_value = "calls-operator")]
    pub lease_name: String,
    /// Name of this operator in the election. Default: the host's name. A random part is added.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub identity: Option<String>,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, env = "HEALTH_ADDRESS", value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8080")]
    pub health_address: std::net::SocketAddr,
    /// Collector that traces of reconciles are sent to, over OTLP/HTTP. Default: none, and nothing is traced.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "http://HOST:PORT")]
    pub otlp_endpoint: Option<Endpoint>,
    #[command(flatten)]
    pub logs: LogArgs,
}

#[derive(Debug, Args)]
pub struct LinkArgs {
    /// Namespace of the CallsCluster. Default: the kubeconfig's.
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Name of the CallsCluster.
    #[arg(long, value_name = "NAME", default_value = "main")]
    pub name: String,
    /// Name of the call, for example that of a channel.
    #[arg(long, value_name = "CALL")]
    pub call: String,
    /// How long the link is good: a number and s, m, h or d.
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = parse_ttl)]
    pub ttl: Duration,
    /// Where people reach the page. Default: the first node's address and the NodePort of the CallsCluster's Service.
    #[arg(long, value_name = "URL", value_parser = parse_url)]
    pub url: Option<String>,
}

/// What a page's address can be: paths are added to it.
fn parse_url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
    if rest.is_empty() || rest.starts_with('/') || text.contains(['?', '#']) || text.contains(char::is_whitespace) {
        return Err("it must be as people open it, https://HOST".to_owned());
    }
    Ok(text.to_owned())
}

/// Reads `90m`, `12h`, `30d`.
fn parse_ttl(text: &str) -> Result<Duration, String> {
    let problem = || format!("{text:?} is not a number followed by s, m, h or d, for example 30d");
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86400,
        _ => return Err(problem()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| problem())?;
    let seconds = number.checked_mul(unit).filter(|seconds| *seconds > 0).ok_or_else(problem)?;
    // Beyond a century the end no longer fits everybody's clock.
    if seconds > 100 * 365 * 86400 {
        return Err(format!("{text:?} is longer than a hundred years"));
    }
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn a_pages_address_has_a_scheme_and_a_host() {
        for url in ["https://calls.example", "http://10.0.0.1:31111/", "https://calls.example/base"] {
            assert!(parse_url(url).is_ok(), "{url}");
        }
        for url in ["", "calls.example", "https://", "http:///c", "https://x/y?z", "ftp://x", "https://x y"] {
            assert!(parse_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// What stands in the examples works.
    #[test]
    fn the_examples_of_the_help_are_commands() {
        let commands = EXAMPLES.lines().filter_map(|line| line.trim().strip_prefix("calls-operator "));
        let commands: Vec<_> = commands.map(|line| line.split(" | ").next().unwrap_or_default()).collect();
        assert_eq!(commands.len(), 2);
        for command in commands {
            let words = ["calls-operator"].into_iter().chain(command.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{command}");
        }
        assert!(Cli::command().render_help().to_string().contains(EXAMPLES));
    }

    #[test]
    fn times_are_a_number_and_a_unit() {
        assert_eq!(parse_ttl("30d"), Ok(Duration::from_hours(30 * 24)));
        assert_eq!(parse_ttl("90s"), Ok(Duration::from_secs(90)));
        for text in ["", "30", "d", "-1d", "0h", "1y", "99999999999999999999d", "40000000d", "1ü"] {
            assert!(parse_ttl(text).is_err(), "{text}");
        }
    }
}
