//! What applying sends, against an API server in memory.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::cluster::apply::{ApplyError, Change, Memory, Verb, apply};
use crate::cluster::build::build;
use crate::cluster::dereference::{Dereferenced, KeysFound};
use crate::cluster::fake_api::{Caches, FakeApi};
use crate::cluster::fixture::{self, found};
use crate::cluster::issue::Issued;
use crate::cluster::see_off::FIRST;
use crate::cluster::validate::validate;
use crate::keys::ApiKey;
use crate::watch::Stores;

struct World {
    api: Arc<FakeApi>,
    caches: Caches,
    stores: Stores,
    memory: Memory,
    found: Dereferenced,
    issued: Issued,
}

impl World {
    fn new() -> Self {
        let (caches, stores) = Caches::new();
        let api = Arc::new(FakeApi::default());
        Self { api, caches, stores, memory: Memory::default(), found: found(), issued: fixture::issued() }
    }

    /// One reconcile's worth of applying, with caches up to date.
    async fn apply(&mut self, spec: &Value) -> Result<Vec<Change>, ApplyError> {
        self.caches.fill(&self.api);
        let cluster =
            validate(&fixture::cluster(spec), &self.found, self.issued.clone(), &fixture::images(), fixture::now())
                .unwrap();
        let objects = build(&cluster).unwrap();
        let client = self.api.client();
        let applied = apply(objects, &cluster, &self.stores, &client, &self.memory, &self.found);
        let applied = Box::pin(applied).await;
        applied.map(|(_, changes)| changes)
    }
}

fn secret(name: &str) -> String {
    format!("/api/v1/namespaces/red/secrets/{name}")
}

fn service(name: &str) -> String {
    format!("/api/v1/namespaces/red/services/{name}")
}

/// An object somebody made, with our labels if `labelled` and our owner if `owned`.
fn object(kind: &str, name: &str, labelled: bool, owned: bool) -> Value {
    let labels = if labelled {
        json!({"app.kubernetes.io/managed-by": "calls-operator", "app.kubernetes.io/instance": "blue"})
    } else {
        json!({})
    };
    let owners = if owned {
        json!([{"apiVersion": "callscluster.io/v1alpha1", "kind": "CallsCluster", "name": "blue", "uid": "7e57"}])
    } else {
        json!([])
    };
    json!({"apiVersion": "v1", "kind": kind,
        "metadata": {"name": name, "namespace": "red", "labels": labels, "ownerReferences": owners}})
}

#[tokio::test]
async fn what_is_as_it_was_left_is_not_sent_again() {
    let mut world = World::new();
    let changes = world.apply(&json!({})).await.unwrap();
    assert!(changes.len() >= 12 && changes.iter().all(|change| change.verb == Verb::Created), "{changes:?}");
    world.api.take_writes();
    assert_eq!(world.apply(&json!({})).await.unwrap(), []);
    assert_eq!(world.api.take_writes(), Vec::<String>::new());
}

#[tokio::test]
async fn after_a_restart_everything_is_sent_once_and_nothing_changes() {
    let mut world = World::new();
    world.apply(&json!({})).await.unwrap();
    world.memory = Memory::default();
    assert_eq!(world.apply(&json!({})).await.unwrap(), []);
}

#[tokio::test]
async fn what_somebody_changed_is_put_right() {
    let mut world = World::new();
    world.apply(&json!({})).await.unwrap();
    let path = service("blue");
    let mut changed = world.api.get(&path).unwrap();
    changed["spec"]["selector"] =
        json!({"app.kubernetes.io/instance": "other", "app.kubernetes.io/component": "other"});
    world.api.put(&path, changed);
    let changes = world.apply(&json!({})).await.unwrap();
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!(world.api.get(&path).unwrap()["spec"]["selector"]["app.kubernetes.io/instance"], "blue");
}

