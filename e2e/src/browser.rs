//! Real browsers in calls: a typed client of the Node process in `e2e/browser`.
//!
//! A [`Driver`] starts that process and talks to it in lines of JSON; a [`Browser`] is a running Chromium or Firefox; a
//! [`Person`] is somebody in one of its pages. The process and all its browsers end when the driver is dropped. What
//! each method does in the browser, and why it is honest, is in `e2e/browser/README.md`.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;

/// What a method may take when nothing else is said: a busy machine with many browsers takes its time.
pub const LIMIT: Duration = Duration::from_secs(30);
/// Starting a browser on a busy machine.
const LAUNCH_LIMIT: Duration = Duration::from_secs(90);
/// The driver keeps a method's limit itself and says what it saw last; beyond this much more it is taken for dead.
const GRACE: Duration = Duration::from_secs(10);
/// Console lines kept for reports of failures.
const LINES_KEPT: usize = 2_000;

/// Why a browser did not do what a test wanted.
#[derive(Debug, thiserror::Error)]
pub enum BrowserError {
    #[error("failed to start the browser driver in {folder} (did `npm ci` run there?)")]
    Start { folder: PathBuf, source: std::io::Error },
    #[error("failed to talk to the browser driver")]
    Talk(#[source] std::io::Error),
    /// The browser, or the page in it, did something else; the text says what.
    #[error("{method}: {reason}")]
    Refused { method: &'static str, reason: String },
    #[error("the browser driver ended while it ran {method}")]
    Ended { method: &'static str },
    #[error("the browser driver did not answer {method} within {limit:?}")]
    Silent { method: &'static str, limit: Duration },
    #[error("failed to read the answer to {method}")]
    Answer { method: &'static str, source: serde_json::Error },
}

type Result<T, E = BrowserError> = std::result::Result<T, E>;

/// The two browsers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Chromium,
    Firefox,
}

/// How a browser starts.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LaunchOptions {
    /// Drops all of this browser's UDP in the kernel; needs root.
    pub drop_udp: bool,
    /// Drops this browser's TCP to these ports of any server.
    pub drop_tcp_ports: Vec<u16>,
}

/// Who opens a page.
#[derive(Debug, Clone, Serialize)]
pub struct Visitor<'a> {
    /// The name they join with.
    pub name: &'a str,
    /// The sound of their microphone in hertz; distinct within a call, at least 40 Hz apart.
    pub tone: u32,
    #[serde(skip_serializing_if = "Devices::is_all")]
    pub devices: Devices,
}

impl<'a> Visitor<'a> {
    /// Somebody with a microphone and a camera.
    pub fn new(name: &'a str, tone: u32) -> Self {
        Self { name, tone, devices: Devices::All }
    }
}

/// What the visitor's machine gives the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Devices {
    All,
    None,
    Denied,
}

impl Devices {
    // The signature is serde's.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    fn is_all(&self) -> bool {
        *self == Self::All
    }
}

/// What a person sees.
#[derive(Debug, Clone, Deserialize)]
pub struct State {
    pub phase: Phase,
    pub title: String,
    /// livekit-client's words: `connected`, `reconnecting`, `signalReconnecting`, `disconnected`.
    pub connection: Option<String>,
    /// What the page says is wrong.
    pub problem: Option<String>,
    pub notices: Vec<String>,
    pub banners: Vec<String>,
    pub people: Vec<Tile>,
    /// Names in the order of raising; filled while the list of people is open.
    pub hands: Vec<String>,
    /// Whose screen is shown large.
    pub sharing: Vec<Option<String>>,
    /// Filled while the chat is open.
    pub chat: Vec<ChatLine>,
    pub reactions: Vec<Reaction>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    Lobby,
    Call,
    Message,
}

