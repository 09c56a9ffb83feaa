//! What the operator counts, for Prometheus. Labels come from closed sets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::cluster::apply::{Change, Verb};
use crate::cluster::dereference::Report;

/// How a reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Outcome {
    Ready,
    NotReady,
    Refused,
    Gone,
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByVerb {
    verb: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByAnswer {
    answered: &'static str,
}

/// The counters. Clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    reconciles: Family<ByOutcome, Counter>,
    reconcile_seconds: Histogram,
    writes: Family<ByVerb, Counter>,
    status_writes: Counter,
    questions: Family<ByAnswer, Counter>,
    leader: Gauge,
    clusters: Gauge<i64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let reconciles = Family::<ByOutcome, Counter>::default();
        let reconcile_seconds = Histogram::new([0.005, 0.02, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0]);
        let writes = Family::<ByVerb, Counter>::default();
        let status_writes = Counter::<u64, AtomicU64>::default();
        let questions = Family::<ByAnswer, Counter>::default();
        let leader = Gauge::default();
        let clusters = Gauge::default();

        let mut registry = Registry::with_prefix("calls_operator");
        registry.register("reconciles", "Reconciles by how they ended", reconciles.clone());
        registry.register_with_unit("reconcile", "Time a reconcile took", Unit::Seconds, reconcile_seconds.clone());
        registry.register("object_writes", "Objects created, updated, scaled and deleted", writes.clone());
        registry.register("status_writes", "Statuses written", status_writes.clone());
        registry.register("fleet_questions", "SFUs asked how they are", questions.clone());
        registry.register("leader", "1 while this operator leads", leader.clone());
        registry.register("clusters", "CallsClusters there are", clusters.clone());
        Self {
            registry: Arc::new(registry),
            reconciles,
            reconcile_seconds,
            writes,
            status_writes,
            questions,
            leader,
            clusters,
        }
    }
}

impl Metrics {
    pub fn reconciled(&self, outcome: Outcome, took: Duration) {
        self.reconciles.get_or_create(&ByOutcome { outcome }).inc();
        self.reconcile_seconds.observe(took.as_secs_f64());
    }

    pub fn wrote(&self, changes: &[Change]) {
        for change in changes {
            let verb = match change.verb {
                Verb::Created => "create",
                Verb::Updated => "update",
                Verb::Scaled => "scale",
                Verb::Deleted => "delete",
            };
            self.writes.get_or_create(&ByVerb { verb }).inc();
        }
    }

    pub fn wrote_status(&self) {
        self.status_writes.inc();
    }

    pub fn asked(&self, reports: &BTreeMap<String, Report>) {
        for report in reports.values() {
            let answered = if report.is_ok() { "true" } else { "false" };
            self.questions.get_or_create(&ByAnswer { answered }).inc();
        }
    }

    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    pub fn clusters(&self, n_clusters: usize) {
        self.clusters.set(i64::try_from(n_clusters).unwrap_or(i64::MAX));
    }

    /// All metrics in the OpenMetrics text format.
    ///
    /// # Errors
    /// If formatting fails, which a `String` never does.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_carry_unit_and_closed_labels() {
        let metrics = Metrics::default();
        metrics.reconciled(Outcome::Refused, Duration::from_millis(30));
        metrics.leads(true);
        let text = metrics.text().unwrap();
        assert!(text.contains(r#"calls_operator_reconciles_total{outcome="Refused"} 1"#), "{text}");
        assert!(text.contains("calls_operator_reconcile_seconds_sum"), "{text}");
        assert!(text.contains("calls_operator_leader 1"), "{text}");
    }
}
