//! Recordings of calls: what is wanted, who makes it, what became of it.
//!
//! The control thread keeps the [`Book`], because it knows calls, hosts and recorders. Wishes come from the page (the
//! host's) and from LiveKit's Egress API; [`Work`] goes to whoever records: in development a task of this process
//! ([`in_process`]). A server that nobody records for refuses wishes.

mod book;
pub mod in_process;
mod wish;

use std::time::Duration;

use sfu_core::call::Identity;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

pub use self::book::{Book, Ended, Filter, Recording, Reminder, State};
pub use self::wish::{By, FileName, NameProblem, Wish};

/// One recording that a recorder is to make.
#[derive(Debug)]
pub struct Work {
    pub id: String,
    pub call: String,
    /// Below the recorder's own folder.
    pub file: String,
    pub audio_only: bool,
    pub limit: Duration,
    /// Ready when the recording is to end.
    pub stop: oneshot::Receiver<()>,
}

/// Who makes recordings for this server.
#[derive(Debug, Clone)]
pub struct Recorders {
    pub work: mpsc::Sender<Work>,
    /// Longest recording.
    pub limit: Duration,
}

/// What is asked of recordings.
#[derive(Debug)]
pub enum Ask {
    Start {
        wish: Wish,
        reply: oneshot::Sender<Result<Recording, Refused>>,
    },
    Stop {
        which: Which,
        reply: oneshot::Sender<Result<Recording, Refused>>,
    },
    List {
        filter: Filter,
        reply: oneshot::Sender<Vec<Recording>>,
    },
    /// The recorder is so far.
    Progress {
        id: String,
        recorded: Duration,
        bytes: u64,
    },
    /// The recorder has ended.
    Ended {
        id: String,
        ended: Ended,
    },
}

/// One recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    Id(String),
    /// The one a call's host started.
    OfHost {
        call: String,
        host: Identity,
    },
}

/// Why a recording is not started, or not stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refused {
    #[error("this server has no recorders")]
    NoRecorders,
    #[error("all recorders are busy: stop another recording, or wait for its end")]
    Busy,
    #[error("the call does not run here, or nobody is in it")]
    NoCall,
    #[error("only the call's host may do that")]
    NotHost,
    #[error("the call is being recorded already")]
    AlreadyRecorded,
    #[error("there is no such recording")]
    NotFound,
    #[error("the recording has ended already")]
    HasEnded,
    #[error("the server is ending")]
    Ending,
}
