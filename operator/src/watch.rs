//! What the operator watches: one cache per kind, filled by one watch each, and the stream of which `CallsCluster` to
//! look at again.
//!
//! Reconciling reads these caches, so that an idle operator sends no requests but its watches.

use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher as _};

use fleet::names::label;
use futures_util::{Stream, StreamExt as _};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Node, NodeSpec, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{PredicateConfig, WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tracing::warn;

use crate::api::CallsCluster;

/// Triggers that wait for the controller. It takes them at once and merges those of one object; when it cannot, the
/// watches wait with it.
const TRIGGER_QUEUE: usize = 1024;

/// A `CallsCluster` that may not be readable.
pub type Guarded = DeserializeGuard<CallsCluster>;

/// Why a cache never filled.
#[derive(Debug, thiserror::Error)]
#[error("the watch of {0} ended before its first list")]
pub struct WatchEnded(&'static str);

macro_rules! stores {
    ($($field:ident: $kind:ty,)+) => {
        /// The caches. All but nodes and autoscalers hold only what carries our label.
        #[derive(Clone)]
        pub struct Stores {
            $(pub $field: Store<$kind>,)+
            pub nodes: Store<Node>,
            pub autoscalers: Store<HorizontalPodAutoscaler>,
        }

        impl Stores {
            /// Starts all watches. Triggers come from the receiver.
            pub fn start(client: &Client) -> (Self, mpsc::Receiver<ObjectRef<Guarded>>) {
                let (triggers, receiver) = mpsc::channel(TRIGGER_QUEUE);
                let stores = Self {
                    $($field: watch_owned::<$kind>(client, triggers.clone()),)+
                    nodes: watch_nodes(client),
                    autoscalers: watch_autoscalers(client),
                };
                (stores, receiver)
            }

            /// Waits until every cache holds the state of the world.
            ///
            /// The triggers of meanwhile are dropped: each object is one, they may be more than wait in the queue, and
            /// then the watches would wait as well. Whoever reconciles begins with every `CallsCluster` anyway.
            pub async fn wait_until_filled(
                &self,
                triggers: &mut mpsc::Receiver<ObjectRef<Guarded>>,
            ) -> Result<(), WatchEnded> {
                let filled = async {
                    $(self.$field.wait_until_ready().await.map_err(|_| WatchEnded(stringify!($field)))?;)+
                    self.nodes.wait_until_ready().await.map_err(|_| WatchEnded("nodes"))?;
                    self.autoscalers.wait_until_ready().await.map_err(|_| WatchEnded("autoscalers"))
                };
                let dropping = async {
                    while triggers.recv().await.is_some() {}
                    std::future::pending().await
                };
                tokio::select! {
                    filled = filled => filled,
                    ended = dropping => ended,
                }
            }
        }
    };
}

stores! {
    config_maps: ConfigMap,
    deployments: Deployment,
    disruption_budgets: PodDisruptionBudget,
    network_policies: NetworkPolicy,
    pods: Pod,
    role_bindings: RoleBinding,
    roles: Role,
    secrets: Secret,
    service_accounts: ServiceAccount,
    services: Service,
}

impl Debug for Stores {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Stores")
            .field("deployments", &self.deployments.len())
            .field("pods", &self.pods.len())
            .finish_non_exhaustive()
    }
}

/// The objects of `store` that belong to the `CallsCluster` `name`, sorted by name.
pub fn of_cluster<K>(store: &Store<K>, namespace: &str, name: &str) -> Vec<std::sync::Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let mut found = store.state_filter(|object| {
        object.namespace().as_deref() == Some(namespace)
            && object.labels().get(label::INSTANCE).is_some_and(|instance| instance == name)
    });
    found.sort_by_key(|object| object.name_any());
    found
}

