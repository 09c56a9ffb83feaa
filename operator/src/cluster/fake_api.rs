//! An API server in memory, for what only requests can show: what is sent, what is not, and what becomes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, Response, StatusCode};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::client::Body;
use kube::runtime::reflector::store::Writer;
use kube::runtime::{reflector, watcher};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::watch::Stores;

/// Objects by their path, and the writes that were asked for as `METHOD plural/name`.
#[derive(Debug, Default)]
pub struct FakeApi {
    objects: Mutex<BTreeMap<String, Value>>,
    writes: Mutex<Vec<String>>,
    version: Mutex<u64>,
    /// Paths of kinds that can be listed.
    served: Mutex<BTreeSet<String>>,
    refused: Notify,
    /// Paths that begin so cannot be written.
    closed: Mutex<BTreeSet<String>>,
}

impl FakeApi {
    pub fn client(self: &Arc<Self>) -> Client {
        let api = Arc::clone(self);
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = Arc::clone(&api);
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                let is_apply =
                    head.headers.get("content-type").is_some_and(|one| one == "application/apply-patch+yaml");
                let (status, answer) = api.handle(&head.method, head.uri.path(), is_apply, &body);
                let mut response = Response::new(Full::new(Bytes::from(answer.to_string())));
                *response.status_mut() = status;
                Ok::<_, kube::Error>(response)
            }
        });
        Client::new(service, "red")
    }

    /// Puts an object there, as somebody else would.
    pub fn put(&self, path: &str, object: Value) {
        let object = self.stamped(object, None);
        self.objects.lock().unwrap().insert(path.to_owned(), object);
    }

    /// Changes an object, as somebody else would.
    pub fn edit(&self, path: &str, change: impl FnOnce(&mut Value)) {
        let before = self.get(path).unwrap();
        let mut object = before.clone();
        change(&mut object);
        let object = self.stamped(object, Some(&before));
        self.objects.lock().unwrap().insert(path.to_owned(), object);
    }

    /// The first object whose path begins so and for which `is_it` holds.
    pub fn find(&self, path: &str, is_it: impl Fn(&Value) -> bool) -> Option<Value> {
        let objects = self.objects.lock().unwrap();
        objects.iter().find(|(at, object)| at.starts_with(path) && is_it(object)).map(|(_, object)| object.clone())
    }

    /// How many objects there are for which `is_it` holds.
    pub fn count(&self, is_it: impl Fn(&Value) -> bool) -> usize {
        self.objects.lock().unwrap().values().filter(|object| is_it(object)).count()
    }

    /// Lets the kind at `path` be listed, as its CRD does.
    pub fn serve(&self, path: &str) {
        self.served.lock().unwrap().insert(path.to_owned());
    }

    /// Refuses every write to paths that begin so: forbidden where it is a scale, and broken elsewhere.
    pub fn close(&self, path: &str) {
        self.closed.lock().unwrap().insert(path.to_owned());
    }

    /// Waits until somebody asked for what is not there.
    pub async fn refused(&self) {
        self.refused.notified().await;
    }

    pub fn get(&self, path: &str) -> Option<Value> {
        self.objects.lock().unwrap().get(path).cloned()
    }

    /// The writes since the last call.
    pub fn take_writes(&self) -> Vec<String> {
        std::mem::take(&mut self.writes.lock().unwrap())
    }

    fn handle(&self, method: &Method, path: &str, is_apply: bool, body: &[u8]) -> (StatusCode, Value) {
        let short: Vec<&str> = path.rsplit('/').take(2).collect();
        if method != Method::GET {
            self.writes.lock().unwrap().push(format!("{method} {}/{}", short[1], short[0]));
        }
        let is_closed = self.closed.lock().unwrap().iter().any(|closed| path.starts_with(closed));
        if is_closed && method != Method::GET {
            let is_scale = path.ends_with("/scale");
            return failure(if is_scale { StatusCode::FORBIDDEN } else { StatusCode::INTERNAL_SERVER_ERROR });
        }
        let mut sent: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        // Through this subresource the status alone is written.
        let (path, is_apply) = match path.strip_suffix("/status") {
            Some(object) => {
                sent = json!({"status": sent["status"]});
                (object, false)
            }
            None => (path, is_apply),
        };
        if let Some(object) = path.strip_suffix("/scale") {
            return self.scale(object, &sent);
        }
        let existing = self.get(path);
        match (method, existing) {
            (&Method::GET, Some(object)) => (StatusCode::OK, object),
            (&Method::GET, None) if self.serves(path) => (StatusCode::OK, self.list(path)),
            (&Method::POST, _) => {
                let path = format!("{path}/{}", sent["metadata"]["name"].as_str().unwrap_or_default());
                if self.get(&path).is_some() {
                    return failure(StatusCode::CONFLICT);
                }
                self.put(&path, sent);
                (StatusCode::CREATED, self.get(&path).unwrap_or_default())
            }
            (&Method::PATCH, None) if is_apply => {
                self.put(path, sent);
                (StatusCode::CREATED, self.get(path).unwrap_or_default())
            }
            (&Method::PATCH, Some(existing)) => {
                let mut merged = existing.clone();
                merge(&mut merged, &sent);
                if merged != existing {
                    merged = self.stamped(merged, Some(&existing));
                    self.objects.lock().unwrap().insert(path.to_owned(), merged.clone());
                }
                (StatusCode::OK, merged)
            }
            (&Method::DELETE, Some(object)) => {
                self.objects.lock().unwrap().remove(path);
                (StatusCode::OK, object)
            }
            _ => {
                self.refused.notify_one();
                failure(StatusCode::NOT_FOUND)
            }
        }
    }

    /// Writes the number of replicas alone, of an object that is as it was read.
    fn scale(&self, path: &str, sent: &Value) -> (StatusCode, Value) {
        let read = &sent["metadata"]["resourceVersion"];
        match self.get(path) {
            None => return failure(StatusCode::NOT_FOUND),
            Some(now) if now["metadata"]["resourceVersion"] != *read => return failure(StatusCode::CONFLICT),
            Some(_) => self.edit(path, |object| object["spec"]["sfu"]["replicas"] = sent["spec"]["replicas"].clone()),
        }
        let scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {}, "spec": sent["spec"]});
        (StatusCode::OK, scale)
    }

    /// Whether `path` is that of a kind that was put there: everything has a namespace, so kinds are served across them.
    fn serves(&self, path: &str) -> bool {
        self.served.lock().unwrap().contains(path)
    }

    fn list(&self, path: &str) -> Value {
        let plural = path.rsplit('/').next().unwrap_or_default();
        let objects = self.objects.lock().unwrap();
        let found = objects.iter().filter(|(path, _)| path.contains(&format!("/{plural}/")));
        let items: Vec<&Value> = found.map(|(_, object)| object).collect();
        json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items})
    }

    /// Gives an object its next version, and a generation where it has a spec.
    fn stamped(&self, mut object: Value, before: Option<&Value>) -> Value {
        let mut version = self.version.lock().unwrap();
        *version += 1;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        object["metadata"]["uid"] =
            before.map_or(json!(format!("uid-{version}")), |one| one["metadata"]["uid"].clone());
        if object["kind"] == "Deployment" {
            object["metadata"]["generation"] = json!(*version);
        }
        object
    }
}