/// Somebody's tile in the page.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Tile {
    pub name: String,
    pub identity: String,
    pub muted: bool,
    pub speaking: bool,
    pub hand: bool,
    pub host: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ChatLine {
    pub from: String,
    pub own: bool,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Reaction {
    pub emoji: String,
    pub name: String,
}

/// What is heard of one person.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Sound {
    pub name: Option<String>,
    pub identity: String,
    /// livekit-client's words: `microphone`, `screen_share_audio`.
    pub source: String,
    /// Root mean square of the samples, from 0 to 1.
    pub rms: f64,
    /// The strongest frequency in hertz; 0 in silence.
    pub frequency: f64,
}

/// The code in a shared screen.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Code {
    /// `None` if the picture is no code.
    pub number: Option<u32>,
    pub width: u32,
    pub height: u32,
}

/// What the page's peer connections count.
#[derive(Debug, Clone, Deserialize)]
pub struct Stats {
    /// `udp` or `tcp` of the candidate pair in use.
    pub protocol: Option<String>,
    pub state: Option<String>,
    pub inbound: Vec<Inbound>,
    pub outbound: Vec<Outbound>,
}

/// One received RTP stream.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inbound {
    pub kind: String,
    pub mid: Option<String>,
    pub packets: u64,
    /// Negative when duplicates outnumber losses (RFC 3550, section 6.4.1).
    pub lost: i64,
    pub bytes: u64,
    /// In seconds.
    pub jitter: f64,
    pub concealed_samples: u64,
    pub total_samples: u64,
    pub frames_decoded: u64,
    pub freezes: u64,
    pub plis: u64,
    pub nacks: u64,
}

/// One sent RTP stream: a track, or one layer of it.
#[derive(Debug, Clone, Deserialize)]
pub struct Outbound {
    pub kind: String,
    pub mid: Option<String>,
    pub rid: Option<String>,
    pub packets: u64,
    pub bytes: u64,
    pub retransmitted: u64,
    pub plis: u64,
    pub nacks: u64,
}

/// A line of a page's console.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ConsoleLine {
    /// Whose page; absent in what `wait_console` returns.
    #[serde(default)]
    pub person: String,
    /// `log`, `info`, `warn`, `error`; `exception` and `crash` for what nobody wrote on purpose.
    pub level: String,
    pub text: String,
}

/// The running driver.
#[derive(Debug, Clone)]
pub struct Driver {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    input: tokio::sync::Mutex<ChildStdin>,
    waiting: Arc<Waiting>,
    next: AtomicU64,
    lines: Arc<Mutex<VecDeque<ConsoleLine>>>,
    /// Ended by closing its input; killed only if the runtime goes away first.
    _child: Child,
}

/// Who waits for which answer; `None` once the driver has ended.
type Waiting = Mutex<Option<HashMap<u64, oneshot::Sender<std::result::Result<Value, String>>>>>;

/// A line of the driver: an answer or an event.
#[derive(Debug, Deserialize)]
struct Line {
    id: Option<u64>,
    #[serde(default)]
    result: Value,
    error: Option<String>,
    event: Option<String>,
    #[serde(default)]
    params: Value,
}

/// One end of a call that is measured (`e2e/browser/network/`).
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CallEnd<'a> {
    /// The server's websocket.
    pub server: &'a str,
    /// Which call, and who.
    pub token: &'a str,
    /// livekit-client's sources; none for a receiver.
    pub sends: &'a [&'a str],
    /// Of the camera, by livekit-client's name; otherwise its own choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codec: Option<&'a str>,
    /// UDP port of loopback that media goes to, instead of the server's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay: Option<u16>,
    /// What media is encrypted with, end to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<&'a str>,
}

impl Driver {
    /// Starts the driver; `folder` is `e2e/browser` with its modules installed.
    pub fn start(folder: &Path) -> Result<Self> {
        let mut child = Command::new("node")
            .arg("src/main.mjs")
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A process group of its own: an interrupt at the terminal ends the tests, and they end the browsers.
            .process_group(0)
            .spawn()
            .map_err(|source| BrowserError::Start { folder: folder.to_owned(), source })?;
        let missing = || BrowserError::Start {
            folder: folder.to_owned(),
            source: std::io::Error::other("the driver has no standard input or output"),
        };
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = child.stdout.take().ok_or_else(missing)?;
        let waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        tokio::spawn(read(output, waiting.clone(), lines.clone()));
        Ok(Self {
            shared: Arc::new(Shared {
                input: tokio::sync::Mutex::new(input),
                waiting,
                next: AtomicU64::new(1),
                lines,
                _child: child,
            }),
        })
    }

