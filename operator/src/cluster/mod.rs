//! The controller of `CallsCluster`: seven steps, each in its file, and this driver.
//!
//! ```text
//! dereference → (issue, certify) → validate → scale → build → apply → see off → status
//!   reads         make, write      pure       pure;   pure    writes  tells SFUs  pure, written here
//!                                             rescale writes
//! ```
//!
//! A reconcile looks at the present state alone and may end at any step: the next one starts anew, and what was written
//! before is no harm. An object that cannot be carried out gets its conditions and never holds up another.

pub mod apply;
pub mod build;
pub mod dereference;
pub mod event;
pub mod identity;
pub mod issue;
pub mod leaving;
pub mod pace;
pub mod problem;
pub mod rescale;
pub mod revision;
pub mod scale;
pub mod see_off;
pub mod seen;
pub mod status;
pub mod validate;

#[cfg(test)]
pub(crate) mod fake_api;
#[cfg(test)]
pub(crate) mod fake_sfu;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::DynamicObject;
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, Recorder};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use serde_json::json;
use thiserror::Error;
use tracing::{Instrument as _, debug_span, error, info_span, warn};

use crate::api::{CallsCluster, CallsClusterStatus};
use crate::discovery::Monitoring;
use crate::metrics::{Metrics, Outcome};
use crate::name::MANAGER;
use crate::watch::{Guarded, Stores};
use apply::{ApplyError, Memory};
use dereference::{DereferenceError, Dereferenced, dereference};
use identity::Identity;
use issue::{IssueError, issue};
use pace::Pace;
use problem::{ConditionType, Problem};
use rescale::{Written, rescale};
use scale::Scalers;
use see_off::{SeeOffError, see_off};
use validate::{Images, ValidationError, sentence, validate};

/// How often a `CallsCluster` is looked at without cause: SFUs are asked how they are.
pub const RESYNC: Duration = Duration::from_secs(10);
/// How soon one is looked at again that failed.
const RETRY: Duration = Duration::from_secs(5);
/// How soon one is looked at again that was changed while it was looked at.
const SOON: Duration = Duration::from_secs(1);
/// How soon one is looked at again whose SFUs leave, or may be evicted while they are empty: they tell nobody when they
/// are.
const WATCH_LEAVING: Duration = Duration::from_secs(2);

/// What a reconcile may use.
pub struct Context {
    pub client: Client,
    pub stores: Stores,
    pub images: Images,
    pub memory: Memory,
    pub pace: Pace,
    pub scalers: Scalers,
    pub recorder: Recorder,
    pub metrics: Metrics,
    pub monitoring: Monitoring,
}

impl Context {
    /// Forgets what was noted of a `CallsCluster` that is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.memory.forget_cluster(namespace, name);
        self.pace.forget(namespace, name);
        self.scalers.forget(namespace, name);
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Context").field("images", &self.images).finish_non_exhaustive()
    }
}

