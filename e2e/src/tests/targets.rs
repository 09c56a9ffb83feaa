//! What `cargo e2e bench` measures stays within ten times of what is to be reached.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::bench::{clusters, start};
use crate::test::{Ring, Stage, Test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    Test {
        name: "an_sfu_serves_soon_after_its_pod_is_made",
        ring: Ring::Cluster,
        slow: false,
        run: an_sfu_serves_soon_after_its_pod_is_made,
    },
    Test {
        name: "two_hundred_callsclusters_leave_the_operator_small_and_idle",
        ring: Ring::Cluster,
        slow: true,
        run: two_hundred_callsclusters_leave_the_operator_small_and_idle,
    },
];

/// Ten times two seconds.
const SERVING_ALLOWANCE: Duration = Duration::from_secs(20);

const CLUSTERS: usize = 200;

/// The operator looks at each CallsCluster several times meanwhile.
const IDLE: Duration = Duration::from_mins(1);

fn an_sfu_serves_soon_after_its_pod_is_made(stage: &Stage) -> Result<()> {
    for start in start::measure(stage, 1)? {
        ensure!(start.from_pod < SERVING_ALLOWANCE, "it took {:?}", start.from_pod);
    }
    Ok(())
}

fn two_hundred_callsclusters_leave_the_operator_small_and_idle(stage: &Stage) -> Result<()> {
    let costs = clusters::measure(stage, CLUSTERS, IDLE)?;
    // Ten times its 60 MiB would be more than the chart's limit, at which the kernel ends it.
    ensure!(costs.is_same_process, "the operator did not live through it: {:?}", costs.memory);
    ensure!(costs.writes.is_empty(), "written while nothing happened: {:?}", costs.writes);
    Ok(())
}
