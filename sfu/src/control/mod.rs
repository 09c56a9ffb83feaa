//! The control thread: owns calls, sessions, descriptions, DTLS and data channels. Media never passes through it.
//!
//! In: [`Request`]s of websockets and the fleet API, [`WorkerEvent`]s, the clock. Out: commands to workers, messages
//! to websockets, [`crate::fleet_api::RunningCalls`] and the status. One thread, because a call wants one owner and
//! `dcsctp` is not `Send`; all of its queues are bounded.

mod context;
mod drain;
mod live_call;
mod registry;
mod relays;
mod run;
mod spread;
pub mod status;
mod throttle;
mod timers;
mod transport;

use std::time::Duration;

use fleet::api::REFUSED_DRAINING;
use livekit_protocol::signal_request::Message as SignalMessage;
use sfu_core::call::ParticipantId;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

pub use context::{Context, Media};
pub use run::{Parts, start};
pub use transport::{DATA_TRACK, Delivery, LOSSY, News, RELIABLE, Transport};

use crate::fleet_api::Asked;
use crate::livekit::join::Join;
use crate::livekit::session::Responses;
use crate::recordings::{Ask, Filter, Recording, Refused, Which, Wish};

/// Requests that may wait for the control thread; senders wait when it is full, so that a flood of one client's
/// messages slows that client's websocket and nobody's media.
const REQUESTS: usize = 1024;
/// Messages a websocket may be behind before its client is told to come again.
pub const RESPONSES: usize = 512;

/// One websocket's hold on a participant. A resume makes a new one, and what the old one still says is ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    pub participant: ParticipantId,
    pub epoch: u64,
}

/// A participant was let in; its websocket may open.
#[derive(Debug)]
pub struct Joined {
    pub attachment: Attachment,
    pub responses: Responses,
    pub outcome: JoinOutcome,
}

/// What became of a join that was not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinOutcome {
    /// Somebody came.
    Joined,
    /// Somebody came back to a stay that goes on.
    Resumed,
    /// Somebody wanted to come back to a stay that is over, and is told to come anew.
    ResumeRefused,
}

impl JoinOutcome {
    /// Name in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Joined => "ok",
            Self::Resumed => "resumed",
            Self::ResumeRefused => "resume_refused",
        }
    }
}

/// Why the SFU takes nobody in. Told as 503: another SFU, or this one later, may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum JoinRefused {
    #[error("this server takes no new calls; join again and another one will take the call")]
    Draining,
    #[error("this server has no address yet that it could give to clients; try again in a moment")]
    NoAddress,
    #[error("this server failed to set up the connection; try again")]
    Internal,
}

impl JoinRefused {
    /// Name in metrics and for the director.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Draining => REFUSED_DRAINING,
            Self::NoAddress => "no_address",
            Self::Internal => "internal",
        }
    }
}

/// What the control thread is asked.
#[derive(Debug)]
pub enum Request {
    Join {
        join: Box<Join>,
        reply: oneshot::Sender<Result<Joined, JoinRefused>>,
    },
    Signal {
        attachment: Attachment,
        message: Box<SignalMessage>,
    },
    /// A websocket ended, by whatever way.
    Detached {
        attachment: Attachment,
    },
    /// About recordings.
    Recordings(Box<Ask>),
    /// Leave, or stay after all.
    Asked(Asked),
    /// The process is to end within this time. Everybody is sent elsewhere at once, or, if calls are leaving one by one
    /// already, within it at their pace.
    Stop {
        within: Duration,
    },
}

/// The control thread as others see it.
#[derive(Debug, Clone)]
pub struct ControlHandle {
    requests: mpsc::Sender<Request>,
}

impl ControlHandle {
    pub async fn join(&self, join: Join) -> Result<Joined, JoinRefused> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Join { join: Box::new(join), reply };
        self.requests.send(request).await.map_err(|_| JoinRefused::Draining)?;
        answer.await.unwrap_or(Err(JoinRefused::Internal))
    }

    /// False when the control thread has ended.
    pub async fn signal(&self, attachment: Attachment, message: SignalMessage) -> bool {
        self.requests.send(Request::Signal { attachment, message: Box::new(message) }).await.is_ok()
    }

    pub async fn detached(&self, attachment: Attachment) {
        let _ = self.requests.send(Request::Detached { attachment }).await;
    }

    /// Starts a recording.
    pub async fn start_recording(&self, wish: Wish) -> Result<Recording, Refused> {
        self.recordings(|reply| Ask::Start { wish, reply }).await.unwrap_or(Err(Refused::Ending))
    }

    /// Has a recording end.
    pub async fn stop_recording(&self, which: Which) -> Result<Recording, Refused> {
        self.recordings(|reply| Ask::Stop { which, reply }).await.unwrap_or(Err(Refused::Ending))
    }

    pub async fn list_recordings(&self, filter: Filter) -> Vec<Recording> {
        self.recordings(|reply| Ask::List { filter, reply }).await.unwrap_or_default()
    }

    /// A recorder tells how it goes.
    pub async fn recorder_tells(&self, ask: Ask) {
        let _ = self.requests.send(Request::Recordings(Box::new(ask))).await;
    }

    /// `None` when the control thread has ended.
    async fn recordings<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Recordings(Box::new(ask(reply)))).await.ok()?;
        answer.await.ok()
    }

    /// Has the SFU leave, or stay after all; soon.
    pub fn ask(&self, asked: Asked) {
        self.order(Request::Asked(asked));
    }

    /// Has everybody sent elsewhere for good; harmless when repeated.
    pub fn stop(&self, within: Duration) {
        self.order(Request::Stop { within });
    }

    fn order(&self, request: Request) {
        let requests = self.requests.clone();
        tokio::spawn(async move { requests.send(request).await });
    }
}
