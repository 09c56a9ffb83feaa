//! Our server as a child process, and what the kernel says it costs.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// How long a server may take to say that it serves.
const START_LIMIT: Duration = Duration::from_secs(30);
/// Clock ticks a second in `/proc/PID/stat` on Linux.
const TICKS: u64 = 100;
const PAGE_BYTES: u64 = 4096;

/// Ports of a server of ours.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    pub http: u16,
    pub udp: u16,
    pub tcp: u16,
}

/// A running `calls-sfu serve --dev`. Ends with this value.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pub ports: Ports,
    /// From starting the process to its saying that it serves.
    pub started_in: Duration,
}

impl Server {
    /// Starts `program` on loopback, saying only errors, to our own error output.
    pub fn start(program: &Path, ports: Ports) -> Result<Self> {
        Self::launch(program, ports, "error", Stdio::inherit())
    }

    /// Starts `program` on loopback. It logs what `level` lets through (`RUST_LOG`) to `log`.
    pub fn launch(program: &Path, ports: Ports, level: &str, log: Stdio) -> Result<Self> {
        let started = Instant::now();
        let mut child = Command::new(program)
            .args(["serve", "--dev", "--node-ip", "127.0.0.1"])
            .args(["--port", &ports.http.to_string()])
            .args(["--udp-port", &ports.udp.to_string()])
            .args(["--tcp-port", &ports.tcp.to_string()])
            .stdout(Stdio::piped())
            .stderr(log)
            .env("RUST_LOG", level)
            .spawn()
            .with_context(|| format!("failed to start {}", program.display()))?;
        let output = child.stdout.take().context("the server has no standard output")?;
        let mut lines = BufReader::new(output).lines();
        let first = lines.next().and_then(Result::ok).unwrap_or_default();
        if !first.starts_with("Calls are served") || started.elapsed() > START_LIMIT {
            let _ = child.kill();
            let _ = child.wait();
            bail!("the server did not start: {first}");
        }
        // Keep reading, or the server's next line would meet a closed pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, ports, started_in: started.elapsed() })
    }

    /// Its log, if that was piped; once.
    pub fn take_log(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.ports.http)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// User and system time so far.
    pub fn cpu(&self) -> Result<Duration> {
        let fields = self.stat_after_name()?;
        let ticks = |index: usize| -> Result<u64> {
            fields.get(index).and_then(|field| field.parse().ok()).context("/proc/PID/stat has another form")
        };
        // Fields 14 and 15 of proc(5), counted after the name, which is field 2.
        let total = ticks(11)? + ticks(12)?;
        Ok(Duration::from_millis(total * 1000 / TICKS))
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> Result<u64> {
        let fields = self.stat_after_name()?;
        let pages: u64 = fields.get(21).and_then(|field| field.parse().ok()).context("/proc/PID/stat has no rss")?;
        Ok(pages * PAGE_BYTES)
    }

    fn stat_after_name(&self) -> Result<Vec<String>> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        let (_, fields) = text.rsplit_once(')').context("/proc/PID/stat has another form")?;
        Ok(fields.split_whitespace().map(str::to_owned).collect())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
