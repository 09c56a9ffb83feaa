//! Records one call to one file: joins, comes back if the connection breaks, and ends with the call.

mod output;
mod rejoin;

use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use calls_client::signal::{self, ApiKey};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use self::output::Output;
use self::rejoin::{Out, Rejoin};
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
/// What to record, and where to.
#[derive(Debug, Clone)]
pub struct Job {
    /// The server, `ws://HOST:PORT`.
    pub url: String,
    pub key: ApiKey,
    pub call: String,
    /// Of the recorder as a participant. Nobody else in the call may have it.
    pub identity: String,
    /// WebM file to write. Neither it nor the `.vtt` beside it must be there yet.
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
    /// If the address is none of a server, or the path none of a recording.
    pub fn check(&self) -> Result<()> {
        signal::server(&self.url)?;
        Output::check(&self.output)
    }

    /// For one join: the token in it does not last as long as a recording may.
    fn entrance(&self) -> Result<Entrance> {
        let token = self.key.sign(&json!({
            "sub": self.identity,
            "name": "Recorder",
            "kind": "egress",
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
        Ok(Entrance { url: signal::server(&self.url)?, token, sources })
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
    let session = tokio::select! {
        // Who cannot get in the first time has the wrong address or key; nothing is lost by saying so.
        joined = Session::join(&entrance) => {
            joined.with_context(|| format!("cannot join {} at {}", job.call, job.url))?
        }
        () = &mut stop => return Ok(Recorded { end: End::Told, duration: Duration::ZERO, bytes: 0 }),
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
    let finished = recorder.finish().await;
    let end = ended?;
    let Finished { duration, counters, .. } = finished?;
    let bytes = recorder.file.length();
    tracing::info!(?end, seconds = duration.as_secs(), bytes, ?counters, "recorded");
    Ok(Recorded { end, duration, bytes })
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
        let mut rejoin = Rejoin::default();
        loop {
            let error = match session {
                Some(session) => match self.take_part(session, &mut rejoin).await? {
                    Out::Over(end) => return Ok(end),
                    Out::Fell(error) => error,
                },
                None => anyhow!("not in the call"),
            };
            tracing::warn!("fell out of the call: {error:#}");
            *session = None;
            self.feed.lose_all(self.now());
            *session = Some(self.come_back(job, &mut rejoin, error).await?);
            tracing::info!("back in the call");
        }
    }

    /// Joins again, which `error` made necessary.
    async fn come_back(&mut self, job: &Job, rejoin: &mut Rejoin, mut error: anyhow::Error) -> Result<Session> {
        while let Some(wait) = rejoin.handle_out(self.now()) {
            let joining = async {
                sleep(wait).await;
                Session::join(&job.entrance()?).await
            };
            match self.step_during(joining).await? {
                Ok(session) => return Ok(session),
                Err(again) => error = again,
            }
        }
        Err(error.context("gave up coming back into the call"))
    }

    /// Goes on recording, silence if nothing else, until something is done.
    async fn step_during<T>(&mut self, doing: impl Future<Output = T> + Send) -> Result<T> {
        let mut doing = pin!(doing);
        loop {
            tokio::select! {
                done = &mut doing => return Ok(done),
                () = sleep(STEP) => self.step()?,
            }
        }
    }

    async fn take_part(&mut self, session: &mut Session, rejoin: &mut Rejoin) -> Result<Out> {
        let mut due = Instant::now() + STEP;
        loop {
            let event = match session.next(due).await {
                Ok(event) => event,
                Err(error) => return Ok(Out::Fell(error)),
            };
            let now = self.now();
            match event {
                Some(SessionEvent::Track(change)) => self.feed.handle_change(now, change),
                Some(SessionEvent::Packet { track, codec, header, payload }) => {
                    self.feed.handle_packet(now, &track, codec, &header, &payload);
                }
                Some(SessionEvent::Report { track, at, ntp, timestamp }) => {
                    self.feed.handle_report(Time::ZERO + (at - self.began), &track, ntp, timestamp);
                }
                Some(SessionEvent::Connected) => {
                    tracing::debug!("media flows");
                    rejoin.handle_connected(now);
                }
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
        let (recorded, bytes) = (self.began.elapsed(), self.file.length());
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

    async fn finish(&mut self) -> Result<Finished> {
        let finished = self.feed.finish(self.now());
        let written = self.write();
        let patched = self.file.finish(&finished).await;
        written.and(patched).map(|()| finished)
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
    fn what_can_be_checked_is_before_anything_is_touched() {
        let job = job("calls.example.org", nowhere("checked"));
        run(async { record(&job, sleep(Duration::ZERO), &watch::Sender::default()).await }).unwrap_err();
        assert!(!job.output.exists());
        job.check().unwrap_err();
    }
}
