//! `cargo e2e up`: from this repository to a page one can open, step by step.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::binaries::{self, ClusterPrograms, install_cargo_deny};
use crate::cli::{Profile, UpOptions};
use crate::cluster::Cluster;
use crate::cluster::process::Processes;
use crate::command::command;
use crate::install::{self, ProductImages};
use crate::kubectl::Kubectl;
use crate::paths::Paths;
use crate::progress::{Progress, readable};
use crate::{existing, image, packages};

/// The page's port on loopback; the next free one if it is taken.
const PAGE_PORTS: std::ops::RangeInclusive<u16> = 8080..=8099;

/// The proxy's name among the cluster's processes.
pub const PROXY: &str = "page-proxy";

/// How long the proxy takes at most to listen.
const PROXY_LIMIT: Duration = Duration::from_secs(10);

/// What was brought up.
#[derive(Debug)]
pub struct Up {
    /// Where the page is, e.g. `http://127.0.0.1:8080`.
    pub page: String,
    /// The local cluster; `None` for one of the person's own.
    pub cluster: Option<Cluster>,
    /// How the cluster is talked to.
    pub kubectl: Kubectl,
    took: Duration,
}

/// What was built.
#[derive(Debug)]
pub struct Built {
    /// Kubernetes and helm.
    pub programs: ClusterPrograms,
    /// The product's images.
    pub images: ProductImages,
}

/// Brings everything up, or up to date.
pub fn up(paths: &Paths, progress: &Progress, options: &UpOptions) -> Result<Up> {
    let started = Instant::now();
    if options.context.is_none() {
        check_root()?;
    }
    let built = build(paths, progress, options.profile, options.context.is_none())?;
    let _changing = paths.lock_cluster(progress)?;
    let (cluster, kubectl, images, replicas) = if let Some(context) = &options.context {
        let images = progress.step("Bringing the images to the cluster", |step| {
            existing::bring_images(context, options.registry.as_deref(), &built.images, step)
        })?;
        (None, Kubectl::context(&built.programs, context), images, usize::from(options.nodes))
    } else {
        let cluster = Cluster::ensure(paths, progress, &built.programs, options.nodes)?;
        progress.step("Importing the images on the nodes", |step| {
            let n_imports = cluster.import(&built.images.all())?;
            step.result(if n_imports == 0 { "all there".to_owned() } else { format!("{n_imports} imports") });
            Ok(())
        })?;
        let (kubectl, replicas) = (cluster.kubectl().clone(), cluster.nodes().len());
        (Some(cluster), kubectl, built.images.clone(), replicas)
    };
    progress.step("Installing the chart", |_| install::chart(paths, &kubectl, &images))?;
    progress.step("Applying examples/calls.yaml", |_| install::example(paths, &kubectl, replicas))?;
    progress.step("Waiting until calls are ready", |step| install::wait_until_ready(&kubectl, &images, step))?;
    if let Some(cluster) = &cluster {
        cluster.remove_unused_images(&images.all())?;
    }
    let page = progress.step("Opening the way to the page", |step| {
        let address = ensure_proxy(&Processes::new(&paths.cluster()), &install::page_addresses(&kubectl)?)?;
        step.result(address.to_string());
        Ok(format!("http://{address}"))
    })?;
    Ok(Up { page, cluster, kubectl, took: started.elapsed() })
}

/// Brings up the local cluster alone.
pub fn up_bare(paths: &Paths, progress: &Progress, n_nodes: u8) -> Result<Cluster> {
    check_root()?;
    install_packages(paths, progress)?;
    let programs = ClusterPrograms::locate(paths)?;
    build_cluster_programs(paths, progress, &programs)?;
    let _changing = paths.lock_cluster(progress)?;
    Cluster::ensure(paths, progress, &programs, n_nodes)
}

/// Installs packages and builds everything, for a later `up` or `test`.
pub fn prepare(paths: &Paths, progress: &Progress, profile: Profile) -> Result<Built> {
    check_root()?;
    progress.step("Installing the browsers of the tests", |step| packages::ensure(paths, &packages::BROWSERS, step))?;
    thread::scope(|scope| {
        let deny = scope.spawn(|| progress.step("Installing cargo-deny", |step| install_cargo_deny(paths, step)));
        let built = build(paths, progress, profile, true);
        deny.join().map_err(|_| anyhow::anyhow!("the thread that installs cargo-deny panicked"))??;
        built
    })
}

