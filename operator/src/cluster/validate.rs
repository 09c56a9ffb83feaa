//! Step 2, validate: the spec and what it names become a [`ValidatedCluster`], in which nothing is left to interpret.
//!
//! Pure. What the user must mend is a [`ValidationError`], which knows its reason and says what to do.

use std::collections::BTreeMap;
use std::sync::Arc;

use autoscale::ScheduleError;
use fleet::api::MAX_DRAIN_SECONDS;
use fleet::config::{MediaConfig, PageConfig, SfuConfig};
use fleet::names::{annotation, label};
use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use thiserror::Error;

use crate::address::{self, BadAnnotation, OverrideError};
use crate::api::{
    AutoscalingMode, CallsCluster, DrainMode, Monitors, PageAccess, PodTemplate, ResourceAmounts, Resources, SfuSpec,
    UpdateSpec,
};
use crate::certificates::FleetCertificates;
use crate::cluster::dereference::{Dereferenced, KeysFound};
use crate::cluster::identity::Identity;
use crate::cluster::issue::Issued;
use crate::cluster::leaving::{Sfu, Terms};
use crate::cluster::problem::{ConditionType, Problem};
use crate::cluster::revision::LiveRevision;
use crate::cluster::scale::{Scaled, Scaling};
use crate::cluster::seen::{free_nodes, patience, sfus};
use crate::hash::short_hash;
use crate::keys::{ApiKey, KeysError, read_keys};
use crate::name::{ClusterName, NameError};
use crate::port::{PortError, PortPlan, Slot, host_ports_of};

/// How long past its end a terminating pod still counts as holding its host ports. `deletionTimestamp` is the time by
/// which it should be gone, its grace period included; a kubelet that works is done within seconds of it, and of a node
/// that is not reached none is waited for. Shorter, and a slow kubelet's pod is passed over; longer, and a dead node
/// holds up a change for that time.
const OVERDUE: SignedDuration = SignedDuration::from_secs(60);

/// Images of the operator's release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    pub sfu: Image,
    pub director: Image,
}

/// An image, and who may get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Full reference.
    pub reference: String,
    /// Names of Secrets with credentials for its registry, in the pod's namespace.
    pub pull_secrets: Vec<String>,
}

/// The Secret of API keys that SFUs mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    pub secret_name: String,
    /// Set when the operator's own Secret must be made.
    pub first: Option<ApiKey>,
    /// Hash of the content, so that a changed Secret reaches running SFUs at once.
    pub hash: String,
}

/// A `CallsCluster` that can be built.
#[derive(Clone, Debug)]
pub struct ValidatedCluster {
    pub identity: Identity,
    /// SFUs that are wanted.
    pub replicas: u32,
    /// Who decides how many.
    pub scaling: Scaling,
    /// What we decided, once we have.
    pub scaled: Option<Scaled>,
    /// The forecast's history as it is kept, where there is a forecast.
    pub kept_history: Option<String>,
    pub sfu_image: Image,
    pub director_image: Image,
    pub resources: ResourceRequirements,
    pub pod_template: PodTemplate,
    pub ports: PortPlan,
    pub tcp: bool,
    /// The SFU's configuration file.
    pub config: SfuConfig,
    pub keys: Keys,
    pub certificates: FleetCertificates,
    /// Whether to make a PodMonitor.
    pub monitor: bool,
    /// The directive of `RUST_LOG`.
    pub log: &'static str,
    pub live: Vec<LiveRevision>,
    /// When a changed template may take its predecessor's place.
    pub update: UpdateSpec,
    /// The revision that was tried last and taken back.
    pub rolled_back: Option<String>,
    /// How SFUs leave.
    pub terms: Terms,
    /// SFU pods that are not going away.
    pub sfus: Vec<Sfu>,
    /// Nodes that take SFUs, and for each slot how many of them have none yet.
    pub free_nodes: [u32; 2],
    /// Seconds the SFUs of a Deployment may take to leave, as its template says, by its name.
    pub patience: BTreeMap<String, u32>,
    /// When all this was so.
    pub now: Timestamp,
    /// Odd, but no reason to stop.
    pub warnings: Vec<Problem>,
}

impl ValidatedCluster {
    /// With as many SFUs as we decided.
    pub fn with(self, scaled: Scaled) -> Self {
        Self { replicas: scaled.replicas, scaled: Some(scaled), ..self }
    }
}