#[tokio::test]
async fn orphans_are_removed_and_what_is_not_ours_stays() {
    let mut world = World::new();
    world.api.put(&service("blue-old"), object("Service", "blue-old", true, true));
    world.api.put(&service("blue-foreign"), object("Service", "blue-foreign", true, false));
    let changes = world.apply(&json!({})).await.unwrap();
    let deleted: Vec<&str> =
        changes.iter().filter(|change| change.verb == Verb::Deleted).map(|change| change.name.as_str()).collect();
    assert_eq!(deleted, ["blue-old"]);
    assert!(world.api.get(&service("blue-foreign")).is_some());
}

#[tokio::test]
async fn an_object_of_somebody_else_is_never_taken_over() {
    let mut world = World::new();
    world.api.put(&service("blue"), object("Service", "blue", false, false));
    let before = world.api.get(&service("blue"));
    let error = world.apply(&json!({})).await.unwrap_err();
    assert_eq!(error.reason(), Some("NameTaken"), "{error}");
    assert_eq!(world.api.get(&service("blue")), before);
}

#[tokio::test]
async fn api_keys_are_made_once_and_never_overwritten() {
    let mut world = World::new();
    world.found.keys = KeysFound::OwnMissing;
    world.issued.first_key = Some(ApiKey { name: "APIone".into(), secret: "one-secret-of-sufficient-length".into() });
    world.apply(&json!({})).await.unwrap();
    let first = world.api.get(&secret("blue-keys")).unwrap();
    assert!(first["data"]["APIone"].is_string());
    // The cache has not caught up, so another key is made; the one that exists stays.
    world.issued.first_key = Some(ApiKey { name: "APItwo".into(), secret: "two-secret-of-sufficient-length".into() });
    world.apply(&json!({})).await.unwrap();
    assert_eq!(world.api.get(&secret("blue-keys")), Some(first));
}

#[tokio::test]
async fn own_keys_stay_when_the_spec_names_others() {
    let mut world = World::new();
    world.api.put(&secret("blue-keys"), object("Secret", "blue-keys", true, true));
    world.apply(&json!({})).await.unwrap();
    assert!(world.api.get(&secret("blue-keys")).is_some());
    world.found.keys = KeysFound::Named(fixture::keys("mine"));
    let before = world.api.get(&secret("blue-keys"));
    world.apply(&json!({"auth": {"secretName": "mine"}})).await.unwrap();
    assert_eq!(world.api.get(&secret("blue-keys")), before);
}