impl Up {
    /// Tells the person where the page is and what to do next.
    pub fn print(&self) {
        println!(
            "\nCalls are ready (it took {}). Open the page in two browsers, or two windows:\n\n    {}\n\n\
             Next:\n  \
             cargo e2e kubectl get calls -A     what the operator says of them\n  \
             cargo e2e status                   what runs, and where its logs are\n  \
             cargo e2e test                     the tests\n  \
             cargo e2e up                       again, after a change\n  \
             cargo e2e down                     remove all of it",
            readable(self.took),
            self.page,
        );
    }
}

/// Go's modules and our crates side by side: each waits for the network and the linker at times.
fn build(paths: &Paths, progress: &Progress, profile: Profile, is_local: bool) -> Result<Built> {
    if is_local {
        install_packages(paths, progress)?;
        install_crates_packages(paths, progress)?;
    }
    let programs = ClusterPrograms::locate(paths)?;
    let product = thread::scope(|scope| {
        let go = scope.spawn(|| build_cluster_programs(paths, progress, &programs));
        let ours = progress.step("Building the programs", |_| binaries::build_product(paths, profile));
        go.join().map_err(|_| anyhow::anyhow!("the thread that builds Kubernetes panicked"))??;
        ours
    })?;
    let images = progress.step("Making the images", |step| {
        let image = |name: &str| {
            step.at(name);
            let program = product.get(name).with_context(|| format!("{name} was not built"))?;
            image::of_program(&paths.images(), name, program)
        };
        Ok(ProductImages {
            operator: image("calls-operator")?,
            sfu: image("calls-sfu")?,
            director: image("calls-director")?,
        })
    })?;
    Ok(Built { programs, images })
}

/// Installs what the crates are built and tested with.
pub fn install_crates_packages(paths: &Paths, progress: &Progress) -> Result<()> {
    progress.step("Installing what the crates need", |step| packages::ensure(paths, &packages::CRATES, step))
}

fn install_packages(paths: &Paths, progress: &Progress) -> Result<()> {
    progress.step("Installing Debian packages", |step| packages::ensure(paths, &packages::CLUSTER, step))
}

fn build_cluster_programs(paths: &Paths, progress: &Progress, programs: &ClusterPrograms) -> Result<()> {
    progress.step("Building Kubernetes", |step| programs.build_kubernetes(paths, step))?;
    progress.step("Building helm", |step| programs.build_helm(paths, step))
}

/// Sees to it that a proxy leads from loopback to these addresses; returns where it listens.
fn ensure_proxy(processes: &Processes, to: &[SocketAddr]) -> Result<SocketAddr> {
    let running = proxy_address(processes);
    let listen = running.map_or_else(free_page_address, Ok)?;
    start_proxy(processes, listen, to)?;
    Ok(listen)
}

/// Ends the proxy and all connections through it, and starts it anew where it was.
pub fn replace_proxy(processes: &Processes, kubectl: &Kubectl) -> Result<()> {
    let listen = proxy_address(processes).context("the page's proxy does not run")?;
    processes.kill(PROXY)?;
    start_proxy(processes, listen, &install::page_addresses(kubectl)?)
}

fn start_proxy(processes: &Processes, listen: SocketAddr, to: &[SocketAddr]) -> Result<()> {
    let mut proxy = command(own_program()?, ["proxy", "--listen", &listen.to_string()]);
    for address in to {
        proxy.args(["--to", &address.to_string()]);
    }
    processes.ensure(PROXY, &proxy, &[])?;
    let listens = || std::net::TcpStream::connect(listen).is_ok();
    processes.wait(&[PROXY], "the proxy listens", PROXY_LIMIT, listens)
}

/// Where the proxy listens, if it runs: what it was started with says so.
pub fn proxy_address(processes: &Processes) -> Option<SocketAddr> {
    let pid = processes.pid(PROXY)?;
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut arguments = line.split(|byte| *byte == 0).skip_while(|argument| *argument != b"--listen");
    std::str::from_utf8(arguments.nth(1)?).ok()?.parse().ok()
}

fn free_page_address() -> Result<SocketAddr> {
    let addresses = PAGE_PORTS.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    addresses
        .into_iter()
        .find(|address| TcpListener::bind(address).is_ok())
        .with_context(|| format!("all ports from {} to {} are taken", PAGE_PORTS.start(), PAGE_PORTS.end()))
}

/// Where this program is; the path stays the same when Cargo builds it anew.
fn own_program() -> Result<PathBuf> {
    let path = std::env::current_exe().context("this program does not know where it is")?;
    // Cargo replaced the file while we ran: the kernel says so in the name, the new one is as good.
    let text = path.to_string_lossy();
    Ok(text.strip_suffix(" (deleted)").map_or_else(|| path.clone(), PathBuf::from))
}

fn check_root() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "a local cluster is made of namespaces and packages: run this as root, or use --context with a cluster you have"
        );
    }
    Ok(())
}
