//! Puts the parts together and runs them until told to stop.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::body::Body;
use fleet::api::{Claim, SfuLoad, SfuState, SfuStatus};
use fleet::config::{PageAccess, PageConfig, SfuConfig};
use sfu_core::transport::certificate::Certificate;
use sfu_core::transport::dtls::DtlsIdentity;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tower::Service as _;

use crate::address::{self, Advertised, MediaPorts, Resolver};
use crate::app::{self, App};
use crate::cli::ServeArgs;
use crate::clock::Clock;
use crate::control::{self, ControlHandle};
use crate::fleet_api::{self, FleetHandle, RunningCalls};
use crate::keys::{Keys, Secret};
use crate::metrics::Metrics;
use crate::recordings::Recorders;
use crate::recordings::in_process::{self, InProcess};
use crate::worker::{self, StunAnswer, Workers};
use crate::{admit, config, health, tls};

/// Events of media threads that may wait for control.
const WORKER_EVENTS: usize = 16 * 1024;
const STUN_ANSWERS: usize = 64;
/// After the last call left: time for the last messages to reach the clients' sockets.
const FAREWELL: Duration = Duration::from_millis(500);
/// In development people want their terminal back.
const DEV_DRAIN: Duration = Duration::from_secs(2);

/// Everything but the front, which differs between development and cluster.
struct Core {
    app: App,
    control: ControlHandle,
    status: watch::Receiver<SfuStatus>,
    running: Arc<RunningCalls>,
    workers: Workers,
    stun_answers: mpsc::Receiver<StunAnswer>,
    metrics: Metrics,
}

pub async fn serve(args: ServeArgs) -> Result<()> {
    match args.config {
        Some(_) => serve_cluster(args).await,
        None => serve_dev(args).await,
    }
}

async fn serve_dev(args: ServeArgs) -> Result<()> {
    ensure_apart(&[("--port", args.port), ("--tcp-port", args.tcp_port)])?;
    let http = listen(SocketAddr::new(args.bind, args.port), PAGE).await?;
    let mut keys: BTreeMap<_, _> = args.api_keys.iter().map(|pair| (pair.key.clone(), pair.secret.clone())).collect();
    if keys.is_empty() {
        keys.insert("devkey".into(), Secret::new("secret"));
    }
    let given = args.node_ip.iter().copied().map(IpAddr::V4).collect::<Vec<_>>();
    let addresses = if given.is_empty() { address::local_addresses() } else { given };
    let advertised = Advertised::fixed(&addresses, ports(&args), "Local");
    let page = PageConfig { enabled: true, access: PageAccess::Open };
    let config = watch::Sender::new(SfuConfig { page, ..SfuConfig::default() });
    let (advertised_sender, advertised) = watch::channel(advertised);
    let (work, wanted) = mpsc::channel(in_process::WORK);
    let recorders = Recorders { work, limit: Duration::from_mins(args.max_recording_minutes.into()) };
    let core = start(&args, Keys::new(keys), config.subscribe(), advertised, Some(recorders)).await?;

    let page = format!("http://{}", reachable(http.local_addr()?));
    println!("Calls are served at {page}");
    println!("  Open it in a browser, name a call, and give its link to others on this machine.");
    let tcp = if args.tcp_port == 0 { String::new() } else { format!(" and TCP {}", args.tcp_port) };
    println!("  Media: UDP {}{tcp} on {}.", args.udp_port, join(&addresses));
    let key = core.app.keys.signing().map_or_else(String::new, |(key, _)| key);
    // The well-known one is no secret.
    let secret = if args.api_keys.is_empty() { ", secret secret" } else { "" };
    println!("  Recordings are written to {}.", args.recordings.display());
    println!("  LiveKit clients: {}, API key {key}{secret}. Press Ctrl-C to stop.", page.replace("http", "ws"));

    if let Some(warning) = well_known_key_warning(&args) {
        println!("  {warning}");
    }

    let router = app::router(core.app.clone()).merge(health::routes(core.status.clone(), core.metrics.clone()));
    let server = tokio::spawn(axum::serve(http, router).into_future());
    let recorder = InProcess {
        folder: args.recordings.clone(),
        url: page.replace("http", "ws"),
        keys: core.app.keys.clone(),
        control: core.control.clone(),
    };
    let (end_recordings, end) = oneshot::channel();
    let recorder = tokio::spawn(recorder.run(wanted, end));
    stop_signal().await?;
    let _ = end_recordings.send(());
    let _ = recorder.await;
    drain(&core, DEV_DRAIN).await;
    server.abort();
    core.workers.stop();
    drop((advertised_sender, config));
    Ok(())
}

