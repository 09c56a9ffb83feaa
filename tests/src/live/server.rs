//! The server under test.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use calls_bench::server::{Ports, Server as Process};
use calls_client::signal::ApiKey;
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Answer, Door, LIMIT, get};

/// Variable that says what servers log, instead of what tests say.
const LEVEL: &str = "CALLS_TEST_LOG";
/// Attempts to find ports that nobody took between our looking and the server's.
const ATTEMPTS: usize = 10;

#[derive(Debug)]
pub struct Server {
    process: Process,
    log: Arc<Mutex<String>>,
    /// Says when the log is complete: when the process has ended.
    log_ended: oneshot::Receiver<()>,
    pub key: ApiKey,
}

impl Server {
    /// Starts `program` with more arguments; it logs what `level` lets through.
    pub fn start(program: &str, args: &[&str], level: &str) -> Self {
        let wanted = std::env::var(LEVEL).ok();
        let level = wanted.as_deref().unwrap_or(level);
        let mut attempts =
            (0..ATTEMPTS).map(|_| Process::launch(Path::new(program), free_ports(), args, level, Stdio::piped()));
        let mut process = attempts.find_map(Result::ok).expect("a server that starts");
        let log = Arc::new(Mutex::new(String::new()));
        let lines = BufReader::new(process.take_log().expect("its log")).lines();
        let kept = Arc::clone(&log);
        let (ended, log_ended) = oneshot::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut kept = kept.lock().expect("the log");
                kept.push_str(&line);
                kept.push('\n');
            }
            let _ = ended.send(());
        });
        Self { process, log, log_ended, key: ApiKey::development() }
    }

    pub fn http(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.process.ports.http).into()
    }

    pub fn udp(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.process.ports.udp).into()
    }

    /// Of its process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where media over TCP is taken.
    pub fn tcp(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.process.ports.tcp).into()
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("the log").clone()
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> u64 {
        self.process.memory().expect("a running server")
    }

    pub async fn get(&self, path: &str) -> Answer {
        get(self.http(), path).await
    }

    /// The sum of a metric over its labels, or over those that contain `label`.
    pub async fn metric(&self, name: &str, label: &str) -> f64 {
        let metrics = self.get("/metrics").await.body;
        let of_name = |line: &&str| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])) && line.contains(label)
        };
        metrics.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Asks it to stop, as Kubernetes does.
    pub fn terminate(&self) {
        let pid = Pid::from_raw(i32::try_from(self.process.pid()).expect("a pid")).expect("a pid");
        kill_process(pid, Signal::TERM).expect("a running server");
    }

    /// Waits until it has ended by itself and its log is complete. Once.
    pub async fn end(&mut self) -> ExitStatus {
        let Ok(read) = timeout(LIMIT, &mut self.log_ended).await else { panic!("the server goes on:\n{}", self.log()) };
        read.expect("the log was read to its end");
        self.process.wait().expect("a child")
    }
}

impl Door for Server {
    fn http(&self) -> SocketAddr {
        self.http()
    }

    fn key(&self) -> &ApiKey {
        &self.key
    }
}

impl Drop for Server {
    /// A test that fails shows what the server had to say.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        }
    }
}

/// Three ports that are free now. All kept until all are known, so that they differ.
fn free_ports() -> Ports {
    let http = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let tcp = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a free port");
    let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a free port");
    let port = |address: std::io::Result<SocketAddr>| address.expect("an address").port();
    Ports { http: port(http.local_addr()), udp: port(udp.local_addr()), tcp: port(tcp.local_addr()) }
}
