//! `cargo e2e bench`: figures that need a real Kubernetes, with what is to be reached beside them; and [`network`], which
//! needs real browsers.
//!
//! Tests in `tests/targets.rs` measure the same and allow ten times as much.

pub mod clusters;
pub mod network;
pub mod start;

use std::time::Duration;

use anyhow::Result;

use crate::cli::{BenchCommand, BenchOptions, Tuning, UpOptions};
use crate::paths::Paths;
use crate::progress::Progress;
use crate::test::Stage;
use crate::up;

const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// One line of the report.
#[derive(Clone, Debug)]
struct Row {
    what: String,
    value: String,
    target: &'static str,
}

fn row(what: impl Into<String>, value: String, target: &'static str) -> Row {
    Row { what: what.into(), value, target }
}

/// Measures what was asked for, and prints.
pub fn run(paths: &Paths, progress: &Progress, options: &BenchOptions) -> Result<()> {
    match &options.command {
        Some(BenchCommand::Network(options)) => network::run(paths, progress, options),
        None => cluster(paths, progress, options),
    }
}

/// Brings the cluster up to date, measures, and prints.
fn cluster(paths: &Paths, progress: &Progress, options: &BenchOptions) -> Result<()> {
    let up = UpOptions { nodes: options.nodes, context: None, registry: None, profile: options.profile, bare: false };
    let stage = Stage::cluster(paths, up::up(paths, progress, &up)?, Tuning::default())?;
    stage.begin("bench");
    let idle = Duration::from_secs(options.idle_seconds);
    let starts = progress.step("Starting SFUs", |_| start::measure(&stage, options.starts))?;
    let what = format!("Making {} CallsClusters and waiting until nothing happens", options.clusters);
    let costs = progress.step(&what, |_| clusters::measure(&stage, options.clusters, idle))?;
    println!("\nOn {} nodes, profile {}:", options.nodes, options.profile.name());
    for Row { what, value, target } in start_rows(&starts).into_iter().chain(cost_rows(&costs, options)) {
        let target = if target.is_empty() { String::new() } else { format!("(to reach: {target})") };
        println!("{what:<60} {value:>10}  {target}");
    }
    for write in &costs.writes {
        println!("written while idle: {write}");
    }
    Ok(())
}

fn start_rows(starts: &[start::Start]) -> Vec<Row> {
    let figures = |of: fn(&start::Start) -> Duration| {
        let mut times: Vec<Duration> = starts.iter().map(of).collect();
        times.sort_unstable();
        let at = |index: usize| times.get(index).map_or_else(String::new, |time| milliseconds(*time));
        (at(times.len() / 2), at(times.len().saturating_sub(1)))
    };
    let (pod, slowest_pod) = figures(|start| start.from_pod);
    let (process, slowest_process) = figures(|start| start.from_process);
    let of = format!("of {}", starts.len());
    vec![
        row(format!("SFU's pod made to serving, median {of}"), pod, "< 2 s"),
        row(format!("SFU's pod made to serving, slowest {of}"), slowest_pod, ""),
        row(format!("SFU's process started to serving, median {of}"), process, ""),
        row(format!("SFU's process started to serving, slowest {of}"), slowest_process, ""),
    ]
}

fn cost_rows(costs: &clusters::Costs, options: &BenchOptions) -> Vec<Row> {
    let mebibytes = |bytes: u64| format!("{:.1} MiB", bytes as f64 / MEBIBYTE);
    let with = format!("with {} CallsClusters", options.clusters);
    vec![
        row(format!("operator {with}: memory at rest"), mebibytes(costs.memory.resident), "< 60 MiB"),
        row(format!("operator {with}: most memory so far"), mebibytes(costs.memory.peak), ""),
        row(
            format!("operator {with}: writes in {} idle s, but for its Lease", options.idle_seconds),
            costs.writes.len().to_string(),
            "0",
        ),
        row(
            format!("operator {with}: ready again after a kill in"),
            format!("{:.0} s", costs.replaced_in.as_secs_f64()),
            "",
        ),
        row(format!("operator {with}: all made and named in"), format!("{:.0} s", costs.settled_in.as_secs_f64()), ""),
    ]
}

fn milliseconds(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1e3)
}
