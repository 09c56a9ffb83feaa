//! SFUs that come with calls and go after them.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::example::Example;
use super::holding::{calls_by_sfu, wait_until_empty};
use super::leaving::wait_for_sfus;
use crate::crowd::CrowdSize;
use crate::install::{CALLS_NAME, CALLS_NAMESPACE};
use crate::kubectl::{Kubectl, condition};
use crate::test::{Ring, Stage, Test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test("an_sfu_comes_with_calls_and_goes_after_them", an_sfu_comes_and_goes),
    test("two_autoscalers_are_told_apart", two_autoscalers_are_told_apart),
];

const fn test(name: &'static str, run: fn(&Stage) -> Result<()>) -> Test {
    Test { name, ring: Ring::Cluster, slow: false, run }
}

/// Enough for some percent of an SFU's media threads: each packet goes to nineteen others.
const CROWD: CrowdSize = CrowdSize { calls: 8, people: 20, stay: None };

/// For all of them to come, on the machine everything else runs on too.
const WHOLE_LIMIT: Duration = Duration::from_mins(3);

/// From the load, or its end, until there are as many SFUs as it wants.
const SCALED_LIMIT: Duration = Duration::from_mins(3);

/// From another autoscaler that comes or goes until the status says so: it is seen at the next look.
const SEEN_LIMIT: Duration = Duration::from_mins(1);

/// What the other autoscaler is called.
const OTHER: &str = "somebody-elses";

fn an_sfu_comes_and_goes(stage: &Stage) -> Result<()> {
    let example = Example::take(stage)?;
    ensure!(example.replicas()? >= 2, "there is no node for another SFU");
    example.apply(|spec| {
        // A target nobody would choose: a small crowd is to be too much for one SFU.
        spec["autoscaling"] = json!({
            "mode": "Target", "minReplicas": 1, "maxReplicas": 2, "targetLoad": 2,
            "scaleDown": {"stabilizationSeconds": 30},
        });
        spec["media"] = json!({"maxActiveSpeakers": 0});
        if let Some(sfu) = spec["sfu"].as_object_mut() {
            sfu.remove("replicas");
        }
    })?;
    wait_until_empty(&example)?;
    wait_for_sfus(&example, 1, SCALED_LIMIT)?;
    example.wait(SCALED_LIMIT, |object| {
        let reason = object["status"]["autoscaler"]["reason"].as_str()?;
        reason.ends_with("≤ target 2 %: stays at 1").then_some(())
    })?;

    let crowd = stage.crowd(CROWD)?;
    example.wait(SCALED_LIMIT, |object| {
        let wanted = &object["spec"]["sfu"]["replicas"];
        (*wanted == 2 && object["status"]["ready"] == "2/2").then_some(())
    })?;
    crowd.wait_whole(WHOLE_LIMIT)?;
    let placed = calls_by_sfu(&example)?;
    println!("           with {} people the SFUs hold {placed:?}: {}", crowd.people(), reason(&example)?);

    drop(crowd);
    wait_until_empty(&example)?;
    wait_for_sfus(&example, 1, SCALED_LIMIT)?;
    for (event, words) in [("ScaledUp", "> target 2 %"), ("ScaledDown", "≤ target 2 % for 30 s: 2 to 1")] {
        let notes = notes(stage.kubectl()?, event)?;
        ensure!(notes.iter().any(|note| note.contains(words)), "no Event {event} says {words:?}: {notes:?}");
    }
    Ok(())
}

fn two_autoscalers_are_told_apart(stage: &Stage) -> Result<()> {
    let example = Example::take(stage)?;
    let mode = |mode: &str| {
        example.apply(|spec| {
            let n = spec["sfu"]["replicas"].clone();
            spec["autoscaling"] = json!({"mode": mode, "minReplicas": n, "maxReplicas": n});
        })
    };
    mode("Target")?;
    wait_for_conflict(&example, "False", "NoConflict")?;
    let kubectl = stage.kubectl()?;
    let other = OtherAutoscaler::make(kubectl, example.replicas()?)?;
    wait_for_conflict(&example, "True", "TwoAutoscalers")?;
    let said = example.wait(SEEN_LIMIT, |object| {
        condition(object, "AutoscalingConflict").and_then(|one| one["message"].as_str()).map(str::to_owned)
    })?;
    ensure!(said.contains(OTHER), "the other is not named: {said}");
    mode("External")?;
    wait_for_conflict(&example, "False", "NoConflict")?;
    mode("Predictive")?;
    wait_for_conflict(&example, "True", "TwoAutoscalers")?;
    drop(other);
    wait_for_conflict(&example, "False", "NoConflict")
}

/// A HorizontalPodAutoscaler that scales the example; it goes when this is dropped.
struct OtherAutoscaler<'a>(&'a Kubectl);

impl<'a> OtherAutoscaler<'a> {
    fn make(kubectl: &'a Kubectl, replicas: usize) -> Result<Self> {
        let target = json!({"apiVersion": "callscluster.io/v1alpha1", "kind": "CallsCluster", "name": CALLS_NAME});
        kubectl.apply(&json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": OTHER, "namespace": CALLS_NAMESPACE},
            "spec": {"minReplicas": replicas, "maxReplicas": replicas, "scaleTargetRef": target},
        }))?;
        Ok(Self(kubectl))
    }
}

impl Drop for OtherAutoscaler<'_> {
    fn drop(&mut self) {
        let _ = self.0.run(&["delete", "hpa", OTHER, "--namespace", CALLS_NAMESPACE, "--ignore-not-found"]);
    }
}

fn wait_for_conflict(example: &Example<'_>, status: &str, reason: &str) -> Result<()> {
    example.wait(SEEN_LIMIT, |object| {
        let generation = &object["metadata"]["generation"];
        let found = condition(object, "AutoscalingConflict")?;
        let is_now = found["observedGeneration"] == *generation;
        (is_now && found["status"] == status && found["reason"] == reason).then_some(())
    })
}

/// Why there are as many SFUs as there are.
fn reason(example: &Example<'_>) -> Result<String> {
    example.wait(SEEN_LIMIT, |object| object["status"]["autoscaler"]["reason"].as_str().map(str::to_owned))
}

/// What the Events of this reason say.
fn notes(kubectl: &Kubectl, reason: &str) -> Result<Vec<String>> {
    let selector = format!("reason={reason}");
    let events = kubectl.json(&["get", "events", "--namespace", CALLS_NAMESPACE, "--field-selector", &selector])?;
    let notes = events["items"].as_array().into_iter().flatten();
    Ok(notes.filter_map(|event: &Value| event["message"].as_str()).map(str::to_owned).collect())
}
