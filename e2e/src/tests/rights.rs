//! What the product may ask the API server is what it asks it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::example::Example;
use crate::audit;
use crate::cluster::process::wait_for;
use crate::install::{CALLS_NAME, CALLS_NAMESPACE, OPERATOR_ACCOUNT, OPERATOR_NAMESPACE};
use crate::test::{Ring, Stage, Test};

/// The tests of this file. The second looks at what all others made the operator do.
pub const TESTS: &[Test] = &[
    test("what_nobody_wants_any_more_is_removed", what_nobody_wants_any_more_is_removed),
    test("rights_granted_are_rights_used", rights_granted_are_rights_used),
];

const fn test(name: &'static str, run: fn(&Stage) -> Result<()>) -> Test {
    Test { name, ring: Ring::Cluster, slow: false, run }
}

/// What the operator makes of each `CallsCluster`, and removes again.
const KINDS: [&str; 9] = [
    "configmap",
    "deployment",
    "networkpolicy",
    "poddisruptionbudget",
    "role",
    "rolebinding",
    "secret",
    "service",
    "serviceaccount",
];

/// What it left behind is called so.
const ORPHAN: &str = "main-of-before";

/// The operator looks at everything every ten seconds.
const REMOVED_LIMIT: Duration = Duration::from_secs(100);

/// For the operator to write how many SFUs are wanted.
const SCALED_LIMIT: Duration = Duration::from_mins(1);

/// Objects as an operator of before may have left them: its labels, its owner, a name that is wanted no more.
fn what_nobody_wants_any_more_is_removed(stage: &Stage) -> Result<()> {
    let example = Example::take(stage)?;
    let kubectl = stage.kubectl()?;
    let selector = format!("app.kubernetes.io/instance={CALLS_NAME}");
    for kind in KINDS {
        let list = kubectl.json(&["get", kind, "--namespace", CALLS_NAMESPACE, "--selector", &selector])?;
        let one = list["items"].get(0).with_context(|| format!("there is no {kind}"))?;
        let mut orphan = json!({
            "apiVersion": one["apiVersion"],
            "kind": one["kind"],
            "metadata": {
                "name": ORPHAN,
                "namespace": CALLS_NAMESPACE,
                "labels": one["metadata"]["labels"],
                "ownerReferences": one["metadata"]["ownerReferences"],
            },
        });
        match kind {
            "deployment" => {
                orphan["spec"] = one["spec"].clone();
                orphan["spec"]["replicas"] = 0.into();
            }
            "networkpolicy" => orphan["spec"] = one["spec"].clone(),
            "rolebinding" => {
                orphan["roleRef"] = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": ORPHAN});
            }
            "service" => orphan["spec"] = json!({"ports": [{"port": 80}]}),
            _ => {}
        }
        kubectl.apply(&orphan)?;
    }
    let kinds = KINDS.join(",");
    let field = format!("metadata.name={ORPHAN}");
    let list = ["get", kinds.as_str(), "--namespace", CALLS_NAMESPACE, "--field-selector", &field];
    let mut left = Vec::new();
    let all_are_gone = || {
        let objects = kubectl.json(&list).unwrap_or_default();
        let kind = |object: &Value| object["kind"].as_str().unwrap_or_default().to_owned();
        left = objects["items"].as_array().map(|items| items.iter().map(kind).collect()).unwrap_or_default();
        objects["items"].is_array() && left.is_empty()
    };
    let are_gone = wait_for(REMOVED_LIMIT, all_are_gone);
    ensure!(are_gone, "after {REMOVED_LIMIT:?} there are still {left:?}");
    example.wait_settled()?;
    Ok(())
}

/// A right: API group, resource with its subresource, verb.
type Right = (String, String, String);

/// Why a right of the operator is held that the audit log does not show in use.
fn exception(right: &Right) -> Option<&'static str> {
    let (group, resource, verb) = right;
    match (group.as_str(), resource.as_str(), verb.as_str()) {
        ("discovery.k8s.io", "endpointslices", _) => Some("held only to be given to directors"),
        ("callscluster.io", "callsclusters", "get") => Some("used only for an object stored under an older schema"),
        ("events.k8s.io", "events", "patch") => Some("used only for an event that comes again"),
        ("coordination.k8s.io", "leases", "create") => Some("used once, when the chart's own Lease was deleted"),
        _ => None,
    }
}

