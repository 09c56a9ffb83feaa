//! Our server as a child process, and what the kernel says it costs.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::process;

/// How long a server may take to say that it serves.
const START_LIMIT: Duration = Duration::from_secs(30);

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
        Self::launch(program, ports, &[], "error", Stdio::inherit())
    }

    /// Starts `program` on loopback with more arguments. It logs what `level` lets through (`RUST_LOG`) to `log`.
    pub fn launch(program: &Path, ports: Ports, args: &[&str], level: &str, log: Stdio) -> Result<Self> {
        let started = Instant::now();
        let mut child = Command::new(program)
            .args(["serve", "--dev", "--node-ip", "127.0.0.1"])
            .args(["--port", &ports.http.to_string()])
            .args(["--udp-port", &ports.udp.to_string()])
            .args(["--tcp-port", &ports.tcp.to_string()])
            .args(args)
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

    /// Blocks until it has ended by itself, and tells how.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        Ok(self.child.wait()?)
    }

    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.ports.http)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// User and system time so far.
    pub fn cpu(&self) -> Result<Duration> {
        process::cpu(self.pid())
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> Result<u64> {
        process::memory(self.pid())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
