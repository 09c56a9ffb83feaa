//! Every recording a server knows of, and what may become of it next. Nothing here asks a clock or a socket.

use std::collections::VecDeque;
use std::time::Duration;

use super::{By, Refused, Wish};

/// Recordings at once.
const MAX_RUNNING: usize = 20;
/// Recordings that are remembered after their end.
const MAX_ENDED: usize = 1000;
/// The host is told so long before a recording reaches its limit.
const REMINDER: Duration = Duration::from_mins(10);

/// A recording, from the wish for it to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// `EG_…`, under which its recorder is in the call.
    pub id: String,
    pub room_id: String,
    pub wish: Wish,
    /// Below the folder of recordings.
    pub file: String,
    pub state: State,
    /// Since the Unix epoch.
    pub started_at: Duration,
    pub updated_at: Duration,
    pub ended_at: Option<Duration>,
    /// Length of the file so far.
    pub recorded: Duration,
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// A recorder is on its way into the call.
    Starting,
    Active,
    /// It was told to end.
    Ending,
    Ended(Ended),
}

/// How a recording ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// With the call, or when somebody said so.
    Complete,
    /// It became as long as it may.
    LimitReached,
    /// It was told to end before it had begun: there is no file.
    Aborted,
    Failed(String),
}

/// Which recordings are listed: those all of this is true of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub call: Option<String>,
    pub id: Option<String>,
    pub running_only: bool,
}

/// A recording that will reach its limit soon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reminder {
    pub id: String,
    pub call: String,
    pub left: Duration,
}

/// All recordings, in the order in which they were started.
#[derive(Debug)]
pub struct Book {
    recordings: VecDeque<Recording>,
    limit: Duration,
    reminded: Vec<String>,
}

impl Recording {
    pub const fn is_running(&self) -> bool {
        !matches!(self.state, State::Ended(_))
    }

    /// Whether it starts or goes on, and was not told to end.
    pub const fn is_wanted(&self) -> bool {
        matches!(self.state, State::Starting | State::Active)
    }
}

impl Book {
    /// No recording is longer than `limit`.
    pub fn new(limit: Duration) -> Self {
        Self { recordings: VecDeque::new(), limit, reminded: Vec::new() }
    }

    /// Whether a wish can be fulfilled now.
    ///
    /// # Errors
    /// If too many are recorded, or a host's call is by its host already.
    pub fn check(&self, wish: &Wish) -> Result<(), Refused> {
        if matches!(wish.by, By::Host(_)) && self.of_host(&wish.call).is_some() {
            return Err(Refused::AlreadyRecorded);
        }
        if self.running().count() >= MAX_RUNNING {
            return Err(Refused::Busy);
        }
        Ok(())
    }

    /// Takes in a recording that begins.
    pub fn begin(&mut self, recording: Recording) {
        let n_ended = self.recordings.len() - self.running().count();
        if n_ended > MAX_ENDED
            && let Some(oldest) = self.recordings.iter().position(|recording| !recording.is_running())
        {
            self.recordings.remove(oldest);
        }
        self.recordings.push_back(recording);
    }

    /// Notes that a recording is to end.
    ///
    /// # Errors
    /// If there is none of that id, or it has ended.
    pub fn stop(&mut self, id: &str, now: Duration) -> Result<&Recording, Refused> {
        let recording = self.get_mut(id).ok_or(Refused::NotFound)?;
        if !recording.is_running() {
            return Err(Refused::HasEnded);
        }
        recording.state = State::Ending;
        recording.updated_at = now;
        Ok(recording)
    }

    /// The recorder is so far. Returns the recording if that is how it has begun.
    pub fn progress(&mut self, id: &str, recorded: Duration, bytes: u64, now: Duration) -> Option<&Recording> {
        let recording = self.get_mut(id).filter(|recording| recording.is_running())?;
        (recording.recorded, recording.bytes, recording.updated_at) = (recorded, bytes, now);
        let has_begun = recording.state == State::Starting;
        if has_begun {
            recording.state = State::Active;
        }
        has_begun.then_some(&*recording)
    }