/// What the user must mend.
#[derive(Debug, Error)]
pub enum ValidationError {
    #[error("{0}: delete this CallsCluster and make one with another name")]
    Name(#[from] NameError),
    #[error("{0}")]
    Ports(#[from] PortError),
    #[error("{0}")]
    Override(#[from] OverrideError),
    #[error(
        "auth.secretName is {0}, but there is no such Secret in this namespace: create it, or leave auth.secretName empty"
    )]
    SecretMissing(String),
    #[error("{0}")]
    Keys(#[from] KeysError),
    #[error("sfu.replicas is {0}: it must not be negative")]
    Replicas(i32),
    #[error("autoscaling.schedule: {0}")]
    Schedule(#[from] ScheduleError),
    #[error("a value has no JSON form")]
    Json(#[from] serde_json::Error),
}

impl ValidationError {
    /// The condition it belongs to, with its reason.
    pub fn problem(&self) -> Problem {
        let (condition, reason) = match self {
            Self::Name(_) => (ConditionType::Ready, "NameUnusable"),
            Self::Ports(_) => (ConditionType::PortsAllocated, "PortsInvalid"),
            Self::Override(error) if error.is_contradiction() => {
                (ConditionType::AddressResolved, "OverrideContradictory")
            }
            Self::Override(_) => (ConditionType::AddressResolved, "OverrideInvalid"),
            Self::SecretMissing(_) => (ConditionType::Ready, "SecretMissing"),
            Self::Keys(_) => (ConditionType::Ready, "SecretUnusable"),
            Self::Schedule(_) => (ConditionType::Ready, "ScheduleInvalid"),
            Self::Replicas(_) | Self::Json(_) => (ConditionType::Ready, "SpecInvalid"),
        };
        Problem { condition, reason: reason.to_owned(), message: sentence(&self.to_string()) }
    }
}

/// Makes an error's text a sentence for people.
pub fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let Some(first) = characters.next() else { return String::new() };
    // The name of a field stays as it is written.
    let is_field = text.split([' ', ':']).next().is_some_and(|word| word.contains('.'));
    let start = if is_field { first.to_string() } else { first.to_uppercase().to_string() };
    let end = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{start}{}{end}", characters.as_str())
}

/// Interprets `cluster`, given what was read and issued by `now`.
pub fn validate(
    cluster: &CallsCluster,
    found: &Dereferenced,
    issued: Issued,
    images: &Images,
    now: Timestamp,
) -> Result<ValidatedCluster, ValidationError> {
    let spec = &cluster.spec;
    let identity = Identity::of(cluster)?;
    let planned = address::plan(&spec.network.advertise, &found.nodes)?;
    Ok(ValidatedCluster {
        keys: keys(&identity.name, found, issued.first_key)?,
        replicas: u32::try_from(spec.sfu.replicas).map_err(|_| ValidationError::Replicas(spec.sfu.replicas))?,
        scaled: None,
        kept_history: (spec.autoscaling.mode == AutoscalingMode::Predictive).then(|| found.history.clone()).flatten(),
        scaling: Scaling::of(&spec.autoscaling)?,
        sfu_image: sfu_image(&spec.sfu, &images.sfu),
        director_image: images.director.clone(),
        resources: resources(&spec.sfu.resources),
        pod_template: spec.sfu.pod_template.clone(),
        ports: PortPlan::new(spec.network.media_ports.from, spec.network.control_ports.from)?,
        tcp: spec.network.tcp.enabled,
        config: SfuConfig {
            advertise: planned.plan,
            stun_servers: spec.network.advertise.stun.servers.clone(),
            page: PageConfig {
                enabled: spec.page.enabled,
                access: match spec.page.access {
                    PageAccess::Open => fleet::config::PageAccess::Open,
                    PageAccess::Token => fleet::config::PageAccess::Token,
                },
            },
            media: MediaConfig { max_active_speakers: spec.media.max_active_speakers },
        },
        certificates: issued.certificates,
        monitor: found.monitors_installed && spec.observability.monitors == Monitors::Auto,
        log: spec.observability.log_level.directive(),
        live: live_revisions(found, now),
        update: spec.update,
        // Who pauses may try the same again.
        rolled_back: cluster
            .status
            .as_ref()
            .and_then(|status| status.rolled_back.as_ref())
            .filter(|_| !spec.update.paused)
            .map(|one| one.revision.clone()),
        terms: Terms {
            mode: match spec.sfu.drain {
                DrainMode::Move => fleet::api::DrainMode::Move,
                DrainMode::Wait => fleet::api::DrainMode::Wait,
            },
            within_seconds: u32::from(spec.sfu.drain_timeout_seconds).min(MAX_DRAIN_SECONDS),
        },
        sfus: sfus(found),
        free_nodes: Slot::ALL.map(|slot| free_nodes(found, &spec.sfu.pod_template.tolerations, slot)),
        patience: patience(found),
        now,
        warnings: planned.bad_annotations.iter().map(bad_annotation).collect(),
        identity,
    })
}

/// What the spec says of the image, and the release's where it says nothing.
fn sfu_image(spec: &SfuSpec, default: &Image) -> Image {
    let named: Vec<String> = spec.pod_template.image_pull_secrets.iter().map(|secret| secret.name.clone()).collect();
    Image {
        reference: if spec.image.is_empty() { default.reference.clone() } else { spec.image.clone() },
        pull_secrets: if named.is_empty() { default.pull_secrets.clone() } else { named },
    }
}

fn keys(name: &ClusterName, found: &Dereferenced, first: Option<ApiKey>) -> Result<Keys, ValidationError> {
    let secret = match &found.keys {
        KeysFound::NamedMissing(missing) => return Err(ValidationError::SecretMissing(missing.clone())),
        KeysFound::OwnMissing => None,
        KeysFound::Own(secret) | KeysFound::Named(secret) => Some(secret),
    };
    let Some(secret) = secret else {
        let hash = first.as_ref().map(|key| short_hash(&key.name)).transpose()?.unwrap_or_default();
        return Ok(Keys { secret_name: name.keys(), first, hash });
    };
    read_keys(secret)?;
    Ok(Keys { secret_name: secret.name_any(), first: None, hash: short_hash(&secret.data)? })
}

fn resources(spec: &Resources) -> ResourceRequirements {
    let amounts = |amounts: &ResourceAmounts| {
        let named = [("cpu", &amounts.cpu), ("memory", &amounts.memory)];
        named.into_iter().filter_map(|(name, amount)| Some((name.to_owned(), amount.clone()?))).collect()
    };
    ResourceRequirements { requests: Some(amounts(&spec.requests)), limits: Some(amounts(&spec.limits)), claims: None }
}

fn bad_annotation(bad: &BadAnnotation) -> Problem {
    Problem {
        condition: ConditionType::AddressResolved,
        reason: "NodeAnnotationInvalid".to_owned(),
        message: format!(
            "The annotation {} of Node {} is {:?}, neither an IPv4 address that media can be sent to nor a DNS name (media is IPv4 only): correct or \
             remove it.",
            fleet::names::annotation::NODE_ADDRESS,
            bad.node,
            bad.value
        ),
    }
}

/// What is there of each revision in each slot, from Deployments and pods alike: pods outlive their Deployment.
///
/// A pod that should have been gone a minute ago is passed over: its node does not answer, and it would stay until
/// somebody deletes the Node. Should it run nevertheless, the scheduler keeps others off its ports on that node.
pub fn live_revisions(found: &Dereferenced, now: Timestamp) -> Vec<LiveRevision> {
    let place = |labels: &std::collections::BTreeMap<String, String>| {
        Some((labels.get(label::REVISION)?.clone(), Slot::parse(labels.get(label::SLOT)?)?))
    };
    let mut live: Vec<LiveRevision> = Vec::new();
    for deployment in &found.deployments {
        let Some((revision, slot)) = place(deployment.labels()) else { continue };
        let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let wanted = Some(u32::try_from(replicas).unwrap_or(0));
        let made = deployment.metadata.creation_timestamp.as_ref().map_or(now, |made| made.0);
        let age_seconds = now.as_second() - made.as_second();
        let unseen = LiveRevision::new(revision, slot, host_ports_of(deployment));
        live.push(LiveRevision { wanted, age_seconds, ..unseen });
    }
    for pod in &found.sfu_pods {
        let Some((revision, slot)) = place(pod.labels()) else { continue };
        if is_finished(pod) || is_overdue(pod, found, now) {
            continue;
        }
        let index = live.iter().position(|one| one.revision == revision && one.slot == slot).unwrap_or_else(|| {
            live.push(LiveRevision::new(revision, slot, pod_host_ports(pod)));
            live.len() - 1
        });
        let answers = found.reports.get(&pod.name_any()).is_some_and(Result::is_ok);
        let one = &mut live[index];
        one.pods += 1;
        one.ready += u32::from(is_ready(pod));
        one.answering += u32::from(is_ready(pod) && answers);
        one.leaving += u32::from(pod.annotations().contains_key(annotation::LEAVING_SINCE));
    }
    live
}

/// Whether a pod has ended for good, so that it holds no ports.
pub fn is_finished(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"))
}

/// Whether a pod should have been gone for [`OVERDUE`]: by the end of its grace period, or on a node that is not
/// reached as soon as it was deleted.
fn is_overdue(pod: &Pod, found: &Dereferenced, now: Timestamp) -> bool {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let is_away = found.nodes.iter().any(|one| Some(one.name.as_str()) == node && one.is_unreachable());
    let grace = pod.metadata.deletion_grace_period_seconds.filter(|_| is_away).unwrap_or(0);
    let end = pod.metadata.deletion_timestamp.as_ref().map(|end| end.0 - SignedDuration::from_secs(grace));
    end.is_some_and(|end| now > end + OVERDUE)
}

/// Whether a pod is ready and not going away.
pub fn is_ready(pod: &Arc<Pod>) -> bool {
    let conditions = || pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn pod_host_ports(pod: &Pod) -> std::collections::BTreeSet<u16> {
    pod.spec
        .iter()
        .flat_map(|spec| &spec.containers)
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| port.host_port.and_then(|port| u16::try_from(port).ok()))
        .collect()
}
