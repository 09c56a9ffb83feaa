//! What the product asks of a cluster is what it needs: of Pod Security, and of the API server.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::example::Example;
use crate::command::output_of_input;
use crate::install::{self, CALLS_NAMESPACE, OPERATOR_ACCOUNT, OPERATOR_NAMESPACE};
use crate::test::{Ring, Stage, Test};

/// The tests of this file. The second looks at what all others made the operator do.
pub const TESTS: &[Test] = &[
    test("only_the_sfu_breaks_restricted", only_the_sfu_breaks_restricted),
    test("rights_granted_are_rights_used", rights_granted_are_rights_used),
];

const fn test(name: &'static str, run: fn(&Stage) -> Result<()>) -> Test {
    Test { name, ring: Ring::Cluster, slow: false, run }
}

/// A new namespace's service account is made within moments.
const ACCOUNT_LIMIT: Duration = Duration::from_secs(30);

fn only_the_sfu_breaks_restricted(stage: &Stage) -> Result<()> {
    let kubectl = stage.kubectl()?;
    let namespace = stage.namespace()?;
    kubectl.apply(&install::namespace(namespace.name(), "restricted"))?;
    namespace.wait(&["serviceaccount", "default"], ACCOUNT_LIMIT, |_| Some(()))?;
    let mut seen = BTreeSet::new();
    for of in [OPERATOR_NAMESPACE, CALLS_NAMESPACE] {
        let deployments = kubectl.json(&["get", "deployments", "--namespace", of])?;
        for deployment in deployments["items"].as_array().context("no list")? {
            let labels = &deployment["metadata"]["labels"];
            let component = labels["app.kubernetes.io/component"].as_str().unwrap_or("operator");
            let mut pod = deployment["spec"]["template"].clone();
            pod["apiVersion"] = json!("v1");
            pod["kind"] = json!("Pod");
            pod["metadata"]["name"] = json!("one");
            pod["metadata"]["namespace"] = json!(namespace.name());
            for account in ["serviceAccountName", "serviceAccount"] {
                pod["spec"].as_object_mut().context("a pod without a spec")?.remove(account);
            }
            let mut create = kubectl.command(&["create", "--dry-run=server", "--filename", "-"]);
            let answer = output_of_input(&mut create, pod.to_string().as_bytes());
            match (component, answer) {
                ("sfu", Ok(_)) => bail!("a pod on the host network is no violation"),
                ("sfu", Err(error)) => {
                    let violations = violations(&format!("{error:#}"));
                    ensure!(violations == ["host namespaces", "hostPort"], "the SFU's violations: {violations:?}");
                }
                (_, answer) => answer.map(drop).with_context(|| format!("the {component} is not restricted"))?,
            }
            seen.insert(component.to_owned());
        }
    }
    ensure!(seen.iter().eq(["director", "operator", "sfu"]), "there are only {seen:?}");
    Ok(())
}

/// The kinds of violations in `… violates PodSecurity "restricted:latest": host namespaces (hostNetwork=true), hostPort
/// (container "sfu" uses hostPorts 8443, 9443)`.
fn violations(refusal: &str) -> Vec<String> {
    let (_, list) = refusal.split_once("violates PodSecurity").unwrap_or_default();
    let (_, list) = list.split_once("\": ").unwrap_or_default();
    let mut depth = 0_u32;
    let outside: String = list
        .chars()
        .filter(|character| {
            match character {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => return depth == 0,
            }
            false
        })
        .collect();
    let mut kinds: Vec<String> = outside.split(',').map(|kind| kind.trim().to_owned()).collect();
    kinds.sort();
    kinds
}

/// A right: API group, resource with its subresource, verb.
type Right = (String, String, String);

/// Why a right is held that the audit log never shows in use.
fn exception(right: &Right) -> Option<&'static str> {
    let (group, resource, verb) = right;
    match (group.as_str(), resource.as_str(), verb.as_str()) {
        (_, _, "create") => Some("server-side apply of an object that is not there needs it, and is logged as patch"),
        (_, _, "delete") => Some("only an object that is no longer wanted is deleted, and most always are"),
        ("discovery.k8s.io", "endpointslices", _) => Some("held only to be given to directors"),
        ("callscluster.io", "callsclusters", "get") => Some("used only for an object stored under an older schema"),
        ("events.k8s.io", "events", "patch") => Some("used only for an event that comes again"),
        _ => None,
    }
}

fn rights_granted_are_rights_used(stage: &Stage) -> Result<()> {
    let example = Example::take(stage)?;
    // A mounted file changes, so that pods are annotated.
    example.apply(|spec| spec["network"] = json!({"advertise": {"order": ["NodeInternalIP"]}}))?;
    example.wait_settled()?;
    let granted = granted(stage)?;
    let (used, refused) = used(stage)?;
    ensure!(refused.is_empty(), "the operator asked for what it may not: {refused:?}");
    let unused: Vec<&Right> = granted.difference(&used).filter(|right| exception(right).is_none()).collect();
    ensure!(unused.is_empty(), "granted and never used: {unused:?}");
    Ok(())
}

fn granted(stage: &Stage) -> Result<BTreeSet<Right>> {
    let selector = ["--selector", "app.kubernetes.io/instance=calls-operator", "--all-namespaces"];
    let mut granted = BTreeSet::new();
    let roles = stage.kubectl()?.json(&[&["get", "clusterroles,roles"][..], &selector].concat())?;
    for rule in roles["items"].as_array().into_iter().flatten().filter_map(|role| role["rules"].as_array()).flatten() {
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                let right = |verb| (group.to_owned(), resource.to_owned(), verb);
                granted.extend(words(&rule["verbs"]).map(|verb| right(verb.to_owned())));
            }
        }
    }
    ensure!(!granted.is_empty(), "the operator has no roles");
    Ok(granted)
}

/// What the operator did, and what it was refused, as the API server wrote it down.
fn used(stage: &Stage) -> Result<(BTreeSet<Right>, BTreeSet<Right>)> {
    let log = std::fs::read_to_string(stage.audit_log())?;
    let (mut used, mut refused) = (BTreeSet::new(), BTreeSet::new());
    let events = log.lines().filter(|line| line.contains(OPERATOR_ACCOUNT));
    for event in events.filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let object = &event["objectRef"];
        if event["user"]["username"] != OPERATOR_ACCOUNT || !object["resource"].is_string() {
            continue;
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let resource = match object["subresource"].as_str() {
            Some(subresource) => format!("{}/{subresource}", text(&object["resource"])),
            None => text(&object["resource"]),
        };
        let right = (text(&object["apiGroup"]), resource, text(&event["verb"]));
        let is_allowed = event["annotations"]["authorization.k8s.io/decision"] == "allow";
        if is_allowed {
            used.insert(right)
        } else {
            refused.insert(right)
        };
    }
    Ok((used, refused))
}

fn words(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn violations_are_told_without_their_details() {
        let refusal = "Error from server (Forbidden): pods \"one\" is forbidden: violates PodSecurity \
                       \"restricted:latest\": host namespaces (hostNetwork=true), hostPort (container \"sfu\" uses \
                       hostPorts 8443, 9443)";
        assert_eq!(violations(refusal), ["host namespaces", "hostPort"]);
        assert_eq!(violations("another error"), [""]);
    }
}
