//! What goes wrong with a CallsCluster has a name within half a minute, and heals by itself when it is mended.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::example::{SETTLED_LIMIT, is_settled};
use crate::image;
use crate::kubectl::condition;
use crate::test::{Ring, Stage, Test, TestNamespace};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test("a_missing_secret_is_named_and_heals", a_missing_secret),
    test("an_image_nobody_has_is_named_and_heals", an_image_nobody_has),
    test("a_selector_no_node_has_is_named_and_heals", a_selector_no_node_has),
    test("a_contradictory_override_is_named_and_heals", a_contradictory_override),
    test("an_unreachable_stun_server_is_named_and_heals", an_unreachable_stun_server),
    test("a_port_held_by_a_stranger_is_named_and_heals", a_port_held_by_a_stranger),
    test("deleting_the_callscluster_leaves_nothing", deleting_leaves_nothing),
];

const fn test(name: &'static str, run: fn(&Stage) -> Result<()>) -> Test {
    Test { name, ring: Ring::Cluster, slow: false, run }
}

/// Every fault is named within this time.
const NAMED_LIMIT: Duration = Duration::from_secs(30);

/// For everything to go that a CallsCluster owns, its SFU's patience included.
const GONE_LIMIT: Duration = Duration::from_mins(2);

/// `network.mediaPorts.from` and `controlPorts.from`: not those of the example, which runs beside.
const MEDIA_PORT: u16 = 18443;
const CONTROL_PORT: u16 = 19443;

/// The CallsCluster of these tests.
const NAME: &str = "second";

/// Every kind of object the operator makes, and those that follow from them.
const KINDS: &str = "deployments,replicasets,pods,services,endpointslices,configmaps,secrets,serviceaccounts,roles,\
                     rolebindings,networkpolicies,poddisruptionbudgets";

fn a_missing_secret(stage: &Stage) -> Result<()> {
    let namespace = stage.namespace()?;
    apply(&namespace, |spec| spec["auth"] = json!({"secretName": "keys-of-mine"}))?;
    wait_named(&namespace, "Ready", "SecretMissing")?;
    namespace.apply(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys-of-mine"},
        "stringData": {"a-key": "a secret that is long enough to be one"},
    }))?;
    wait_settled(&namespace)
}

fn an_image_nobody_has(stage: &Stage) -> Result<()> {
    let namespace = stage.namespace()?;
    apply(&namespace, |spec| spec["sfu"]["image"] = json!("localhost/nobody-has-this:1"))?;
    wait_named(&namespace, "Ready", "ImageUnavailable")?;
    apply(&namespace, |_| ())?;
    wait_settled(&namespace)
}

fn a_selector_no_node_has(stage: &Stage) -> Result<()> {
    let namespace = stage.namespace()?;
    let selector = json!({"nodeSelector": {"example.org/nobody": "has-this"}});
    apply(&namespace, |spec| spec["sfu"]["podTemplate"] = selector)?;
    wait_named(&namespace, "Ready", "NoNodeFits")?;
    apply(&namespace, |_| ())?;
    wait_settled(&namespace)
}

fn a_contradictory_override(stage: &Stage) -> Result<()> {
    let namespace = stage.namespace()?;
    let both = "203.0.113.7,203.0.113.8/10.200.0.11";
    apply(&namespace, |spec| spec["network"]["advertise"] = json!({"override": both}))?;
    wait_named(&namespace, "AddressResolved", "OverrideContradictory")?;
    apply(&namespace, |_| ())?;
    wait_settled(&namespace)
}

fn an_unreachable_stun_server(stage: &Stage) -> Result<()> {
    let namespace = stage.namespace()?;
    apply(&namespace, |_| ())?;
    wait_settled(&namespace)?;
    // Nobody has that address of the nodes' subnet.
    let advertise = json!({"order": ["STUN"], "stun": {"servers": ["10.200.0.250:3478"]}});
    apply(&namespace, |spec| spec["network"]["advertise"] = advertise)?;
    wait_named(&namespace, "AddressResolved", "StunUnreachable")?;
    apply(&namespace, |_| ())?;
    wait_settled(&namespace)
}