/// Watches `CallsCluster`s: a stream of those to look at, and all of them as they are.
///
/// Our own writes of the status are not in the stream, or every one would wake the reconcile that writes the next.
/// Failures never end it: they are in the log and tried again, ever more slowly. The store is ready only after the first
/// list, which needs the CRD and the right to read it.
pub fn watch_clusters(
    client: &Client,
) -> (impl Stream<Item = Result<Guarded, watcher::Error>> + Send + 'static, Store<Guarded>) {
    let (store, writer) = reflector::store();
    let changes = watcher(Api::<Guarded>::all(client.clone()), watcher::Config::default())
        .default_backoff()
        .reflect(writer)
        .applied_objects()
        .predicate_filter(wish, PredicateConfig::default())
        .filter(|change| {
            if let Err(error) = change {
                warn!(kind = "CallsCluster", error = error as &dyn std::error::Error, "watch failed, trying again");
            }
            std::future::ready(change.is_ok())
        });
    (changes, store)
}

/// Differs between two states of an object when its spec, or whether it is going, does. `None`, which passes always,
/// where the API server counts no generations.
fn wish(object: &Guarded) -> Option<u64> {
    let meta = object.meta();
    let mut hasher = DefaultHasher::new();
    (meta.generation?, meta.deletion_timestamp.is_some()).hash(&mut hasher);
    Some(hasher.finish())
}

/// Watches what carries our label; every change triggers the `CallsCluster` named by it.
fn watch_owned<K>(client: &Client, triggers: mpsc::Sender<ObjectRef<Guarded>>) -> Store<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
    K::DynamicType: Hash + Eq,
{
    let (store, writer) = reflector::store();
    let selector = format!("{}={}", label::MANAGED_BY, label::MANAGED_BY_VALUE);
    let config = watcher::Config::default().labels(&selector);
    let changes = watcher(Api::<K>::all(client.clone()), config)
        .modify(|object| forget_bulk(object))
        .default_backoff()
        .reflect(writer)
        .touched_objects();
    tokio::spawn(async move {
        let mut changes = Box::pin(changes);
        while let Some(change) = changes.next().await {
            let object = match change {
                Ok(object) => object,
                Err(error) => {
                    warn!(kind = %K::kind(&()), error = &error as &dyn std::error::Error, "watch failed, trying again");
                    continue;
                }
            };
            let (Some(namespace), Some(name)) = (object.namespace(), object.labels().get(label::INSTANCE)) else {
                continue;
            };
            if triggers.send(ObjectRef::new(name).within(&namespace)).await.is_err() {
                break;
            }
        }
    });
    store
}

/// Watches Nodes.
fn watch_nodes(client: &Client) -> Store<Node> {
    watch_others(client, |node: &mut Node| {
        // Only addresses, labels, annotations and whether it takes pods are read; the rest is most of a Node.
        node.spec = node.spec.take().map(|spec| NodeSpec {
            unschedulable: spec.unschedulable,
            taints: spec.taints,
            ..NodeSpec::default()
        });
        if let Some(status) = &mut node.status {
            status.images = None;
            status.conditions = None;
        }
    })
}

/// Watches HorizontalPodAutoscalers, whatever they scale; only that is read.
fn watch_autoscalers(client: &Client) -> Store<HorizontalPodAutoscaler> {
    watch_others(client, |autoscaler: &mut HorizontalPodAutoscaler| {
        autoscaler.metadata.annotations = None;
        autoscaler.status = None;
        if let Some(spec) = &mut autoscaler.spec {
            spec.metrics = None;
            spec.behavior = None;
        }
    })
}

/// Watches what is not ours, less what `forget` drops. Its changes (a Node's heartbeat every few seconds) trigger
/// nothing: an address that moved, a node that was cordoned or another autoscaler is seen at the next resync.
fn watch_others<K>(client: &Client, forget: impl Fn(&mut K) + Clone + Send + Sync + 'static) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let changes = watcher(Api::<K>::all(client.clone()), watcher::Config::default())
        .modify(move |object| {
            forget_bulk(object);
            forget(object);
        })
        .default_backoff()
        .reflect(writer)
        .touched_objects();
    tokio::spawn(async move {
        let mut changes = Box::pin(changes);
        while let Some(change) = changes.next().await {
            if let Err(error) = change {
                let kind = K::kind(&());
                warn!(%kind, error = &error as &dyn std::error::Error, "watch failed, trying again");
            }
        }
    });
    store
}

