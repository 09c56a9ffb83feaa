//! Which Events tell the user what changed. Pure; `mod.rs` publishes them.

use std::cmp::Ordering;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType};

use crate::api::CallsClusterStatus;
use crate::cluster::apply::{Change, Verb};
use crate::cluster::leaving::Cause;
use crate::cluster::problem::ConditionType;
use crate::cluster::scale::Scaled;
use crate::cluster::see_off::Told;

/// Longest note the API takes, in bytes.
const MAX_NOTE: usize = 1024;
/// Longest action the API takes, in bytes.
const MAX_ACTION: usize = 128;

/// Events for what was written. Deployments and keys get their own; the rest is told as one.
pub fn of_changes(changes: &[Change]) -> Vec<Event> {
    // A history is written every hour, which is nobody's business.
    let is_told = |change: &&Change| change.verb != Verb::Updated || !change.name.ends_with("-forecast");
    let (telling, other): (Vec<&Change>, Vec<&Change>) = changes
        .iter()
        .filter(is_told)
        .partition(|change| change.kind == "Deployment" || change.name.ends_with("-keys"));
    let mut events: Vec<Event> = telling
        .into_iter()
        .map(|change| {
            let what = format!("{} {}", change.kind, change.name);
            let note = match (change.verb, change.detail.as_str()) {
                (verb, "") => format!("{} {what}", verb.word()),
                (verb, detail) => format!("{} {what} {detail}", verb.word()),
            };
            event(EventType::Normal, &format!("{}{}", change.kind, change.verb.word()), &note, &note)
        })
        .collect();
    if !other.is_empty() {
        let list = |verb: Verb| {
            let names: Vec<String> = other
                .iter()
                .filter(|change| change.verb == verb)
                .map(|change| format!("{} {}", change.kind, change.name))
                .collect();
            (!names.is_empty()).then(|| format!("{} {}", verb.word(), names.join(", ")))
        };
        let parts: Vec<String> = [Verb::Created, Verb::Updated, Verb::Deleted].into_iter().filter_map(list).collect();
        let note = parts.join("; ");
        events.push(event(EventType::Normal, "ObjectsWritten", &note, &note));
    }
    events
}

/// Events for conditions that changed for better or worse.
pub fn of_conditions(before: Option<&CallsClusterStatus>, after: &CallsClusterStatus) -> Vec<Event> {
    let old = |type_: &str| before.and_then(|before| before.conditions.iter().find(|one| one.type_ == type_));
    after.conditions.iter().filter_map(|new| of_condition(old(&new.type_), new)).collect()
}

/// The Event for a number of SFUs, if it changed.
pub fn of_scaling(scaled: &Scaled) -> Option<Event> {
    let reason = match scaled.replicas.cmp(&scaled.before) {
        Ordering::Greater => "ScaledUp",
        Ordering::Less => "ScaledDown",
        Ordering::Equal => return None,
    };
    Some(event(EventType::Normal, reason, &scaled.reason, &scaled.reason))
}

/// Events for SFUs that begin to leave, are done, or stay after all.
pub fn of_departures(told: &[Told]) -> Vec<Event> {
    told.iter().map(of_departure).collect()
}

fn of_departure(told: &Told) -> Event {
    let (reason, note) = match told {
        Told::Started { pod, cause, calls } => {
            let why = match cause {
                Cause::NodeCordoned => "its node is cordoned",
                Cause::Replaced => "another replaces it",
                Cause::ScaledDown => "fewer are wanted",
            };
            let has = calls.map(|calls| format!("; it has {calls} calls")).unwrap_or_default();
            ("DrainStarted", format!("SFU {pod} leaves, because {why}{has}"))
        }
        Told::Finished { pod, calls_moved } => {
            ("DrainFinished", format!("SFU {pod} can go; {calls_moved} of its calls were moved"))
        }
        Told::TakenBack { pod } => ("DrainTakenBack", format!("SFU {pod} stays, because it is wanted after all")),
    };
    event(EventType::Normal, reason, &note, &note)
}