    /// The recorder has ended. Returns the recording, once.
    pub fn end(&mut self, id: &str, ended: Ended, now: Duration) -> Option<&Recording> {
        self.reminded.retain(|reminded| reminded != id);
        let recording = self.get_mut(id).filter(|recording| recording.is_running())?;
        recording.state = State::Ended(ended);
        (recording.updated_at, recording.ended_at) = (now, Some(now));
        Some(recording)
    }

    /// The recording that the host of a call started and that has not been told to end.
    pub fn of_host(&self, call: &str) -> Option<&Recording> {
        let mut of_call = self.running().filter(|recording| recording.wish.call == call && recording.is_wanted());
        of_call.find(|recording| matches!(recording.wish.by, By::Host(_)))
    }

    pub fn list(&self, filter: &Filter) -> Vec<Recording> {
        let Filter { call, id, running_only } = filter;
        let is_meant = |recording: &&Recording| {
            call.as_ref().is_none_or(|call| *call == recording.wish.call)
                && id.as_ref().is_none_or(|id| *id == recording.id)
                && (!running_only || recording.is_running())
        };
        self.recordings.iter().filter(is_meant).cloned().collect()
    }

    /// The recordings whose end is near, each once. A limit that is reached that soon anyway is known to who set it.
    pub fn take_reminders(&mut self) -> Vec<Reminder> {
        let Self { recordings, limit, reminded } = self;
        let mut due = Vec::new();
        for recording in recordings.iter().filter(|recording| recording.state == State::Active) {
            let left = limit.saturating_sub(recording.recorded);
            if *limit > REMINDER && left <= REMINDER && !reminded.contains(&recording.id) {
                reminded.push(recording.id.clone());
                due.push(Reminder { id: recording.id.clone(), call: recording.wish.call.clone(), left });
            }
        }
        due
    }

    fn running(&self) -> impl Iterator<Item = &Recording> {
        self.recordings.iter().filter(|recording| recording.is_running())
    }

    fn get_mut(&mut self, id: &str) -> Option<&mut Recording> {
        self.recordings.iter_mut().find(|recording| recording.id == id)
    }
}

#[cfg(test)]
mod tests {
    use sfu_core::call::Identity;

    use super::super::FileName;
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn wish(call: &str, by: By) -> Wish {
        Wish { call: call.into(), by, audio_only: false, name: FileName::default() }
    }

    fn host() -> By {
        By::Host(Identity("Ana".into()))
    }

    fn begin(book: &mut Book, id: &str, wish: Wish) {
        book.check(&wish).unwrap();
        book.begin(Recording {
            id: id.into(),
            room_id: "RM_1".into(),
            wish,
            file: format!("{id}.webm"),
            state: State::Starting,
            started_at: at(0),
            updated_at: at(0),
            ended_at: None,
            recorded: Duration::ZERO,
            bytes: 0,
        });
    }

    fn states(book: &Book) -> Vec<State> {
        book.list(&Filter::default()).into_iter().map(|recording| recording.state).collect()
    }

    #[test]
    fn a_recording_begins_goes_on_and_ends_once() {
        let mut book = Book::new(HOUR);
        begin(&mut book, "EG_1", wish("standup", host()));
        assert!(book.progress("EG_1", at(1), 100, at(11)).is_some(), "it has begun");
        assert!(book.progress("EG_1", at(2), 200, at(12)).is_none(), "it goes on");
        book.stop("EG_1", at(13)).unwrap();
        assert_eq!(states(&book), [State::Ending]);
        assert!(book.progress("EG_1", at(3), 300, at(13)).is_none());
        assert_eq!(states(&book), [State::Ending]);
        let ended = book.end("EG_1", Ended::Complete, at(14)).unwrap();
        assert_eq!((ended.ended_at, ended.recorded, ended.bytes), (Some(at(14)), at(3), 300));
        assert!(book.end("EG_1", Ended::Failed("again".into()), at(15)).is_none());
        assert_eq!(states(&book), [State::Ended(Ended::Complete)]);
        assert_eq!(book.stop("EG_1", at(16)), Err(Refused::HasEnded));
        assert_eq!(book.stop("EG_2", at(16)), Err(Refused::NotFound));
    }

