//! A bad network before a server's media port: `calls-bench relay`, told through its standard input.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cluster::process::wait_for;

/// For the relay, and the server it started, to end.
const END_LIMIT: Duration = Duration::from_secs(10);

/// A network as the program describes it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Network {
    pub name: String,
    pub about: String,
    /// Bits a second, each for an equal part of the time its course takes; none without a limit.
    pub rates: Vec<u64>,
}

/// A server that the program starts with its relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Calls,
    Livekit,
}

/// Where things are.
#[derive(Clone, Debug, Deserialize)]
pub struct Places {
    /// The UDP port that stands for the server's.
    pub relay: u16,
    /// Of a server that was started: signalling (`ws://…`), API key and its secret.
    pub url: Option<String>,
    pub key: Option<String>,
    pub secret: Option<String>,
}

/// What went through in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// From the server.
    pub down: Counted,
    /// To the server.
    pub up: Counted,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// All that came.
    pub datagrams: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Dropped by the full queue of a slow link.
    pub overflowed: u64,
    /// Of those that came through.
    pub bytes: u64,
}

/// A running relay, and the server it started. Both end when it is dropped.
#[derive(Debug)]
pub struct Relay {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    pub places: Places,
}

impl Network {
    /// All that `program`, which is `calls-bench`, knows.
    pub fn all(program: &Path) -> Result<Vec<Self>> {
        let mut list = Command::new(program);
        let said = crate::command::output(list.args(["relay", "--list"]))?;
        serde_json::from_str(&said).context("calls-bench lists its networks in another form")
    }
}

impl Relay {
    /// Relays to the media port of a server that runs.
    pub fn to(program: &Path, media: SocketAddr, seed: u64) -> Result<Self> {
        Self::start(Command::new(program).args(["relay", "--to", &media.to_string()]), seed)
    }

    /// Starts a server, ours being the program `ours`, at three ports from `port` on, and relays to it.
    pub fn with_server(program: &Path, kind: Kind, ours: &Path, port: u16, seed: u64) -> Result<Self> {
        let kind = match kind {
            Kind::Calls => "calls",
            Kind::Livekit => "livekit",
        };
        let mut command = Command::new(program);
        command.args(["relay", "--start", kind, "--port", &port.to_string(), "--server"]).arg(ours);
        Self::start(&mut command, seed)
    }

    fn start(command: &mut Command, seed: u64) -> Result<Self> {
        command.args(["--seed", &seed.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let line = crate::command::describe(command);
        let mut child = command.spawn().with_context(|| format!("failed to start `{line}`"))?;
        let output = child.stdout.take().context("the relay has no standard output")?;
        let mut lines = BufReader::new(output).lines();
        let places = read(&mut lines).with_context(|| format!("`{line}` did not say where it is"));
        match places {
            Ok(places) => Ok(Self { child, lines, places }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Another network from now on; its course takes so long. Returns what went through since the last change.
    pub fn change(&mut self, network: &str, course: Duration) -> Result<Traffic> {
        let input = self.child.stdin.as_mut().context("the relay has no standard input")?;
        writeln!(input, "{network} {}", course.as_secs_f64()).context("the relay ended")?;
        read(&mut self.lines)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if !wait_for(END_LIMIT, || matches!(self.child.try_wait(), Ok(Some(_)))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn read<T: DeserializeOwned>(lines: &mut Lines<BufReader<ChildStdout>>) -> Result<T> {
    let line = lines.next().context("the relay ended")??;
    serde_json::from_str(&line).with_context(|| format!("the relay said {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_says_is_understood() {
        let hello = r#"{"relay":1,"media":2,"url":"ws://127.0.0.1:3","key":"k","secret":"s"}"#;
        let places: Places = serde_json::from_str(hello).expect("understood");
        assert_eq!((places.relay, places.url.as_deref()), (1, Some("ws://127.0.0.1:3")));
        let counted = r#"{"datagrams":4,"lost":1,"overflowed":2,"bytes":100}"#;
        let traffic: Traffic = serde_json::from_str(&format!(r#"{{"down":{counted},"up":{counted}}}"#)).expect("read");
        assert_eq!(traffic.down, Counted { datagrams: 4, lost: 1, overflowed: 2, bytes: 100 });
    }
}
