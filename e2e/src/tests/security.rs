//! What the pods ask of Pod Security is what they need.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use crate::command::output_of_input;
use crate::install::{self, CALLS_NAMESPACE, OPERATOR_NAMESPACE};
use crate::test::{Ring, Stage, Test};

/// The tests of this file.
pub const TESTS: &[Test] = &[Test {
    name: "only_the_sfu_breaks_restricted",
    ring: Ring::Cluster,
    slow: false,
    run: only_the_sfu_breaks_restricted,
}];

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
