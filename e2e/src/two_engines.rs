//! Two engines of `sfu-core` between which a browser's sessions move: the program `two-engines` of the crate `tests`.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::cluster::process::wait_for;

/// For the program to end once its input has.
const END_LIMIT: Duration = Duration::from_secs(10);

/// The running program. It ends when this is dropped.
#[derive(Debug)]
pub struct TwoEngines {
    child: Child,
    /// The address of its page, which has `window.moving`.
    pub page: String,
}

/// What its page counts, on both connections of a browser.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// What the browser receives, by `audio` and `video`.
    pub inbound: BTreeMap<String, Inbound>,
    /// What it publishes.
    pub outbound: BTreeMap<String, Outbound>,
    /// How the numbered messages came, at the end.
    pub numbers: Option<Numbers>,
    /// States of connections after they were connected.
    pub changes: Vec<String>,
    pub report: Report,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inbound {
    pub packets: u64,
    pub lost: i64,
    pub frames: u64,
    pub dropped: u64,
    pub freezes: u64,
    pub concealed: u64,
    pub keyframes_asked: u64,
    pub nacks: u64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outbound {
    pub packets: u64,
    pub keyframes_asked: u64,
    pub nacks: u64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Numbers {
    pub sent: u64,
    /// What came back.
    pub echoed: Came,
    /// What came of the same on the other connection.
    pub copied: Came,
}

/// What came of a row of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Came {
    pub came: u64,
    /// Up to the first that is not the next one.
    pub in_order: u64,
}

/// What the engines count.
#[derive(Debug, Deserialize)]
pub struct Report {
    /// Sessions taken up by another engine.
    pub moved: u64,
    /// DTLS records of the browser's that belong to a handshake.
    pub handshakes: u64,
    /// Keyframes asked of the browser.
    pub keyframes: u64,
    /// Datagrams dropped for no good reason.
    pub dropped: u64,
    /// Datagrams that the kernel did not take.
    pub unsent: u64,
    pub messages: Messages,
    pub streams: Vec<Stream>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Messages {
    pub received: u64,
    pub out_of_order: u64,
}

/// One RTP stream, as its numbers were seen at both engines.
#[derive(Debug, Deserialize)]
pub struct Stream {
    pub direction: String,
    pub ssrc: u32,
    pub packets: u64,
    pub missing: u64,
    pub doubled: u64,
    /// The longest time without a packet since the last move began.
    pub pause_ms: u64,
}

impl TwoEngines {
    /// Starts `program`; each message between the engines takes `delay`.
    pub fn start(program: &Path, delay: Duration) -> Result<Self> {
        #[derive(Deserialize)]
        struct Hello {
            page: String,
        }
        let mut command = Command::new(program);
        command.args(["--delay", &delay.as_millis().to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let line = crate::command::describe(&command);
        let mut child = command.spawn().with_context(|| format!("failed to start `{line}`"))?;
        let output = child.stdout.take().context("it has no standard output")?;
        // Ends the program if it says something else.
        let mut started = Self { child, page: String::new() };
        let mut said = String::new();
        BufReader::new(output).read_line(&mut said)?;
        let hello: Hello = serde_json::from_str(&said).with_context(|| format!("`{line}` said {said:?}"))?;
        started.page = hello.page;
        Ok(started)
    }
}

impl Drop for TwoEngines {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if !wait_for(END_LIMIT, || matches!(self.child.try_wait(), Ok(Some(_)))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
