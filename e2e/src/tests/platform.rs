//! The ground the other tests stand on: nodes that can each hold one port, and a way to Services.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::http::get;
use crate::image;
use crate::test::{Ring, Stage, Test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    Test {
        name: "pods_on_the_host_network_hold_one_port_on_every_node",
        ring: Ring::Cluster,
        slow: false,
        run: pods_on_the_host_network_hold_one_port_on_every_node,
    },
    Test {
        name: "a_node_port_leads_to_a_restricted_pod_from_every_node",
        ring: Ring::Cluster,
        slow: false,
        run: a_node_port_leads_to_a_restricted_pod_from_every_node,
    },
];

/// Two pods with an image that is there already.
const POD_LIMIT: Duration = Duration::from_mins(1);

fn pods_on_the_host_network_hold_one_port_on_every_node(stage: &Stage) -> Result<()> {
    let cluster = stage.local_cluster()?;
    let namespace = stage.namespace()?;
    // Not one of the ports the product holds on every node.
    let port = 8999;
    let mut pod = web_pod(stage, port)?;
    pod["spec"]["hostNetwork"] = json!(true);
    namespace.apply(json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": pod},
    }))?;
    let n_nodes = cluster.nodes().len();
    namespace.wait(&["daemonset", "web"], POD_LIMIT, |set| (set["status"]["numberReady"] == n_nodes).then_some(()))?;
    for node in cluster.nodes() {
        let answer = get((node.address(), port), "/").with_context(|| node.name())?;
        ensure!(answer.contains(&node.name()), "{} answers for another: {answer}", node.name());
    }
    Ok(())
}

fn a_node_port_leads_to_a_restricted_pod_from_every_node(stage: &Stage) -> Result<()> {
    let namespace = stage.namespace()?;
    let port = 8080;
    namespace.apply(json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": web_pod(stage, port)?},
    }))?;
    namespace.apply(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": port}]},
    }))?;
    namespace.wait(&["deployment", "web"], POD_LIMIT, |web| (web["status"]["readyReplicas"] == 1).then_some(()))?;
    let node_port = namespace.wait(&["service", "web"], POD_LIMIT, |web| {
        u16::try_from(web["spec"]["ports"][0]["nodePort"].as_u64()?).ok()
    })?;
    for node in stage.local_cluster()?.nodes() {
        // The rules of a node follow the pod's readiness within a moment.
        let answers = crate::cluster::process::wait_for(POD_LIMIT, || get((node.address(), node_port), "/").is_ok());
        ensure!(answers, "the node port {node_port} does not answer on {}", node.name());
    }
    Ok(())
}

/// A pod that keeps to `restricted` and serves a page with its node's name.
fn web_pod(stage: &Stage, port: u16) -> Result<Value> {
    let sandbox = image::busybox(&stage.images())?.reference;
    let serve = format!("echo $NODE > /tmp/index.html; exec /bin/busybox httpd -f -p {port} -h /tmp");
    let container = json!({
        "name": "web",
        "image": sandbox,
        "command": ["/bin/busybox", "sh", "-c", serve],
        "env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        "ports": [{"containerPort": port}],
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        },
    });
    let security = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    let spec = json!({
        "containers": [container], "volumes": [{"name": "tmp", "emptyDir": {}}], "securityContext": security,
        "terminationGracePeriodSeconds": 1,
    });
    Ok(json!({"metadata": {"labels": {"app": "web"}}, "spec": spec}))
}
