//! Records one call to one file: joins, comes back if the connection breaks, and ends with the call.

mod rejoin;

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use calls_client::signal::ApiKey;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use self::rejoin::Out;
use crate::feed::Feed;
use crate::screen::VideoCodec;
use crate::session::{Entrance, Session, SessionEvent, Source};
use crate::{Finished, Options, Time};

/// Between two steps of the recording.
const STEP: Duration = Duration::from_millis(20);
/// Between two tellings of how far it is.
const PROGRESS: Duration = Duration::from_secs(1);
/// Every so many of them is also a line in the log.
const PROGRESS_LOGGED: u32 = 10;
/// First wait before a recorder that fell out comes back; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// For this long a recorder that fell out tries to come back.
const PATIENCE: Duration = Duration::from_mins(2);

/// What to record, and where to.
#[derive(Debug, Clone)]
pub struct Job {
    /// The server, `ws://HOST:PORT`.
    pub url: String,
    pub key: ApiKey,
    pub call: String,
    /// Of the recorder as a participant. Nobody else in the call may have it.
    pub identity: String,
    /// WebM file to write. It must not be there yet.
    pub output: PathBuf,
    /// Only sound: a file without a picture.
    pub audio_only: bool,
    /// Longest recording.
    pub limit: Duration,
}

impl Job {
    /// Checks what can be checked before anything is touched.
    ///
    /// # Errors
    /// If the address is none of a server.
    pub fn check(&self) -> Result<()> {
        websocket(&self.url).map(drop)
    }

    fn entrance(&self) -> Result<Entrance> {
        let token = self.key.sign(&json!({
            "sub": self.identity,
            "name": "Recorder",
            "kind": "egress",
            // A recording may take longer than the day a token should last at most; joining again is then refused.
            "video": {
                "roomJoin": true,
                "room": self.call,
                "hidden": true,
                "recorder": true,
                "canSubscribe": true,
                "canPublish": false,
                "canPublishData": false,
            },
        }))?;
        let mut sources = vec![Source::Microphone, Source::ScreenAudio];
        if !self.audio_only {
            sources.push(Source::Screen);
        }
        Ok(Entrance { url: websocket(&self.url)?, token, sources })
    }
}

/// How far a recording is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Since the first moment of the file; `None` before it is in the call.
    pub recorded: Option<Duration>,
    /// Length of the file.
    pub bytes: u64,
}

/// What was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    pub end: End,
    pub duration: Duration,
    /// Length of the file. Zero, and no file, when it was told to stop before it was in the call.
    pub bytes: u64,
}

/// Why a recording ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The call is over.
    Call,
    /// It is as long as it may be.
    Limit,
    /// Somebody stopped it: the caller, or the server, which sent the recorder away.
    Told,
}

/// Records a call until it ends, the recording is as long as it may be, or `stop` is ready.
///
/// `progress` is told as soon as the recorder is in the call and the file has begun, then about once a second. Dropped,
/// the recording is as after a crash: the file plays up to its last whole second, and the call waits for the recorder.
///
/// # Errors
/// If the file cannot be written, or the call cannot be joined, or not again after the connection broke. What there is by
/// then is a whole file.
pub async fn record(
    job: &Job,
    stop: impl Future<Output = ()> + Send,
    progress: &watch::Sender<Progress>,
) -> Result<Recorded> {
    job.check()?;
    let entrance = job.entrance()?;
    let file = Output::create(&job.output)?;
    let mut stop = pin!(stop);
    let joined = tokio::select! {
        joined = Session::join(&entrance) => joined,
        () = &mut stop => {
            file.discard();
            return Ok(Recorded { end: End::Told, duration: Duration::ZERO, bytes: 0 });
        }
    };
    // Who cannot get in the first time has the wrong address or key; nothing is lost by saying so.
    let session = match joined {
        Ok(session) => session,
        Err(error) => {
            file.discard();
            return Err(error.context(format!("cannot join {} at {}", job.call, job.url)));
        }
    };
    let options = Options { video: (!job.audio_only).then_some(VideoCodec::Vp8), ..Options::default() };
    let began = Instant::now();
    let mut recorder =
        Recorder { feed: Feed::new(options, Time::ZERO)?, file, progress, began, tell_at: began, told: 0 };
    let mut session = Some(session);
    let ended = tokio::select! {
        ended = recorder.attend(job, &mut session) => ended,
        () = sleep(job.limit) => Ok(End::Limit),
        () = stop => Ok(End::Told),
    };
    if let Some(session) = session {
        session.leave().await;
    }
    // Whatever happened, what there is becomes a whole file.
    let finished = recorder.finish()?;
    let recorded = Recorded { end: ended?, duration: finished.duration, bytes: recorder.file.length };
    tracing::info!(end = ?recorded.end, seconds = recorded.duration.as_secs(), bytes = recorded.bytes, "recorded");
    Ok(recorded)
}

