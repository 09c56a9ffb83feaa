//! What the status says of how many SFUs there are, and of who decides that.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::{State, whole_seconds};
use crate::api::{AutoscalerStatus, CallsClusterStatus};
use crate::cluster::dereference::Dereferenced;
use crate::cluster::problem::{ConditionType, Problem};
use crate::cluster::scale::Scaling;
use crate::cluster::validate::ValidatedCluster;

/// What we decided, and when the number changed last.
pub(super) fn autoscaler(
    cluster: &ValidatedCluster,
    before: Option<&CallsClusterStatus>,
    now: Timestamp,
) -> Option<AutoscalerStatus> {
    let scaled = cluster.scaled.as_ref()?;
    let known = before.and_then(|before| before.autoscaler.as_ref()).and_then(|known| known.last_scale_time.clone());
    let is_changed = scaled.replicas != scaled.before;
    Some(AutoscalerStatus {
        desired: scaled.replicas,
        reason: scaled.reason.clone(),
        last_scale_time: if is_changed { Some(Time(whole_seconds(now))) } else { known },
    })
}

/// Whether as many SFUs can be had as are needed. Without counts: they change at every look.
pub(super) fn limited(cluster: &ValidatedCluster, wrong: &[Problem]) -> State {
    let condition = ConditionType::ScalingLimited;
    if let Some(message) = cluster.scaled.as_ref().and_then(|scaled| scaled.refused.as_ref()) {
        let said = format!(
            "The API server does not let the operator write sfu.replicas, so the number stays: {message}. Correct the \
             operator's rights, or the policy that refuses it."
        );
        return State::new(condition, "True", "ScaleRefused", said);
    }
    if let Some(most) = cluster.scaled.as_ref().and_then(|scaled| scaled.capped_at) {
        let said = format!(
            "More SFUs are needed than autoscaling.maxReplicas lets there be, which is {most}: raise it, or \
             autoscaling.targetLoad."
        );
        return State::new(condition, "True", "MaxReplicas", said);
    }
    let has_no_node = |problem: &&Problem| matches!(problem.reason.as_str(), "NoFreePorts" | "NoNodeFits");
    if let Some(problem) = wrong.iter().find(has_no_node) {
        return State::new(condition, "True", &problem.reason, problem.message.clone());
    }
    State::new(condition, "False", "NotLimited", "Nothing keeps the SFUs from being as many as are needed.")
}

/// An autoscaler beside ours: it has its way, and the user chooses.
pub(super) fn two_autoscalers(cluster: &ValidatedCluster, found: &Dereferenced) -> Option<Problem> {
    let (Scaling::Own(_), [first, ..]) = (&cluster.scaling, found.autoscalers.as_slice()) else { return None };
    Some(Problem {
        condition: ConditionType::AutoscalingConflict,
        reason: "TwoAutoscalers".to_owned(),
        message: format!(
            "HorizontalPodAutoscaler {first} scales this CallsCluster as well, so the operator leaves it to that: set \
             autoscaling.mode to External, or delete the HorizontalPodAutoscaler (for one of KEDA's, its ScaledObject)."
        ),
    })
}

pub(super) fn conflict(wrong: &[Problem]) -> State {
    let condition = ConditionType::AutoscalingConflict;
    match wrong.iter().find(|problem| problem.condition == condition) {
        Some(problem) => State::new(condition, "True", &problem.reason, problem.message.clone()),
        None => State::new(condition, "False", "NoConflict", "No more than one decides how many SFUs there are."),
    }
}