fn of_condition(old: Option<&Condition>, new: &Condition) -> Option<Event> {
    let is = |condition: ConditionType| new.type_ == condition.name();
    let changed = old.is_none_or(|old| old.status != new.status || old.reason != new.reason);
    if !changed {
        return None;
    }
    if is(ConditionType::Degraded) {
        // The reason of every problem appears here once; other conditions repeat it.
        return match (new.status.as_str(), old) {
            ("True", _) => Some(event(EventType::Warning, &new.reason, "Reconcile", &new.message)),
            ("False", Some(old)) if old.status == "True" => {
                let note = format!("{} is over.", old.reason);
                Some(event(EventType::Normal, "Recovered", &note, &note))
            }
            _ => None,
        };
    }
    if is(ConditionType::Ready) && new.status == "True" && old.is_none_or(|old| old.status != "True") {
        return Some(event(EventType::Normal, "Ready", "Reconcile", &new.message));
    }
    if is(ConditionType::Draining) && new.reason == "NowhereToGo" {
        return Some(event(EventType::Warning, &new.reason, "Reconcile", &new.message));
    }
    let is_stage = matches!(new.reason.as_str(), "Surging" | "Draining" | "WaitingForSlot" | "Paused");
    if is(ConditionType::Progressing) && is_stage {
        return Some(event(EventType::Normal, &new.reason, "Reconcile", &new.message));
    }
    None
}

/// `action` tells Events of one reason apart: those that agree in both are counted as one.
fn event(type_: EventType, reason: &str, action: &str, note: &str) -> Event {
    Event {
        type_,
        reason: reason.to_owned(),
        note: Some(cut(note, MAX_NOTE)),
        action: cut(action, MAX_ACTION),
        secondary: None,
    }
}

fn cut(text: &str, max: usize) -> String {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn status(type_: &str, value: &str, reason: &str) -> CallsClusterStatus {
        CallsClusterStatus {
            conditions: vec![Condition {
                type_: type_.into(),
                status: value.into(),
                reason: reason.into(),
                message: "what to do".into(),
                last_transition_time: Time(Timestamp::UNIX_EPOCH),
                observed_generation: None,
            }],
            ..CallsClusterStatus::default()
        }
    }

    fn reasons(events: &[Event]) -> Vec<&str> {
        events.iter().map(|event| event.reason.as_str()).collect()
    }

    #[test]
    fn a_problem_is_told_once_and_its_end_as_well() {
        let well = status("Degraded", "False", "AllWell");
        let taken = status("Degraded", "True", "PortTaken");
        assert_eq!(reasons(&of_conditions(Some(&well), &taken)), ["PortTaken"]);
        assert!(of_conditions(Some(&taken), &taken).is_empty());
        assert_eq!(reasons(&of_conditions(Some(&taken), &well)), ["Recovered"]);
        assert!(of_conditions(None, &well).is_empty());
    }

    #[test]
    fn a_departure_is_told_with_its_cause_and_what_was_moved() {
        let pod = || "blue-sfu-1".to_owned();
        let events = of_departures(&[
            Told::Started { pod: pod(), cause: Cause::ScaledDown, calls: Some(7) },
            Told::Finished { pod: pod(), calls_moved: 7 },
        ]);
        assert_eq!(reasons(&events), ["DrainStarted", "DrainFinished"]);
        let notes: Vec<&str> = events.iter().filter_map(|event| event.note.as_deref()).collect();
        assert_eq!(
            notes,
            [
                "SFU blue-sfu-1 leaves, because fewer are wanted; it has 7 calls",
                "SFU blue-sfu-1 can go; 7 of its calls were moved"
            ]
        );
    }

    #[test]
    fn a_number_of_sfus_that_changed_is_told_with_its_reason() {
        let scaled = |before, replicas| Scaled {
            before,
            replicas,
            reason: "load 71 % > target 60 %: 3 to 4".into(),
            capped_at: None,
            refused: None,
            history: None,
        };
        let told = |before, replicas| of_scaling(&scaled(before, replicas));
        let up = told(3, 4).unwrap();
        assert_eq!((up.reason.as_str(), up.note.as_deref()), ("ScaledUp", Some("load 71 % > target 60 %: 3 to 4")));
        assert_eq!(told(4, 2).unwrap().reason, "ScaledDown");
        assert!(told(4, 4).is_none());
    }

    #[test]
    fn becoming_ready_is_told() {
        let ready = status("Ready", "True", "AllReady");
        assert_eq!(reasons(&of_conditions(None, &ready)), ["Ready"]);
        assert!(of_conditions(Some(&ready), &ready).is_empty());
    }

    #[test]
    fn small_objects_are_told_together() {
        let change =
            |verb, kind: &str, name: &str| Change { verb, kind: kind.into(), name: name.into(), detail: String::new() };
        let events = of_changes(&[
            change(Verb::Created, "Service", "blue"),
            change(Verb::Created, "Deployment", "blue-director"),
            change(Verb::Deleted, "ConfigMap", "blue-old"),
        ]);
        assert_eq!(reasons(&events), ["DeploymentCreated", "ObjectsWritten"]);
        assert_eq!(events[1].note.as_deref(), Some("Created Service blue; Deleted ConfigMap blue-old"));
    }

    #[test]
    fn long_notes_are_cut_between_characters() {
        assert_eq!(cut("aü", 2), "a");
    }
}
