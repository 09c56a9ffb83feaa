//! Telling what is being done and how long it took: spinners on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, stderr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// How often a spinner turns.
const TICK: Duration = Duration::from_millis(100);

/// Where steps are told. Several may run side by side, each on its own thread.
#[derive(Debug)]
pub struct Progress {
    /// `None`: nobody watches, so that lines are written when a step starts and ends.
    spinners: Option<MultiProgress>,
    is_quiet: bool,
}

/// One step being done.
#[derive(Debug)]
pub struct Step {
    spinner: Option<ProgressBar>,
    what: String,
    note: Mutex<String>,
}

impl Progress {
    /// Tells on the standard error stream.
    pub fn new() -> Self {
        Self { spinners: stderr().is_terminal().then(MultiProgress::new), is_quiet: false }
    }

    /// Tells nothing.
    pub fn quiet() -> Self {
        Self { spinners: None, is_quiet: true }
    }

    /// Does one step and tells what it is, how long it took and whether it failed.
    ///
    /// # Errors
    /// Those of the step, with what it was about in front.
    pub fn step<T>(&self, what: &str, work: impl FnOnce(&Step) -> Result<T>) -> Result<T> {
        let step = Step { spinner: self.start(what), what: what.to_owned(), note: Mutex::default() };
        let started = Instant::now();
        let result = work(&step);
        let line = finished_line(what, &step.note(), started.elapsed(), result.is_ok());
        if let (Some(spinners), Some(spinner)) = (&self.spinners, &step.spinner) {
            spinner.finish_and_clear();
            spinners.remove(spinner);
        }
        self.say(&line);
        result.with_context(|| format!("{what}: failed"))
    }

    /// Writes a line between the steps.
    pub fn say(&self, line: &str) {
        match &self.spinners {
            Some(spinners) => spinners.suspend(|| eprintln!("{line}")),
            None if self.is_quiet => {}
            None => eprintln!("{line}"),
        }
    }

    fn start(&self, what: &str) -> Option<ProgressBar> {
        let Some(spinners) = &self.spinners else {
            self.say(&format!("       ...  {what}"));
            return None;
        };
        let spinner = spinners.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{elapsed:>8} {spinner}  {wide_msg}") {
            spinner.set_style(style);
        }
        spinner.set_message(what.to_owned());
        spinner.enable_steady_tick(TICK);
        Some(spinner)
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Step {
    /// Tells what the step is at; shown while it lasts.
    pub fn at(&self, detail: &str) {
        if let Some(spinner) = &self.spinner {
            spinner.set_message(format!("{}: {detail}", self.what));
        }
    }

    /// Says in a few words what came of it; shown when it is over.
    pub fn result(&self, note: impl Into<String>) {
        *self.note.lock().unwrap_or_else(PoisonError::into_inner) = note.into();
    }

    fn note(&self) -> String {
        self.note.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A duration as people read it: tenths of seconds below a minute, then minutes and seconds.
pub fn readable(duration: Duration) -> String {
    if duration < Duration::from_mins(1) {
        return format!("{:.1} s", duration.as_secs_f64());
    }
    let seconds = duration.as_secs();
    format!("{}m {:02}s", seconds / 60, seconds % 60)
}

fn finished_line(what: &str, note: &str, took: Duration, done: bool) -> String {
    let mark = if done { "ok" } else { "FAILED" };
    let note = if note.is_empty() { String::new() } else { format!(" ({note})") };
    format!("{:>8} {mark}  {what}{note}", readable(took))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_readable() {
        assert_eq!(readable(Duration::from_millis(1240)), "1.2 s");
        assert_eq!(readable(Duration::from_secs(61)), "1m 01s");
        assert_eq!(readable(Duration::from_hours(1)), "60m 00s");
    }

    #[test]
    fn a_finished_step_says_what_came_of_it() {
        let line = finished_line("Building images", "3 images", Duration::from_secs(2), true);
        assert_eq!(line, "   2.0 s ok  Building images (3 images)");
    }

    #[test]
    fn a_failed_step_names_itself_in_the_error() {
        let progress = Progress { spinners: None, is_quiet: false };
        let error =
            progress.step("Starting etcd", |_| -> Result<()> { anyhow::bail!("port taken") }).expect_err("fails");
        assert_eq!(format!("{error:#}"), "Starting etcd: failed: port taken");
    }
}
