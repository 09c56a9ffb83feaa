//! A crowd of cheap clients in calls of the cluster: `calls-bench crowd`, which comes back by itself when it falls out
//! and tells once a second how its calls are.

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail, ensure};
use serde::Deserialize;

use crate::cluster::layout::CONTROL_PLANE;
use crate::cluster::process::wait_for;

/// The program, which Cargo puts beside this one.
const PROGRAM: &str = "calls-bench";

/// What happened shows in the reports after this time: their pace, and how lately one must have been heard.
const NOTICED: Duration = Duration::from_secs(4);

/// For all to say that they leave; the program gives up earlier.
const LEAVE_LIMIT: Duration = Duration::from_secs(10);

/// Who is to come.
#[derive(Clone, Copy, Debug)]
pub struct CrowdSize {
    pub calls: u32,
    /// People in each call.
    pub people: u32,
    /// How long the first of each call stays before leaving and coming back, each next that much longer; `None`: all stay.
    pub stay: Option<Duration>,
}

/// How a crowd is, as the program says it. One of another version may say something else, and is not understood by half.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Calls in which each heard each other within the last two seconds.
    pub whole: u32,
    /// People whose media is connected.
    pub connected: u32,
    /// Times somebody got in so far.
    pub joins: u32,
    /// Times somebody fell out so far.
    pub lost: u32,
    /// Frames of another call that were heard so far.
    pub strangers: u32,
    /// How long the call is not whole that has not been for the longest time, in milliseconds.
    pub broken_ms: u64,
    /// Longest time between two frames that somebody heard of somebody since [`Crowd::forget_silence`], falling out and
    /// coming back included, in milliseconds.
    pub silence_ms: u64,
    /// What is wrong, in words.
    pub trouble: Vec<String>,
}

/// The newest report; or, for good, what the crowd said that is none.
type Latest = Result<Report, String>;

/// A running crowd. It leaves when it is dropped.
#[derive(Debug)]
pub struct Crowd {
    child: Child,
    size: CrowdSize,
    latest: Arc<Mutex<Latest>>,
}

impl Crowd {
    /// Lets a crowd come to calls called `name` and a number, through the page at `page`, with an API key as KEY:SECRET.
    pub fn come(page: &str, key: &str, name: &str, size: CrowdSize) -> Result<Self> {
        let program = std::env::current_exe()?.with_file_name(PROGRAM);
        let mut command = Command::new(&program);
        command.args(["crowd", "--url", &page.replacen("http", "ws", 1), "--from", &CONTROL_PLANE.to_string()]);
        command.args(["--name", name, "--calls", &size.calls.to_string(), "--people", &size.people.to_string()]);
        if let Some(stay) = size.stay {
            command.args(["--stay", &stay.as_secs().to_string()]);
        }
        // In the environment, because others see a process' arguments.
        command.env("CALLS_KEY", key).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("failed to start {}", program.display()))?;
        let output = child.stdout.take().context("the crowd has no standard output")?;
        let latest = Arc::new(Mutex::new(Latest::Ok(Report::default())));
        let kept = Arc::clone(&latest);
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(std::io::Result::ok) {
                take_in(&mut kept.lock().unwrap_or_else(PoisonError::into_inner), &line);
            }
        });
        Ok(Self { child, size, latest })
    }

    /// How it was at most a second ago.
    ///
    /// # Errors
    /// When it has said what is no report.
    pub fn report(&self) -> Result<Report> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone().map_err(Error::msg)
    }

    /// Waits until every call is whole and all are in, looking only once what happened before shows; returns how long it
    /// took from now.
    ///
    /// # Errors
    /// When it is not so within the limit, or somebody heard another call.
    pub fn wait_whole(&self, limit: Duration) -> Result<Duration> {
        let began = Instant::now();
        let is_whole = || {
            // Nothing to wait for: what is wrong is said below.
            let Ok(report) = self.report() else { return true };
            began.elapsed() >= NOTICED && report.whole == self.size.calls && report.connected == self.people()
        };
        let became = wait_for(limit, is_whole);
        let report = self.report()?;
        ensure!(report.strangers == 0, "frames of another call were heard: {report:?}");
        if !became {
            bail!("{} of {} calls are whole after {limit:?}: {report:?}", report.whole, self.size.calls);
        }
        Ok(began.elapsed())
    }

    /// Has silences counted anew.
    pub fn forget_silence(&mut self) -> Result<()> {
        let input = self.child.stdin.as_mut().context("the crowd has no standard input")?;
        writeln!(input).context("the crowd is gone")
    }

    /// How many people it has.
    pub fn people(&self) -> u32 {
        self.size.calls * self.size.people
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if !wait_for(LEAVE_LIMIT, || matches!(self.child.try_wait(), Ok(Some(_)))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Takes in a line of the program. What is no report stays, so that whoever asks later learns of it.
fn take_in(latest: &mut Latest, line: &str) {
    if latest.is_ok() {
        *latest = serde_json::from_str(line).map_err(|error| format!("the crowd said {line:?}: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_report_is_not_forgotten() {
        let line =
            r#"{"whole":1,"connected":2,"joins":2,"lost":0,"strangers":0,"broken_ms":0,"silence_ms":0,"trouble":[]}"#;
        let mut latest = Ok(Report::default());
        take_in(&mut latest, line);
        let report = Report { whole: 1, connected: 2, joins: 2, ..Report::default() };
        assert_eq!(latest, Ok(report));
        take_in(&mut latest, &line.replace("lost", "gone"));
        take_in(&mut latest, line);
        let said = latest.expect_err("kept");
        assert!(said.contains("unknown field `gone`"), "{said}");
    }
}