    /// Starts a browser.
    pub async fn launch(&self, kind: Kind, options: &LaunchOptions) -> Result<Browser> {
        #[derive(Serialize)]
        struct Params<'a> {
            browser: Kind,
            #[serde(flatten)]
            options: &'a LaunchOptions,
        }
        #[derive(Deserialize)]
        struct Launched {
            browser: String,
            version: String,
        }
        let launched: Launched = self.call("launch", &Params { browser: kind, options }, LAUNCH_LIMIT).await?;
        Ok(Browser { driver: self.clone(), id: launched.browser, version: launched.version })
    }

    /// The address of a small page that joins `call` with an earlier release of livekit-client, such as `2.0`; `page` is
    /// the address of the server's own. The page is driven like ours, but knows no host.
    pub async fn earlier_client(&self, version: &str, page: &str, call: &str) -> Result<String> {
        #[derive(Deserialize)]
        struct Served {
            url: String,
        }
        let params = json!({ "version": version, "page": page.trim_end_matches('/'), "call": call });
        let served: Served = self.call("earlier", &params, LIMIT).await?;
        Ok(served.url)
    }

    /// The address of a page that is one end of a measured call. It has no controls: what it counts is asked with
    /// [`Person::evaluate`].
    pub async fn network_page(&self, end: &CallEnd<'_>) -> Result<String> {
        #[derive(Deserialize)]
        struct Served {
            url: String,
        }
        let served: Served = self.call("network", end, LIMIT).await?;
        Ok(served.url)
    }

    /// Console lines of all pages so far, oldest first: for the report when a test fails.
    pub fn console(&self) -> Vec<ConsoleLine> {
        self.shared.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: &impl Serialize,
        limit: Duration,
    ) -> Result<T> {
        let value = self.exchange(method, params, limit).await?;
        serde_json::from_value(value).map_err(|source| BrowserError::Answer { method, source })
    }

    async fn exchange(&self, method: &'static str, params: &impl Serialize, limit: Duration) -> Result<Value> {
        let mut params = serde_json::to_value(params).map_err(|source| BrowserError::Answer { method, source })?;
        params["limit"] = json!(limit.as_millis() as u64);
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        match self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(waiting) => waiting.insert(id, answer),
            None => return Err(BrowserError::Ended { method }),
        };
        let mut line = json!({ "id": id, "method": method, "params": params }).to_string();
        line.push('\n');
        self.shared.input.lock().await.write_all(line.as_bytes()).await.map_err(BrowserError::Talk)?;
        match tokio::time::timeout(limit + GRACE, answered).await {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(reason))) => Err(BrowserError::Refused { method, reason }),
            Ok(Err(_)) => Err(BrowserError::Ended { method }),
            Err(_) => Err(BrowserError::Silent { method, limit: limit + GRACE }),
        }
    }
}

/// Hands answers to those who wait and keeps console lines, until the driver closes its output.
async fn read(output: ChildStdout, waiting: Arc<Waiting>, lines: Arc<Mutex<VecDeque<ConsoleLine>>>) {
    let mut output = BufReader::new(output).lines();
    while let Ok(Some(text)) = output.next_line().await {
        // Anything else on its output is a browser's chatter.
        let Ok(line) = serde_json::from_str::<Line>(&text) else { continue };
        if line.event.as_deref() == Some("console") {
            if let Ok(console) = serde_json::from_value(line.params) {
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                if lines.len() == LINES_KEPT {
                    lines.pop_front();
                }
                lines.push_back(console);
            }
        } else if let Some(id) = line.id {
            let answer =
                waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut().and_then(|all| all.remove(&id));
            if let Some(answer) = answer {
                // Whoever asked may have given up.
                let _ = answer.send(line.error.map_or(Ok(line.result), Err));
            }
        }
    }
    // Dropping the senders tells everybody who still waits.
    waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
}