async fn serve_cluster(args: ServeArgs) -> Result<()> {
    let (Some(file), Some(key_folder), Some(tls_folder)) = (&args.config, &args.keys, &args.tls) else {
        anyhow::bail!("--config, --keys and --tls belong together");
    };
    let [control, health] = [("--control-port", args.control_port), ("--health-port", args.health_port)];
    ensure_apart(&[control, health, ("--tcp-port", args.tcp_port)])?;
    let inside = fleet_address(&args);
    let https = listen(SocketAddr::new(inside, args.control_port), CONTROL).await?;
    let plain = listen(SocketAddr::new(inside, args.health_port), HEALTH).await?;
    let keys = Keys::from_directory(key_folder)?;
    let config = watch::Sender::new(config::read(file)?);
    let server_tls = Arc::new(fleet::tls::Reloading::open(tls_folder, fleet::tls::TlsFiles::server_config)?);
    let (advertised_sender, advertised) = watch::channel(Advertised::default());
    let mut core = start(&args, keys.clone(), config.subscribe(), advertised, None).await?;

    let (_, unused) = mpsc::channel(1);
    let resolver = Resolver {
        config: config.subscribe(),
        node: args.node_name.clone().unwrap_or_default(),
        node_ip: args.pod_node_ip,
        ports: ports(&args),
        worker: core.workers.handles()[0].clone(),
        stun_answers: std::mem::replace(&mut core.stun_answers, unused),
        advertised: advertised_sender,
        known: None,
    };
    let background =
        [tokio::spawn(resolver.run()), tokio::spawn(config::follow(file.clone(), config, key_folder.clone(), keys))];

    let in_force = core.app.keys.clone();
    let admit = move |claim: &Claim| admit::admit(claim, &in_force);
    let control = core.control.clone();
    let handle =
        FleetHandle::new(core.status.clone(), Arc::clone(&core.running), admit, move |asked| control.ask(asked));
    let router = app::router(core.app.clone()).merge(fleet_api::router(handle));
    let (stop, stopped) = oneshot::channel::<()>();
    let front = tokio::spawn(tls::serve(https, server_tls, router, async {
        let _ = stopped.await;
    }));
    let health = health::routes(core.status.clone(), core.metrics.clone());
    let probes = tokio::spawn(fleet::probes::serve(plain, move |request| health.clone().call(request.map(Body::new))));
    tracing::info!(
        control_port = args.control_port,
        health_port = args.health_port,
        udp_port = args.udp_port,
        tcp_port = args.tcp_port,
        "serving"
    );
    stop_signal().await?;
    drain(&core, Duration::from_secs(args.drain_seconds)).await;
    let _ = stop.send(());
    let _ = timeout(FAREWELL, front).await;
    probes.abort();
    for task in background {
        task.abort();
    }
    core.workers.stop();
    Ok(())
}

/// Starts media threads, TCP media and control.
async fn start(
    args: &ServeArgs,
    keys: Keys,
    config: watch::Receiver<SfuConfig>,
    advertised: watch::Receiver<Advertised>,
    recorders: Option<Recorders>,
) -> Result<Core> {
    let clock = Clock::start();
    let every = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let (events, worker_events) = mpsc::channel(WORKER_EVENTS);
    let (stun_sender, stun_answers) = mpsc::channel(STUN_ANSWERS);
    let count = match args.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    let metrics = Metrics::default();
    let udp = SocketAddr::new(every, args.udp_port);
    ensure_free(udp)?;
    let (workers, steering) = Workers::start((count, args.pin_workers), udp, clock, &events, &stun_sender)?;
    if args.tcp_port != 0 {
        let listener = listen(SocketAddr::new(every, args.tcp_port), MEDIA_OVER_TCP).await?;
        tokio::spawn(worker::tcp::serve(listener, workers.handles().to_vec(), metrics.clone()));
    }
    let certificate = Certificate::generate().context("failed to make the DTLS certificate")?;
    let identity = DtlsIdentity::new(&certificate).context("failed to use the DTLS certificate")?;
    let name = args.pod_name.clone().unwrap_or_else(host_name);
    let status = SfuStatus {
        name: name.clone(),
        node: args.node_name.clone().unwrap_or_default(),
        version: env!("CARGO_PKG_VERSION").into(),
        state: SfuState::Starting,
        candidates: Vec::new(),
        address_problem: None,
        load: SfuLoad::default(),
        drain: None,
        can_drain: true,
    };
    let (status_sender, status) = watch::channel(status);
    let running = Arc::<RunningCalls>::default();
    let media = control::Media { workers: workers.handles().to_vec(), steering };
    let context = control::Context::new(clock, media, identity, keys.clone(), advertised, name, metrics.clone());
    let records = recorders.is_some();
    let parts = control::Parts {
        context,
        config: config.clone(),
        worker_events,
        running: Arc::clone(&running),
        status: status_sender,
        people_per_worker: args.people_per_worker as usize,
        recorders,
    };
    let control = control::start(parts).context("failed to start the control thread")?;
    let app = App { keys, control: control.clone(), config, metrics: metrics.clone(), records };
    Ok(Core { app, control, status, running, workers, stun_answers, metrics })
}

