//! Edits of a spec take effect: some on running SFUs, some by replacing them, and wrong ones not at all.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::example::{Example, SETTLED_LIMIT};
use crate::cluster::process::wait_for;
use crate::command::output_of_input;
use crate::install::{CALLS_NAME, CALLS_NAMESPACE};
use crate::kubectl::condition;
use crate::scenarios;
use crate::test::{Ring, Stage, Test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test("invalid_edits_are_refused_with_the_message_of_the_rule", invalid_edits_are_refused),
    test("replicas_go_down_and_up", replicas_go_down_and_up),
    test("an_override_changes_candidates_without_a_restart", an_override_changes_candidates),
    test("changed_resources_replace_pods_and_calls_go_on", changed_resources_replace_pods),
    test("a_change_that_is_paused_or_not_ready_in_time_disturbs_nobody", a_change_is_held_back),
];

const fn test(name: &'static str, run: fn(&Stage) -> Result<()>) -> Test {
    Test { name, ring: Ring::Cluster, slow: false, run }
}

/// An address for documentation (RFC 5737).
const OVERRIDE: &str = "203.0.113.7";

fn invalid_edits_are_refused(stage: &Stage) -> Result<()> {
    let table = [
        (
            json!({"network": {"mediaPorts": {"from": 8443}, "controlPorts": {"from": 8444}}}),
            "network.mediaPorts takes the two ports",
        ),
        (json!({"network": {"mediaPorts": {"from": 443}}}), "network.mediaPorts.from must be between 1024 and 65534"),
        (json!({"network": {"advertise": {"order": ["Override"]}}}), "network.advertise.order names only Override"),
        (json!({"autoscaling": {"minReplicas": 11}}), "autoscaling.minReplicas is more than autoscaling.maxReplicas"),
        (
            json!({"autoscaling": {"mode": "Target", "schedule": [{"cron": "0 8 * * *", "minReplicas": 11}]}}),
            "an entry of autoscaling.schedule asks for more SFUs",
        ),
        (
            json!({"autoscaling": {"schedule": [{"cron": "0 8 * * *", "minReplicas": 2}]}}),
            "autoscaling.schedule is read in the modes Target and Predictive only",
        ),
        // What readers of YAML make of Off without quotes.
        (json!({"autoscaling": {"mode": false}}), "spec.autoscaling.mode"),
        (json!({"sfu": {"replicsa": 2}}), r#"unknown field "spec.sfu.replicsa""#),
    ];
    for (spec, words) in table {
        let object = json!({
            "apiVersion": "callscluster.io/v1alpha1", "kind": "CallsCluster",
            "metadata": {"name": "invalid", "namespace": CALLS_NAMESPACE}, "spec": spec,
        });
        let arguments = ["create", "--dry-run=server", "--validate=strict", "--filename", "-"];
        let mut create = stage.kubectl()?.command(&arguments);
        match output_of_input(&mut create, object.to_string().as_bytes()) {
            Ok(_) => bail!("this was not refused: {spec}"),
            Err(error) => ensure!(format!("{error:#}").contains(words), "{spec} is refused otherwise: {error:#}"),
        }
    }
    Ok(())
}

fn replicas_go_down_and_up(stage: &Stage) -> Result<()> {
    let example = Example::take(stage)?;
    let all = example.replicas()?;
    for replicas in [1, all] {
        example.apply(|spec| spec["sfu"]["replicas"] = json!(replicas))?;
        let object = example.wait_settled()?;
        ensure!(object["status"]["ready"] == format!("{replicas}/{replicas}"), "it says {}", object["status"]["ready"]);
        example.wait(SETTLED_LIMIT, |object| {
            let listed = object["status"]["sfus"].as_array().map(Vec::len);
            (object["status"]["replicas"] == replicas && listed == Some(replicas)).then_some(())
        })?;
    }
    Ok(())
}

fn an_override_changes_candidates(stage: &Stage) -> Result<()> {
    let example = Example::take(stage)?;
    let before = lives(&example)?;
    example.apply(|spec| spec["network"] = json!({"advertise": {"override": OVERRIDE}}))?;
    example.wait(SETTLED_LIMIT, |object| {
        let sfus = object["status"]["sfus"].as_array()?;
        // One address is no good for several SFUs, and the status says so.
        let expected = if sfus.len() > 1 { "AddressShared" } else { "Resolved" };
        let is_told = condition(object, "AddressResolved").is_some_and(|one| one["reason"] == expected);
        (is_told && sfus.iter().all(|sfu| sfu["address"] == OVERRIDE)).then_some(())
    })?;
    for (_, pod, _) in &before {
        let log = stage.kubectl()?.run(&["logs", "--namespace", CALLS_NAMESPACE, pod])?;
        ensure!(log.contains(OVERRIDE), "the log of {pod} says nothing of {OVERRIDE}");
    }
    example.apply(|_| ())?;
    example.wait(SETTLED_LIMIT, |object| {
        let sfus = object["status"]["sfus"].as_array()?;
        sfus.iter().all(|sfu| sfu["address"] != OVERRIDE).then_some(())
    })?;
    ensure!(lives(&example)? == before, "the pods were {before:?} and are {:?}", lives(&example)?);
    Ok(())
}

fn changed_resources_replace_pods(stage: &Stage) -> Result<()> {
    let example = Example::take(stage)?;
    let before = lives(&example)?;
    let (driver, call) = (stage.browsers()?, stage.call_name());
    let change = || {
        example.apply(|spec| spec["sfu"]["resources"] = json!({"requests": {"cpu": "200m", "memory": "200Mi"}}))?;
        example.wait_settled()?;
        // The last of the old may still be stopping.
        let mut after = BTreeSet::new();
        let replaced = wait_for(SETTLED_LIMIT, || {
            after = lives(&example).unwrap_or_default();
            after.len() == before.len() && after.is_disjoint(&before)
        });
        ensure!(replaced, "not all of {before:?} were replaced one by one: {after:?}");
        Ok(())
    };
    stage.block_on(scenarios::two_people_talk_after(&driver, stage.page(), &call, change))?;
    let slots: BTreeSet<String> = example.sfu_pods()?.iter().map(slot).collect();
    ensure!(slots.len() == 1, "SFUs of one revision are in the slots {slots:?} of {CALLS_NAME}");
    Ok(())
}

fn a_change_is_held_back(stage: &Stage) -> Result<()> {
    let example = Example::take(stage)?;
    let before = lives(&example)?;
    let (driver, call) = (stage.browsers()?, stage.call_name());
    let has =
        |object: &Value, kind: &str, reason: &str| condition(object, kind).is_some_and(|one| one["reason"] == reason);
    // Only those from before are there, and they serve.
    let is_as_before = |object: &Value| {
        let alone = lives(&example).is_ok_and(|lives| lives == before);
        condition(object, "Ready").is_some_and(|one| one["status"] == "True") && alone
    };
    let change = || {
        example.apply(|spec| {
            spec["sfu"]["image"] = json!("localhost/nobody-has-this:1");
            spec["update"] = json!({"progressDeadlineSeconds": 10});
        })?;
        example.wait(SETTLED_LIMIT, |object| {
            let message = object["status"]["rolledBack"]["message"].as_str().unwrap_or_default();
            let is_told = has(object, "Degraded", "RolledBack") && message.contains("localhost/nobody-has-this:1");
            (is_told && is_as_before(object)).then_some(())
        })?;
        example.apply(|spec| {
            spec["sfu"]["resources"] = json!({"requests": {"cpu": "190m", "memory": "190Mi"}});
            spec["update"] = json!({"paused": true});
        })?;
        example.wait(SETTLED_LIMIT, |object| {
            (has(object, "Progressing", "Paused") && has(object, "Degraded", "AllWell") && is_as_before(object))
                .then_some(())
        })?;
        example.apply(|_| ())?;
        example.wait_settled()?;
        ensure!(lives(&example)? == before, "the pods were {before:?} and are {:?}", lives(&example)?);
        Ok(())
    };
    stage.block_on(scenarios::two_people_talk_after(&driver, stage.page(), &call, change))
}

fn slot(pod: &Value) -> String {
    pod["metadata"]["labels"]["callscluster.io/slot"].as_str().unwrap_or_default().to_owned()
}

/// What tells one life of an SFU from the next: the pod's UID and name, and how often it was restarted.
fn lives(example: &Example<'_>) -> Result<BTreeSet<(String, String, u64)>> {
    let life = |pod: &Value| {
        let uid = pod["metadata"]["uid"].as_str().context("a pod has no UID")?.to_owned();
        let name = pod["metadata"]["name"].as_str().context("a pod has no name")?.to_owned();
        Ok((uid, name, pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or_default()))
    };
    example.sfu_pods()?.iter().map(life).collect()
}