/// A running browser.
#[derive(Debug, Clone)]
pub struct Browser {
    driver: Driver,
    id: String,
    /// As it names itself, for reports.
    pub version: String,
}

impl Browser {
    /// Opens an address for somebody, with cookies and storage of their own.
    pub async fn open(&self, url: &str, visitor: &Visitor<'_>) -> Result<Person> {
        #[derive(Serialize)]
        struct Params<'a> {
            browser: &'a str,
            url: &'a str,
            #[serde(flatten)]
            visitor: &'a Visitor<'a>,
        }
        #[derive(Deserialize)]
        struct Opened {
            person: String,
        }
        let params = Params { browser: &self.id, url, visitor };
        let opened: Opened = self.driver.call("open", &params, LIMIT).await?;
        Ok(Person { driver: self.driver.clone(), id: opened.person, name: visitor.name.to_owned() })
    }

    /// Opens and joins in one step.
    pub async fn join(&self, url: &str, visitor: &Visitor<'_>) -> Result<Person> {
        let person = self.open(url, visitor).await?;
        person.join().await?;
        Ok(person)
    }

    /// Ends the browser and everybody in it, without their leaving.
    pub async fn close(self) -> Result<()> {
        self.driver.call("close", &json!({ "id": self.id }), LIMIT).await
    }
}

/// Somebody in a page.
#[derive(Debug, Clone)]
pub struct Person {
    driver: Driver,
    id: String,
    /// The name others see.
    pub name: String,
}

impl Person {
    /// Joins with the microphone on; returns once in the call, with the time from pressing Join until then.
    ///
    /// # Errors
    /// [`BrowserError::Refused`] with the page's own words if it says no.
    pub async fn join(&self) -> Result<Duration> {
        self.join_with(false).await
    }

    /// Joins with the microphone muted.
    pub async fn join_muted(&self) -> Result<Duration> {
        self.join_with(true).await
    }

    async fn join_with(&self, muted: bool) -> Result<Duration> {
        #[derive(Deserialize)]
        struct Joined {
            ms: u64,
        }
        let joined: Joined = self.ask("join", json!({ "muted": muted }), LIMIT).await?;
        Ok(Duration::from_millis(joined.ms))
    }

    pub async fn leave(&self) -> Result<()> {
        self.ask("leave", json!({}), LIMIT).await
    }

    /// Loads the page again, which leaves the call for its lobby.
    pub async fn reload(&self) -> Result<()> {
        self.ask("reload", json!({}), LIMIT).await
    }

    /// Closes the page without leaving first.
    pub async fn close(self) -> Result<()> {
        self.driver.call("close", &json!({ "id": self.id }), LIMIT).await
    }

    pub async fn mute(&self) -> Result<()> {
        self.ask("mute", json!({}), LIMIT).await
    }

    pub async fn unmute(&self) -> Result<()> {
        self.ask("unmute", json!({}), LIMIT).await
    }

    pub async fn camera(&self, on: bool) -> Result<()> {
        self.ask("camera", json!({ "on": on }), LIMIT).await
    }

    pub async fn raise_hand(&self) -> Result<()> {
        self.ask("raiseHand", json!({}), LIMIT).await
    }

    pub async fn lower_hand(&self) -> Result<()> {
        self.ask("lowerHand", json!({}), LIMIT).await
    }

    pub async fn react(&self, emoji: &str) -> Result<()> {
        self.ask("react", json!({ "emoji": emoji }), LIMIT).await
    }

    /// Opens the chat, if it is not open, and writes.
    pub async fn chat(&self, text: &str) -> Result<()> {
        self.ask("chat", json!({ "text": text }), LIMIT).await
    }

    /// Shares a screen that shows the code: a tab (Chromium), or a canvas in place of what the browser would capture.
    pub async fn share(&self) -> Result<()> {
        self.ask("share", json!({}), LIMIT).await
    }