fn failure(code: StatusCode) -> (StatusCode, Value) {
    let reason = if code == StatusCode::CONFLICT { "AlreadyExists" } else { "NotFound" };
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": code.to_string(), "reason": reason, "code": code.as_u16()});
    (code, status)
}

/// JSON merge patch (RFC 7396), which is near enough to server-side apply when nothing is taken back.
fn merge(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    target.remove(key);
                } else {
                    merge(target.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (target, patch) => *target = patch.clone(),
    }
}

macro_rules! caches {
    ($($field:ident: $kind:ty,)+) => {
        /// The writing ends of [`Stores`], filled by hand where watches would.
        pub struct Caches {
            $($field: Writer<$kind>,)+
        }

        impl Caches {
            pub fn new() -> (Self, Stores) {
                let caches = Self { $($field: reflector::store().1,)+ };
                let stores = Stores { $($field: caches.$field.as_reader(),)+ };
                (caches, stores)
            }

            /// Brings all caches up to date.
            pub fn fill(&mut self, api: &FakeApi) {
                $(fill(&mut self.$field, api);)+
            }
        }
    };
}

caches! {
    autoscalers: HorizontalPodAutoscaler,
    config_maps: ConfigMap,
    deployments: Deployment,
    disruption_budgets: PodDisruptionBudget,
    network_policies: NetworkPolicy,
    nodes: Node,
    pods: Pod,
    role_bindings: RoleBinding,
    roles: Role,
    secrets: Secret,
    service_accounts: ServiceAccount,
    services: Service,
}

fn fill<K>(writer: &mut Writer<K>, api: &FakeApi)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + 'static,
{
    writer.apply_watcher_event(&watcher::Event::Init);
    let plural = format!("/{}/", K::plural(&()));
    for (path, object) in api.objects.lock().unwrap().iter() {
        let is_labelled = object["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "calls-operator";
        let is_of_others = plural == "/horizontalpodautoscalers/";
        if path.contains(&plural) && (is_labelled || is_of_others) {
            let object = serde_json::from_value(object.clone()).unwrap();
            writer.apply_watcher_event(&watcher::Event::InitApply(object));
        }
    }
    writer.apply_watcher_event(&watcher::Event::InitDone);
}
