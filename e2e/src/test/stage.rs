//! What a test of the outer rings is given: a page, browsers, and in the cluster's ring the cluster.

use std::cell::{Cell, OnceCell, RefCell};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::dump;
use crate::bench::network::measure::Entrance;
use crate::binaries;
use crate::binaries::ClusterPrograms;
use crate::browser::Driver;
use crate::cli::{Profile, Tuning};
use crate::cluster::Cluster;
use crate::cluster::control_plane::audit_log;
use crate::cluster::process::Processes;
use crate::command::command;
use crate::crowd::{Crowd, CrowdSize};
use crate::install::{self, CALLS_NAME, CALLS_NAMESPACE};
use crate::kubectl::Kubectl;
use crate::paths::Paths;
use crate::progress::Progress;
use crate::relay::Relay;
use crate::two_engines::TwoEngines;
use crate::up::{self, Up};

/// The development server of the tests: other ports than its own, which somebody may be using.
const DEV_PORTS: [(&str, u16); 3] = [("--port", 17880), ("--tcp-port", 17881), ("--udp-port", 17882)];

/// The load generator, and the engines between which sessions move. Cargo puts both beside this program.
const LOAD_GENERATOR: &str = "calls-bench";
const RECORDER: &str = "calls-recorder";
const TWO_ENGINES: &str = "two-engines";

/// `spec.network.mediaPorts` of the example, one per slot.
const CLUSTER_MEDIA_PORTS: [u16; 2] = [8443, 8444];

/// Label of the namespaces that tests make.
const OF_TESTS: &str = "callscluster.io/test";

/// The development server's name among processes.
const DEV_SERVER: &str = "calls-sfu";

/// It should be there within a second.
const DEV_LIMIT: Duration = Duration::from_secs(20);

/// What a test stands on. One per ring; browsers are started anew for each test.
#[derive(Debug)]
pub struct Stage {
    page: String,
    paths: Paths,
    tuning: Tuning,
    runtime: Runtime,
    driver: RefCell<Option<Driver>>,
    test: Cell<&'static str>,
    n_calls: Cell<u32>,
    cluster: OnceCell<Cluster>,
    kubectl: Option<Kubectl>,
    dev: Option<DevServer>,
}

/// The development server of the tests.
#[derive(Debug)]
struct DevServer {
    processes: Processes,
    command: Command,
    address: SocketAddr,
}

/// A namespace of one test; it goes, with all in it, when it is dropped.
#[derive(Debug)]
pub struct TestNamespace<'a> {
    name: String,
    kubectl: &'a Kubectl,
}

fn recordings(paths: &Paths) -> PathBuf {
    paths.build_logs().join("dev-recordings")
}

/// Where the browser driver lies.
pub fn driver_folder(paths: &Paths) -> PathBuf {
    paths.repository().join("e2e/browser")
}