/// Sends everybody elsewhere and waits until they are gone, or for `limit` and a little: what is left then is sent away
/// at its end.
async fn drain(core: &Core, limit: Duration) {
    core.control.stop(limit);
    let mut status = core.status.clone();
    let empty = status.wait_for(|status| status.state == SfuState::Draining && status.load.calls == 0);
    if timeout(limit + FAREWELL, empty).await.is_err() {
        tracing::warn!(seconds = limit.as_secs(), "stopping with calls that did not leave in time");
    }
    tokio::time::sleep(FAREWELL).await;
    tracing::info!("stopped");
}

/// What a port is for, and the options that say where it is.
#[derive(Debug, Clone, Copy)]
struct Purpose {
    what: &'static str,
    port: &'static str,
    /// The option of the address; `None` where that is every address.
    address: Option<&'static str>,
}

const PAGE: Purpose = Purpose { what: "page and signalling", port: "--port", address: Some("--bind") };
const CONTROL: Purpose = Purpose { what: "control", port: "--control-port", address: Some("--pod-node-ip") };
const HEALTH: Purpose = Purpose { what: "health", port: "--health-port", address: Some("--pod-node-ip") };
const MEDIA: Purpose = Purpose { what: "media", port: "--udp-port", address: None };
const MEDIA_OVER_TCP: Purpose = Purpose { what: "media over TCP", port: "--tcp-port", address: None };

/// A port someone else has is the commonest reason not to start: say which, and what for.
async fn listen(address: SocketAddr, purpose: Purpose) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| port_problem(&error, "TCP", address, purpose))
}

/// Fails if two options want the same TCP port: the second would be said to be taken by another program. 0 is none.
fn ensure_apart(options: &[(&str, u16)]) -> Result<()> {
    for (at, (option, port)) in options.iter().enumerate() {
        let same = options[..at].iter().find(|(_, other)| other == port && *port != 0);
        if let Some((earlier, _)) = same {
            anyhow::bail!("{earlier} and {option} are both TCP port {port}: each needs one of its own");
        }
    }
    Ok(())
}

/// Where this machine's browsers find what listens at `address`: at loopback, if it listens at every address. There
/// they also give the microphone.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Sockets of several media threads share the port, so a stranger who shares as well would get a part of the media:
/// try it alone first.
fn ensure_free(address: SocketAddr) -> Result<()> {
    match std::net::UdpSocket::bind(address) {
        Ok(_) => Ok(()),
        Err(error) => Err(port_problem(&error, "UDP", address, MEDIA)),
    }
}

/// The port is taken: exit code [`fleet::names::EXIT_PORT_TAKEN`], so that the operator can tell.
#[derive(Debug, thiserror::Error)]
#[error("{protocol} port {} for {what} is taken by another program: stop it, or choose another port", address.port())]
pub struct PortTaken {
    protocol: &'static str,
    address: SocketAddr,
    what: String,
}

fn port_problem(error: &io::Error, protocol: &'static str, address: SocketAddr, purpose: Purpose) -> anyhow::Error {
    let Purpose { what, port, .. } = purpose;
    match (error.kind(), purpose.address) {
        (io::ErrorKind::AddrInUse, _) => PortTaken { protocol, address, what: format!("{what} ({port})") }.into(),
        (io::ErrorKind::AddrNotAvailable, Some(option)) => {
            let ip = address.ip();
            anyhow::anyhow!("{what} cannot be served at {ip} ({option}), which is no address of this machine")
        }
        _ => anyhow::anyhow!("failed to open {protocol} {address} for {what} ({port}): {error}"),
    }
}

