//! Step 4, apply: the only writer of built objects.
//!
//! Order, with reasons: certificates first, in a step of their own; accounts and their rights, because pods name them;
//! then API keys and configuration, which pods mount as they do the certificates; then Services; Deployments last. After them predecessors are scaled, orphans removed, and the pods'
//! annotation set, which must not be earlier than the files it announces.
//!
//! Guarantees: server-side apply with one field manager; an object that carries the name of one of ours without being
//! ours is never touched; nothing is sent for an object that is as it was left. That an object is so is known by its
//! generation (resource version, where a kind has none), noted when it was applied; after a restart everything is sent
//! once, which the API server recognises as no change.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fleet::names::annotation;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::core::DynamicObject;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use thiserror::Error;
use tracing::info;

use crate::cluster::build::{Applied, Objects, Prepared, monitor_resource};
use crate::cluster::dereference::Dereferenced;
use crate::cluster::identity::Identity;
use crate::cluster::validate::ValidatedCluster;
use crate::hash::short_hash;
use crate::name::MANAGER;
use crate::watch::{Stores, of_cluster};

/// Monitors are not watched, because their kind may not exist; they are sent again after this long.
const UNWATCHED_AGAIN: Duration = Duration::from_mins(10);

/// Something was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub verb: Verb,
    pub kind: String,
    pub name: String,
    /// What of it, where the verb does not say it all.
    pub detail: String,
}

/// What was done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    Created,
    Updated,
    Scaled,
    Deleted,
}

impl Verb {
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "Created",
            Self::Updated => "Updated",
            Self::Scaled => "Scaled",
            Self::Deleted => "Deleted",
        }
    }
}

/// Why an object was not written.
#[derive(Debug, Error)]
pub enum ApplyError {
    #[error(
        "{kind} {name} exists and does not belong to this CallsCluster: rename or delete it, or choose another name for the CallsCluster"
    )]
    NotOurs { kind: String, name: String },
    #[error("the API server refuses {kind} {name}: {message}")]
    Refused { kind: String, name: String, message: String },
    #[error("failed to {verb} {kind} {name}")]
    Request { verb: &'static str, kind: String, name: String, source: Box<kube::Error> },
    #[error("failed to serialise a built object")]
    Json(#[from] serde_json::Error),
}

impl ApplyError {
    /// The reason for the user, if it is something the user can mend.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::NotOurs { .. } => Some("NameTaken"),
            Self::Refused { .. } => Some("ObjectRefused"),
            Self::Request { .. } | Self::Json(_) => None,
        }
    }

    fn request(verb: &'static str, kind: String, name: String, error: kube::Error) -> Self {
        match &error {
            // Invalid or forbidden: trying again changes nothing. A conflict or an error of the server may pass.
            kube::Error::Api(status) if matches!(status.code, 400 | 403 | 422) => {
                Self::Refused { kind, name, message: status.message.clone() }
            }
            _ => Self::Request { verb, kind, name, source: Box::new(error) },
        }
    }
}

/// What is known of objects as they were left.
#[derive(Debug, Default)]
pub struct Memory {
    left: Mutex<HashMap<Key, Left>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    kind: String,
    namespace: String,
    name: String,
}

impl Key {
    /// Makes an error of a request about this object ours.
    fn failed_to(&self, verb: &'static str) -> impl FnOnce(kube::Error) -> ApplyError + use<> {
        let (kind, name) = (self.kind.clone(), self.name.clone());
        move |error| ApplyError::request(verb, kind, name, error)
    }
}

#[derive(Clone, Debug)]
struct Left {
    /// Hash of what was sent.
    hash: String,
    /// Generation or resource version it had then.
    marker: String,
    at: Instant,
}

impl Memory {
    fn recall(&self, key: &Key) -> Option<Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn note(&self, key: Key, hash: String, marker: String) {
        let left = Left { hash, marker, at: Instant::now() };
        self.left.lock().unwrap_or_else(PoisonError::into_inner).insert(key, left);
    }

    fn forget(&self, key: &Key) {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Forgets everything of a `CallsCluster` that is gone. Objects of one cluster share its name as the beginning.
    pub fn forget_cluster(&self, namespace: &str, name: &str) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.retain(|key, _| {
            key.namespace != namespace || !(key.name == name || key.name.starts_with(&format!("{name}-")))
        });
    }
}

