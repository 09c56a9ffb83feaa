//! The chart goes when nobody needs it any more, and leaves nothing but its kind of object.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::example::{SETTLED_LIMIT, is_settled};
use crate::command::{output, output_of_input};
use crate::install::{CALLS_NAME, CALLS_NAMESPACE, CRD, OPERATOR_NAMESPACE, RELEASE};
use crate::kubectl::Kubectl;
use crate::test::{Ring, Stage, Test};

/// The tests of this file.
pub const TESTS: &[Test] = &[Test {
    name: "uninstalling_waits_for_the_last_callscluster_and_leaves_nothing_but_the_crd",
    ring: Ring::Cluster,
    slow: false,
    run: uninstalling_leaves_nothing_but_the_crd,
}];

/// For what is deleted to be gone: SFUs nobody talks through, directors' and the operator's patience.
const GONE_LIMIT: Duration = Duration::from_mins(2);

/// What helm waits for its hook and its objects.
const HELM_LIMIT: &str = "2m";

/// What every namespace has, and traces that go by themselves.
const OF_ANY_NAMESPACE: [&str; 4] =
    ["configmap/kube-root-ca.crt", "serviceaccount/default", "event/", "event.events.k8s.io/"];

fn uninstalling_leaves_nothing_but_the_crd(stage: &Stage) -> Result<()> {
    let kubectl = stage.kubectl()?;
    // Brings back what is taken away, however this ends.
    let release = Release { stage, kubectl, values: values(kubectl)? };
    refuses_while_a_callscluster_exists(kubectl)?;
    can_be_kept_after_all(kubectl)?;
    kubectl.run(&["delete", "callsclusters", "--all", "--all-namespaces", "--timeout=60s"])?;
    uninstall(kubectl)?;
    let left = || left(kubectl).map(|left| left.is_empty());
    let is_gone = crate::cluster::process::wait_for(GONE_LIMIT, || left().unwrap_or_default());
    ensure!(is_gone, "this is left: {:?}", self::left(kubectl)?);
    ensure!(kubectl.succeeds(&["get", CRD]), "the kind of object is gone, and with it everybody's CallsClusters");
    release.install_again()
}

fn refuses_while_a_callscluster_exists(kubectl: &Kubectl) -> Result<()> {
    if uninstall(kubectl).is_ok() {
        bail!("it was uninstalled while {CALLS_NAMESPACE}/{CALLS_NAME} exists");
    }
    let job = format!("job/{RELEASE}-preuninstall");
    let said = kubectl.run(&["logs", &job, "--namespace", OPERATOR_NAMESPACE])?;
    ensure!(said.contains(&format!("{CALLS_NAMESPACE}/{CALLS_NAME}")), "it does not name what is left: {said}");
    let operator = kubectl.json(&["get", "deployment", RELEASE, "--namespace", OPERATOR_NAMESPACE])?;
    ensure!(operator["status"]["readyReplicas"] == 1, "the operator is not there any more: {}", operator["status"]);
    Ok(())
}

/// Helm upgrades no release that it began to uninstall; what the documents say of it helps.
fn can_be_kept_after_all(kubectl: &Kubectl) -> Result<()> {
    let namespace = ["--namespace", OPERATOR_NAMESPACE];
    let status = || -> Result<Value> {
        let text = output(&mut kubectl.helm(&[&["status", RELEASE, "--output", "json"], &namespace[..]].concat()))?;
        Ok(serde_json::from_str(&text)?)
    };
    let refused = status()?;
    ensure!(refused["info"]["status"] == "uninstalling", "helm says {}", refused["info"]);
    let revision = refused["version"].to_string();
    output(&mut kubectl.helm(&[&["rollback", RELEASE, &revision, "--wait"], &namespace[..]].concat()))?;
    let kept = status()?;
    ensure!(kept["info"]["status"] == "deployed", "helm says {}", kept["info"]);
    Ok(())
}

fn uninstall(kubectl: &Kubectl) -> Result<String> {
    let arguments = ["uninstall", RELEASE, "--namespace", OPERATOR_NAMESPACE, "--wait", "--timeout", HELM_LIMIT];
    output(&mut kubectl.helm(&arguments))
}

/// The values of the release, as it was installed.
fn values(kubectl: &Kubectl) -> Result<String> {
    output(&mut kubectl.helm(&["get", "values", RELEASE, "--namespace", OPERATOR_NAMESPACE, "--output", "json"]))
}

/// Everything in the operator's namespace, and everything of the release and of CallsClusters elsewhere, but the kind of
/// object.
fn left(kubectl: &Kubectl) -> Result<BTreeSet<String>> {
    let kinds = |scope: &str| -> Result<String> {
        let namespaced = format!("--namespaced={scope}");
        let kinds = kubectl.run(&["api-resources", "--verbs=list,delete", &namespaced, "--output=name"])?;
        Ok(kinds.lines().collect::<Vec<_>>().join(","))
    };
    let names = |arguments: &[&str]| kubectl.run(&[&["get", "--output=name"], arguments].concat());
    let (inside, outside) = (kinds("true")?, kinds("false")?);
    let release = format!("app.kubernetes.io/instance={RELEASE}");
    let made = "app.kubernetes.io/managed-by=calls-operator";
    let all = [
        names(&[&inside, "--namespace", OPERATOR_NAMESPACE])?,
        names(&[&inside, "--all-namespaces", "--selector", &release])?,
        names(&[&inside, "--all-namespaces", "--selector", made])?,
        names(&[&outside, "--selector", &release])?,
    ]
    .concat();
    let is_expected = |name: &str| {
        name.starts_with("customresourcedefinition") && name.ends_with("/callsclusters.callscluster.io")
            || OF_ANY_NAMESPACE.iter().any(|expected| name.starts_with(expected))
    };
    Ok(all.lines().filter(|name| !is_expected(name)).map(str::to_owned).collect())
}

/// The release as it was: installed again when this is dropped, unless it is there.
struct Release<'a> {
    stage: &'a Stage,
    kubectl: &'a Kubectl,
    values: String,
}

impl Release<'_> {
    fn install_again(&self) -> Result<()> {
        let chart = self.stage.repository().join("charts/calls-operator").to_string_lossy().into_owned();
        let mut install =
            self.kubectl.helm(&["upgrade", "--install", RELEASE, &chart, "--namespace", OPERATOR_NAMESPACE]);
        install.args(["--wait", "--timeout", HELM_LIMIT, "--values", "-"]);
        output_of_input(&mut install, self.values.as_bytes())?;
        self.stage.apply_example()?;
        let get = ["callscluster", CALLS_NAME, "--namespace", CALLS_NAMESPACE];
        let settled = |object: &Value| is_settled(object).then_some(());
        self.kubectl.wait(&get, SETTLED_LIMIT, settled).context("what was installed again does not settle")
    }
}

impl Drop for Release<'_> {
    fn drop(&mut self) {
        let get = ["get", "callscluster", CALLS_NAME, "--namespace", CALLS_NAMESPACE];
        if !self.kubectl.succeeds(&get)
            && let Err(error) = self.install_again()
        {
            eprintln!("           the release was not installed again: {error:#}");
        }
    }
}
