//! Calls outlive whatever fails around them, in whatever order.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::example::Example;
use super::fault::{Component, CutUdp, Frozen, kill_pod, restart_kubelet, wait_for_pods};
use super::holding::{calls_by_sfu, wait_until_empty};
use crate::crowd::CrowdSize;
use crate::scenarios;
use crate::test::{Ring, Stage, Test};

/// The tests of this file.
pub const TESTS: &[Test] =
    &[Test { name: "whatever_fails_calls_go_on", ring: Ring::Cluster, slow: true, run: whatever_fails_calls_go_on }];

/// Beside two people in browsers.
const CROWD: CrowdSize = CrowdSize { calls: 6, people: 3, stay: None };

/// From a fault until everybody hears everybody: a new SFU's pod may have to start, on a busy machine.
const WHOLE_LIMIT: Duration = Duration::from_mins(1);

/// For the status to say what is so.
const SEEN_LIMIT: Duration = Duration::from_mins(2);

/// How long what is frozen or cut stays so. Clients without UDP notice within it, and the operator loses its lease.
const TROUBLE: Duration = Duration::from_secs(10);

/// What may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    KillSfu,
    KillDirector,
    KillOperator,
    FreezeApiServer,
    CutUdp,
    RestartKubelet,
}

const FAULTS: [Fault; 6] = [
    Fault::KillSfu,
    Fault::KillDirector,
    Fault::KillOperator,
    Fault::FreezeApiServer,
    Fault::CutUdp,
    Fault::RestartKubelet,
];

fn whatever_fails_calls_go_on(stage: &Stage) -> Result<()> {
    let tuning = stage.tuning();
    let mut random = SplitMix(tuning.seed());
    println!("           --seed {} --rounds {}", random.0, tuning.rounds);
    let example = Example::take(stage)?;
    wait_until_empty(&example)?;
    let crowd = stage.crowd(CROWD)?;
    crowd.wait_whole(WHOLE_LIMIT).context("before anything failed")?;

    let (driver, call) = (stage.browsers()?, stage.call_name());
    let mut faults = Vec::new();
    let fail = |round: u32| {
        // Each kind once before any comes again, so that a short run has them all.
        if faults.is_empty() {
            faults = FAULTS.to_vec();
        }
        let fault = faults.swap_remove(usize::try_from(random.below(faults.len() as u64))?);
        let here = || format!("round {round}: {fault:?}");
        let what = strike(stage, fault, random.next()).with_context(here)?;
        let took = crowd.wait_whole(WHOLE_LIMIT).with_context(here)?;
        println!("           {round:>2}. {what}: all calls whole after {:.1} s", took.as_secs_f64());
        Ok(())
    };
    let in_the_end = || {
        example.wait_settled()?;
        wait_for_pods(&example, SEEN_LIMIT)?;
        let (calls, people) = (CROWD.calls + 1, crowd.people() + 2);
        example.wait(SEEN_LIMIT, |object| {
            (object["status"]["calls"] == calls && object["status"]["participants"] == people).then_some(())
        })?;
        let placed = calls_by_sfu(&example)?;
        let n_calls: u32 = placed.iter().map(|sfu| sfu.calls).sum();
        ensure!(n_calls == calls, "{calls} calls are on these SFUs: {placed:?}");
        let report = crowd.report()?;
        println!("           {} joins, {} times somebody fell out", report.joins, report.lost);
        Ok(())
    };
    let scenario =
        scenarios::two_people_talk_through(&driver, stage.page(), &call, tuning.rounds, WHOLE_LIMIT, fail, in_the_end);
    stage.block_on(scenario)?;
    drop(crowd);
    wait_until_empty(&example)?;
    example.wait(SEEN_LIMIT, |object| {
        (object["status"]["calls"] == 0 && object["status"]["participants"] == 0).then_some(())
    })
}

/// Lets something fail; returns what.
fn strike(stage: &Stage, fault: Fault, pick: u64) -> Result<String> {
    let kill = |component| {
        let killed = kill_pod(stage.kubectl()?, component, pick)?;
        Ok(killed.map_or_else(|| format!("no {component:?} to kill"), |pod| format!("killed {pod}")))
    };
    match fault {
        Fault::KillSfu => kill(Component::Sfu),
        Fault::KillDirector => kill(Component::Director),
        Fault::KillOperator => kill(Component::Operator),
        Fault::FreezeApiServer => lasting("froze the API server", || Frozen::freeze(stage, "apiserver")),
        Fault::CutUdp => lasting("cut UDP", CutUdp::cut),
        Fault::RestartKubelet => Ok(format!("killed the kubelet of {}", restart_kubelet(stage, pick)?)),
    }
}

/// Makes trouble that lasts.
fn lasting<T>(what: &str, begin: impl FnOnce() -> Result<T>) -> Result<String> {
    let trouble = begin()?;
    let began = Instant::now();
    sleep(TROUBLE);
    drop(trouble);
    Ok(format!("{what} for {:.0} s", began.elapsed().as_secs_f64()))
}

/// Random numbers that a seed tells: SplitMix64 (Steele, Lea and Flood 2014).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn a_seed_tells_the_numbers() {
        // The first outputs of the reference implementation for the seed 1234567.
        let mut random = SplitMix(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }
}