/// Applies the certificates' Secrets, and returns what changed. Apart from everything else, because they are to be
/// renewed whatever is wrong with the spec.
pub async fn apply_certificates(
    secrets: Vec<Secret>,
    cluster: &Identity,
    stores: &Stores,
    client: &Client,
    memory: &Memory,
) -> Result<Vec<Change>, ApplyError> {
    let mut writer = Writer { cluster, client, memory, changes: Vec::new() };
    writer.apply_all(&stores.secrets, secrets).await?;
    Ok(writer.told())
}

/// Applies everything but the certificates, and returns it as the API server has it, with what changed.
pub async fn apply(
    objects: Objects<Prepared>,
    cluster: &ValidatedCluster,
    stores: &Stores,
    client: &Client,
    memory: &Memory,
    found: &Dereferenced,
) -> Result<(Objects<Applied>, Vec<Change>), ApplyError> {
    // No rest pattern: a new field that is not applied does not compile.
    let Objects {
        service_accounts,
        roles,
        role_bindings,
        first_key,
        keys_name,
        config,
        history,
        services,
        network_policies,
        disruption_budgets,
        sfu,
        retired,
        director,
        monitor,
        config_hash,
        director_hash,
        revision,
        plan,
        departures,
        stage: _,
    } = objects;
    let cluster = &cluster.identity;
    let mut writer = Writer { cluster, client, memory, changes: Vec::new() };

    let service_accounts = writer.apply_all(&stores.service_accounts, service_accounts).await?;
    let roles = writer.apply_all(&stores.roles, roles).await?;
    let role_bindings = writer.apply_all(&stores.role_bindings, role_bindings).await?;
    if let Some(secret) = &first_key {
        writer.create_key(secret).await?;
    }
    let config = writer.apply(&stores.config_maps, config).await?;
    let history = writer.apply_all(&stores.config_maps, history.into_iter().collect()).await?.pop();
    let services = writer.apply_all(&stores.services, services).await?;
    let network_policies = writer.apply_all(&stores.network_policies, network_policies).await?;
    let disruption_budgets = writer.apply_all(&stores.disruption_budgets, disruption_budgets).await?;
    let monitor = writer.apply_monitor(monitor, found.monitors_installed).await?;
    let director = writer.apply(&stores.deployments, director).await?;
    let sfu = match sfu {
        Some(sfu) => Some(writer.apply(&stores.deployments, sfu).await?),
        None => None,
    };
    for (name, replicas) in &retired {
        writer.scale(&stores.deployments, name, *replicas).await?;
    }

    let deployments: Vec<String> = sfu
        .iter()
        .chain([&director])
        .map(ResourceExt::name_any)
        .chain(retired.iter().map(|(name, _)| name.clone()))
        .collect();
    // Our own keys stay when the spec names others: they are given out, and the spec may come back to them.
    let secrets = cluster.name.certificates().chain([cluster.name.keys(), keys_name.clone()]);
    writer.remove_orphans(&stores.deployments, deployments).await?;
    writer.remove_orphans(&stores.disruption_budgets, names(&disruption_budgets)).await?;
    writer.remove_orphans(&stores.network_policies, names(&network_policies)).await?;
    writer.remove_orphans(&stores.services, names(&services)).await?;
    let config_maps = std::iter::once(&config).chain(&history).map(ResourceExt::name_any).collect();
    writer.remove_orphans(&stores.config_maps, config_maps).await?;
    writer.remove_orphans(&stores.secrets, secrets.collect()).await?;
    writer.remove_orphans(&stores.role_bindings, names(&role_bindings)).await?;
    writer.remove_orphans(&stores.roles, names(&roles)).await?;
    writer.remove_orphans(&stores.service_accounts, names(&service_accounts)).await?;
    writer.announce(&found.sfu_pods, &config_hash).await?;
    writer.announce(&found.director_pods, &director_hash).await?;

    let changes = writer.told();
    let applied = Objects {
        service_accounts,
        roles,
        role_bindings,
        first_key,
        keys_name,
        config,
        history,
        services,
        network_policies,
        disruption_budgets,
        sfu,
        retired,
        director,
        monitor,
        config_hash,
        director_hash,
        revision,
        plan,
        departures,
        stage: PhantomData,
    };
    Ok((applied, changes))
}

fn names<K: Resource>(objects: &[K]) -> Vec<String> {
    objects.iter().map(ResourceExt::name_any).collect()
}

