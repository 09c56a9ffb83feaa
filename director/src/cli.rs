//! The command line of `calls-director`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use fleet::logs::LogArgs;

use crate::sfu_address::SfuAddress;

/// The front door of a fleet of SFUs.
///
/// Clients know one address, the director's. It watches every SFU, so it knows which call lives where, and passes
/// each request and websocket on to the right one; a call that is new is placed at the SFU with the least load. Media
/// never passes through it: if it is away, running calls do not notice.
///
/// It keeps nothing on disk. Run two for availability; they need not know each other.
#[derive(Debug, Parser)]
#[command(name = "calls-director", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve clients.
    ///
    /// In Kubernetes:
    ///   calls-director serve --namespace calls --service main-sfu --tls /etc/calls/tls
    /// Without it, for SFUs that do not change:
    ///   calls-director serve --sfu https://10.0.0.1:9443 --sfu https://10.0.0.2:9443 --tls ./tls
    #[command(verbatim_doc_comment)]
    Serve(ServeArgs),
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Namespace of the headless Service.
    #[arg(long, env = fleet::names::env::POD_NAMESPACE, value_name = "NAMESPACE", help_heading = "Where the SFUs are")]
    pub namespace: Option<String>,

    /// Headless Service whose EndpointSlices list the SFUs (ready or not, by their port named "control").
    ///
    /// The director's ServiceAccount needs list and watch on endpointslices of discovery.k8s.io in that namespace.
    #[arg(
        long,
        value_name = "NAME",
        required_unless_present = "sfu",
        conflicts_with = "sfu",
        requires = "namespace",
        help_heading = "Where the SFUs are"
    )]
    pub service: Option<String>,

    /// Control address of an SFU, as https://HOST:PORT; repeat it for each. Replaces --service.
    #[arg(long, value_name = "URL", help_heading = "Where the SFUs are")]
    pub sfu: Vec<SfuUrl>,

    /// Directory with tls.crt, tls.key and ca.crt: the director's certificate and the fleet's CA.
    ///
    /// Read again when the files change.
    #[arg(long, value_name = "DIR", default_value = fleet::names::path::TLS_DIR)]
    pub tls: PathBuf,

    /// Address to listen on. Without it: all, IPv6 and IPv4.
    #[arg(long, value_name = "ADDRESS")]
    pub bind: Option<IpAddr>,

    /// Port for clients: HTTP and websockets. Put TLS in front of it.
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub http_port: u16,

    /// Port for /healthz, /readyz and /metrics.
    #[arg(long, value_name = "PORT", default_value_t = 8081)]
    pub health_port: u16,

    /// Client connections at the same time, websockets included. Further ones wait to be accepted.
    #[arg(long, value_name = "N", default_value_t = 8192)]
    pub max_connections: u32,

    /// Seconds between SIGTERM and closing: the director says it is not ready and serves on, so that load balancers
    /// turn away first. Then it closes its websockets, and clients return through another director; their calls go on.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub shutdown_delay: u64,

    #[command(flatten)]
    pub logs: LogArgs,
}

/// `https://HOST:PORT`, where HOST is an IP address (IPv6 in brackets) or a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SfuUrl(pub SfuAddress);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected https://HOST:PORT and nothing after it, such as https://10.0.0.1:9443")]
pub struct SfuUrlError;

impl FromStr for SfuUrl {
    type Err = SfuUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let authority = text.strip_prefix("https://").ok_or(SfuUrlError)?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if let Ok(address) = authority.parse::<SocketAddr>() {
            return Ok(Self(address.into()));
        }
        let (host, port) = authority.rsplit_once(':').ok_or(SfuUrlError)?;
        let port = port.parse().map_err(|_| SfuUrlError)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || !host.chars().all(plain) {
            return Err(SfuUrlError);
        }
        Ok(Self(SfuAddress::new(host, port)))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn serve(arguments: &[&str]) -> Result<ServeArgs, clap::Error> {
        let all = ["calls-director", "serve"].iter().chain(arguments);
        Cli::try_parse_from(all).map(|cli| match cli.command {
            Command::Serve(serve) => serve,
        })
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn in_a_cluster_namespace_and_service_are_enough() {
        let arguments = serve(&["--namespace", "calls", "--service", "main-sfu"]).unwrap();
        assert_eq!((arguments.http_port, arguments.health_port), (8080, 8081));
        assert_eq!(arguments.tls, PathBuf::from("/etc/calls/tls"));
    }

    #[test]
    fn without_a_service_or_an_sfu_it_is_refused() {
        assert!(serve(&["--namespace", "calls"]).is_err());
        assert!(serve(&["--service", "main-sfu", "--namespace", "calls", "--sfu", "https://10.0.0.1:1"]).is_err());
    }

    #[test]
    fn an_sfu_url_is_scheme_host_and_port() {
        let address = |text: &str| text.parse::<SfuUrl>().map(|url| url.0.to_string());
        assert_eq!(address("https://10.0.0.1:9443"), Ok("10.0.0.1:9443".into()));
        assert_eq!(address("https://[::1]:9443/"), Ok("[::1]:9443".into()));
        assert_eq!(address("https://sfu-0.local:9443"), Ok("sfu-0.local:9443".into()));
        for wrong in ["http://10.0.0.1:1", "https://10.0.0.1", "https://a:1/path", "https://:1", "https://a b:1"] {
            assert_eq!(address(wrong), Err(SfuUrlError), "{wrong}");
        }
    }
}
