//! Broken and hostile specs: each gives a reason and a sentence, none a panic.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::address::NodeFacts;
use crate::api::CallsCluster;
use crate::cluster::build::build;
use crate::cluster::dereference::KeysFound;
use crate::cluster::fixture::{self, found, try_validated};
use crate::cluster::revision::LiveRevision;
use crate::cluster::validate::{live_revisions, sentence, validate};

fn reason(spec: &Value) -> String {
    try_validated(spec, &found()).unwrap_err().problem().reason
}

#[test]
fn what_the_user_must_mend_has_a_reason() {
    let table = [
        (json!({"network": {"mediaPorts": {"from": 443}}}), "PortsInvalid"),
        (json!({"network": {"mediaPorts": {"from": 65535}}}), "PortsInvalid"),
        (json!({"network": {"mediaPorts": {"from": 9444}}}), "PortsInvalid"),
        (json!({"network": {"advertise": {"override": "not an address"}}}), "OverrideInvalid"),
        (json!({"network": {"advertise": {"override": "1.2.3.4,5.6.7.8"}}}), "OverrideContradictory"),
        (json!({"sfu": {"replicas": -1}}), "SpecInvalid"),
    ];
    for (spec, expected) in table {
        assert_eq!(reason(&spec), expected, "{spec}");
    }
}

#[test]
fn a_missing_secret_is_named_and_heals() {
    let spec = json!({"auth": {"secretName": "mine"}});
    let mut missing = found();
    missing.keys = KeysFound::NamedMissing("mine".into());
    let problem = try_validated(&spec, &missing).unwrap_err().problem();
    assert_eq!(problem.reason, "SecretMissing");
    assert!(problem.message.contains("mine") && problem.message.contains("create it"), "{}", problem.message);
    missing.keys = KeysFound::Named(fixture::keys("mine"));
    assert_eq!(fixture::validated(&spec, &missing).keys.secret_name, "mine");
}

#[test]
fn sentences_begin_large_and_end_with_a_stop_but_fields_stay_as_they_are() {
    assert_eq!(sentence("no address"), "No address.");
    assert_eq!(sentence("sfu.replicas is -1: lower"), "sfu.replicas is -1: lower.");
    assert_eq!(sentence(""), "");
}

#[test]
fn a_pod_that_should_be_gone_for_a_minute_holds_no_slot() {
    let counted = |gone_by: Option<i64>| {
        let mut pod = fixture::sfu_pod("blue-sfu-1", "old").as_ref().clone();
        pod.metadata.deletion_timestamp = gone_by.map(|seconds| Time(Timestamp::from_second(seconds).unwrap()));
        let mut state = found();
        state.sfu_pods = vec![Arc::new(pod)];
        live_revisions(&state, fixture::now())
            .iter()
            .map(|one: &LiveRevision| (one.pods, one.ready))
            .collect::<Vec<_>>()
    };
    // Now is 1 800 000 000; the deletion's time has the grace period in it.
    for (what, gone_by, expected) in [
        ("runs", None, vec![(1, 1)]),
        ("has time left", Some(1_800_000_075), vec![(1, 0)]),
        ("is a minute late", Some(1_799_999_940), vec![(1, 0)]),
        ("is later than that: its node is dead", Some(1_799_999_939), vec![]),
    ] {
        assert_eq!(counted(gone_by), expected, "{what}");
    }
}

#[test]
fn a_pod_on_a_node_that_is_not_reached_holds_its_slot_for_a_minute_from_its_deletion() {
    let counted = |asked: i64, taint: &str| {
        let mut pod = fixture::sfu_pod("blue-sfu-1", "old").as_ref().clone();
        pod.metadata.deletion_timestamp = Some(Time(Timestamp::from_second(asked + 495).unwrap()));
        pod.metadata.deletion_grace_period_seconds = Some(495);
        let taint = serde_json::from_value(json!({"key": taint, "effect": "NoExecute"})).unwrap();
        let mut state = found();
        state.nodes = vec![NodeFacts { name: "node-a".into(), taints: vec![taint], ..NodeFacts::default() }];
        state.sfu_pods = vec![Arc::new(pod)];
        live_revisions(&state, fixture::now()).len()
    };
    let now = fixture::now().as_second();
    let dead = "node.kubernetes.io/unreachable";
    assert_eq!((counted(now - 60, dead), counted(now - 61, dead)), (1, 0));
    assert_eq!(counted(now - 61, "media"), 1, "it may end its calls in its time");
}

fn any_spec() -> impl Strategy<Value = Value> {
    let port =
        prop_oneof![Just(json!(8443)), any::<u16>().prop_map(|port| json!(port)), any::<i64>().prop_map(|n| json!(n))];
    let text = prop_oneof!["[0-9./,]{0,24}", "\\PC{0,24}", Just("203.0.113.7/10.0.0.7".to_owned())];
    let order = prop::collection::vec(
        prop::sample::select(vec!["Override", "NodeAnnotation", "NodeExternalIP", "STUN", "NodeInternalIP", "Wrong"]),
        0..6,
    );
    let servers = prop::collection::vec("\\PC{0,20}", 0..3);
    (any::<i32>(), port.clone(), port, text.clone(), text, order, servers, any::<bool>()).prop_map(
        |(replicas, media, control, one, other, order, servers, tcp)| {
            json!({
                "sfu": {"replicas": replicas, "image": other, "podTemplate": {"nodeSelector": {one.clone(): other}}},
                "network": {
                    "mediaPorts": {"from": media},
                    "controlPorts": {"from": control},
                    "tcp": {"enabled": tcp},
                    "advertise": {
                        "order": order,
                        "override": one,
                        "perNode": [{"node": other, "address": one}],
                        "stun": {"servers": servers},
                    },
                },
            })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_spec_is_unreadable_refused_with_a_sentence_or_built(spec in any_spec()) {
        let object = json!({
            "apiVersion": "callscluster.io/v1alpha1", "kind": "CallsCluster",
            "metadata": {"name": "blue", "namespace": "red", "uid": "7e57"}, "spec": spec,
        });
        let guarded: crate::watch::Guarded = serde_json::from_value(object).unwrap();
        let Ok(cluster) = guarded.0 else { return Ok(()) };
        match validate(&cluster, &found(), fixture::issued(), &fixture::images(), fixture::now()) {
            Ok(validated) => prop_assert!(build(&validated).is_ok()),
            Err(error) => {
                let problem = error.problem();
                prop_assert!(problem.message.ends_with('.') && problem.message.len() > 20, "{problem:?}");
            }
        }
    }
}

#[test]
fn an_unreadable_object_is_an_error_of_that_object_alone() {
    let list = json!([
        {"apiVersion": "callscluster.io/v1alpha1", "kind": "CallsCluster", "metadata": {"name": "broken"}, "spec": {"sfu": 5}},
        {"apiVersion": "callscluster.io/v1alpha1", "kind": "CallsCluster", "metadata": {"name": "blue"}, "spec": {}},
    ]);
    let read: Vec<crate::watch::Guarded> = serde_json::from_value(list).unwrap();
    let invalid = read[0].0.as_ref().unwrap_err();
    assert_eq!(invalid.metadata.name.as_deref(), Some("broken"));
    let readable: &CallsCluster = read[1].0.as_ref().unwrap();
    assert_eq!(readable.metadata.name.as_deref(), Some("blue"));
}
