//! Several SFUs are one service: calls are placed whole, and outlive what holds them or watches over them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::example::Example;
use super::fault::Frozen;
use super::holding::{calls_by_sfu, wait_until_empty};
use crate::install::{CALLS_NAMESPACE, OPERATOR_NAMESPACE};
use crate::scenarios;
use crate::test::{Ring, Stage, Test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test("ten_people_in_five_calls_are_split_nowhere", ten_people_in_five_calls_are_split_nowhere),
    test("killed_sfu_pod_is_survived", killed_sfu_pod_is_survived),
    test(
        "operator_killed_and_api_server_away_do_not_touch_calls",
        operator_killed_and_api_server_away_do_not_touch_calls,
    ),
];

const fn test(name: &'static str, run: fn(&Stage) -> Result<()>) -> Test {
    Test { name, ring: Ring::Cluster, slow: false, run }
}

/// People talk again within this time of the SFU's end.
const TALK_AGAIN: Duration = Duration::from_secs(10);

/// How long is waited for it, to tell how long it took.
const TALK_AGAIN_LIMIT: Duration = Duration::from_secs(40);

/// How long the API server is away.
const API_AWAY: Duration = Duration::from_mins(1);

/// For what happened in the SFUs to be in their metrics, and in the status.
const SEEN_LIMIT: Duration = Duration::from_mins(1);

/// With five calls and two SFUs, all are on the same one in one of sixteen runs.
const ATTEMPTS: u32 = 4;

fn ten_people_in_five_calls_are_split_nowhere(stage: &Stage) -> Result<()> {
    let example = Example::take(stage)?;
    let driver = stage.browsers()?;
    for _ in 0..ATTEMPTS {
        let calls: Vec<String> = (0..5).map(|_| stage.call_name()).collect();
        let look = || {
            example.wait(SEEN_LIMIT, |object| {
                (object["status"]["calls"] == 5 && object["status"]["participants"] == 10).then_some(())
            })?;
            calls_by_sfu(&example)
        };
        let placed = stage.block_on(scenarios::every_call_is_whole(&driver, stage.page(), &calls, look))?;
        let n_calls: u32 = placed.iter().map(|sfu| sfu.calls).sum();
        let n_people: u32 = placed.iter().map(|sfu| sfu.participants).sum();
        ensure!(n_calls == 5 && n_people == 10, "a call is on more than one SFU: {placed:?}");
        if placed.iter().all(|sfu| sfu.calls > 0) {
            return Ok(());
        }
    }
    anyhow::bail!("one SFU got no call in {ATTEMPTS} times five")
}

fn killed_sfu_pod_is_survived(stage: &Stage) -> Result<()> {
    let example = Example::take(stage)?;
    wait_until_empty(&example)?;
    let (driver, call, kubectl) = (stage.browsers()?, stage.call_name(), stage.kubectl()?);
    let kill = || async {
        let placed = calls_by_sfu(&example)?;
        let holder =
            placed.iter().find(|sfu| sfu.participants == 2).with_context(|| format!("no call in {placed:?}"))?;
        let delete = ["delete", "pod", &holder.pod, "--namespace", CALLS_NAMESPACE];
        kubectl.run(&[&delete[..], &["--grace-period=0", "--force", "--wait=false"]].concat()).map(drop)
    };
    // A machine that stood still for a moment gets a second chance; an SFU that is slow is slow twice.
    for _ in 0..2 {
        let scenario = scenarios::a_killed_server_is_survived(&driver, stage.page(), &call, TALK_AGAIN_LIMIT, kill);
        let took = stage.block_on(scenario)?;
        println!("           both talk again {:.1} s after their SFU was killed", took.as_secs_f64());
        example.wait_settled()?;
        if took < TALK_AGAIN {
            return Ok(());
        }
        wait_until_empty(&example)?;
    }
    anyhow::bail!("twice they talked again only after more than {TALK_AGAIN:?}")
}

fn operator_killed_and_api_server_away_do_not_touch_calls(stage: &Stage) -> Result<()> {
    let example = Example::take(stage)?;
    wait_until_empty(&example)?;
    let (driver, call, kubectl) = (stage.browsers()?, stage.call_name(), stage.kubectl()?);
    let begin = || {
        let delete = ["delete", "pod", "--selector", "app.kubernetes.io/name=calls-operator", "--wait=false"];
        kubectl.run(&[&delete[..], &["--grace-period=0", "--force", "--namespace", OPERATOR_NAMESPACE]].concat())?;
        Frozen::freeze(stage, "apiserver")
    };
    let end = |frozen: Frozen| {
        drop(frozen);
        // Three people: the one who came in between is known as well.
        example.wait(SEEN_LIMIT * 2, |object| (object["status"]["participants"] == 3).then_some(()))?;
        example.wait_settled().map(drop)
    };
    stage.block_on(scenarios::nobody_notices(&driver, stage.page(), &call, API_AWAY, begin, end))
}
