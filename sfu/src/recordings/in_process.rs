//! Recorders in the server's own process, for development. Each joins over the wire, as everybody does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use calls_recorder::{ApiKey, End, Job, Progress, record};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Ask, Ended, Work};
use crate::control::ControlHandle;
use crate::keys::Keys;

/// Recordings that wait for their recorder to begin.
pub const WORK: usize = 64;
/// For files to be finished when the server ends.
const FINISH_LIMIT: Duration = Duration::from_secs(10);

/// What all recorders have in common.
#[derive(Debug, Clone)]
pub struct InProcess {
    /// Where files go.
    pub folder: PathBuf,
    /// This server, as `ws://ADDRESS:PORT`.
    pub url: String,
    pub keys: Keys,
    pub control: ControlHandle,
}

impl InProcess {
    /// Records until `end` is ready, and then finishes every file.
    pub async fn run(self, mut work: mpsc::Receiver<Work>, mut end: oneshot::Receiver<()>) {
        let (ending, is_ending) = watch::channel(());
        let mut recorders = JoinSet::new();
        loop {
            tokio::select! {
                _ = &mut end => break,
                Some(work) = work.recv() => {
                    recorders.spawn(self.clone().attend(work, is_ending.clone()));
                }
                Some(_) = recorders.join_next() => (),
            }
        }
        drop(ending);
        if timeout(FINISH_LIMIT, recorders.join_all()).await.is_err() {
            tracing::warn!("not every recording could be finished");
        }
    }

    /// Has one recording made, and tells how it goes.
    async fn attend(self, work: Work, is_ending: watch::Receiver<()>) {
        let (id, control) = (work.id.clone(), self.control.clone());
        // In a task of its own: a recorder that panics has ended too.
        let ended = match tokio::spawn(self.record(work, is_ending)).await {
            Ok(Ok(ended)) => ended,
            Ok(Err(error)) => Ended::Failed(format!("{error:#}")),
            Err(_) => Ended::Failed("the recorder itself failed".into()),
        };
        control.recorder_tells(Ask::Ended { id, ended }).await;
    }

    async fn record(self, work: Work, mut is_ending: watch::Receiver<()>) -> Result<Ended> {
        let Work { id, call, file, audio_only, limit, stop } = work;
        let output = self.folder.join(file);
        let folder = output.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let (key, secret) = self.keys.signing().context("the server has no API key to sign with")?;
        let key = ApiKey { key, secret: String::from_utf8_lossy(secret.as_bytes()).into_owned() };
        let job = Job { url: self.url, key, call, identity: id.clone(), output, audio_only, limit };
        let stop = async move {
            tokio::select! {
                _ = stop => (),
                _ = is_ending.changed() => (),
            }
        };
        let (progress, mut told) = watch::channel(Progress::default());
        let recording = async move { record(&job, stop, &progress).await };
        let telling = async {
            while told.changed().await.is_ok() {
                let Progress { recorded, bytes } = *told.borrow_and_update();
                if let Some(recorded) = recorded {
                    self.control.recorder_tells(Ask::Progress { id: id.clone(), recorded, bytes }).await;
                }
            }
        };
        let (recorded, ()) = tokio::join!(recording, telling);
        let recorded = recorded?;
        let whole = Ask::Progress { id: id.clone(), recorded: recorded.duration, bytes: recorded.bytes };
        self.control.recorder_tells(whole).await;
        Ok(match recorded.end {
            End::Told if recorded.bytes == 0 => Ended::Aborted,
            End::Limit => Ended::LimitReached,
            End::Call | End::Told => Ended::Complete,
        })
    }
}
