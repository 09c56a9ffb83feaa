//! The director's metrics. Labels are enums: no call, participant or address ever becomes one.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::view::View;

/// Seconds a join waits before it is sent on: from "at once" to the longest hold.
const HOLD_BUCKETS: [f64; 9] = [0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 3.0, 7.0, 15.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    kind: RequestKind,
    outcome: RequestOutcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum RequestKind {
    /// A websocket that begins or resumes a session.
    Join,
    /// Everything else.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum RequestOutcome {
    /// Sent to the SFU where its call runs.
    Running,
    /// Sent to the SFU its call's name was claimed for.
    Placed,
    /// Sent to any SFU.
    Any,
    /// Held, and nothing could take it in time.
    NoRoute,
    /// Its token does not open the call it would begin.
    NotAdmitted,
    /// The SFU broke off before it answered.
    Failed,
    /// Not for SFUs: the fleet's own paths, or no proper request.
    Rejected,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClaimLabels {
    outcome: ClaimOutcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum ClaimOutcome {
    Stands,
    /// One registrar did not answer.
    Unanswered,
    /// None did.
    Failed,
    /// The client's token does not open the call.
    NotAdmitted,
}

/// Counters and gauges that the director's tasks write.
#[derive(Debug)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    claims: Family<ClaimLabels, Counter>,
    hold: Histogram,
    connections: Gauge,
    tunnels: Gauge,
}

/// Counts one thing for as long as it is there.
#[derive(Debug)]
pub struct Counted(Gauge);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// The metrics, and the registry that writes them out together with the table's sizes.
    pub fn new(view: Arc<View>) -> (Arc<Self>, Registry) {
        let metrics = Self {
            requests: Family::default(),
            claims: Family::default(),
            hold: Histogram::new(HOLD_BUCKETS),
            connections: Gauge::default(),
            tunnels: Gauge::default(),
        };
        let mut registry = Registry::with_prefix("calls_director");
        registry.register("requests", "Requests and websockets by what became of them", metrics.requests.clone());
        registry.register("claims", "Claims of new calls' names by what became of them", metrics.claims.clone());
        registry.register("join_hold_seconds", "Time until a join was sent to an SFU", metrics.hold.clone());
        registry.register("connections", "Client connections open", metrics.connections.clone());
        registry.register("websockets", "Websockets passed through", metrics.tunnels.clone());
        registry.register_collector(Box::new(TableSizes(view)));
        (Arc::new(metrics), registry)
    }

    pub fn request(&self, kind: RequestKind, outcome: RequestOutcome) {
        self.requests.get_or_create(&RequestLabels { kind, outcome }).inc();
    }

    pub fn claimed(&self, outcome: ClaimOutcome) {
        self.claims.get_or_create(&ClaimLabels { outcome }).inc();
    }

    pub fn join_held(&self, time: Duration) {
        self.hold.observe(time.as_secs_f64());
    }

    #[must_use]
    pub fn connection(&self) -> Counted {
        self.connections.inc();
        Counted(self.connections.clone())
    }

    #[must_use]
    pub fn websocket(&self) -> Counted {
        self.tunnels.inc();
        Counted(self.tunnels.clone())
    }
}

/// Sizes of the table, read when they are asked for.
#[derive(Debug)]
struct TableSizes(Arc<View>);

impl Collector for TableSizes {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let counts = self.0.table().counts();
        let sfus =
            [("calling", counts.calling), ("live", counts.live), ("suspect", counts.suspect), ("away", counts.away)];
        let help = "SFUs by whether their watch stream flows";
        let gauge = ConstGauge::new(0_u64);
        let mut family = encoder.encode_descriptor("sfus", help, None, gauge.metric_type())?;
        for (contact, n) in sfus {
            ConstGauge::new(n as u64).encode(family.encode_family(&[("contact", contact)])?)?;
        }
        let mut one = |name, help, n: usize| {
            let gauge = ConstGauge::new(n as u64);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        one("calls", "Calls that run in the fleet", counts.calls)?;
        one("calls_doubled", "Calls that more than one SFU says it has", counts.doubled)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn metrics_are_written_with_labels_of_closed_sets() {
        let (metrics, registry) = Metrics::new(Arc::default());
        metrics.request(RequestKind::Join, RequestOutcome::Placed);
        let websocket = metrics.websocket();
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            r#"calls_director_requests_total{kind="Join",outcome="Placed"} 1"#,
            r#"calls_director_sfus{contact="live"} 0"#,
            "calls_director_calls_doubled 0",
            "calls_director_websockets 1",
        ] {
            assert!(text.lines().any(|written| written == line), "{line} not in\n{text}");
        }
        drop(websocket);
        text.clear();
        encode(&mut text, &registry).unwrap();
        assert!(text.contains("calls_director_websockets 0"));
    }
}