impl Stage {
    /// Starts a development server.
    pub fn dev(paths: &Paths, progress: &Progress, tuning: Tuning) -> Result<Self> {
        let programs = progress.step("Building the programs", |_| binaries::build_product(paths, Profile::Ci))?;
        let program = programs.get("calls-sfu").context("calls-sfu was not built")?;
        let mut command = command(program, ["serve", "--dev"]);
        for (flag, port) in DEV_PORTS {
            command.args([flag, &port.to_string()]);
        }
        command.arg("--recordings").arg(recordings(paths));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, DEV_PORTS[0].1));
        let server = DevServer { processes: Processes::new(&paths.build_logs().join("dev")), command, address };
        progress.step("Starting a development server", |_| {
            server.processes.stop(DEV_SERVER)?;
            server.start()
        })?;
        let mut stage = Self::new(paths, format!("http://{address}"), tuning)?;
        stage.dev = Some(server);
        Ok(stage)
    }

    /// Stands on a cluster that was brought up, and removes from it what tests left that were cut short.
    pub fn cluster(paths: &Paths, up: Up, tuning: Tuning) -> Result<Self> {
        let mut stage = Self::new(paths, up.page, tuning)?;
        up.kubectl.run(&["delete", "namespace", "--selector", OF_TESTS, "--wait=false", "--ignore-not-found"])?;
        stage.kubectl = Some(up.kubectl);
        if let Some(cluster) = up.cluster {
            stage.cluster = OnceCell::from(cluster);
        }
        Ok(stage)
    }

    /// The page's address, e.g. `http://127.0.0.1:8080`.
    pub fn page(&self) -> &str {
        &self.page
    }

    /// The ports media over TCP comes in at, of every SFU and slot.
    pub fn media_tcp_ports(&self) -> Vec<u16> {
        if self.dev.is_some() { vec![DEV_PORTS[1].1] } else { CLUSTER_MEDIA_PORTS.to_vec() }
    }

    /// Kills the development server without a word and starts another in its place.
    pub fn replace_dev_server(&self) -> Result<()> {
        let server = self.dev.as_ref().context("this ring has no development server")?;
        server.processes.kill(DEV_SERVER)?;
        server.start()
    }

    /// The development server's websocket, and the keys it begins with.
    pub fn entrance(&self) -> Entrance {
        Entrance { url: self.page().replacen("http", "ws", 1), key: "devkey".into(), secret: "secret".into() }
    }

    /// A bad network before the development server's media, clean at first.
    pub fn relay(&self, seed: u64) -> Result<Relay> {
        self.dev.as_ref().context("this ring has no development server")?;
        let program = std::env::current_exe()?.with_file_name(LOAD_GENERATOR);
        Relay::to(&program, (Ipv4Addr::LOCALHOST, DEV_PORTS[2].1).into(), seed)
    }

    /// Two engines between which a browser's sessions move; each message takes `delay` from one to the other.
    pub fn two_engines(&self, delay: Duration) -> Result<TwoEngines> {
        TwoEngines::start(&std::env::current_exe()?.with_file_name(TWO_ENGINES), delay)
    }

    /// The program that records calls.
    pub fn recorder(&self) -> Result<PathBuf> {
        Ok(std::env::current_exe()?.with_file_name(RECORDER))
    }

    /// Where what Node runs for tests lies, with its packages.
    pub fn driver_folder(&self) -> PathBuf {
        driver_folder(&self.paths)
    }

    /// Where the development server writes recordings.
    pub fn recordings(&self) -> PathBuf {
        recordings(&self.paths)
    }

    /// An empty folder of this test.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.paths.build_logs().join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// The name of a call that nobody else uses: another one each time.
    pub fn call_name(&self) -> String {
        self.n_calls.set(self.n_calls.get() + 1);
        format!("{}-{}-{}", dashed(self.test.get()), std::process::id(), self.n_calls.get())
    }

    /// Real browsers, to be driven within [`Stage::block_on`]. They end with the test.
    pub fn browsers(&self) -> Result<Driver> {
        let mut driver = self.driver.borrow_mut();
        if driver.is_none() {
            let _runtime = self.runtime.enter();
            *driver = Some(Driver::start(&driver_folder(&self.paths))?);
        }
        driver.clone().context("the browser driver is gone")
    }

    /// Runs a future to its end, for tests that drive browsers.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// The cluster, as kubectl sees it. Only in the cluster's ring.
    pub fn kubectl(&self) -> Result<&Kubectl> {
        self.kubectl.as_ref().context("this ring has no cluster")
    }

    /// The local cluster: its nodes, processes and images. Only in the cluster's ring.
    pub fn local_cluster(&self) -> Result<&Cluster> {
        self.cluster.get().context("this ring has no local cluster")
    }

    /// Lets a crowd come to calls of the example.
    pub fn crowd(&self, size: CrowdSize) -> Result<Crowd> {
        let secret = format!("{CALLS_NAME}-keys");
        let template = "go-template={{range $key, $value := .data}}{{$key}}:{{$value | base64decode}}{{end}}";
        let get = ["get", "secret", &secret, "--namespace", CALLS_NAMESPACE, "--output", template];
        Crowd::come(&self.page, &self.kubectl()?.run(&get)?, &self.call_name(), size)
    }

    /// How long slow tests are to take.
    pub fn tuning(&self) -> Tuning {
        self.tuning
    }

    /// Starts again what does not run of the local cluster.
    pub fn mend_cluster(&self) -> Result<()> {
        let programs = ClusterPrograms::locate(&self.paths)?;
        let n_nodes = u8::try_from(self.local_cluster()?.nodes().len())?;
        Cluster::ensure(&self.paths, &Progress::quiet(), &programs, n_nodes).map(drop)
    }

    /// Breaks every connection to the page and its websockets, and lets new ones through at once.
    pub fn cut_the_way_to_the_page(&self) -> Result<()> {
        up::replace_proxy(self.local_cluster()?.processes(), self.kubectl()?)
    }

    /// The API server's audit log of the local cluster: one JSON event a line, metadata only.
    pub fn audit_log(&self) -> PathBuf {
        audit_log(&self.paths.cluster())
    }

    /// The repository, for tests that apply its examples.
    pub fn repository(&self) -> &Path {
        self.paths.repository()
    }

    /// One of our programs, as a person at a terminal of the local cluster runs it.
    pub fn program(&self, name: &str, arguments: &[&str]) -> Result<Command> {
        let programs = binaries::build_product(&self.paths, Profile::Ci)?;
        let program = programs.get(name).with_context(|| format!("there is no program {name}"))?;
        let mut command = command(program, arguments);
        command.env("KUBECONFIG", self.paths.kubeconfig());
        Ok(command)
    }

    /// The folder images are made in.
    pub fn images(&self) -> PathBuf {
        self.paths.images()
    }

    /// Makes a namespace for the running test, in which pods may use the host's network.
    pub fn namespace(&self) -> Result<TestNamespace<'_>> {
        let kubectl = self.kubectl()?;
        self.n_calls.set(self.n_calls.get() + 1);
        let mut name = format!("test-{}", dashed(self.test.get()));
        // The limit of a label: names of namespaces are some.
        name.truncate(45);
        let name = format!("{}-{}-{}", name.trim_end_matches('-'), std::process::id(), self.n_calls.get());
        let mut manifest = install::namespace(&name, "privileged");
        manifest["metadata"]["labels"][OF_TESTS] = "true".into();
        kubectl.apply(&manifest)?;
        Ok(TestNamespace { name, kubectl })
    }

    /// Applies `examples/calls.yaml` as it is, with a replica per node: undoes what a test changed in its spec.
    pub fn apply_example(&self) -> Result<()> {
        install::example(&self.paths, self.kubectl()?, self.local_cluster()?.nodes().len())
    }

    /// Tells the stage which test it is for.
    pub(crate) fn begin(&self, test: &'static str) {
        self.test.set(test);
    }

    /// Ends what the test started.
    pub(super) fn end(&self) {
        let _runtime = self.runtime.enter();
        drop(self.driver.borrow_mut().take());
    }

    /// Writes down all there is to see, after a failure; returns where it is.
    pub(super) fn dump(&self, test: &str) -> String {
        let folder = self.paths.failures().join(dashed(test));
        let console = self.driver.borrow().as_ref().map(Driver::console).unwrap_or_default();
        let logs = match &self.dev {
            Some(server) => vec![server.processes.log(DEV_SERVER)],
            None => Vec::new(),
        };
        let written = dump::write(&folder, &console, self.kubectl.as_ref(), &self.paths.cluster().join("logs"), &logs);
        match written {
            Ok(()) => format!("what there was to see is in {}", folder.display()),
            Err(error) => format!("what there was to see could not be written: {error:#}"),
        }
    }

    fn new(paths: &Paths, page: String, tuning: Tuning) -> Result<Self> {
        Ok(Self {
            page,
            paths: paths.clone(),
            tuning,
            runtime: tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?,
            driver: RefCell::default(),
            test: Cell::new(""),
            n_calls: Cell::default(),
            cluster: OnceCell::new(),
            kubectl: None,
            dev: None,
        })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(server) = &self.dev {
            let _ = server.processes.stop(DEV_SERVER);
        }
    }
}

impl DevServer {
    fn start(&self) -> Result<()> {
        self.processes.ensure(DEV_SERVER, &self.command, &[])?;
        let listens = || TcpStream::connect(self.address).is_ok();
        self.processes.wait(&[DEV_SERVER], "it listens", DEV_LIMIT, listens)
    }
}

impl TestNamespace<'_> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Applies an object in it.
    pub fn apply(&self, mut object: Value) -> Result<()> {
        object["metadata"]["namespace"] = self.name.as_str().into();
        self.kubectl.apply(&object)
    }

    /// Waits until `wanted` answers about what kubectl gets in it.
    pub fn wait<T>(&self, get: &[&str], limit: Duration, wanted: impl FnMut(&Value) -> Option<T>) -> Result<T> {
        self.kubectl.wait(&[get, &["--namespace", &self.name]].concat(), limit, wanted)
    }
}

impl Drop for TestNamespace<'_> {
    fn drop(&mut self) {
        let _ = self.kubectl.run(&["delete", "namespace", &self.name, "--wait=false"]);
    }
}

fn dashed(test: &str) -> String {
    test.replace('_', "-")
}