/// A server's address as its websocket has it.
fn websocket(url: &str) -> Result<String> {
    let rest = match url.split_once("://") {
        Some(("ws" | "http", rest)) => rest.trim_end_matches('/'),
        Some(("wss" | "https", _)) => {
            bail!(
                "{url} wants TLS, which a recorder does not speak yet: give the director's or an SFU's own ws:// address"
            )
        }
        _ => bail!("{url} is no address of a server: ws://HOST:PORT is"),
    };
    let port = if rest.contains(':') { "" } else { ":80" };
    Ok(format!("ws://{rest}{port}"))
}

/// What runs for as long as a recording does.
#[derive(Debug)]
struct Recorder<'a> {
    feed: Feed,
    file: Output,
    progress: &'a watch::Sender<Progress>,
    began: Instant,
    /// When it is next told how far the recording is, and how often that was.
    tell_at: Instant,
    told: u32,
}

impl Recorder<'_> {
    fn now(&self) -> Time {
        Time::ZERO + self.began.elapsed()
    }

    /// Is in the call until it ends, coming back whenever the connection breaks. There is no session while it does.
    async fn attend(&mut self, job: &Job, session: &mut Option<Session>) -> Result<End> {
        tracing::info!(call = job.call, file = %job.output.display(), "recording");
        self.step()?;
        loop {
            let present = match session {
                Some(session) => session,
                None => session.insert(self.come_back(job).await?),
            };
            match self.take_part(present).await? {
                Out::Over(end) => return Ok(end),
                Out::Fell(error) => tracing::warn!("fell out of the call: {error:#}"),
            }
            *session = None;
            let now = self.now();
            self.feed.lose_all(now);
        }
    }

    async fn come_back(&mut self, job: &Job) -> Result<Session> {
        let give_up = Instant::now() + PATIENCE;
        let mut wait = FIRST_WAIT;
        loop {
            let error = match Session::join(&job.entrance()?).await {
                Ok(session) => {
                    tracing::info!("back in the call");
                    return Ok(session);
                }
                Err(error) => error,
            };
            // Silence is recorded meanwhile.
            let until = Instant::now() + wait;
            while Instant::now() < until {
                self.step()?;
                sleep(STEP).await;
            }
            if Instant::now() >= give_up {
                return Err(error.context("the call could not be joined again"));
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    async fn take_part(&mut self, session: &mut Session) -> Result<Out> {
        let mut due = Instant::now() + STEP;
        loop {
            let event = match session.next(due).await {
                Ok(event) => event,
                Err(error) => return Ok(Out::Fell(error)),
            };
            let now = self.now();
            match event {
                Some(SessionEvent::Track(change)) => self.feed.handle_change(now, change),
                Some(SessionEvent::Packet { track, codec, packet }) => {
                    self.feed.handle_packet(now, &track, codec, &packet);
                }
                Some(SessionEvent::Connected) => tracing::debug!("media flows"),
                Some(SessionEvent::SentAway(reason)) => return Out::sent_away(reason),
                None => (),
            }
            if Instant::now() >= due {
                self.step()?;
                due += STEP;
            }
            while let Some(ssrc) = self.feed.poll_keyframe() {
                session.request_keyframe(ssrc);
            }
        }
    }

    fn step(&mut self) -> Result<()> {
        let now = self.now();
        self.feed.advance(now);
        self.write()?;
        if Instant::now() >= self.tell_at {
            self.tell();
        }
        Ok(())
    }

    fn tell(&mut self) {
        let (recorded, bytes) = (self.began.elapsed(), self.file.length);
        self.progress.send_replace(Progress { recorded: Some(recorded), bytes });
        self.told += 1;
        if self.told.is_multiple_of(PROGRESS_LOGGED) {
            tracing::info!(seconds = recorded.as_secs(), bytes, tracks = self.feed.n_tracks(), "recording");
        }
        self.tell_at = Instant::now() + PROGRESS;
    }

    fn write(&mut self) -> Result<()> {
        while let Some(bytes) = self.feed.poll_output() {
            self.file.write(&bytes)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Finished> {
        let now = self.now();
        let finished = self.feed.finish(now);
        self.write()?;
        self.file.finish(&finished)?;
        Ok(finished)
    }
}

/// The file that is written.
#[derive(Debug)]
struct Output {
    path: PathBuf,
    file: File,
    length: u64,
}

impl Output {
    /// Never overwrites a recording.
    fn create(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        let file = file.with_context(|| format!("cannot write a recording to {}", path.display()))?;
        Ok(Self { path: path.to_owned(), file, length: 0 })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).with_context(|| self.cannot_write())?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Makes duration and index known at the file's front, and puts who spoke when beside it.
    fn finish(&mut self, finished: &Finished) -> Result<()> {
        self.patch(finished).with_context(|| self.cannot_write())?;
        let speakers = self.path.with_extension("vtt");
        std::fs::write(&speakers, &finished.speakers).with_context(|| format!("cannot write {}", speakers.display()))
    }

    fn patch(&mut self, finished: &Finished) -> io::Result<()> {
        for patch in &finished.patches {
            self.file.seek(SeekFrom::Start(patch.offset))?;
            self.file.write_all(&patch.bytes)?;
        }
        self.file.sync_all()
    }

    /// Removes a file of which nothing was written.
    fn discard(self) {
        // An empty file is all that stays otherwise.
        let _ = std::fs::remove_file(&self.path);
    }

    fn cannot_write(&self) -> String {
        format!("cannot write to {}", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(url: &str, output: PathBuf) -> Job {
        Job {
            url: url.into(),
            key: ApiKey::development(),
            call: "standup".into(),
            identity: "recorder".into(),
            output,
            audio_only: false,
            limit: Duration::from_mins(1),
        }
    }

    fn nowhere(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("calls-recorder-{name}-{}.webm", std::process::id()))
    }

    /// A server that takes connections and never answers.
    fn silence() -> std::net::TcpListener {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap()
    }

    /// Whatever thread it runs on.
    fn run<T>(future: impl Future<Output = T> + Send) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn who_stops_a_recording_before_it_began_finds_no_file() {
        let server = silence();
        let job = job(&format!("ws://{}", server.local_addr().unwrap()), nowhere("stopped"));
        let progress = watch::Sender::default();
        let recorded = run(async { record(&job, sleep(Duration::from_millis(50)), &progress).await }).unwrap();
        assert_eq!(recorded, Recorded { end: End::Told, duration: Duration::ZERO, bytes: 0 });
        assert_eq!(*progress.borrow(), Progress::default());
        assert!(!job.output.exists());
    }

    #[test]
    fn an_address_is_understood_or_explained() {
        for (given, understood) in
            [("ws://127.0.0.1:7880", "ws://127.0.0.1:7880"), ("http://calls.example.org/", "ws://calls.example.org:80")]
        {
            assert_eq!(websocket(given).unwrap(), understood);
        }
        assert!(websocket("wss://calls.example.org").unwrap_err().to_string().contains("TLS"));
        assert!(websocket("calls.example.org").unwrap_err().to_string().contains("ws://HOST:PORT"));
    }

    #[test]
    fn a_recording_is_never_overwritten() {
        let path = std::env::temp_dir().join(format!("calls-recorder-{}.webm", std::process::id()));
        let first = Output::create(&path).unwrap();
        let error = Output::create(&path).unwrap_err();
        first.discard();
        assert!(format!("{error:#}").contains("cannot write a recording to"), "{error:#}");
        assert!(!path.exists(), "nothing was written: nothing stays");
    }
}
