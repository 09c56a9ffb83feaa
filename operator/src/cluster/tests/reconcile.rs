//! Whole reconciles, against an API server in memory.

use std::sync::Arc;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::runtime::controller::Action;
use kube::runtime::events::{Recorder, Reporter};
use serde_json::{Value, json};

use crate::certificates::{FleetCertificates, Stored, not_after};
use crate::cluster::build::certificates;
use crate::cluster::fake_api::{Caches, FakeApi};
use crate::cluster::identity::Identity;
use crate::cluster::{Context, RESYNC, ReconcileError, fixture, reconcile};
use crate::watch::Guarded;

/// A context of its own, with nothing in it.
pub(super) struct World {
    api: Arc<FakeApi>,
    caches: Caches,
    context: Arc<Context>,
}

impl World {
    pub(super) fn new() -> Self {
        let (caches, stores) = Caches::new();
        let api = Arc::new(FakeApi::default());
        let context = Arc::new(Self::context(&api, stores));
        Self { api, caches, context }
    }

    /// Another operator takes over, which knows nothing but what is there.
    pub(super) fn restart(&mut self) {
        self.context = Arc::new(Self::context(&self.api, self.context.stores.clone()));
    }

    fn context(api: &Arc<FakeApi>, stores: crate::watch::Stores) -> Context {
        let client = api.client();
        let reporter = Reporter { controller: "calls-operator".into(), instance: None };
        Context {
            recorder: Recorder::new(client.clone(), reporter),
            images: fixture::images(),
            memory: crate::cluster::apply::Memory::default(),
            pace: crate::cluster::pace::Pace::default(),
            scalers: crate::cluster::scale::Scalers::default(),
            metrics: crate::metrics::Metrics::default(),
            monitoring: crate::discovery::Monitoring::default(),
            client,
            stores,
        }
    }

    /// Puts a HorizontalPodAutoscaler there that scales `blue`.
    pub(super) fn put_autoscaler(&self, name: &str) {
        let target = json!({"apiVersion": "callscluster.io/v1alpha1", "kind": "CallsCluster", "name": "blue"});
        let path = format!("/apis/autoscaling/v2/namespaces/red/horizontalpodautoscalers/{name}");
        let metadata = json!({"name": name, "namespace": "red"});
        self.api.put(&path, json!({"metadata": metadata, "spec": {"maxReplicas": 5, "scaleTargetRef": target}}));
    }

    /// How many SFUs the spec asks for.
    pub(super) fn replicas(&self) -> Value {
        self.api.get(&cluster("blue")).unwrap()["spec"]["sfu"]["replicas"].clone()
    }

    /// What is kept of the forecast.
    pub(super) fn history(&self) -> Option<Value> {
        self.api.get("/api/v1/namespaces/red/configmaps/blue-forecast")
    }

    /// Puts a `CallsCluster` there.
    pub(super) fn wish(&self, name: &str, spec: &Value) {
        let object = json!({
            "apiVersion": "callscluster.io/v1alpha1", "kind": "CallsCluster", "spec": spec,
            "metadata": {"name": name, "namespace": "red", "generation": 3},
        });
        self.api.put(&cluster(name), object);
    }

    /// Changes the spec of one that is there.
    pub(super) fn wish_again(&self, name: &str, spec: &Value) {
        self.api.edit(&cluster(name), |object| object["spec"] = spec.clone());
    }

    pub(super) fn put_pod(&self, name: &str, pod: &Value) {
        self.api.put(&format!("/api/v1/namespaces/red/pods/{name}"), pod.clone());
    }

    pub(super) fn pod(&self, name: &str) -> Value {
        self.api.get(&format!("/api/v1/namespaces/red/pods/{name}")).unwrap()
    }

    /// The only Deployment of SFUs.
    pub(super) fn sfu_deployment(&self) -> Value {
        let is_sfu = |object: &Value| object["metadata"]["labels"]["app.kubernetes.io/component"] == "sfu";
        self.api.find("/apis/apps/v1/namespaces/red/deployments/", is_sfu).unwrap()
    }

    /// One reconcile, whenever the next may be.
    pub(super) async fn look(&mut self, name: &str) {
        self.try_look(name).await.unwrap();
    }

    /// One reconcile, which may fail.
    pub(super) async fn try_look(&mut self, name: &str) -> Result<Action, ReconcileError> {
        let object = self.api.get(&cluster(name)).unwrap();
        self.try_look_at(&object).await
    }

    /// `blue` as it is now.
    pub(super) fn cluster(&self) -> Value {
        self.api.get(&cluster("blue")).unwrap()
    }

    /// One reconcile of a `CallsCluster` as it was read.
    pub(super) async fn look_at(&mut self, object: &Value) {
        self.try_look_at(object).await.unwrap();
    }

    async fn try_look_at(&mut self, object: &Value) -> Result<Action, ReconcileError> {
        self.caches.fill(&self.api);
        let object: Guarded = serde_json::from_value(object.clone()).unwrap();
        reconcile(Arc::new(object), Arc::clone(&self.context)).await
    }

    /// Has the API server refuse every write to paths in the namespace that begin so.
    pub(super) fn close(&self, path: &str) {
        self.api.close(path);
    }

    /// How many Events have this reason.
    pub(super) fn told(&self, reason: &str) -> usize {
        self.api.count(|object| object["reason"] == reason)
    }

