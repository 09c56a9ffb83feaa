//! What the status says of a change of the SFUs' template that was taken back.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::{MAX_MESSAGE, whole_seconds};
use crate::api::{CallsClusterStatus, RolledBackStatus, UpdateSpec};
use crate::cluster::build::{Applied, Objects};
use crate::cluster::problem::{ConditionType, Problem};
use crate::cluster::revision::{Hold, Progress};

/// What was taken back, and what was wrong then: its pods are gone soon, and nobody could say it any more. The status is
/// where it is remembered; were it lost, the change would be tried again.
pub(super) fn rolled_back(
    objects: &Objects<Applied>,
    wrong: &[Problem],
    before: Option<&CallsClusterStatus>,
    now: Timestamp,
) -> Option<RolledBackStatus> {
    if objects.plan.progress != Progress::Held(Hold::RolledBack) {
        return None;
    }
    let known = before.and_then(|before| before.rolled_back.clone());
    known.filter(|known| known.revision == objects.revision).or_else(|| {
        let message = wrong.first().map_or("Its SFUs did not become ready.", |first| &first.message);
        Some(RolledBackStatus {
            revision: objects.revision.clone(),
            message: message.chars().take(MAX_MESSAGE / 2).collect(),
            time: Time(whole_seconds(now)),
        })
    })
}

/// What is to be done about it.
pub(super) fn problem(rolled_back: &RolledBackStatus, update: UpdateSpec) -> Problem {
    Problem {
        condition: ConditionType::Degraded,
        reason: "RolledBack".to_owned(),
        message: format!(
            "A change of the SFUs was taken back, because they were not all ready after {} s; those before serve on. What \
             was wrong: {} Correct the spec; to try the same again, set update.paused to true and back to false.",
            update.progress_deadline_seconds, rolled_back.message
        ),
    }
}
