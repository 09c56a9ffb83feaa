//! SFUs as a cluster runs them, each a process, and a director in front of them.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use calls_client::signal::ApiKey;
use calls_director::connect::Connector;
use calls_director::director::Director;
use calls_director::sfu_address::SfuAddress;
use calls_tests::live::{Door, LIMIT};
use fleet::api::{DRAIN_PATH, DrainMode, DrainOrder, INFO_PATH, SfuState, SfuStatus};
use fleet::config::{AddressSource, AdvertisePlan, MediaConfig, SfuConfig};
use fleet::names::tls_name;
use http_body_util::{BodyExt as _, Either, Empty, Full};
use hyper::{Method, Request, StatusCode};
use tokio::net::TcpListener as AsyncListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::certificates::Certificates;

/// As directors are tested with them.
#[expect(dead_code, clippy::unwrap_used, reason = "it is a file of other tests, which need more of it and unwrap")]
#[path = "../../../director/tests/it/certificates.rs"]
mod certificates;

const KEY: &str = "devkey";
const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// Attempts to find ports that nobody took between our looking and the SFU's.
const ATTEMPTS: usize = 10;

/// A director, and the SFUs behind it.
pub struct Fleet {
    pub sfus: Vec<Sfu>,
    front: SocketAddr,
    key: ApiKey,
    operator: Arc<Connector>,
    _certificates: Certificates,
    _stop: DropGuard,
    _listed: watch::Sender<Option<BTreeSet<SfuAddress>>>,
}

impl Fleet {
    /// So many SFUs that take calls, named `sfu-0` and on.
    pub async fn start(sfus: usize) -> Self {
        let certificates = Certificates::new();
        let operator = Arc::new(Connector::new(certificates.client(tls_name::OPERATOR)));
        let sfus: Vec<Sfu> = (0..sfus).map(|n| Sfu::start(&certificates, &format!("sfu-{n}"))).collect();
        let (listed, list) = watch::channel(Some(sfus.iter().map(|sfu| sfu.control.clone()).collect()));
        let director =
            Director::start(&certificates.directory_for(tls_name::DIRECTOR), list, LIMIT).expect("a director");
        let listener = AsyncListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let front = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move { director.serve_clients(listener, 1024, stopped).await });
        let fleet = Self {
            sfus,
            front,
            key: ApiKey { key: KEY.into(), secret: SECRET.into() },
            operator,
            _certificates: certificates,
            _stop: stop.drop_guard(),
            _listed: listed,
        };
        for n in 0..fleet.sfus.len() {
            fleet.until(n, "takes calls", |status| status.state == SfuState::Active).await;
        }
        fleet
    }

    /// Asks an SFU to leave, as the operator does.
    pub async fn drain(&self, sfu: usize, mode: DrainMode, within_seconds: u32) {
        self.order(sfu, DrainOrder { mode, within_seconds, nobody_takes: false }).await;
    }

    /// Asks the last SFU to leave.
    pub async fn drain_last(&self, sfu: usize) {
        self.order(sfu, DrainOrder { mode: DrainMode::Move, within_seconds: 0, nobody_takes: true }).await;
    }

    async fn order(&self, sfu: usize, order: DrainOrder) {
        self.tell(sfu, Method::POST, serde_json::to_vec(&order).expect("JSON")).await;
        self.until(sfu, "drains", |status| status.drain.is_some()).await;
    }

    /// Has it stay after all.
    pub async fn undrain(&self, sfu: usize) {
        self.tell(sfu, Method::DELETE, Vec::new()).await;
        self.until(sfu, "takes calls again", |status| status.state == SfuState::Active).await;
    }

    /// What an SFU says of itself, once `holds` is true of it.
    pub async fn until(&self, sfu: usize, what: &str, holds: impl Fn(&SfuStatus) -> bool) -> SfuStatus {
        let deadline = Instant::now() + LIMIT;
        let mut last = None;
        while Instant::now() < deadline {
            last = self.ask(sfu).await;
            if let Some(status) = last.as_ref().filter(|status| holds(status)) {
                return status.clone();
            }
            // It tells nobody but directors when it changes.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} never {what}: {last:?}\n{}", self.sfus[sfu].name, self.sfus[sfu].log())
    }

    /// How many people are at each SFU.
    pub async fn people(&self) -> Vec<u32> {
        let mut people = Vec::new();
        for sfu in 0..self.sfus.len() {
            people.push(self.until(sfu, "answers", |_| true).await.load.participants);
        }
        people
    }

    async fn ask(&self, sfu: usize) -> Option<SfuStatus> {
        let request = Request::get(INFO_PATH).header("host", tls_name::SFU).body(Either::Left(Empty::new()));
        let response = self.send(sfu, request.expect("a request")).await.ok()?;
        let body = timeout(LIMIT, response.into_body().collect()).await.ok()?.ok()?;
        serde_json::from_slice(&body.to_bytes()).ok()
    }

    async fn tell(&self, sfu: usize, method: Method, body: Vec<u8>) {
        let request = Request::builder().method(method).uri(DRAIN_PATH).header("host", tls_name::SFU);
        let request = request.header("content-type", "application/json");
        let request = request.body(Either::Right(Either::Right(Full::from(body)))).expect("a request");
        let answer = self.send(sfu, request).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::ACCEPTED, "{}", self.sfus[sfu].log());
    }

    async fn send(
        &self,
        sfu: usize,
        request: Request<calls_director::connect::RequestBody>,
    ) -> Result<hyper::Response<hyper::body::Incoming>, calls_director::connect::SendError> {
        let end = CancellationToken::new();
        let sending = self.operator.send(&self.sfus[sfu].control, &end, request);
        timeout(LIMIT, sending).await.expect("an answer in time")
    }
}