fn a_port_held_by_a_stranger(stage: &Stage) -> Result<()> {
    let namespace = stage.namespace()?;
    let n_nodes = stage.local_cluster()?.nodes().len();
    namespace.apply(json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "stranger"},
        "spec": {"selector": {"matchLabels": {"app": "stranger"}}, "template": stranger(stage)?},
    }))?;
    let all_hold = |set: &Value| (set["status"]["numberReady"] == n_nodes).then_some(());
    namespace.wait(&["daemonset", "stranger"], SETTLED_LIMIT, all_hold)?;
    apply(&namespace, |_| ())?;
    wait_named(&namespace, "PortsAllocated", "PortTaken")?;
    stage.kubectl()?.run(&["delete", "daemonset", "stranger", "--namespace", namespace.name()])?;
    wait_settled(&namespace)
}

fn deleting_leaves_nothing(stage: &Stage) -> Result<()> {
    let namespace = stage.namespace()?;
    apply(&namespace, |_| ())?;
    wait_settled(&namespace)?;
    let selector = format!("app.kubernetes.io/instance={NAME}");
    let get = [KINDS, "--selector", &selector];
    let kinds = namespace.wait(&get, NAMED_LIMIT, |list| Some(kinds(list)))?;
    ensure!(kinds.len() > 10, "these are not all the operator makes: {kinds:?}");
    let started = Instant::now();
    stage.kubectl()?.run(&["delete", "callscluster", NAME, "--namespace", namespace.name()])?;
    namespace
        .wait(&get, GONE_LIMIT, |list| list["items"].as_array()?.is_empty().then_some(()))
        .with_context(|| format!("something is left after {:?}", started.elapsed()))
}

fn kinds(list: &Value) -> std::collections::BTreeSet<String> {
    let items = list["items"].as_array().into_iter().flatten();
    items.filter_map(|item| Some(item["kind"].as_str()?.to_owned())).collect()
}

/// A program that holds the SFU's media port on every node and tells Kubernetes nothing of it.
fn stranger(stage: &Stage) -> Result<Value> {
    let container = json!({
        "name": "stranger",
        "image": image::busybox(&stage.images())?.reference,
        "command": ["/bin/busybox", "httpd", "-f", "-p", MEDIA_PORT.to_string(), "-h", "/tmp"],
        "readinessProbe": {"tcpSocket": {"port": MEDIA_PORT}, "periodSeconds": 1},
    });
    let spec = json!({"hostNetwork": true, "terminationGracePeriodSeconds": 0, "containers": [container]});
    Ok(json!({"metadata": {"labels": {"app": "stranger"}}, "spec": spec}))
}

/// Applies a small CallsCluster with `change` in its spec, in place of what was applied before.
fn apply(namespace: &TestNamespace<'_>, change: impl FnOnce(&mut Value)) -> Result<()> {
    let mut spec = json!({
        "sfu": {"replicas": 1, "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}}},
        "network": {"mediaPorts": {"from": MEDIA_PORT}, "controlPorts": {"from": CONTROL_PORT}},
    });
    change(&mut spec);
    namespace.apply(json!({
        "apiVersion": "callscluster.io/v1alpha1", "kind": "CallsCluster", "metadata": {"name": NAME}, "spec": spec,
    }))
}

fn wait_named(namespace: &TestNamespace<'_>, kind: &str, reason: &str) -> Result<()> {
    let started = Instant::now();
    let message = namespace.wait(&["callscluster", NAME], NAMED_LIMIT, |object| {
        let condition = condition(object, kind)?;
        let is_current = condition["observedGeneration"] == object["metadata"]["generation"];
        let is_named = condition["reason"] == reason && condition["status"] == "False" && is_current;
        is_named.then(|| condition["message"].as_str().unwrap_or_default().to_owned())
    })?;
    println!("           {reason} after {:.1} s: {message}", started.elapsed().as_secs_f64());
    Ok(())
}

fn wait_settled(namespace: &TestNamespace<'_>) -> Result<()> {
    namespace.wait(&["callscluster", NAME], SETTLED_LIMIT, |object| is_settled(object).then_some(()))
}
