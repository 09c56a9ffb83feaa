//! SFUs leave under calls that do not end.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::example::{Example, SETTLED_LIMIT};
use super::holding::{calls_by_sfu, wait_until_empty};
use crate::cluster::process::wait_for;
use crate::crowd::CrowdSize;
use crate::install::{CALLS_NAME, CALLS_NAMESPACE};
use crate::kubectl::Kubectl;
use crate::test::{Ring, Stage, Test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test("calls_that_never_end_outlive_their_sfu_whole", calls_outlive_their_sfu),
    test("calls_leave_a_node_that_is_drained_and_its_sfu_follows", calls_leave_a_drained_node),
];

const fn test(name: &'static str, run: fn(&Stage) -> Result<()>) -> Test {
    Test { name, ring: Ring::Cluster, slow: false, run }
}

const CROWD: CrowdSize = CrowdSize { calls: 50, people: 2, stay: None };

/// A few calls are enough to see whether a node is left.
const FEW: CrowdSize = CrowdSize { calls: 5, people: 2, stay: None };

/// For a hundred people to come, on the machine everything else runs on too.
const WHOLE_LIMIT: Duration = Duration::from_mins(2);

/// From the wish for one SFU until there is only one.
const GONE_LIMIT: Duration = Duration::from_mins(2);

/// Ten times the three seconds that are aimed at: the machine is shared with everything else.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);

fn calls_outlive_their_sfu(stage: &Stage) -> Result<()> {
    let example = Example::take(stage)?;
    ensure!(example.replicas()? >= 2, "one SFU has nobody to leave its calls to");
    example.apply(|spec| spec["sfu"]["replicas"] = 2.into())?;
    example.wait_settled()?;
    wait_for_sfus(&example, 2, SETTLED_LIMIT)?;
    wait_until_empty(&example)?;

    let mut crowd = stage.crowd(CROWD)?;
    crowd.wait_whole(WHOLE_LIMIT).context("on two SFUs")?;
    let placed = calls_by_sfu(&example)?;
    ensure!(placed.iter().all(|sfu| sfu.calls > 0), "an SFU has no call: {placed:?}");
    crowd.forget_silence()?;

    let began = Instant::now();
    let one = ["scale", "callscluster", CALLS_NAME, "--namespace", CALLS_NAMESPACE, "--replicas=1"];
    stage.kubectl()?.run(&one)?;
    wait_for_sfus(&example, 1, GONE_LIMIT)?;
    let gone = began.elapsed();
    crowd.wait_whole(WHOLE_LIMIT).context("on one SFU")?;
    let report = crowd.report()?;
    let silence = Duration::from_millis(report.silence_ms);
    println!(
        "           the SFU was gone after {:.1} s; nobody was silent for longer than {:.1} s",
        gone.as_secs_f64(),
        silence.as_secs_f64()
    );
    ensure!(silence < SILENCE_LIMIT, "somebody was not heard for {silence:?}: {report:?}");
    let mut placed = Vec::new();
    let one_has_all = || {
        placed = calls_by_sfu(&example).unwrap_or_default();
        placed.len() == 1 && placed[0].calls == CROWD.calls && placed[0].participants == crowd.people()
    };
    ensure!(wait_for(SETTLED_LIMIT, one_has_all), "the calls are not whole on one SFU: {placed:?}");

    let events = ["get", "events", "--namespace", CALLS_NAMESPACE, "--field-selector", "reason=DrainFinished"];
    let events = stage.kubectl()?.json(&events)?;
    let told = events["items"].as_array().into_iter().flatten().filter_map(|event| event["message"].as_str());
    ensure!(
        told.clone().any(|note| !note.contains("; 0 of")),
        "no Event tells of moved calls: {:?}",
        told.collect::<Vec<_>>()
    );
    drop(crowd);
    wait_until_empty(&example)
}

/// `kubectl drain` of the only SFU's node: another starts elsewhere, the calls move, and the eviction passes.
fn calls_leave_a_drained_node(stage: &Stage) -> Result<()> {
    let example = Example::take(stage)?;
    ensure!(example.replicas()? >= 2, "there is no other node");
    example.apply(|spec| spec["sfu"]["replicas"] = 1.into())?;
    example.wait_settled()?;
    wait_for_sfus(&example, 1, SETTLED_LIMIT)?;
    wait_until_empty(&example)?;
    let crowd = stage.crowd(FEW)?;
    crowd.wait_whole(WHOLE_LIMIT).context("before the drain")?;

    let node = node_of_sfu(&example)?;
    let kubectl = stage.kubectl()?;
    let cordoned = Cordoned { kubectl, node: node.clone() };
    let only_sfus = "--pod-selector=app.kubernetes.io/component=sfu";
    kubectl.run(&["drain", &node, only_sfus, "--ignore-daemonsets", "--timeout=120s"])?;
    crowd.wait_whole(WHOLE_LIMIT).context("after the drain")?;
    example.wait(SETTLED_LIMIT, |object| (object["status"]["ready"] == "1/1").then_some(()))?;
    ensure!(node_of_sfu(&example)? != node, "the SFU is on the drained node");
    drop(cordoned);
    drop(crowd);
    wait_until_empty(&example)
}

/// A node that takes pods again when this is dropped.
struct Cordoned<'a> {
    kubectl: &'a Kubectl,
    node: String,
}

impl Drop for Cordoned<'_> {
    fn drop(&mut self) {
        let _ = self.kubectl.run(&["uncordon", &self.node]);
    }
}

/// The node of the SFU that is not going away.
fn node_of_sfu(example: &Example<'_>) -> Result<String> {
    let pods = example.sfu_pods()?;
    let stays = pods.iter().find(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    let node = stays.and_then(|pod| pod["spec"]["nodeName"].as_str());
    node.map(str::to_owned).with_context(|| format!("no SFU has a node: {pods:?}"))
}

/// Waits until there are as many SFUs, those that leave included.
pub fn wait_for_sfus(example: &Example<'_>, n: u64, limit: Duration) -> Result<()> {
    example.wait(limit, |object| {
        let listed = object["status"]["sfus"].as_array().map(Vec::len);
        (object["status"]["replicas"] == n && listed == usize::try_from(n).ok()).then_some(())
    })
}