struct Writer<'a> {
    cluster: &'a Identity,
    client: &'a Client,
    memory: &'a Memory,
    changes: Vec<Change>,
}

impl Writer<'_> {
    async fn apply_all<K>(&mut self, store: &Store<K>, built: Vec<K>) -> Result<Vec<K>, ApplyError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let mut applied = Vec::with_capacity(built.len());
        for one in built {
            applied.push(self.apply(store, one).await?);
        }
        Ok(applied)
    }

    /// Sends `built`, unless the cached object is as it was left after the same was sent.
    async fn apply<K>(&mut self, store: &Store<K>, built: K) -> Result<K, ApplyError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let key = self.key(&K::kind(&()), &built.name_any());
        let hash = short_hash(&built)?;
        let live = store.get(&ObjectRef::new(&key.name).within(&key.namespace));
        if let Some(live) = &live {
            self.check_ours(&key, live.meta())?;
            if self.memory.recall(&key).is_some_and(|left| left.hash == hash && left.marker == marker(live.meta())) {
                return Ok(live.as_ref().clone());
            }
        }
        let api: Api<K> = Api::namespaced(self.client.clone(), &key.namespace);
        if live.is_none() {
            // Not in the cache: it does not exist, is not labelled as ours, or was made a moment ago.
            let found = api.get_metadata_opt(&key.name).await.map_err(key.failed_to("read"))?;
            if let Some(found) = found {
                self.check_ours(&key, &found.metadata)?;
            }
        }
        let applied = self.send(&api, &key, live.as_deref().map(Resource::meta), &built).await?;
        self.memory.note(key, hash, marker(applied.meta()));
        Ok(applied)
    }

    /// Sends `built`. `before` is what is known of the object as it was; none if it is to be made.
    async fn send<K>(
        &mut self,
        api: &Api<K>,
        key: &Key,
        before: Option<&ObjectMeta>,
        built: &K,
    ) -> Result<K, ApplyError>
    where
        K: Resource + Clone + Debug + Serialize + DeserializeOwned,
    {
        let params = PatchParams::apply(MANAGER).force();
        let applied = api.patch(&key.name, &params, &Patch::Apply(built)).await.map_err(key.failed_to("apply"))?;
        match before {
            None => self.changed(Verb::Created, key, String::new()),
            Some(before) if marker(before) != marker(applied.meta()) => {
                self.changed(Verb::Updated, key, String::new());
            }
            Some(_) => {}
        }
        Ok(applied)
    }

    /// Deletes the very object seen: not one of the same name made since.
    async fn delete<K>(&mut self, api: &Api<K>, key: &Key, seen: &K) -> Result<(), ApplyError>
    where
        K: Resource + Clone + Debug + DeserializeOwned,
    {
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: seen.uid(), resource_version: None }),
            ..DeleteParams::background()
        };
        match api.delete(&key.name, &params).await {
            Ok(_) => self.changed(Verb::Deleted, key, String::new()),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => return Err(key.failed_to("delete")(error)),
        }
        Ok(())
    }

    /// Creates the Secret of the first key. One that exists is left alone, whoever made it: keys are given out, so they
    /// are never overwritten.
    async fn create_key(&mut self, secret: &Secret) -> Result<(), ApplyError> {
        let key = self.key("Secret", &secret.name_any());
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &key.namespace);
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        match api.create(&params, secret).await {
            Ok(_) => self.changed(Verb::Created, &key, String::new()),
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let found = api.get_metadata(&key.name).await.map_err(key.failed_to("read"))?;
                self.check_ours(&key, &found.metadata)?;
            }
            Err(error) => return Err(key.failed_to("create")(error)),
        }
        Ok(())
    }

    async fn apply_monitor(
        &mut self,
        monitor: Option<DynamicObject>,
        installed: bool,
    ) -> Result<Option<DynamicObject>, ApplyError> {
        if !installed {
            return Ok(None);
        }
        let key = self.key(super::build::MONITOR_API.2, self.cluster.name.as_str());
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.cluster.namespace, &monitor_resource());
        let hash = short_hash(&monitor)?;
        if self.memory.recall(&key).is_some_and(|left| left.hash == hash && left.at.elapsed() < UNWATCHED_AGAIN) {
            return Ok(monitor);
        }
        let found = api.get_opt(&key.name).await.map_err(key.failed_to("read"))?;
        match (&monitor, &found) {
            (Some(built), found) => {
                if let Some(found) = found {
                    self.check_ours(&key, &found.metadata)?;
                }
                self.send(&api, &key, found.as_ref().map(Resource::meta), built).await?;
            }
            (None, Some(found)) if self.check_ours(&key, &found.metadata).is_ok() => {
                self.delete(&api, &key, found).await?;
            }
            (None, _) => {}
        }
        self.memory.note(key, hash, String::new());
        Ok(monitor)
    }

    /// Scales a predecessor. Its template is not ours to send again: it was built by another spec or release.
    async fn scale(&mut self, store: &Store<Deployment>, name: &str, replicas: u32) -> Result<(), ApplyError> {
        let key = self.key("Deployment", name);
        let live = store.get(&ObjectRef::new(name).within(&key.namespace));
        let has = live.as_ref().and_then(|live| live.spec.as_ref()?.replicas).and_then(|has| u32::try_from(has).ok());
        if has.is_none_or(|has| has == replicas) {
            return Ok(());
        }
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &key.namespace);
        let patch = json!({"spec": {"replicas": replicas}});
        match api.patch(name, &manager(), &Patch::Merge(&patch)).await {
            Ok(_) => {
                let detail = format!("from {} to {replicas}", has.unwrap_or_default());
                self.changed(Verb::Scaled, &key, detail);
                self.memory.forget(&key);
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(key.failed_to("scale")(error)),
        }
    }

    /// Deletes what carries our label and our owner and was not built.
    async fn remove_orphans<K>(&mut self, store: &Store<K>, expected: Vec<String>) -> Result<(), ApplyError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + 'static,
    {
        let expected: HashSet<String> = expected.into_iter().collect();
        for live in of_cluster(store, &self.cluster.namespace, self.cluster.name.as_str()) {
            let key = self.key(&K::kind(&()), &live.name_any());
            let is_going = live.meta().deletion_timestamp.is_some();
            if expected.contains(&key.name) || is_going || self.check_ours(&key, live.meta()).is_err() {
                continue;
            }
            let api: Api<K> = Api::namespaced(self.client.clone(), &key.namespace);
            self.delete(&api, &key, live.as_ref()).await?;
            self.memory.forget(&key);
        }
        Ok(())
    }

    /// Tells the kubelets by an annotation that mounted files changed; otherwise they look about once a minute.
    async fn announce(&mut self, pods: &[Arc<Pod>], hash: &str) -> Result<(), ApplyError> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.cluster.namespace);
        let patch = json!({"metadata": {"annotations": {annotation::CONFIG_HASH: hash}}});
        for pod in pods {
            let said = pod.annotations().get(annotation::CONFIG_HASH);
            if pod.metadata.deletion_timestamp.is_some() || said.is_some_and(|said| said == hash) {
                continue;
            }
            let name = pod.name_any();
            match api.patch_metadata(&name, &manager(), &Patch::Merge(&patch)).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(ApplyError::request("annotate", "Pod".to_owned(), name, error)),
            }
        }
        Ok(())
    }

    fn key(&self, kind: &str, name: &str) -> Key {
        Key { kind: kind.to_owned(), namespace: self.cluster.namespace.clone(), name: name.to_owned() }
    }

    fn check_ours(&self, key: &Key, found: &ObjectMeta) -> Result<(), ApplyError> {
        let owners = found.owner_references.iter().flatten();
        if owners.into_iter().any(|owner| owner.uid == self.cluster.owner.uid) {
            return Ok(());
        }
        Err(ApplyError::NotOurs { kind: key.kind.clone(), name: key.name.clone() })
    }

    /// What changed, once it is in the log.
    fn told(self) -> Vec<Change> {
        for change in &self.changes {
            info!(
                namespace = %self.cluster.namespace, name = %self.cluster.name, verb = change.verb.word(),
                kind = %change.kind, object = %change.name, detail = %change.detail, "object written"
            );
        }
        self.changes
    }

    fn changed(&mut self, verb: Verb, key: &Key, detail: String) {
        self.changes.push(Change { verb, kind: key.kind.clone(), name: key.name.clone(), detail });
    }
}

fn manager() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

/// What changes when somebody changes an object, and not when its controller reports.
fn marker(meta: &ObjectMeta) -> String {
    match meta.generation {
        Some(generation) => format!("generation {generation}"),
        None => meta.resource_version.clone().unwrap_or_default(),
    }
}