fn rights_granted_are_rights_used(stage: &Stage) -> Result<()> {
    let example = Example::take(stage)?;
    // A mounted file changes, so that pods are annotated; and the number of SFUs is the operator's, so that it writes it.
    let n = example.replicas()?;
    example.apply(|spec| {
        spec["network"] = json!({"advertise": {"order": ["NodeInternalIP"]}});
        spec["sfu"]["replicas"] = 1.into();
        spec["autoscaling"] = json!({"mode": "Target", "minReplicas": n, "maxReplicas": n});
    })?;
    example.wait(SCALED_LIMIT, |object| (object["spec"]["sfu"]["replicas"] == n).then_some(()))?;
    example.wait_settled()?;
    let director = format!("system:serviceaccount:{CALLS_NAMESPACE}:{CALLS_NAME}-director");
    let accounts = [
        ("calls-operator", OPERATOR_ACCOUNT, exception as fn(&Right) -> Option<&'static str>),
        (CALLS_NAME, director.as_str(), |_: &Right| None),
    ];
    let since = running_since(stage)?;
    for (instance, account, exception) in accounts {
        let granted = granted(stage, instance)?;
        let (used, refused) = used(stage, account, &since)?;
        ensure!(refused.is_empty(), "{account} asked for what it may not: {refused:?}");
        let unused: Vec<&Right> = granted.difference(&used).filter(|right| exception(right).is_none()).collect();
        ensure!(unused.is_empty(), "granted to {account} and never used: {unused:?}");
    }
    Ok(())
}

/// When the operator was last given another template: what one of before asked for says nothing of this one.
fn running_since(stage: &Stage) -> Result<String> {
    let sets = stage.kubectl()?.json(&["get", "replicasets", "--namespace", OPERATOR_NAMESPACE])?;
    let made = |set: &Value| set["metadata"]["creationTimestamp"].as_str().map(str::to_owned);
    sets["items"].as_array().into_iter().flatten().filter_map(made).max().context("the operator has no ReplicaSet")
}

/// What the roles of a chart's release or a `CallsCluster` allow.
fn granted(stage: &Stage, instance: &str) -> Result<BTreeSet<Right>> {
    let selector = format!("app.kubernetes.io/instance={instance}");
    let mut granted = BTreeSet::new();
    let roles = ["get", "clusterroles,roles", "--all-namespaces", "--selector", &selector];
    let roles = stage.kubectl()?.json(&roles)?;
    for rule in roles["items"].as_array().into_iter().flatten().filter_map(|role| role["rules"].as_array()).flatten() {
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                let right = |verb| (group.to_owned(), resource.to_owned(), verb);
                granted.extend(words(&rule["verbs"]).map(|verb| right(verb.to_owned())));
            }
        }
    }
    ensure!(!granted.is_empty(), "{instance} has no roles");
    Ok(granted)
}

/// What an account did from then on, and what it was refused, as the API server wrote it down. Server-side apply of an
/// object that was not there needs the right to create it, and is written down as a patch that created.
fn used(stage: &Stage, account: &str, since: &str) -> Result<(BTreeSet<Right>, BTreeSet<Right>)> {
    let (mut used, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for event in audit::of_account(&stage.audit_log(), account)? {
        let object = &event["objectRef"];
        let is_before = event["requestReceivedTimestamp"].as_str().is_none_or(|at| at < since);
        if is_before || !object["resource"].is_string() {
            continue;
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let resource = match object["subresource"].as_str() {
            Some(subresource) => format!("{}/{subresource}", text(&object["resource"])),
            None => text(&object["resource"]),
        };
        let group = text(&object["apiGroup"]);
        if event["annotations"]["authorization.k8s.io/decision"] != "allow" {
            refused.insert((group, resource, text(&event["verb"])));
            continue;
        }
        if event["verb"] == "patch" && event["responseStatus"]["code"] == 201 {
            used.insert((group.clone(), resource.clone(), "create".to_owned()));
        }
        used.insert((group, resource, text(&event["verb"])));
    }
    Ok((used, refused))
}

fn words(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}
