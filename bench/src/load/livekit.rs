//! LiveKit's server beside ours: built from the Go module proxy at a pinned version, run on loopback with its defaults.
//!
//! It is Apache-2.0; nothing of it is in this repository but its name and the checksums of its modules.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::server::Ports;
use calls_client::signal::ApiKey;

/// The version in `livekit/go.mod`; a test compares.
pub const VERSION: &str = "1.11.0";
const PACKAGE: &str = "github.com/livekit/livekit-server/cmd/server";
const GO_MOD: &str = include_str!("../../livekit/go.mod");
const GO_SUM: &str = include_str!("../../livekit/go.sum");
/// How long it may take to answer.
const START_LIMIT: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Where programs that are built once are kept: the folder the local cluster's are in.
pub fn cache() -> Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    Ok(cache.context("set HOME or XDG_CACHE_HOME: built programs are kept below it")?.join("calls-operator"))
}

/// Builds the server unless it was built before; returns its program.
///
/// # Errors
/// Without Go or the module proxy; what Go said is in the log that the error names.
pub fn build(cache: &Path) -> Result<PathBuf> {
    let folder = cache.join(format!("livekit-{VERSION}"));
    let program = folder.join("livekit-server");
    if program.exists() {
        return Ok(program);
    }
    eprintln!("building LiveKit's server {VERSION} with Go: minutes the first time, modules come from Go's proxy");
    fs::create_dir_all(&folder)?;
    for (name, content) in [("go.mod", GO_MOD), ("go.sum", GO_SUM)] {
        fs::write(folder.join(name), content)?;
    }
    let (log, unfinished) = (folder.join("build.log"), folder.join("livekit-server.unfinished"));
    let output = fs::File::create(&log)?;
    let built = Command::new("go")
        .args(["build", "-mod=readonly", "-trimpath", "-o"])
        .arg(&unfinished)
        .arg(PACKAGE)
        .current_dir(&folder)
        .env("CGO_ENABLED", "0")
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .status()
        .context("failed to start go: install it (https://go.dev/dl), or measure without --peer livekit")?;
    if !built.success() {
        bail!("go could not build LiveKit's server: see {}", log.display());
    }
    fs::rename(unfinished, &program)?;
    Ok(program)
}

/// A running server of LiveKit's. Ends with this value.
#[derive(Debug)]
pub struct LiveKit {
    child: Child,
    ports: Ports,
}

impl LiveKit {
    /// The key it is started with. Its secret is long enough that the server does not complain.
    pub fn key() -> ApiKey {
        ApiKey { key: "devkey".into(), secret: "a secret of a server that lives for seconds".into() }
    }

    /// Starts it and waits until it answers. Its configuration and log are left beside `program`.
    pub fn start(program: &Path, ports: Ports) -> Result<Self> {
        let folder = program.parent().context("a program lies in a folder")?;
        let (config, log) = (folder.join("config.yaml"), folder.join("server.log"));
        fs::write(&config, configuration(ports))?;
        let output = fs::File::create(&log)?;
        let child = Command::new(program)
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("failed to start {}", program.display()))?;
        let mut server = Self { child, ports };
        let started = Instant::now();
        while !server.answers() {
            if started.elapsed() > START_LIMIT || server.child.try_wait()?.is_some() {
                bail!("LiveKit's server does not answer on port {}: see {}", ports.http, log.display());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(server)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.ports.http)
    }

    fn answers(&self) -> bool {
        let ask = || -> std::io::Result<bool> {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.ports.http))?;
            stream.set_read_timeout(Some(START_LIMIT))?;
            stream.write_all(b"GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
            let mut status = [0; 12];
            stream.read_exact(&mut status)?;
            Ok(status.ends_with(b" 200"))
        };
        ask().unwrap_or_default()
    }
}

impl Drop for LiveKit {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Its defaults, but for where it listens.
fn configuration(ports: Ports) -> String {
    let ApiKey { key, secret } = LiveKit::key();
    let Ports { http, udp, tcp } = ports;
    format!(
        "port: {http}\nbind_addresses: [127.0.0.1]\nkeys:\n  {key}: {secret}\nrtc:\n  udp_port: {udp}\n  \
         tcp_port: {tcp}\n  node_ip: 127.0.0.1\n  enable_loopback_candidate: true\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_whose_checksums_are_kept() {
        assert!(GO_MOD.contains(&format!("github.com/livekit/livekit-server v{VERSION}")), "go.mod requires another");
        assert!(GO_MOD.contains(&format!("tool {PACKAGE}\n")));
        assert!(GO_SUM.contains(&format!("github.com/livekit/livekit-server v{VERSION} h1:")));
    }

    #[test]
    fn the_configuration_says_where_to_listen_and_nothing_of_how() {
        let text = configuration(Ports { http: 1, udp: 2, tcp: 3 });
        for line in ["port: 1\n", "udp_port: 2\n", "tcp_port: 3\n", "node_ip: 127.0.0.1\n"] {
            assert!(text.contains(line), "{text}");
        }
        assert!(!text.contains("log") && !text.contains("congestion"), "{text}");
    }
}