#[tokio::test]
async fn a_replaced_revision_is_scaled_down_as_it_empties_with_its_template_untouched_and_then_removed() {
    let mut world = World::new();
    world.apply(&json!({})).await.unwrap();
    let old = fixture::built(&json!({}), &found()).sfu.unwrap();
    let path = format!("/apis/apps/v1/namespaces/red/deployments/{}", old.metadata.name.clone().unwrap());
    let template = world.api.get(&path).unwrap()["spec"]["template"].clone();

    // The new revision is ready, the old still has a pod.
    let spec = json!({"sfu": {"image": "x:2"}});
    let mut new = fixture::built(&spec, &found()).sfu.unwrap();
    new.metadata.labels.as_mut().unwrap().insert("callscluster.io/slot".into(), "1".into());
    let revision = |deployment: &k8s_openapi::api::apps::v1::Deployment| {
        deployment.metadata.labels.as_ref().unwrap()["callscluster.io/revision"].clone()
    };
    let mut pod = fixture::sfu_pod("blue-new", &revision(&new)).as_ref().clone();
    pod.metadata.labels.as_mut().unwrap().insert("callscluster.io/slot".into(), "1".into());
    world.found.sfu_pods = vec![Arc::new(pod.clone()), fixture::sfu_pod("blue-old", &revision(&old))];
    world.found.deployments = vec![Arc::new(old.clone()), Arc::new(new.clone())];
    for pod in ["blue-new", "blue-old"] {
        world.api.put(&format!("/api/v1/namespaces/red/pods/{pod}"), json!({"metadata": {"name": pod}}));
    }
    let report = |calls: u32| {
        serde_json::from_value(json!({
            "name": "blue-old", "version": "1", "state": "Draining", "candidates": [],
            "load": {"calls": calls, "participants": calls, "percent": 0},
            "drain": {"mode": "Move", "since": 0, "deadline": 480, "callsLeft": calls, "callsMoved": 1},
        }))
    };
    let mut left = fixture::sfu_pod("blue-old", &revision(&old)).as_ref().clone();
    left.annotations_mut().insert("controller.kubernetes.io/pod-deletion-cost".into(), FIRST.into());
    left.annotations_mut().insert("callscluster.io/leaving-since".into(), fixture::now().to_string());
    world.found.sfu_pods[1] = Arc::new(left);
    for (calls, replicas) in [(1, 1), (0, 0)] {
        world.found.reports.insert("blue-old".into(), Ok(report(calls).unwrap()));
        world.apply(&spec).await.unwrap();
        let scaled = world.api.get(&path).unwrap();
        assert_eq!((&scaled["spec"]["replicas"], &scaled["spec"]["template"]), (&json!(replicas), &template));
    }

    // Its pod has gone.
    let mut empty = old;
    empty.spec.as_mut().unwrap().replicas = Some(0);
    world.found.sfu_pods = vec![Arc::new(pod)];
    world.found.deployments = vec![Arc::new(empty), Arc::new(new)];
    world.apply(&spec).await.unwrap();
    assert_eq!(world.api.get(&path), None);
}

#[tokio::test]
async fn pods_are_told_once_that_their_files_changed() {
    let mut world = World::new();
    // What a pod's component is was found out before; here it is only told.
    let pod = |world: &World, name: &str| -> Arc<Pod> {
        let pod = world.api.get(&format!("/api/v1/namespaces/red/pods/{name}")).unwrap();
        Arc::new(serde_json::from_value(pod).unwrap())
    };
    let find = |world: &mut World| {
        world.found.sfu_pods = vec![pod(world, "blue-sfu-1")];
        world.found.director_pods = vec![pod(world, "blue-director-1")];
    };
    for name in ["blue-sfu-1", "blue-director-1"] {
        let object = serde_json::to_value(fixture::sfu_pod(name, "r").as_ref()).unwrap();
        world.api.put(&format!("/api/v1/namespaces/red/pods/{name}"), object);
    }
    find(&mut world);
    let told = |writes: Vec<String>| writes.into_iter().filter(|one| one.starts_with("PATCH pods")).collect::<Vec<_>>();
    world.apply(&json!({})).await.unwrap();
    assert_eq!(told(world.api.take_writes()), ["PATCH pods/blue-sfu-1", "PATCH pods/blue-director-1"]);
    find(&mut world);
    world.apply(&json!({})).await.unwrap();
    assert_eq!(told(world.api.take_writes()), Vec::<String>::new());
    // A bundle with another authority in it.
    world.issued.certificates.leaves.values_mut().for_each(|leaf| leaf.bundle.push_str("another"));
    world.apply(&json!({})).await.unwrap();
    assert_eq!(told(world.api.take_writes()), ["PATCH pods/blue-sfu-1", "PATCH pods/blue-director-1"]);
}

#[tokio::test]
async fn a_monitor_is_made_where_its_kind_is_and_goes_when_it_is_not_wanted() {
    let path = "/apis/monitoring.coreos.com/v1/namespaces/red/podmonitors/blue";
    let mut world = World::new();
    world.apply(&json!({})).await.unwrap();
    assert_eq!(world.api.get(path), None);
    world.found.monitors_installed = true;
    world.apply(&json!({})).await.unwrap();
    assert!(world.api.get(path).is_some());
    world.apply(&json!({"observability": {"monitors": "Never"}})).await.unwrap();
    assert_eq!(world.api.get(path), None);
}
