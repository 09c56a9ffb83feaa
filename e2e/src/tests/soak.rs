//! Calls that last: what comes and goes in them leaves nothing behind.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::example::Example;
use super::holding::{residue, wait_until_empty};
use super::usage::{Program, Usage};
use crate::cluster::process::wait_for;
use crate::crowd::CrowdSize;
use crate::scenarios;
use crate::test::{Ring, Stage, Test};

/// The tests of this file.
pub const TESTS: &[Test] = &[Test {
    name: "a_long_call_leaves_nothing_behind",
    ring: Ring::Cluster,
    slow: true,
    run: a_long_call_leaves_nothing_behind,
}];

/// Beside two people in browsers: people who leave and come back all the time.
const CROWD: CrowdSize = CrowdSize { calls: 5, people: 3, stay: Some(Duration::from_secs(20)) };

const WHOLE_LIMIT: Duration = Duration::from_mins(1);
/// Whoever comes back is heard again within this time, and so is everybody else.
const BROKEN_LIMIT: Duration = Duration::from_secs(20);
/// For what is gone to be gone everywhere.
const GONE_LIMIT: Duration = Duration::from_mins(1);

/// A program may use this much more memory in the second half than in the first: an allocator's leeway.
const MEMORY_SHARE: f64 = 0.10;
const MEMORY_LEEWAY: u64 = 4 * 1024 * 1024;
/// Open files come and go with connections.
const FILES_LEEWAY: u64 = 16;
/// The operator's runtime starts a thread for a blocking call now and then.
const THREADS_LEEWAY: u64 = 4;

fn a_long_call_leaves_nothing_behind(stage: &Stage) -> Result<()> {
    let lasting = Duration::from_mins(stage.tuning().soak_minutes);
    let example = Example::take(stage)?;
    wait_until_empty(&example)?;
    let programs = Program::all(stage.kubectl()?)?;
    let began = Instant::now();
    let crowd = stage.crowd(CROWD)?;
    crowd.wait_whole(WHOLE_LIMIT)?;

    let (driver, call) = (stage.browsers()?, stage.call_name());
    let mut samples: BTreeMap<String, Vec<Usage>> = BTreeMap::new();
    let look = || {
        let report = crowd.report()?;
        ensure!(report.broken_ms < u64::try_from(BROKEN_LIMIT.as_millis())?, "a call stays broken: {report:?}");
        ensure!(report.strangers == 0, "frames of another call were heard: {report:?}");
        for program in &programs {
            let usage = program.usage().with_context(|| format!("{} was replaced", program.pod))?;
            samples.entry(program.pod.clone()).or_default().push(usage);
        }
        Ok(())
    };
    let interrupt = || stage.cut_the_way_to_the_page();
    let rounds = stage.block_on(scenarios::a_long_call(&driver, stage.page(), &call, lasting, interrupt, look))?;
    let report = crowd.report()?;
    println!("           {rounds} rounds; the crowd joined {} times and fell out {} times", report.joins, report.lost);
    drop(crowd);

    for (pod, samples) in &samples {
        println!("           {}", compare(pod, samples)?);
    }
    for program in &programs {
        let errors = program.errors(stage.kubectl()?, began.elapsed())?;
        ensure!(errors.is_empty(), "{} logged errors: {errors:#?}", program.pod);
    }
    wait_until_empty(&example)?;
    let mut left = Vec::new();
    let nothing_is_left = || {
        left = residue(&example).unwrap_or_default();
        !left.is_empty() && left.iter().all(|(_, value)| *value == 0.0)
    };
    ensure!(wait_for(GONE_LIMIT, nothing_is_left), "this is left in the SFUs: {left:?}");
    Ok(())
}

/// Compares the second half of a run with the first.
fn compare(pod: &str, samples: &[Usage]) -> Result<String> {
    let (first, second) = samples.split_at(samples.len() / 2);
    let most = |half: &[Usage], of: fn(&Usage) -> u64| half.iter().map(of).max().unwrap_or_default();
    let [memory, files, threads]: [fn(&Usage) -> u64; 3] = [|one| one.memory, |one| one.files, |one| one.threads];
    let (before, after) = (median(first, memory), median(second, memory));
    let allowed = before + (before as f64 * MEMORY_SHARE) as u64 + MEMORY_LEEWAY;
    let line = format!(
        "{pod}: {} -> {} KiB, files {} -> {}, threads {} -> {} ({} samples)",
        before / 1024,
        after / 1024,
        most(first, files),
        most(second, files),
        most(first, threads),
        most(second, threads),
        samples.len(),
    );
    ensure!(!first.is_empty() && after <= allowed, "memory grows: {line}");
    ensure!(most(second, files) <= most(first, files) + FILES_LEEWAY, "open files grow: {line}");
    ensure!(most(second, threads) <= most(first, threads) + THREADS_LEEWAY, "threads grow: {line}");
    Ok(line)
}

fn median(samples: &[Usage], of: fn(&Usage) -> u64) -> u64 {
    let mut sorted: Vec<u64> = samples.iter().map(of).collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    fn samples(memory: [u64; 4]) -> Vec<Usage> {
        memory.into_iter().map(|mib| Usage { memory: mib << 20, files: 20, threads: 5 }).collect()
    }

    #[test]
    fn growth_beyond_the_leeway_is_named() {
        assert!(compare("sfu", &samples([40, 50, 55, 58])).is_ok());
        let error = compare("sfu", &samples([40, 50, 70, 80])).expect_err("it grows");
        assert!(error.to_string().contains("memory grows"), "{error}");
        assert!(compare("sfu", &[]).is_err(), "nothing was looked at");
    }
}
