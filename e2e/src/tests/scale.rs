//! Many calls at once, and SFUs that come and go under them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::example::{Example, SETTLED_LIMIT};
use super::holding::{calls_by_sfu, wait_until_empty};
use crate::cluster::process::wait_for;
use crate::crowd::CrowdSize;
use crate::install::{CALLS_NAME, CALLS_NAMESPACE};
use crate::test::{Ring, Stage, Test};

/// The tests of this file.
pub const TESTS: &[Test] = &[Test {
    name: "fifty_calls_of_four_are_whole_while_sfus_come_and_go",
    ring: Ring::Cluster,
    slow: true,
    run: fifty_calls_of_four_are_whole,
}];

const FIRST: CrowdSize = CrowdSize { calls: 50, people: 4, stay: None };
/// Those who come once there are more SFUs.
const LATER: CrowdSize = CrowdSize { calls: 10, people: 4, stay: None };

/// For two hundred people to come, or to come back, all at once and on the machine everything else runs on too.
const WHOLE_LIMIT: Duration = Duration::from_mins(2);

fn fifty_calls_of_four_are_whole(stage: &Stage) -> Result<()> {
    let example = Example::take(stage)?;
    wait_until_empty(&example)?;
    let all = u32::try_from(example.replicas()?)?;

    scale(stage, &example, 1)?;
    let first = stage.crowd(FIRST)?;
    let took = first.wait_whole(WHOLE_LIMIT).context("on one SFU")?;
    println!(
        "           one SFU: {} people in {} calls after {:.1} s",
        first.people(),
        FIRST.calls,
        took.as_secs_f64()
    );

    scale(stage, &example, all)?;
    let later = stage.crowd(LATER)?;
    later.wait_whole(WHOLE_LIMIT).context("those who came when there were more SFUs")?;
    let report = first.report()?;
    ensure!(report.lost == 0, "more SFUs threw somebody out: {report:?}");
    let placed = calls_by_sfu(&example)?;
    ensure!(placed.iter().all(|sfu| sfu.calls > 0), "an SFU that came got no call: {placed:?}");
    let n_calls: u32 = placed.iter().map(|sfu| sfu.calls).sum();
    ensure!(n_calls == FIRST.calls + LATER.calls, "a call is on more than one SFU: {placed:?}");

    scale(stage, &example, 1)?;
    for crowd in [&first, &later] {
        let took = crowd.wait_whole(WHOLE_LIMIT).context("back on one SFU")?;
        println!("           back on one SFU: {} people after {:.1} s", crowd.people(), took.as_secs_f64());
    }
    let mut placed = Vec::new();
    let one_has_all = || {
        placed = calls_by_sfu(&example).unwrap_or_default();
        placed.len() == 1 && placed[0].participants == first.people() + later.people()
    };
    ensure!(wait_for(SETTLED_LIMIT, one_has_all), "the SFUs hold {placed:?}");
    drop((first, later));
    wait_until_empty(&example)
}

/// Scales as `kubectl scale` and autoscalers do: through the scale subresource.
fn scale(stage: &Stage, example: &Example<'_>, replicas: u32) -> Result<()> {
    let count = format!("--replicas={replicas}");
    stage.kubectl()?.run(&["scale", "callscluster", CALLS_NAME, "--namespace", CALLS_NAMESPACE, &count])?;
    example.wait_settled()?;
    example.wait(SETTLED_LIMIT, |object| {
        let listed = object["status"]["sfus"].as_array().map(Vec::len);
        (object["status"]["replicas"] == replicas && listed == Some(replicas as usize)).then_some(())
    })?;
    Ok(())
}