/// Drops what is large and never read.
fn forget_bulk(object: &mut impl Resource) {
    object.meta_mut().managed_fields = None;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::{FutureExt as _, stream};
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::fake_api::FakeApi;

    fn object(uid: &str, generation: i64, more: &Value) -> Guarded {
        let mut object = json!({
            "apiVersion": "callscluster.io/v1alpha1", "kind": "CallsCluster", "spec": {},
            "metadata": {"name": "blue", "namespace": "red", "uid": uid, "generation": generation},
        });
        for (key, value) in more.as_object().unwrap() {
            object[key] = value.clone();
        }
        serde_json::from_value(object).unwrap()
    }

    #[tokio::test]
    async fn caches_fill_with_more_objects_than_triggers_wait() {
        let api = Arc::new(FakeApi::default());
        let core = ["configmaps", "nodes", "pods", "secrets", "serviceaccounts", "services"]
            .map(|kind| format!("/api/v1/{kind}"));
        let named = [
            "apps/v1/deployments",
            "autoscaling/v2/horizontalpodautoscalers",
            "networking.k8s.io/v1/networkpolicies",
            "policy/v1/poddisruptionbudgets",
            "rbac.authorization.k8s.io/v1/rolebindings",
            "rbac.authorization.k8s.io/v1/roles",
        ]
        .map(|kind| format!("/apis/{kind}"));
        for path in core.iter().chain(&named) {
            api.serve(path);
        }
        let n_objects = TRIGGER_QUEUE + 100;
        for number in 0..n_objects {
            let labels = json!({label::MANAGED_BY: label::MANAGED_BY_VALUE, label::INSTANCE: "blue"});
            let name = format!("one-{number}");
            let object = json!({"metadata": {"name": name, "namespace": "red", "labels": labels}});
            api.put(&format!("/api/v1/namespaces/red/configmaps/{name}"), object);
        }
        let (stores, mut triggers) = Stores::start(&api.client());
        let limit = std::time::Duration::from_mins(1);
        let filled = tokio::time::timeout(limit, stores.wait_until_filled(&mut triggers)).await;
        filled.expect("the watches wait for each other").unwrap();
        assert_eq!(stores.config_maps.len(), n_objects);
    }

    #[tokio::test]
    async fn callsclusters_are_waited_for_until_their_kind_is_there() {
        let api = Arc::new(FakeApi::default());
        let (changes, store) = watch_clusters(&api.client());
        let watching = async {
            changes.for_each(|_| std::future::ready(())).await;
            panic!("the watch ended");
        };
        let filling = async {
            api.refused().await;
            assert!(store.wait_until_ready().now_or_never().is_none(), "it filled without the kind");
            api.serve("/apis/callscluster.io/v1alpha1/callsclusters");
            // The next try is about a second away.
            let limit = std::time::Duration::from_secs(30);
            tokio::time::timeout(limit, store.wait_until_ready()).await.expect("it did not fill").unwrap();
        };
        tokio::select! {
            () = watching => {}
            () = filling => {}
        }
    }

    #[tokio::test]
    async fn a_status_that_was_written_is_no_reason_to_look_again() {
        let mut going = object("one", 2, &json!({}));
        going.meta_mut().deletion_timestamp = serde_json::from_value(json!("2027-01-15T08:00:00Z")).unwrap();
        let changes = [
            object("one", 1, &json!({})),
            object("one", 1, &json!({"status": {"calls": 7}})),
            object("one", 2, &json!({"spec": {"sfu": {"replicas": 3}}})),
            object("one", 2, &json!({"status": {"calls": 8}})),
            going,
            // Made anew under the same name.
            object("two", 1, &json!({})),
        ];
        let passed = stream::iter(changes.map(Ok::<_, watcher::Error>))
            .predicate_filter(wish, PredicateConfig::default())
            .map(|object| {
                let meta = object.unwrap().meta().clone();
                (meta.uid.unwrap(), meta.generation.unwrap(), meta.deletion_timestamp.is_some())
            });
        let expected = [("one", 1, false), ("one", 2, false), ("one", 2, true), ("two", 1, false)];
        assert_eq!(
            passed.collect::<Vec<_>>().await,
            expected.map(|(uid, generation, is_going)| (uid.to_owned(), generation, is_going))
        );
    }
}