async fn stop_signal() -> Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => (),
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}

/// On loopback a key that everybody knows harms nobody.
fn well_known_key_warning(args: &ServeArgs) -> Option<&'static str> {
    (args.api_keys.is_empty() && !args.bind.is_loopback()).then_some(
        "Warning: whoever reaches this address may do anything in any call, because everybody knows the key devkey: \
         give one of your own with --key KEY:SECRET.",
    )
}

/// Where control and health listen: at the node's own address, by which kubelet, Prometheus, director and operator come.
/// A host-network port on all addresses would be open at the public one as well.
fn fleet_address(args: &ServeArgs) -> IpAddr {
    args.pod_node_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

const fn ports(args: &ServeArgs) -> MediaPorts {
    let tcp = if args.tcp_port == 0 { None } else { Some(args.tcp_port) };
    MediaPorts { udp: args.udp_port, tcp }
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| "sfu".into(), |name| name.trim().to_owned())
}

fn join(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn dev(more: &[&str]) -> ServeArgs {
        let Command::Serve(args) =
            Cli::try_parse_from(["calls-sfu", "serve", "--dev"].iter().chain(more)).unwrap().command;
        *args
    }

    #[test]
    fn the_well_known_key_is_warned_of_where_others_may_use_it() {
        let warned = |more: &[&str]| well_known_key_warning(&dev(more)).is_some();
        assert!(warned(&["--bind", "0.0.0.0"]));
        assert!(warned(&["--bind", "192.0.2.7"]));
        assert!(!warned(&["--bind", "0.0.0.0", "--key", "mine:0123456789abcdef"]));
        assert!(!warned(&[]));
        assert!(!warned(&["--bind", "::1"]));
    }

    #[test]
    fn the_printed_address_can_be_opened_where_all_addresses_are_listened_at() {
        let printed = |address: &str| reachable(address.parse().unwrap()).to_string();
        assert_eq!(printed("0.0.0.0:7880"), "127.0.0.1:7880");
        assert_eq!(printed("[::]:7880"), "[::1]:7880");
        assert_eq!(printed("192.0.2.7:7880"), "192.0.2.7:7880");
    }

    #[test]
    fn two_options_with_one_port_are_named() {
        let said = |options: &[(&str, u16)]| ensure_apart(options).err().map(|error| error.to_string());
        assert_eq!(
            said(&[("--port", 80), ("--health-port", 81), ("--tcp-port", 80)]).as_deref(),
            Some("--port and --tcp-port are both TCP port 80: each needs one of its own")
        );
        assert_eq!(said(&[("--port", 80), ("--tcp-port", 81)]), None);
        assert_eq!(said(&[("--port", 0), ("--tcp-port", 0)]), None);
    }

    #[test]
    fn a_port_problem_names_the_option_that_mends_it() {
        let said = |kind: io::ErrorKind, purpose| {
            port_problem(&kind.into(), "TCP", "192.0.2.7:7880".parse().unwrap(), purpose).to_string()
        };
        assert_eq!(
            said(io::ErrorKind::AddrNotAvailable, PAGE),
            "page and signalling cannot be served at 192.0.2.7 (--bind), which is no address of this machine"
        );
        assert_eq!(
            said(io::ErrorKind::AddrInUse, PAGE),
            "TCP port 7880 for page and signalling (--port) is taken by another program: stop it, or choose another port"
        );
        assert!(said(io::ErrorKind::PermissionDenied, PAGE).contains("(--port)"));
    }

    fn listens_at(more: &[&str]) -> IpAddr {
        let cluster = ["calls-sfu", "serve", "--config", "f", "--keys", "k", "--tls", "t"];
        let Command::Serve(args) = Cli::try_parse_from(cluster.iter().chain(more)).unwrap().command;
        fleet_address(&args)
    }

    #[test]
    fn control_and_health_are_not_on_other_addresses_of_the_node() {
        assert_eq!(listens_at(&["--pod-node-ip", "10.0.0.7"]), IpAddr::from([10, 0, 0, 7]));
        assert_eq!(listens_at(&["--pod-node-ip", "fd00::7"]), "fd00::7".parse::<IpAddr>().unwrap());
    }
}
