//! All scenarios, all servers, all repeats, one after the other: what disturbs the machine for a while disturbs all.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::join::Entrance;
use super::livekit::{self, LiveKit};
use super::measure::{Measured, Options, measure, measure_bare};
use super::scenario::{Fill, Scenario};
use super::table::Results;
use crate::process;
use crate::server::{Ports, Server};
use calls_client::signal::ApiKey;

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Load {
    /// Our server's program.
    pub program: PathBuf,
    pub ports: Ports,
    /// The peer's program and ports, if it is to be measured.
    pub peer: Option<(PathBuf, Ports)>,
    pub scenarios: Vec<Scenario>,
    pub repeats: usize,
    pub options: Options,
}

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Ours,
    Peer,
    Bare,
}

impl Load {
    /// Runs everything, telling on the standard error stream how far it is.
    ///
    /// # Errors
    /// At the first measurement that fails, with which it was.
    pub async fn run(&self) -> Result<Vec<Results>> {
        process::open_many_files();
        let began = Instant::now();
        let mut all: Vec<Results> = self.scenarios.iter().map(|scenario| self.nothing_yet(*scenario)).collect();
        for repeat in 1..=self.repeats {
            for results in &mut all {
                let scenario = results.scenario;
                for subject in self.subjects(&scenario, repeat) {
                    let what = format!("{}, repeat {repeat} of {}, {}", scenario.name, self.repeats, subject.name());
                    eprintln!("[{}] {what} …", minutes(began.elapsed()));
                    let measured = self.one(&scenario, subject).await.with_context(|| what.clone())?;
                    eprintln!("[{}] {what}: {}", minutes(began.elapsed()), short_account(&measured));
                    match (subject, &mut results.peer) {
                        (Subject::Ours, _) => results.ours.push(measured),
                        (Subject::Bare, _) => results.bare.push(measured),
                        (Subject::Peer, Some((_, repeats))) => repeats.push(measured),
                        (Subject::Peer, None) => (),
                    }
                }
            }
        }
        Ok(all)
    }

    fn nothing_yet(&self, scenario: Scenario) -> Results {
        let peer = self.peer.as_ref().map(|_| (Subject::Peer.name(), Vec::new()));
        Results { scenario, ours: Vec::new(), peer, bare: Vec::new() }
    }

    /// In turns, so that nobody is always first. There is no limit of sending nothing, nor of what nobody knows before.
    fn subjects(&self, scenario: &Scenario, repeat: usize) -> Vec<Subject> {
        let mut subjects = vec![Subject::Ours];
        subjects.extend(self.peer.as_ref().map(|_| Subject::Peer));
        subjects.extend((!scenario.is_idle() && scenario.fill.is_none()).then_some(Subject::Bare));
        if repeat.is_multiple_of(2) {
            subjects.reverse();
        }
        subjects
    }

    /// A fresh server each time: what it remembers of earlier calls is not measured.
    async fn one(&self, scenario: &Scenario, subject: Subject) -> Result<Measured> {
        let options = |busy: fn(&Fill) -> f64| Options { busy: scenario.fill.as_ref().map(busy), ..self.options };
        match (subject, &self.peer) {
            (Subject::Bare, _) => measure_bare(scenario, self.options).await,
            (Subject::Peer, Some((program, ports))) => {
                let server = LiveKit::start(program, *ports)?;
                let entrance = Entrance { url: server.url(), key: LiveKit::key() };
                measure(scenario, server.pid(), &entrance, options(|fill| fill.peer)).await
            }
            _ => {
                // What fills one media thread is to be known by the process' CPU.
                let args: &[&str] = if scenario.fill.is_some() { &["--workers", "1"] } else { &[] };
                let server = Server::launch(&self.program, self.ports, args, "info", Stdio::null())?;
                let entrance = Entrance { url: server.url(), key: ApiKey::development() };
                measure(scenario, server.pid(), &entrance, options(|fill| fill.ours)).await
            }
        }
    }
}

impl Subject {
    const fn name(self) -> &'static str {
        match self {
            Self::Ours => "calls",
            Self::Peer => "livekit",
            Self::Bare => "bare send",
        }
    }
}

/// The peer's program, built if need be.
pub fn peer(ports: Ports) -> Result<(PathBuf, Ports)> {
    Ok((livekit::build(&livekit::cache()?)?, ports))
}

/// What is measured besides: for the head of the report.
pub fn head(program: &Path, load: &Load) -> String {
    let peer = if load.peer.is_some() { format!(", LiveKit {}", livekit::VERSION) } else { String::new() };
    format!(
        "{}{peer}; {} repeats of {} s, medians with half the range; loopback, one generator thread",
        program.display(),
        load.repeats,
        load.options.window.as_secs_f64()
    )
}

fn short_account(measured: &Measured) -> String {
    let share = measured.cpu.as_secs_f64() / measured.took.as_secs_f64() * 100.0;
    let joins = measured.join_cpu.as_secs_f64() * 1e3 / measured.sessions.max(1) as f64;
    if measured.n_expected == 0 {
        return format!("{} sessions, {share:.2} % of a core, {joins:.2} ms a join", measured.sessions);
    }
    let each = measured.cpu.as_secs_f64() * 1e6 / measured.n_delivered.max(1) as f64;
    format!("{} of {} packets, {each:.2} us each, {share:.1} % of a core", measured.n_delivered, measured.n_expected)
}

fn minutes(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(peer: bool) -> Load {
        let ports = Ports { http: 1, udp: 2, tcp: 3 };
        Load {
            program: "calls-sfu".into(),
            ports,
            peer: peer.then(|| ("livekit-server".into(), ports)),
            scenarios: vec![],
            repeats: 3,
            options: Options { window: Duration::from_secs(10), opens_one_of: 10, busy: None },
        }
    }

    #[test]
    fn repeats_take_turns_and_the_idle_have_no_limit() {
        use Subject::{Bare, Ours, Peer};
        let (a, idle) = (Scenario::named("A").unwrap(), Scenario::named("E1").unwrap());
        assert_eq!(load(true).subjects(&a, 1), [Ours, Peer, Bare]);
        assert_eq!(load(true).subjects(&a, 2), [Bare, Peer, Ours]);
        assert_eq!(load(true).subjects(&idle, 1), [Ours, Peer]);
        assert_eq!(load(false).subjects(&a, 3), [Ours, Bare]);
        assert_eq!(load(true).subjects(&Scenario::named("G").unwrap(), 1), [Ours, Peer]);
    }

    #[test]
    fn the_head_says_what_was_compared() {
        let load = load(true);
        assert_eq!(
            head(&load.program, &load),
            "calls-sfu, LiveKit 1.11.0; 3 repeats of 10 s, medians with half the range; loopback, one generator thread"
        );
    }
}
