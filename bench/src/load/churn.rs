//! Whether memory stays level while people come and go: `calls-bench churn`.
//!
//! Some stay for the whole time; visitors come one after another at a steady pace, speak and hear for a while, and leave.
//! After the visitors of the first moments have left, as many come as go, so that whatever grows is a leak.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use sfu_core::transport::certificate::Certificate;
use sfu_core::transport::dtls::DtlsIdentity;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::join::{Entrance, Joined, Newcomer, join};
use super::livekit::LiveKit;
use super::scenario::Source;
use super::thread::{MediaThread, Talk};
use crate::process;
use crate::server::{Ports, Server};
use calls_client::signal::ApiKey;

/// Calls, and who stays in each: the first of them speak.
const CALLS: usize = 10;
const RESIDENTS: usize = 4;
const VOICES: usize = 2;
/// How long a visitor stays.
const STAY: Duration = Duration::from_secs(20);
/// Of the time, memory of the first part is not looked at: allocators and caches fill.
const WARM_UP_SHARE: f64 = 0.25;
/// Between two looks at memory.
const LOOK: Duration = Duration::from_secs(2);
/// Until a server has forgotten those who left last.
const REST: Duration = Duration::from_secs(5);

/// How much coming and going.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How long.
    pub lasting: Duration,
    /// Joins, and as many leaves, a minute.
    pub joins_a_minute: f64,
}

/// What it came to at one server.
#[derive(Debug, Clone, Default)]
pub struct Churned {
    pub n_joins: usize,
    /// Resident memory in bytes, and when that was.
    pub looks: Vec<(Duration, u64)>,
    /// Of the server, from the first visitor to the last.
    pub cpu: Duration,
    pub took: Duration,
}

/// Lets people come to and go from the server of process `pid`.
///
/// # Errors
/// If somebody cannot join or leave.
pub async fn churn(pid: u32, entrance: &Entrance, options: Options) -> Result<Churned> {
    let identity = DtlsIdentity::new(&Certificate::generate()?)?;
    let thread = Arc::new(MediaThread::start()?);
    let mut residents = Vec::with_capacity(CALLS * RESIDENTS);
    for number in 0..CALLS * RESIDENTS {
        let speaks = number / CALLS < VOICES;
        residents.push(join(entrance, &newcomer(number, speaks), &identity, &thread).await?);
    }
    thread.talk(Talk::Speaking)?;
    let mut churned = Churned::default();
    let (began, cpu) = (Instant::now(), process::cpu(pid)?);
    let mut visitors: VecDeque<(Instant, Joined)> = VecDeque::new();
    let mut pace = interval(Duration::from_secs_f64(60.0 / options.joins_a_minute));
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut look = interval(LOOK);
    while began.elapsed() < options.lasting {
        tokio::select! {
            _ = look.tick() => churned.looks.push((began.elapsed(), process::memory(pid)?)),
            _ = pace.tick() => {
                while visitors.front().is_some_and(|(came, _)| came.elapsed() >= STAY) {
                    let Some((_, visitor)) = visitors.pop_front() else { break };
                    visitor.leave().await.context("a visitor could not leave")?;
                }
                let visitor = newcomer(CALLS * RESIDENTS + churned.n_joins, true);
                visitors.push_back((Instant::now(), join(entrance, &visitor, &identity, &thread).await?));
                churned.n_joins += 1;
            }
        }
    }
    (churned.cpu, churned.took) = (process::cpu(pid)?.saturating_sub(cpu), began.elapsed());
    for resident in &mut residents {
        if let Some(error) = resident.ended().await {
            return Err(error.context("somebody who stays was sent away"));
        }
    }
    for (_, visitor) in visitors {
        visitor.leave().await.context("a visitor could not leave")?;
    }
    sleep(REST).await;
    Ok(churned)
}

/// Lets people come and go at our server and then, if there is one, at the peer's.
///
/// # Errors
/// As [`churn`], with whose server it was.
pub async fn run(program: &Path, ports: Ports, peer: Option<(PathBuf, Ports)>, options: Options) -> Result<String> {
    process::open_many_files();
    let mut all = Vec::new();
    let minutes = options.lasting.as_secs_f64() / 60.0;
    eprintln!("people come and go at ours for {minutes:.1} minutes …");
    let server = Server::launch(program, ports, &[], "info", Stdio::null())?;
    let entrance = Entrance { url: server.url(), key: ApiKey::development() };
    all.push(("calls", churn(server.pid(), &entrance, options).await.context("calls")?));
    drop(server);
    if let Some((program, ports)) = peer {
        eprintln!("people come and go at LiveKit's for {minutes:.1} minutes …");
        let server = LiveKit::start(&program, ports)?;
        let entrance = Entrance { url: server.url(), key: LiveKit::key() };
        all.push(("livekit", churn(server.pid(), &entrance, options).await.context("livekit")?));
    }
    Ok(table(&all, options))
}

