//! Status and conditions of states that occur.

use std::net::Ipv4Addr;

use fleet::api::{AddressProblem, AdvertisedCandidate, Protocol, SfuLoad, SfuState, SfuStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::SignedDuration;
use serde_json::json;

use crate::api::{CallsClusterStatus, MAX_LISTED_SFUS};
use crate::cluster::build::build;
use crate::cluster::dereference::Dereferenced;
use crate::cluster::fixture::{self, applied, found, now, validated};
use crate::cluster::leaving::{Cause, Departure};
use crate::cluster::problem::{ConditionType, Problem};
use crate::cluster::status::{refused, seen, status};
use crate::cluster::validate::validate;
use crate::name::ClusterName;

/// What the SFU `name` reports, on the `index`th node.
fn report(name: &str, index: usize) -> SfuStatus {
    let address = u32::from(Ipv4Addr::new(203, 0, 113, 7)) + u32::try_from(index).unwrap();
    SfuStatus {
        name: name.into(),
        node: "node-a".into(),
        version: "1.2.3".into(),
        state: SfuState::Active,
        candidates: vec![AdvertisedCandidate {
            protocol: Protocol::Udp,
            address: Ipv4Addr::from(address).into(),
            port: 8443,
            source: "Override".into(),
        }],
        address_problem: None,
        load: SfuLoad { calls: 3, participants: 12, percent: 41 },
        drain: None,
        can_drain: true,
    }
}

/// `n` ready SFUs of the wanted revision, each of which reports.
fn running(n: usize) -> Dereferenced {
    let mut state = found();
    let sfu = fixture::built(&json!({"sfu": {"replicas": n}}), &state).sfu.unwrap();
    let revision = sfu.metadata.labels.as_ref().unwrap()["callscluster.io/revision"].clone();
    state.deployments = vec![std::sync::Arc::new(sfu)];
    for index in 0..n {
        let name = format!("blue-sfu-{index:03}");
        state.sfu_pods.push(fixture::sfu_pod(&name, &revision));
        state.reports.insert(name.clone(), Ok(report(&name, index)));
    }
    state
}

fn status_of(n: usize, state: &Dereferenced, before: Option<&CallsClusterStatus>) -> CallsClusterStatus {
    let cluster = validated(&json!({"sfu": {"replicas": n}}), state);
    let objects = applied(build(&cluster).unwrap(), 2);
    status(&objects, &cluster, state, before, Some(3), now())
}

/// A condition as `status reason`.
fn condition(status: &CallsClusterStatus, condition: ConditionType) -> String {
    let found = status.conditions.iter().find(|one| one.type_ == condition.name()).unwrap();
    format!("{} {}", found.status, found.reason)
}

#[test]
fn all_is_well_when_all_sfus_are_ready_and_report() {
    let status = status_of(2, &running(2), None);
    assert_eq!((status.ready.as_str(), status.load.as_str()), ("2/2", "45%"));
    assert_eq!((status.calls, status.participants), (6, 24));
    assert_eq!((status.address.as_str(), status.version.as_str()), ("203.0.113.7:8443", "1.2.3"));
    assert_eq!(status.selector, "app.kubernetes.io/component=sfu,app.kubernetes.io/instance=blue");
    assert_eq!(condition(&status, ConditionType::Ready), "True AllReady");
    assert_eq!(condition(&status, ConditionType::Progressing), "False Settled");
    assert_eq!(condition(&status, ConditionType::Degraded), "False AllWell");
    assert_eq!(condition(&status, ConditionType::PortsAllocated), "True Allocated");
    assert_eq!(condition(&status, ConditionType::AddressResolved), "True Resolved");
}

#[test]
fn an_unchanged_state_gives_the_same_status_later() {
    let state = running(2);
    let before = status_of(2, &state, None);
    let cluster = validated(&json!({"sfu": {"replicas": 2}}), &state);
    let objects = applied(build(&cluster).unwrap(), 2);
    let later = now() + k8s_openapi::jiff::SignedDuration::from_hours(1);
    assert_eq!(status(&objects, &cluster, &state, Some(&before), Some(3), later), before);
}

#[test]
fn a_status_read_back_from_the_api_server_is_the_one_written() {
    let written = status_of(2, &running(2), None);
    let read: CallsClusterStatus = serde_json::from_value(serde_json::to_value(&written).unwrap()).unwrap();
    assert_eq!(read, written);
}

#[test]
fn a_stun_server_that_does_not_answer_is_an_address_problem_by_the_sfus_word() {
    let mut state = running(1);
    let mut silent = report("blue-sfu-000", 0);
    silent.candidates.clear();
    silent.state = SfuState::Starting;
    silent.address_problem = Some(AddressProblem {
        reason: "StunUnreachable".into(),
        message: "no answer from stun.example.com:3478".into(),
    });
    state.reports.insert("blue-sfu-000".into(), Ok(silent));
    let status = status_of(1, &state, None);
    assert_eq!(condition(&status, ConditionType::AddressResolved), "False StunUnreachable");
    assert_eq!(condition(&status, ConditionType::Degraded), "True StunUnreachable");
}

#[test]
fn one_address_for_two_sfus_is_not_resolved() {
    let mut state = running(2);
    state.reports.insert("blue-sfu-001".into(), Ok(report("blue-sfu-001", 0)));
    let status = status_of(2, &state, None);
    assert_eq!(condition(&status, ConditionType::AddressResolved), "False AddressShared");
    assert_eq!(condition(&status, ConditionType::Degraded), "True AddressShared");
    assert_eq!(condition(&status, ConditionType::Ready), "True AllReady");
}

#[test]
fn an_sfu_the_operator_cannot_ask_degrades_and_leaves_ready_alone() {
    let mut state = running(2);
    state.reports.insert("blue-sfu-001".into(), Err("no connection".into()));
    let status = status_of(2, &state, None);
    assert_eq!(condition(&status, ConditionType::Ready), "True AllReady");
    assert_eq!(condition(&status, ConditionType::Degraded), "True SfuUnreachable");
    assert_eq!(status.sfus[1].state, "Unreachable");
}

#[test]
fn one_that_cannot_leave_its_node_is_named_whoever_leaves() {
    let state = running(1);
    let cluster = validated(&json!({}), &state);
    let draining = |leaving: Vec<Departure>, stuck: &[&str]| {
        let mut objects = applied(build(&cluster).unwrap(), 2);
        objects.departures.leaving = leaving;
        objects.departures.stuck = stuck.iter().map(|pod| (*pod).to_owned()).collect();
        let status = status(&objects, &cluster, &state, None, Some(3), now());
        let found = status.conditions.into_iter().find(|one| one.type_ == "Draining").unwrap();
        (found.reason, found.message)
    };
    let one = Departure {
        pod: "blue-sfu-b".into(),
        cause: Cause::ScaledDown,
        since: now(),
        deadline: now(),
        calls_left: None,
        calls_moved: 0,
        is_new: true,
        order: None,
        is_done: false,
        mark: false,
        unmark: false,
        open: false,
    };
    assert_eq!(draining(vec![one.clone()], &[]).1, "SFU blue-sfu-b leaves, because fewer are wanted.");
    let (reason, message) = draining(vec![one], &["blue-sfu-a"]);
    assert_eq!(reason, "ScaledDown");
    assert!(message.contains("b leaves, because fewer are wanted. SFU blue-sfu-a stays on its cordoned"), "{message}");
    let (reason, message) = draining(vec![], &["blue-sfu-a", "blue-sfu-c"]);
    assert_eq!(reason, "NowhereToGo");
    assert!(message.starts_with("SFUs blue-sfu-a, blue-sfu-c stay on their cordoned nodes"), "{message}");
}

/// The status remembers it, with what was wrong, when nothing else is left of it.
#[test]
fn a_change_that_is_not_ready_in_time_is_taken_back_and_remembered() {
    let mut state = running(1);
    let wish = json!({"sfu": {"replicas": 1, "image": "x:2"}});
    let new = fixture::built(&wish, &state).sfu.unwrap();
    let made = |seconds| Some(Time(now() - SignedDuration::from_secs(seconds)));
    let mut late = new.clone();
    late.metadata.creation_timestamp = made(600);
    let failure = json!({"conditions": [
        {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: small"},
    ]});
    late.status = serde_json::from_value(failure).unwrap();
    let look = |state: &Dereferenced, before: Option<&CallsClusterStatus>| {
        let mut object = fixture::cluster(&wish);
        object.status = before.cloned();
        let cluster = validate(&object, state, fixture::issued(), &fixture::images(), now()).unwrap();
        let objects = applied(build(&cluster).unwrap(), 2);
        let wanted = objects.sfu.is_some();
        (status(&objects, &cluster, state, before, Some(3), now()), wanted)
    };
    let mut young = late.clone();
    young.metadata.creation_timestamp = made(599);
    state.deployments.push(std::sync::Arc::new(young));
    let (starting, is_wanted) = look(&state, None);
    assert!(is_wanted && starting.rolled_back.is_none());
    assert_eq!(condition(&starting, ConditionType::Progressing), "True Surging");

    state.deployments[1] = std::sync::Arc::new(late);
    let (taken_back, is_wanted) = look(&state, Some(&starting));
    let known = taken_back.rolled_back.clone().unwrap();
    assert!(!is_wanted && known.message.contains("Exceeded quota: small"), "{}", known.message);
    assert_eq!(condition(&taken_back, ConditionType::Ready), "True AllReady");
    assert_eq!(condition(&taken_back, ConditionType::Progressing), "False RolledBack");

    state.deployments.pop();
    let (after, is_wanted) = look(&state, Some(&taken_back));
    assert_eq!((is_wanted, after.rolled_back.as_ref()), (false, Some(&known)));
    assert_eq!(condition(&after, ConditionType::Degraded), "True RolledBack");
    let (other, is_wanted) = look(&state, None);
    assert!(is_wanted && other.rolled_back.is_none(), "nobody remembers, so it is tried again");
}

#[test]
fn without_a_director_nobody_can_join() {
    let state = running(1);
    let cluster = validated(&json!({}), &state);
    let objects = applied(build(&cluster).unwrap(), 0);
    let status = status(&objects, &cluster, &state, None, Some(3), now());
    assert_eq!(condition(&status, ConditionType::Ready), "False DirectorStarting");
}

#[test]
fn the_list_of_sfus_is_bounded_and_the_counts_are_not() {
    let status = status_of(MAX_LISTED_SFUS + 50, &running(MAX_LISTED_SFUS + 50), None);
    assert_eq!(status.sfus.len(), MAX_LISTED_SFUS);
    assert_eq!(status.ready, "250/250");
}

#[test]
fn a_refused_spec_changes_conditions_and_what_runs_is_counted_on() {
    let name = ClusterName::new("blue").unwrap();
    let before = status_of(2, &running(2), None);
    let problem = Problem {
        condition: ConditionType::AddressResolved,
        reason: "OverrideContradictory".into(),
        message: "Two answers.".into(),
    };
    let status = refused(&problem, None, Some(&before), Some(4), now());
    assert_eq!((status.ready.as_str(), status.observed_generation), ("2/2", Some(4)));
    assert_eq!(condition(&status, ConditionType::Ready), "False OverrideContradictory");
    assert_eq!(condition(&status, ConditionType::AddressResolved), "False OverrideContradictory");
    assert_eq!(condition(&status, ConditionType::PortsAllocated), "True Allocated");
    assert_eq!(refused(&problem, None, Some(&status), Some(4), now()), status, "refusing again changes nothing");
    let counted = refused(&problem, Some(seen(&running(1), &name, 2)), Some(&status), Some(4), now());
    assert_eq!((counted.ready.as_str(), counted.calls, counted.sfus.len()), ("1/2", 3, 1));
    assert_eq!(counted.conditions, status.conditions);
    let healed = status_of(2, &running(2), Some(&status));
    assert_eq!(condition(&healed, ConditionType::Ready), "True AllReady");
}