impl Door for Fleet {
    fn http(&self) -> SocketAddr {
        self.front
    }

    fn key(&self) -> &ApiKey {
        &self.key
    }
}

/// One SFU.
pub struct Sfu {
    pub name: String,
    config: PathBuf,
    control: SfuAddress,
    process: Child,
    log: Arc<Mutex<String>>,
}

impl Sfu {
    fn start(certificates: &Certificates, name: &str) -> Self {
        let tls = certificates.directory_for(tls_name::SFU);
        let own = tls.join(name);
        let keys = own.join("keys");
        std::fs::create_dir_all(&keys).expect("a directory");
        std::fs::write(keys.join(KEY), SECRET).expect("a key");
        let config = own.join("sfu.json");
        write_config(&config, &MediaConfig::default());
        let mut attempts = (0..ATTEMPTS).map(|_| Self::launch(name, &config, &keys, &tls));
        attempts.find_map(|started| started).expect("an SFU that starts")
    }

    /// `None` if a port was taken meanwhile.
    fn launch(name: &str, config: &Path, keys: &Path, tls: &Path) -> Option<Self> {
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let (control, health) = (free(), free());
        let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a free port");
        let port = |address: std::io::Result<SocketAddr>| address.expect("an address").port();
        let ports = [port(control.local_addr()), port(health.local_addr()), port(udp.local_addr())];
        drop((control, health, udp));
        let mut process = Command::new(env!("CARGO_BIN_EXE_sfu-under-test"))
            .args(["serve", "--tcp-port=0", "--workers=1", "--pod-node-ip=127.0.0.1", "--node-name=node-a"])
            .arg(format!("--pod-name={name}"))
            .arg(format!("--control-port={}", ports[0]))
            .arg(format!("--health-port={}", ports[1]))
            .arg(format!("--udp-port={}", ports[2]))
            .arg("--config")
            .arg(config)
            .arg("--keys")
            .arg(keys)
            .arg("--tls")
            .arg(tls)
            .env("RUST_LOG", "info")
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(process.stderr.take().expect("its log")).lines().map_while(Result::ok);
        let mut said = String::new();
        if !lines.by_ref().inspect(|line| said.push_str(line)).any(|line| line.contains("serving")) {
            let _ = process.wait();
            eprintln!("{name} did not start: {said}");
            return None;
        }
        let log = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines {
                let mut kept = kept.lock().expect("the log");
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        Some(Self {
            name: name.into(),
            config: config.to_owned(),
            control: SfuAddress::new("127.0.0.1", ports[0]),
            process,
            log,
        })
    }

    /// Says what it is to forward, as the operator does while it runs.
    pub fn configure(&self, media: &MediaConfig) {
        write_config(&self.config, media);
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("the log").clone()
    }
}

fn write_config(path: &Path, media: &MediaConfig) {
    let advertise =
        AdvertisePlan { other: vec![AddressSource::NodeInternalIP { address: None }], ..AdvertisePlan::default() };
    let config = SfuConfig { advertise, media: media.clone(), ..SfuConfig::default() };
    let written = path.with_extension("new");
    std::fs::write(&written, serde_json::to_vec(&config).expect("JSON")).expect("a file");
    // At once, as the kubelet replaces it: nobody reads half of it.
    std::fs::rename(&written, path).expect("the same folder");
}

impl Drop for Sfu {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("the log of {}:\n{}", self.name, self.log());
        }
    }
}
