//! Step 3, scale: from load and what is remembered to how many SFUs are wanted, where that is for the operator to decide.
//!
//! Pure, but for the memory it keeps between looks ([`Scalers`]); deciding itself is the crate `autoscale`. What a
//! restart may not forget, the forecast's history, goes into a ConfigMap once an hour.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use autoscale::{Autoscaler, Buffer, Entry, Forecast, Limit, Observation, Policy, Schedule, ScheduleError};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use crate::api::{AutoscalingMode, AutoscalingSpec, BufferType};
use crate::cluster::dereference::Dereferenced;
use crate::cluster::validate::{ValidatedCluster, is_ready};

/// From which load on an SFU may have more to do than it can say, in percent.
const FULL_PERCENT: u8 = 99;
/// How often a history is written: what is learned since is lost when the operator ends.
const HISTORY_SECONDS: i64 = 3600;

/// Who writes `sfu.replicas`.
#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    /// A person.
    Manual,
    /// A HorizontalPodAutoscaler or KEDA.
    External,
    /// We do.
    Own(Policy),
}

impl Scaling {
    /// What the spec says, understood.
    ///
    /// # Errors
    /// The first entry of the schedule that is not.
    pub fn of(spec: &AutoscalingSpec) -> Result<Self, ScheduleError> {
        let horizon_seconds = match spec.mode {
            AutoscalingMode::Off => return Ok(Self::Manual),
            AutoscalingMode::External => return Ok(Self::External),
            AutoscalingMode::Target => None,
            AutoscalingMode::Predictive => Some(spec.predictive.horizon_seconds.into()),
        };
        let entries: Vec<Entry> = spec
            .schedule
            .iter()
            .map(|one| Entry {
                cron: one.cron.clone(),
                time_zone: one.time_zone.clone(),
                min_replicas: one.min_replicas.into(),
            })
            .collect();
        let room = f64::from(spec.buffer.value);
        Ok(Self::Own(Policy {
            min: spec.min_replicas.max(1).into(),
            max: spec.max_replicas.into(),
            target_percent: spec.target_load.max(1).into(),
            buffer: match spec.buffer.r#type {
                BufferType::Percent => Buffer::Percent(room),
                BufferType::Calls => Buffer::Calls(room),
                BufferType::Pods => Buffer::Pods(room),
            },
            horizon_seconds,
            schedule: Schedule::new(&entries)?,
            pods_per_minute: spec.scale_up.max_pods_per_minute.into(),
            stabilization_seconds: spec.scale_down.stabilization_seconds.into(),
        }))
    }
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scaled {
    /// SFUs that were wanted before.
    pub before: u32,
    /// SFUs that are wanted.
    pub replicas: u32,
    /// Why, as a sentence without its full stop.
    pub reason: String,
    /// The most there may be, where more are needed.
    pub capped_at: Option<u32>,
    /// The forecast's history, to be kept; `None` without a forecast.
    pub history: Option<String>,
    /// Why the API server did not let the number be written; what there was stays.
    pub refused: Option<String>,
}

/// What is remembered of each `CallsCluster` that the operator scales, until it is forgotten.
#[derive(Debug, Default)]
pub struct Scalers(Mutex<HashMap<(String, String), Scaler>>);

#[derive(Debug)]
struct Scaler {
    autoscaler: Autoscaler,
    /// The history as it was written last, and when.
    history: String,
    written: i64,
}

impl Scaled {
    /// The API server refused the number, saying so.
    #[must_use]
    pub fn refused(self, message: String) -> Self {
        Self { replicas: self.before, refused: Some(message), ..self }
    }
}

impl Scalers {
    /// Decides about a `CallsCluster` at `now`; `None` where somebody else does. An autoscaler that is there beside ours
    /// has its way, because two that write one number make it jump.
    pub fn scale(&self, cluster: &ValidatedCluster, found: &Dereferenced, now: Timestamp) -> Option<Scaled> {
        let identity = &cluster.identity;
        let Scaling::Own(policy) = &cluster.scaling else {
            self.forget(&identity.namespace, identity.name.as_str());
            return None;
        };
        if !found.autoscalers.is_empty() {
            // What the other one does meanwhile is not known here.
            self.forget(&identity.namespace, identity.name.as_str());
            return None;
        }
        let seen = observe(found, cluster.replicas, now);
        let mut scalers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (identity.namespace.clone(), identity.name.to_string());
        let scaler = scalers.entry(key).or_insert_with(|| Scaler::resume(found.history.as_deref(), seen.now));
        let decision = scaler.autoscaler.look(policy, &seen);
        Some(Scaled {
            before: decision.before,
            replicas: decision.replicas,
            reason: decision.reason(policy),
            capped_at: (decision.limit == Some(Limit::Maximum)).then_some(policy.max),
            history: policy.horizon_seconds.map(|_| scaler.history(seen.now).to_owned()),
            refused: None,
        })
    }

    /// Forgets a `CallsCluster` that is gone, or that somebody else scales.
    pub fn forget(&self, namespace: &str, name: &str) {
        let mut scalers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        scalers.remove(&(namespace.to_owned(), name.to_owned()));
    }
}