    #[test]
    fn a_host_records_a_call_once_and_anew_as_soon_as_that_was_told_to_end() {
        let mut book = Book::new(HOUR);
        begin(&mut book, "EG_1", wish("standup", host()));
        assert_eq!(book.check(&wish("standup", host())), Err(Refused::AlreadyRecorded));
        begin(&mut book, "EG_2", wish("standup", By::Api(Box::default())));
        begin(&mut book, "EG_3", wish("retro", host()));
        assert_eq!(book.of_host("standup").unwrap().id, "EG_1");
        book.stop("EG_1", at(1)).unwrap();
        assert_eq!(book.of_host("standup"), None, "what others started is not the host's");
        begin(&mut book, "EG_4", wish("standup", host()));
    }

    #[test]
    fn so_many_run_at_once_and_so_many_are_remembered() {
        let mut book = Book::new(HOUR);
        for number in 0..3 * MAX_ENDED {
            let id = format!("EG_{number}");
            begin(&mut book, &id, wish("standup", By::Api(Box::default())));
            book.end(&id, Ended::Complete, at(1));
        }
        assert!((MAX_ENDED..MAX_ENDED + 2).contains(&book.list(&Filter::default()).len()));
        for number in 0..MAX_RUNNING {
            begin(&mut book, &format!("running-{number}"), wish("standup", By::Api(Box::default())));
        }
        assert_eq!(book.check(&wish("standup", By::Api(Box::default()))), Err(Refused::Busy));
        let running = Filter { running_only: true, ..Filter::default() };
        assert_eq!(book.list(&running).len(), MAX_RUNNING, "who runs is never forgotten");
        book.end("running-3", Ended::LimitReached, at(2));
        assert_eq!(book.check(&wish("standup", By::Api(Box::default()))), Ok(()));
    }

    #[test]
    fn recordings_are_found_by_call_and_by_id() {
        let mut book = Book::new(HOUR);
        begin(&mut book, "EG_1", wish("standup", host()));
        begin(&mut book, "EG_2", wish("retro", host()));
        let of = |filter: Filter| -> Vec<String> { book.list(&filter).into_iter().map(|found| found.id).collect() };
        assert_eq!(of(Filter { call: Some("retro".into()), ..Filter::default() }), ["EG_2"]);
        assert_eq!(of(Filter { id: Some("EG_1".into()), ..Filter::default() }), ["EG_1"]);
        assert_eq!(of(Filter { id: Some("EG_1".into()), call: Some("retro".into()), ..Filter::default() }).len(), 0);
    }

    #[test]
    fn an_end_that_comes_near_is_told_once() {
        let mut book = Book::new(HOUR);
        begin(&mut book, "EG_1", wish("standup", host()));
        let mut after = |minutes: u64| -> Vec<Duration> {
            book.progress("EG_1", Duration::from_mins(minutes), 0, at(0));
            book.take_reminders().into_iter().map(|reminder| reminder.left).collect()
        };
        assert_eq!(after(49), Vec::<Duration>::new());
        assert_eq!(after(50), [Duration::from_mins(10)]);
        assert_eq!(after(51), Vec::<Duration>::new());
        let mut short = Book::new(Duration::from_mins(5));
        begin(&mut short, "EG_1", wish("standup", host()));
        short.progress("EG_1", at(1), 0, at(1));
        assert_eq!(short.take_reminders(), Vec::new());
    }
}