    pub async fn stop_sharing(&self) -> Result<()> {
        self.ask("stopSharing", json!({}), LIMIT).await
    }

    pub async fn state(&self) -> Result<State> {
        self.ask("state", json!({}), LIMIT).await
    }

    /// Waits until the state contains `part` (see the README for what contains means).
    pub async fn wait_state(&self, part: Value, limit: Duration) -> Result<State> {
        self.ask("waitState", part, limit).await
    }

    /// Waits until somebody's tile shows what `part` says, such as `{"hand": true}`.
    pub async fn wait_tile(&self, name: &str, mut part: Value, limit: Duration) -> Result<State> {
        part["name"] = json!(name);
        self.wait_state(json!({ "people": [part] }), limit).await
    }

    /// Waits until somebody has no tile any more.
    pub async fn wait_gone(&self, name: &str, limit: Duration) -> Result<()> {
        let selector = format!(".tile[data-name={name:?}]");
        self.ask("waitSelector", json!({ "selector": selector, "gone": true }), limit).await
    }

    pub async fn wait_text(&self, text: &str, limit: Duration) -> Result<()> {
        self.ask("waitText", json!({ "text": text }), limit).await
    }

    /// Waits for a console line that contains `text`, also an earlier one.
    pub async fn wait_console(&self, text: &str, limit: Duration) -> Result<ConsoleLine> {
        self.ask("waitConsole", json!({ "text": text }), limit).await
    }

    /// What is heard of everybody else during `window`.
    pub async fn measure(&self, window: Duration) -> Result<Vec<Sound>> {
        self.ask("measure", json!({ "ms": window.as_millis() as u64 }), LIMIT + window).await
    }

    /// Waits until somebody's tone is heard.
    pub async fn hear(&self, name: &str, tone: u32, limit: Duration) -> Result<Sound> {
        self.ask("waitSound", json!({ "from": name, "frequency": tone }), limit).await
    }

    /// Waits until nothing is heard of somebody.
    ///
    /// Measures in short windows, so that the time it takes tells when silence began to within 0.2 s.
    pub async fn hear_silence(&self, name: &str, limit: Duration) -> Result<()> {
        let params = json!({ "from": name, "silent": true, "ms": 100 });
        self.ask::<Option<Sound>>("waitSound", params, limit).await.map(drop)
    }

    /// The code in the shared screen now; `None` if no screen is shown.
    pub async fn code(&self) -> Result<Option<Code>> {
        self.ask("code", json!({}), LIMIT).await
    }

    /// Waits until `count` codes were read from the shared screen, each greater than the one before.
    pub async fn see_advance(&self, count: usize, limit: Duration) -> Result<Vec<u32>> {
        self.ask("waitCodes", json!({ "count": count }), limit).await
    }

    /// Waits until the page says that it reconnects.
    pub async fn wait_banner(&self, limit: Duration) -> Result<()> {
        let selector = r#"[data-banner="resuming"], [data-banner="reconnecting"]"#;
        self.ask("waitSelector", json!({ "selector": selector }), limit).await
    }

    /// Waits until no screen is shown any more.
    pub async fn wait_no_share(&self, limit: Duration) -> Result<()> {
        self.ask("waitSelector", json!({ "selector": ".shared", "gone": true }), limit).await
    }

    pub async fn stats(&self) -> Result<Stats> {
        self.ask("stats", json!({}), LIMIT).await
    }

    /// Writes a picture (PNG) of the page.
    pub async fn screenshot(&self, path: &Path) -> Result<()> {
        self.ask("screenshot", json!({ "path": path }), LIMIT).await
    }

    /// Runs JavaScript in the page and returns its value, waiting for a promise.
    pub async fn evaluate(&self, expression: &str) -> Result<Value> {
        self.ask("evaluate", json!({ "expression": expression }), LIMIT).await
    }

    async fn ask<T: DeserializeOwned>(&self, method: &'static str, mut params: Value, limit: Duration) -> Result<T> {
        params["person"] = json!(self.id);
        self.driver.call(method, &params, limit).await
    }
}
