//! Records one call to one file: joins, comes back if the connection breaks, and ends with the call.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use calls_client::signal::ApiKey;
use livekit_protocol::DisconnectReason;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::cli::RecordArgs;
use crate::feed::Feed;
use crate::screen::VideoCodec;
use crate::session::{Entrance, Session, SessionEvent, Source};
use crate::{Finished, Options, Time};

/// Between two steps of the recording.
const STEP: Duration = Duration::from_millis(20);
/// Between two lines that say how far it is.
const PROGRESS: Duration = Duration::from_secs(10);
/// First wait before a recorder that fell out comes back; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// For this long a recorder that fell out tries to come back.
const PATIENCE: Duration = Duration::from_mins(2);

/// Why a recording ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Call(DisconnectReason),
    Limit,
    Told,
}

/// Records a call until it ends, the recording is as long as it may be, or the process is told to stop.
///
/// # Errors
/// If the file cannot be written, or the call cannot be joined.
pub async fn record(args: &RecordArgs) -> Result<()> {
    let file = Output::create(&args.output)?;
    let entrance = entrance(args)?;
    // Who cannot get in the first time has the wrong address or key; nothing is lost by saying so.
    let session = match Session::join(&entrance).await {
        Ok(session) => session,
        Err(error) => {
            file.discard();
            return Err(error.context(format!("cannot join {} at {}", args.call, args.url)));
        }
    };
    tracing::info!(call = args.call, file = %args.output.display(), "recording");
    let began = Instant::now();
    let options = Options { video: (!args.audio_only).then_some(VideoCodec::Vp8), ..Options::default() };
    let mut recorder =
        Recorder { feed: Feed::new(options, Time::ZERO)?, file, began, limit: began + args.limit(), told_at: began };
    let ended = tokio::select! {
        ended = recorder.attend(&entrance, session) => ended,
        told = told_to_stop() => told.map(|()| End::Told),
    };
    // Whatever happened, what there is becomes a whole file.
    let finished = recorder.finish()?;
    let end = ended?;
    tracing::info!(?end, seconds = finished.duration.as_secs(), bytes = recorder.file.length, "recorded");
    Ok(())
}

fn entrance(args: &RecordArgs) -> Result<Entrance> {
    let key = ApiKey { key: args.api_key.clone(), secret: args.api_secret.clone() };
    let identity = format!("recorder-{}", std::process::id());
    let token = key.sign(&json!({
        "sub": identity,
        "name": "Recorder",
        "kind": "egress",
        // A recording may take longer than the day a token should last at most; joining again is then refused.
        "video": {
            "roomJoin": true,
            "room": args.call,
            "hidden": true,
            "recorder": true,
            "canSubscribe": true,
            "canPublish": false,
            "canPublishData": false,
        },
    }))?;
    let mut sources = vec![Source::Microphone, Source::ScreenAudio];
    if !args.audio_only {
        sources.push(Source::Screen);
    }
    Ok(Entrance { url: websocket(&args.url)?, token, sources })
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
struct Recorder {
    feed: Feed,
    file: Output,
    began: Instant,
    limit: Instant,
    /// When it was last said how far the recording is.
    told_at: Instant,
}

impl Recorder {
    fn now(&self) -> Time {
        Time::ZERO + self.began.elapsed()
    }

    /// Is in the call until it ends, coming back whenever the connection breaks.
    async fn attend(&mut self, entrance: &Entrance, mut session: Session) -> Result<End> {
        loop {
            match self.take_part(session).await {
                Ok(end) => return Ok(end),
                Err(Broken::Session(error)) => tracing::warn!("fell out of the call: {error:#}"),
                Err(Broken::File(error)) => return Err(error),
            }
            let now = self.now();
            self.feed.lose_all(now);
            let Some(again) = self.come_back(entrance).await? else { return Ok(End::Limit) };
            session = again;
        }
    }

    async fn come_back(&mut self, entrance: &Entrance) -> Result<Option<Session>> {
        let give_up = Instant::now() + PATIENCE;
        let mut wait = FIRST_WAIT;
        loop {
            let error = match Session::join(entrance).await {
                Ok(session) => {
                    tracing::info!("back in the call");
                    return Ok(Some(session));
                }
                Err(error) => error,
            };
            // Silence is recorded meanwhile.
            let until = (Instant::now() + wait).min(self.limit);
            while Instant::now() < until {
                self.step()?;
                sleep(STEP).await;
            }
            if Instant::now() >= self.limit {
                return Ok(None);
            }
            if Instant::now() >= give_up {
                return Err(error.context("the call could not be joined again"));
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    async fn take_part(&mut self, mut session: Session) -> Result<End, Broken> {
        let mut due = Instant::now() + STEP;
        loop {
            let event = session.next(due).await.map_err(Broken::Session)?;
            let now = self.now();
            match event {
                Some(SessionEvent::Track(change)) => self.feed.handle_change(now, change),
                Some(SessionEvent::Packet { track, codec, packet }) => {
                    self.feed.handle_packet(now, &track, codec, &packet);
                }
                Some(SessionEvent::Connected) => tracing::debug!("media flows"),
                Some(SessionEvent::Ended(reason)) => return Ok(End::Call(reason)),
                None => (),
            }
            if Instant::now() >= due {
                self.step().map_err(Broken::File)?;
                due += STEP;
            }
            while let Some(ssrc) = self.feed.poll_keyframe() {
                session.request_keyframe(ssrc);
            }
            if Instant::now() >= self.limit {
                session.leave().await;
                return Ok(End::Limit);
            }
        }
    }

    fn step(&mut self) -> Result<()> {
        let now = self.now();
        self.feed.advance(now);
        self.write()?;
        if self.told_at.elapsed() >= PROGRESS {
            self.told_at = Instant::now();
            let (seconds, tracks) = (self.began.elapsed().as_secs(), self.feed.n_tracks());
            tracing::info!(seconds, bytes = self.file.length, tracks, "recording");
        }
        Ok(())
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

/// What broke.
#[derive(Debug)]
enum Broken {
    /// The connection to the call: it can be joined again.
    Session(anyhow::Error),
    File(anyhow::Error),
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

/// Returns when the process is asked to end: Ctrl-C, or SIGTERM as Kubernetes sends it.
async fn told_to_stop() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        told = tokio::signal::ctrl_c() => told?,
        _ = terminated.recv() => (),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