impl Scaler {
    /// Goes on from what was written; a history that cannot be read is begun anew, since nobody can mend it.
    fn resume(history: Option<&str>, now: i64) -> Self {
        let read = history.and_then(|text| Some((text, Forecast::parse(text).ok()?)));
        match read {
            Some((text, forecast)) => {
                Self { autoscaler: Autoscaler::with_history(forecast), history: text.to_owned(), written: now }
            }
            None => Self { autoscaler: Autoscaler::default(), history: String::new(), written: i64::MIN },
        }
    }

    /// What the ConfigMap is to hold.
    fn history(&mut self, now: i64) -> &str {
        if now.saturating_sub(self.written) >= HISTORY_SECONDS {
            self.history = self.autoscaler.history().write();
            self.written = now;
        }
        &self.history
    }
}

/// What all SFUs have to do together, those that leave included. One that is ready and does not answer has as much as
/// the others on the average; but no more of them count than answer, or SFUs nobody can ask would ask for more of their
/// kind.
fn observe(found: &Dereferenced, replicas: u32, now: Timestamp) -> Observation {
    let loads = || found.reports.values().filter_map(|report| report.as_ref().ok()).map(|report| report.load);
    let is_silent = |name: &str| found.reports.get(name).is_none_or(Result::is_err);
    let n_silent = found.sfu_pods.iter().filter(|pod| is_ready(pod) && is_silent(&pod.name_any())).count();
    let n_said = loads().count();
    let n_silent = n_silent.min(n_said);
    let sum: f64 = loads().map(|load| f64::from(load.percent) / 100.0).sum();
    let everybody = (n_said + n_silent) as f64 / n_said as f64;
    let of_all = |said: u32| (f64::from(said) * everybody).round() as u32;
    Observation {
        now: now.as_second(),
        replicas,
        load: (n_said > 0).then_some(sum * everybody),
        is_full: n_said > 0 && loads().all(|load| load.percent >= FULL_PERCENT),
        people: of_all(loads().map(|load| load.participants).sum()),
        calls: of_all(loads().map(|load| load.calls).sum()),
    }
}

#[cfg(test)]
mod tests {
    use fleet::api::SfuLoad;
    use k8s_openapi::jiff::SignedDuration;
    use serde_json::json;

    use super::*;
    use crate::cluster::fixture::{found, now, reporting, sfu_pod, validated};

    fn load(percent: u8) -> SfuLoad {
        SfuLoad { calls: 4, participants: 20, percent }
    }

    #[test]
    fn one_that_does_not_answer_has_as_much_as_the_others() {
        let mut state = reporting(&[("blue-sfu-1", load(40)), ("blue-sfu-2", load(20))]);
        let seen = observe(&state, 2, now());
        assert_eq!((seen.load.map(|load| (load * 100.0).round()), seen.people, seen.calls), (Some(60.0), 40, 8));
        state.sfu_pods.push(sfu_pod("blue-sfu-3", "r"));
        state.reports.insert("blue-sfu-3".into(), Err("no connection".into()));
        let seen = observe(&state, 3, now());
        assert_eq!((seen.load.map(|load| (load * 100.0).round()), seen.people, seen.calls), (Some(90.0), 60, 12));
        assert_eq!(observe(&found(), 3, now()).load, None);
        // A pool of nodes whose SFUs cannot be asked must not grow without end.
        for n in 4..20 {
            state.sfu_pods.push(sfu_pod(&format!("blue-sfu-{n}"), "r"));
        }
        let seen = observe(&state, 20, now());
        assert_eq!((seen.load.map(|load| (load * 100.0).round()), seen.people), (Some(120.0), 80));
    }

    #[test]
    fn who_decides_is_as_the_spec_says_unless_somebody_else_does() {
        let busy = reporting(&[("blue-sfu-1", load(80))]);
        let scale = |mode: &str, state: &Dereferenced| {
            let cluster = validated(&json!({"autoscaling": {"mode": mode}}), state);
            Scalers::default().scale(&cluster, state, now())
        };
        assert_eq!(scale("Off", &busy), None);
        assert_eq!(scale("External", &busy), None);
        let scaled = scale("Target", &busy).unwrap();
        assert_eq!((scaled.replicas, scaled.reason.as_str()), (2, "load 80 % > target 60 %: 1 to 2"));
        assert_eq!(scaled.history, None);
        assert!(scale("Predictive", &busy).unwrap().history.is_some_and(|text| text.starts_with("v1\n")));
        assert_eq!(scale("Target", &Dereferenced { autoscalers: vec!["keda".into()], ..busy }), None);
    }

    #[test]
    fn a_history_is_written_once_an_hour_and_gone_on_from() {
        let state = reporting(&[("blue-sfu-1", load(50))]);
        let cluster = validated(&json!({"autoscaling": {"mode": "Predictive"}}), &state);
        let (scalers, mut texts) = (Scalers::default(), Vec::new());
        for minute in 0..181 {
            let scaled = scalers.scale(&cluster, &state, now() + SignedDuration::from_mins(minute)).unwrap();
            texts.extend(scaled.history);
        }
        texts.dedup();
        assert_eq!(texts.len(), 4);

        let later = now() + SignedDuration::from_mins(182);
        let again = Dereferenced { history: texts.pop(), ..state };
        let scaled = Scalers::default().scale(&cluster, &again, later).unwrap();
        assert_eq!(scaled.history, again.history);
        let broken = Dereferenced { history: Some("v0".into()), ..again };
        let scaled = Scalers::default().scale(&cluster, &broken, later).unwrap();
        assert_eq!(scaled.history, Some(Forecast::default().write()));
    }
}