/// Why a reconcile ended early. All of these may pass by themselves; what a user must mend becomes a condition instead.
#[derive(Debug, Error)]
pub enum ReconcileError {
    #[error("failed to read what the CallsCluster names")]
    Dereference(#[from] DereferenceError),
    #[error("failed to issue certificates or keys")]
    Issue(#[from] IssueError),
    #[error("failed to write how many SFUs are wanted")]
    Rescale(#[source] kube::Error),
    #[error("failed to build the objects")]
    Build(#[from] build::BuildError),
    #[error("failed to apply the objects")]
    Apply(#[from] ApplyError),
    #[error("failed to tell what leaves")]
    SeeOff(#[from] SeeOffError),
    #[error("failed to write the status")]
    Status(#[source] kube::Error),
}

/// Brings one `CallsCluster` closer to its spec.
pub async fn reconcile(object: Arc<Guarded>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let namespace = object.meta().namespace.clone().unwrap_or_default();
    let name = object.meta().name.clone().unwrap_or_default();
    let span = info_span!("reconcile", %namespace, %name, generation = object.meta().generation);
    let began = Instant::now();
    let result = async {
        if object.meta().deletion_timestamp.is_some() {
            // Everything goes with its owner.
            context.forget(&namespace, &name);
            return Ok((Outcome::Gone, RESYNC));
        }
        match &object.0 {
            // Boxed, because it is large and most of the time only waits.
            Ok(cluster) => Box::pin(reconcile_readable(cluster, &context)).await,
            Err(invalid) => report_unreadable(invalid, &context).await.map(|outcome| (outcome, RESYNC)),
        }
    }
    .instrument(span)
    .await;
    context.metrics.reconciled(result.as_ref().map_or(Outcome::Failed, |(outcome, _)| *outcome), began.elapsed());
    result.map(|(outcome, again)| match outcome {
        Outcome::Gone => Action::await_change(),
        _ => Action::requeue(again),
    })
}

/// When to try again after a failure.
#[expect(clippy::needless_pass_by_value, reason = "the controller calls it with these types")]
pub fn error_policy(object: Arc<Guarded>, error: &ReconcileError, _context: Arc<Context>) -> Action {
    let meta = object.meta();
    warn!(
        namespace = meta.namespace.as_deref().unwrap_or_default(),
        name = meta.name.as_deref().unwrap_or_default(),
        error = error as &dyn std::error::Error,
        "reconcile failed, trying again"
    );
    Action::requeue(RETRY)
}

/// How it ended, and when to look again.
async fn reconcile_readable(cluster: &CallsCluster, context: &Context) -> Result<(Outcome, Duration), ReconcileError> {
    let later = |outcome| (outcome, RESYNC);
    let identity = match Identity::of(cluster) {
        Ok(identity) => identity,
        Err(error) => return refuse(cluster, &ValidationError::Name(error).problem(), None, context).await.map(later),
    };
    let monitors_installed = context.monitoring.is_installed();
    let found = dereference(cluster, &identity, &context.stores, &context.client, monitors_installed)
        .instrument(debug_span!("dereference"))
        .await?;
    context.metrics.asked(&found.reports);
    let now = Timestamp::now();
    let issued = issue(&found, now)?;
    // Before the spec is judged: certificates end whether or not it can be carried out.
    let certificates = build::certificates(&identity, &issued.certificates);
    let renewed =
        apply::apply_certificates(certificates, &identity, &context.stores, &context.client, &context.memory).await;
    let renewed = match renewed {
        Ok(changes) => changes,
        Err(error) => return refuse_unapplied(cluster, error, &identity, &found, context).await.map(later),
    };
    context.metrics.wrote(&renewed);
    publish(cluster, event::of_changes(&renewed), context).await;
    let validated = match validate(cluster, &found, issued, &context.images, now) {
        Ok(validated) => validated,
        Err(error) => return refuse(cluster, &error.problem(), Some((&identity, &found)), context).await.map(later),
    };
    let validated = match context.scalers.scale(&validated, &found, now) {
        Some(scaled) => {
            let written = rescale(cluster, &scaled, &context.client).instrument(debug_span!("rescale")).await;
            let scaled = match written.map_err(ReconcileError::Rescale)? {
                Written::AsDecided => scaled,
                Written::Overtaken => return Ok((Outcome::NotReady, SOON)),
                Written::Refused(message) => scaled.refused(message),
            };
            publish(cluster, event::of_scaling(&scaled).into_iter().collect(), context).await;
            validated.with(scaled)
        }
        None => validated,
    };
    let objects = build::build(&validated)?;
    let departures = objects.departures.clone();
    let applied =
        Box::pin(apply::apply(objects, &validated, &context.stores, &context.client, &context.memory, &found))
            .instrument(debug_span!("apply"))
            .await;
    // Also when an object was not written: people and nodes wait for those that leave.
    let seen_off = see_off(&departures, &validated, &found, &context.client).instrument(debug_span!("see_off")).await;
    publish(cluster, event::of_departures(&seen_off.told), context).await;
    let (applied, changes) = match applied {
        Ok(applied) => applied,
        Err(error) => return refuse_unapplied(cluster, error, &identity, &found, context).await.map(later),
    };
    context.metrics.wrote(&changes);
    publish(cluster, event::of_changes(&changes), context).await;
    if let Some(error) = seen_off.failed {
        return Err(error.into());
    }
    let new = status::status(
        &applied,
        &validated,
        &found,
        cluster.status.as_ref(),
        cluster.metadata.generation,
        Timestamp::now(),
    );
    async {
        publish(cluster, event::of_conditions(cluster.status.as_ref(), &new), context).await;
        write_status(cluster, &new, context).await
    }
    .instrument(debug_span!("status"))
    .await?;
    let is_ready = new.conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True");
    let is_watched = !departures.leaving.is_empty() || !departures.stuck.is_empty();
    let again = if is_watched { WATCH_LEAVING } else { RESYNC };
    Ok((if is_ready { Outcome::Ready } else { Outcome::NotReady }, again))
}

/// Says in the status why an object was not applied, if a user can mend that.
async fn refuse_unapplied(
    cluster: &CallsCluster,
    error: ApplyError,
    identity: &Identity,
    found: &Dereferenced,
    context: &Context,
) -> Result<Outcome, ReconcileError> {
    let Some(reason) = error.reason() else { return Err(error.into()) };
    let problem =
        Problem { condition: ConditionType::Ready, reason: reason.to_owned(), message: sentence(&error.to_string()) };
    refuse(cluster, &problem, Some((identity, found)), context).await
}

/// Says in the status why the spec is not carried out, and what is seen of the SFUs meanwhile.
async fn refuse(
    cluster: &CallsCluster,
    problem: &Problem,
    found: Option<(&Identity, &Dereferenced)>,
    context: &Context,
) -> Result<Outcome, ReconcileError> {
    let before = cluster.status.as_ref();
    let wanted = u32::try_from(cluster.spec.sfu.replicas).unwrap_or(0);
    let seen = found.map(|(identity, found)| status::seen(found, &identity.name, wanted));
    let new = status::refused(problem, seen, before, cluster.metadata.generation, Timestamp::now());
    publish(cluster, event::of_conditions(before, &new), context).await;
    write_status(cluster, &new, context).await?;
    Ok(Outcome::Refused)
}

/// Writes the status if it differs from the one we were called with in more than counts, or it is time for those.
async fn write_status(
    cluster: &CallsCluster,
    new: &CallsClusterStatus,
    context: &Context,
) -> Result<(), ReconcileError> {
    let (namespace, name) = (cluster.metadata.namespace.as_deref().unwrap_or_default(), cluster.name_any());
    let now = Instant::now();
    if !context.pace.is_due(namespace, &name, cluster.status.as_ref(), new, now) {
        return Ok(());
    }
    let api: Api<CallsCluster> = Api::namespaced(context.client.clone(), namespace);
    let patch = json!({
        "apiVersion": CallsCluster::api_version(&()),
        "kind": CallsCluster::kind(&()),
        "metadata": {"name": name, "uid": cluster.metadata.uid},
        "status": new,
    });
    match api.patch_status(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&patch)).await {
        Ok(_) => {
            context.pace.note(namespace, &name, now);
            context.metrics.wrote_status();
            Ok(())
        }
        // It was deleted meanwhile.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(ReconcileError::Status(error)),
    }
}

/// An object our types cannot read, as one stored under an older schema: it gets an Event and, if the API server lets
/// us, a condition.
async fn report_unreadable(
    invalid: &kube::core::error_boundary::InvalidObject,
    context: &Context,
) -> Result<Outcome, ReconcileError> {
    let problem = Problem {
        condition: ConditionType::Ready,
        reason: "SpecUnreadable".to_owned(),
        message: format!("This CallsCluster cannot be read: {} Correct its spec.", sentence(&invalid.error)),
    };
    let meta = &invalid.metadata;
    let (namespace, name) = (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
    let resource = kube::core::ApiResource::erase::<CallsCluster>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), namespace, &resource);
    let live = api.get_opt(name).await.map_err(ReconcileError::Status)?;
    let before: Option<CallsClusterStatus> = live
        .as_ref()
        .and_then(|live| live.data.get("status"))
        .and_then(|status| serde_json::from_value(status.clone()).ok());
    let new = status::refused(&problem, None, before.as_ref(), meta.generation, Timestamp::now());
    if before.as_ref() != Some(&new) {
        let mut reference = k8s_openapi::api::core::v1::ObjectReference {
            api_version: Some(CallsCluster::api_version(&()).into_owned()),
            kind: Some(CallsCluster::kind(&()).into_owned()),
            ..Default::default()
        };
        reference.name.clone_from(&meta.name);
        reference.namespace.clone_from(&meta.namespace);
        reference.uid.clone_from(&meta.uid);
        for event in event::of_conditions(before.as_ref(), &new) {
            if let Err(error) = context.recorder.publish(&event, &reference).await {
                warn!(error = &error as &dyn std::error::Error, "an Event was not published");
            }
        }
        let patch = json!({"status": new});
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await.map_err(ReconcileError::Status)?;
    }
    Ok(Outcome::Refused)
}

/// Events are a courtesy: losing one is logged and nothing more.
async fn publish(cluster: &CallsCluster, events: Vec<Event>, context: &Context) {
    let reference = cluster.object_ref(&());
    for event in events {
        if let Err(error) = context.recorder.publish(&event, &reference).await {
            error!(reason = %event.reason, error = &error as &dyn std::error::Error, "an Event was not published");
        }
    }
}