/// Number by number into one call after the other.
fn newcomer(number: usize, speaks: bool) -> Newcomer {
    Newcomer {
        room: format!("churn-{}", number % CALLS),
        identity: format!("person-{number}"),
        number: number as u32,
        publishes: speaks.then_some(Source::Voice),
        hears: 0,
        opens: false,
    }
}

impl Churned {
    /// Looks after the warm-up: seconds and bytes.
    fn level(&self) -> impl Iterator<Item = (f64, f64)> + Clone {
        let first = self.looks.last().map_or(0.0, |(at, _)| at.as_secs_f64() * WARM_UP_SHARE);
        self.looks.iter().map(|(at, bytes)| (at.as_secs_f64(), *bytes as f64)).filter(move |(at, _)| *at >= first)
    }

    /// How much memory grows a second, in bytes, by least squares; `None` with fewer than two looks.
    pub fn growth(&self) -> Option<f64> {
        let n_looks = self.level().count() as f64;
        let mean = |of: fn((f64, f64)) -> f64| self.level().map(of).sum::<f64>() / n_looks;
        let (mean_at, mean_bytes) = (mean(|(at, _)| at), mean(|(_, bytes)| bytes));
        let (above, below) = self.level().fold((0.0, 0.0), |(above, below), (at, bytes)| {
            (above + (at - mean_at) * (bytes - mean_bytes), below + (at - mean_at) * (at - mean_at))
        });
        (below > 0.0).then_some(above / below)
    }
}

/// The table: a column for each server.
pub fn table(all: &[(&str, Churned)], options: Options) -> String {
    let mut text = format!(
        "churn: {} calls of {RESIDENTS} who stay; {} join and leave a minute, {} s each, for {:.1} minutes\n",
        CALLS,
        options.joins_a_minute,
        STAY.as_secs(),
        options.lasting.as_secs_f64() / 60.0
    );
    let mut row = |name: &str, cell: &dyn Fn(&Churned) -> Option<f64>| {
        let _ = write!(text, "  {name:<46}");
        for (_, churned) in all {
            let _ = match cell(churned) {
                Some(value) => write!(text, "{value:>14.1}"),
                None => write!(text, "{:>14}", ""),
            };
        }
        text.push('\n');
    };
    row("joins", &|churned| Some(churned.n_joins as f64));
    row("memory after the warm-up, KiB", &|churned| Some(churned.level().next()?.1 / 1024.0));
    row("memory at the end, KiB", &|churned| Some(churned.level().last()?.1 / 1024.0));
    row("memory at most, KiB", &|churned| Some(churned.looks.iter().map(|(_, bytes)| *bytes).max()? as f64 / 1024.0));
    row("growth, KiB a minute", &|churned| Some(churned.growth()? * 60.0 / 1024.0));
    row("growth, bytes a join", &|churned| {
        Some(churned.growth()? * churned.took.as_secs_f64() / churned.n_joins as f64)
    });
    row("server CPU of a core, %", &|churned| Some(churned.cpu.as_secs_f64() / churned.took.as_secs_f64() * 100.0));
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let names: Vec<String> = all.iter().map(|(name, _)| format!("{name:>14}")).collect();
    format!("{first}\n  {:<46}{}\n{rest}", "", names.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn churned(bytes: impl Fn(u64) -> u64) -> Churned {
        let looks = (0..=100).map(|second| (Duration::from_secs(second), bytes(second))).collect();
        Churned { n_joins: 200, looks, cpu: Duration::from_secs(1), took: Duration::from_secs(100) }
    }

    #[test]
    fn growth_is_that_after_the_warm_up() {
        let leaking = churned(|second| if second < 20 { second << 20 } else { (20 << 20) + second * 1024 });
        let growth = leaking.growth().expect("many looks");
        assert!((growth - 1024.0).abs() < 1e-3, "{growth}");
        let level = churned(|second| if second < 20 { 1 << 20 } else { 2 << 20 });
        assert!(level.growth().expect("many looks").abs() < 1e-6);
        assert_eq!(Churned::default().growth(), None);
    }

    #[test]
    fn the_table_has_a_column_for_each_server() {
        let options = Options { lasting: Duration::from_secs(90), joins_a_minute: 100.0 };
        let all = [("calls", churned(|_| 1 << 20)), ("livekit", churned(|second| (1 << 20) + second * 2048))];
        let text = table(&all, options);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(
            text.starts_with(
                "churn: 10 calls of 4 who stay; 100 join and leave a minute, 20 s each, for 1.5 minutes\n"
            )
        );
        assert_eq!(lines[1], ["calls", "livekit"]);
        assert_eq!(lines[2], ["joins", "200.0", "200.0"]);
        assert_eq!(lines[6], ["growth,", "KiB", "a", "minute", "0.0", "120.0"]);
        assert_eq!(lines[7], ["growth,", "bytes", "a", "join", "0.0", "1024.0"]);
    }

    #[test]
    fn newcomers_go_into_one_call_after_the_other() {
        let calls: Vec<String> = (0..20).map(|number| newcomer(number, true).room).collect();
        assert_eq!((calls[0].as_str(), calls[9].as_str(), calls[10].as_str()), ("churn-0", "churn-9", "churn-0"));
    }
}