    /// One reconcile of what is there now, with caches up to date. The writes it made, Events apart.
    pub(super) async fn reconcile(&mut self, name: &str) -> Vec<String> {
        self.caches.fill(&self.api);
        let object: Guarded = serde_json::from_value(self.api.get(&cluster(name)).unwrap()).unwrap();
        self.api.take_writes();
        let action = reconcile(Arc::new(object), Arc::clone(&self.context)).await.unwrap();
        assert_eq!(action, Action::requeue(RESYNC));
        self.api.take_writes().into_iter().filter(|write| !write.contains("events")).collect()
    }

    pub(super) fn status(&self, name: &str) -> Value {
        self.api.get(&cluster(name)).unwrap()["status"].clone()
    }

    /// A condition as `status reason`.
    pub(super) fn condition(&self, name: &str, type_: &str) -> String {
        let status = self.status(name);
        let found = status["conditions"].as_array().unwrap().iter().find(|one| one["type"] == type_).unwrap();
        format!("{} {}", found["status"].as_str().unwrap(), found["reason"].as_str().unwrap())
    }
}

fn cluster(name: &str) -> String {
    format!("/apis/callscluster.io/v1alpha1/namespaces/red/callsclusters/{name}")
}

fn secret(name: &str) -> String {
    format!("/api/v1/namespaces/red/secrets/{name}")
}

#[tokio::test]
async fn an_unreadable_object_is_named_and_holds_up_nobody() {
    let mut world = World::new();
    world.wish("broken", &json!({"sfu": 5}));
    world.wish("blue", &json!({}));
    world.reconcile("broken").await;
    assert_eq!(world.condition("broken", "Ready"), "False SpecUnreadable");
    assert_eq!(world.api.get(&cluster("broken")).unwrap()["spec"], json!({"sfu": 5}));

    let writes = world.reconcile("blue").await;
    assert!(writes.contains(&"PATCH deployments/blue-director".to_owned()), "{writes:?}");
    assert_eq!(world.condition("blue", "Ready"), "False SfusStarting");
    for name in ["broken", "blue"] {
        assert_eq!(world.reconcile(name).await, Vec::<String>::new(), "{name}");
    }
}

#[tokio::test]
async fn a_spec_that_is_mended_is_carried_out() {
    let mut world = World::new();
    world.wish("blue", &json!({"auth": {"secretName": "mine"}}));
    let writes = world.reconcile("blue").await;
    assert_eq!(world.condition("blue", "Ready"), "False SecretMissing");
    assert!(!writes.iter().any(|write| write.contains("deployments")), "{writes:?}");
    assert_eq!(world.reconcile("blue").await, Vec::<String>::new(), "refusing again writes nothing");

    world.api.put(&secret("mine"), serde_json::to_value(fixture::keys("mine")).unwrap());
    let writes = world.reconcile("blue").await;
    assert!(writes.contains(&"PATCH deployments/blue-director".to_owned()), "{writes:?}");
    assert_eq!(world.condition("blue", "Ready"), "False SfusStarting");
}

/// Puts certificates that were made so many days ago.
pub(super) fn put_certificates(world: &World, days: i64) -> FleetCertificates {
    let made = Timestamp::now() - SignedDuration::from_hours(days * 24);
    let made = FleetCertificates::ensure(&Stored::default(), made).unwrap();
    let object = serde_json::from_value(world.api.get(&cluster("blue")).unwrap()).unwrap();
    for one in certificates(&Identity::of(&object).unwrap(), &made) {
        let name = one.metadata.name.clone().unwrap();
        world.api.put(&secret(&name), serde_json::to_value(one).unwrap());
    }
    made
}

#[tokio::test]
async fn certificates_are_renewed_and_sfus_counted_while_a_spec_is_refused() {
    let mut world = World::new();
    world.wish("blue", &json!({"auth": {"secretName": "mine"}, "sfu": {"replicas": 2}}));
    // They are good for 90 days and renewed after 60.
    put_certificates(&world, 61);
    let pod = serde_json::to_value(fixture::sfu_pod("blue-sfu-1", "r").as_ref()).unwrap();
    world.api.put("/api/v1/namespaces/red/pods/blue-sfu-1", pod);

    let writes = world.reconcile("blue").await;
    assert_eq!(world.condition("blue", "Ready"), "False SecretMissing");
    for role in ["sfu", "director", "operator"] {
        assert!(writes.contains(&format!("PATCH secrets/blue-{role}-tls")), "{role}: {writes:?}");
    }
    let stored: k8s_openapi::api::core::v1::Secret =
        serde_json::from_value(world.api.get(&secret("blue-sfu-tls")).unwrap()).unwrap();
    let cert = String::from_utf8(stored.data.unwrap()["tls.crt"].0.clone()).unwrap();
    assert!(not_after(&cert).unwrap() > Timestamp::now() + SignedDuration::from_hours(89 * 24));
    let status = world.status("blue");
    assert_eq!((&status["replicas"], &status["ready"]), (&json!(1), &json!("1/2")));
}

#[tokio::test]
async fn an_object_that_goes_is_left_to_its_owner() {
    let world = World::new();
    world.wish("blue", &json!({}));
    let mut object = world.api.get(&cluster("blue")).unwrap();
    object["metadata"]["deletionTimestamp"] = json!("2027-01-15T08:00:00Z");
    let object: Guarded = serde_json::from_value(object).unwrap();
    let action = reconcile(Arc::new(object), Arc::clone(&world.context)).await.unwrap();
    assert_eq!(action, Action::await_change());
    assert_eq!(world.api.take_writes(), Vec::<String>::new());
}
