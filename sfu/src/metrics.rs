//! What Prometheus may ask. Labels come from closed sets: never a call, a person or an address.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};
use sfu_core::engine::{EngineStats, Protection};
use sfu_core::transport::srtp::Profile;

use crate::control::JoinOutcome;
use crate::worker::{DELAY_BOUNDS_US, WorkerReport};

/// Why a data message did not reach one of its receivers: it is megabytes behind with reliable ones, …
pub const TOO_SLOW_RELIABLE: &str = "too_slow_reliable";
/// … it is behind with such as may be lost, …
pub const TOO_SLOW_LOSSY: &str = "too_slow_lossy";
/// … or it has not opened the channel, or has gone.
pub const NO_CHANNEL: &str = "no_channel";

/// The metrics of one SFU. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    joins: Family<Outcome, Counter>,
    data_dropped: Family<Cause, Counter>,
    calls: Gauge,
    people: Gauge,
    unreadable: Counter,
    refused_connections: Counter,
    control_panics: Counter,
    reports: Reports,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cause {
    reason: &'static str,
}

/// The last report of each worker, turned into metrics when someone asks.
#[derive(Debug, Clone, Default)]
struct Reports(Arc<Mutex<Vec<Option<WorkerReport>>>>);

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("calls_sfu");
        let joins = Family::<Outcome, Counter>::default();
        registry.register("joins", "Attempts to join or to come back, by what became of them", joins.clone());
        let data_dropped = Family::<Cause, Counter>::default();
        let help = "Data messages that were dropped, once for each receiver that misses them, by reason";
        registry.register("data_messages_dropped", help, data_dropped.clone());
        let calls = Gauge::<i64>::default();
        registry.register("calls", "Calls running now", calls.clone());
        let people = Gauge::<i64>::default();
        registry.register("participants", "People connected now, without recorders", people.clone());
        let unreadable = Counter::<u64>::default();
        registry.register("unreadable_signal_messages", "Messages of clients that cannot be read", unreadable.clone());
        let refused_connections = Counter::<u64>::default();
        let help = "Media connections over TCP that did not begin with a check of ours";
        registry.register("refused_media_connections", help, refused_connections.clone());
        let control_panics = Counter::<u64>::default();
        let help = "Faults of ours over what one client wanted, which ended its stay";
        registry.register("control_panics", help, control_panics.clone());
        let reports = Reports::default();
        registry.register_collector(Box::new(reports.clone()));
        let registry = Arc::new(registry);
        Self { registry, joins, data_dropped, calls, people, unreadable, refused_connections, control_panics, reports }
    }
}

impl Metrics {
    pub fn joined(&self, outcome: JoinOutcome) {
        self.joins.get_or_create(&Outcome { outcome: outcome.label() }).inc();
    }

    /// A data message did not reach a receiver. `reason` from a closed set.
    pub fn data_dropped(&self, reason: &'static str) {
        self.data_dropped.get_or_create(&Cause { reason }).inc();
    }

    /// `reason` from a closed set.
    pub fn join_refused(&self, reason: &'static str) {
        self.joins.get_or_create(&Outcome { outcome: reason }).inc();
    }

    /// A client said something that is no message known here.
    pub fn unreadable_message(&self) {
        self.unreadable.inc();
    }

    /// A connection to the media port over TCP was no client's.
    pub fn refused_connection(&self) {
        self.refused_connections.inc();
    }

    /// Control panicked over what one client wanted.
    pub fn control_panicked(&self) {
        self.control_panics.inc();
    }

    pub fn calls(&self, n_calls: usize, n_people: usize) {
        self.calls.set(i64::try_from(n_calls).unwrap_or(i64::MAX));
        self.people.set(i64::try_from(n_people).unwrap_or(i64::MAX));
    }

    pub fn worker(&self, report: &WorkerReport) {
        let mut reports = self.reports.0.lock().unwrap_or_else(PoisonError::into_inner);
        if reports.len() <= report.worker {
            reports.resize(report.worker + 1, None);
        }
        reports[report.worker] = Some(report.clone());
    }

    /// OpenMetrics text.
    pub fn render(&self) -> String {
        let mut rendered = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut rendered, &self.registry);
        rendered
    }
}

impl Collector for Reports {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let reports: Vec<_> = self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().flatten().cloned().collect();
        for (name, help, unit, value) in counters(&reports) {
            let counter = ConstCounter::new(value);
            let metric = encoder.encode_descriptor(name, help, unit.as_ref(), counter.metric_type())?;
            counter.encode(metric)?;
        }
        for (name, help, value) in gauges(&reports) {
            let gauge = ConstGauge::new(value);
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        encode_busy(&mut encoder, &reports)?;
        encode_delay(&mut encoder, &reports)?;
        encode_protection(&mut encoder, &reports)?;
        encode_dropped(&mut encoder, &reports)
    }
}

/// The histogram has no exemplars.
type NoLabels = [(&'static str, &'static str); 0];
/// A label, and where its value is.
type Reason = (&'static str, fn(&EngineStats) -> u64);
/// A protection profile, and how many transports have it.
type Protected = (Profile, fn(&Protection) -> u64);
type CounterRow = (&'static str, &'static str, Option<Unit>, u64);

fn counters(reports: &[WorkerReport]) -> Vec<CounterRow> {
    let sum = |of: fn(&EngineStats) -> u64| reports.iter().map(|report| of(&report.engine)).sum();
    let own = |of: fn(&WorkerReport) -> u64| reports.iter().map(of).sum();
    vec![
        ("rtp_received_packets", "Media packets from publishers", None, sum(|stats| stats.received.rtp.packets)),
        ("rtp_received", "Media from publishers", Some(Unit::Bytes), sum(|stats| stats.received.rtp.bytes)),
        ("rtp_sent_packets", "Media packets to subscribers", None, sum(|stats| stats.sent.rtp.packets)),
        ("rtp_sent", "Media to subscribers", Some(Unit::Bytes), sum(|stats| stats.sent.rtp.bytes)),
        ("rtx_received_packets", "Retransmissions from publishers", None, sum(|stats| stats.received.rtx.packets)),
        ("rtx_sent_packets", "Retransmissions to subscribers", None, sum(|stats| stats.sent.rtx.packets)),
        ("padding_sent_packets", "Padding that probes networks", None, sum(|stats| stats.sent.padding.packets)),
        ("stun_checks", "Connectivity checks answered", None, sum(|stats| stats.checks)),
        ("rtp_received_lost_packets", "Packets of publishers the network lost", None, sum(|stats| stats.lost.received)),
        ("rtp_sent_lost_packets", "Packets subscribers say the network lost", None, sum(|stats| stats.lost.sent)),
        (
            "audio_recovered_packets",
            "Lost audio of publishers that came beside later audio",
            None,
            sum(|stats| stats.redundancy.recovered),
        ),
        (
            "audio_redundant_packets",
            "Audio sent with earlier audio beside it",
            None,
            sum(|stats| stats.redundancy.sent),
        ),
        (
            "audio_redundant_payloads",
            "Redundant audio made, once for all who get the same",
            None,
            sum(|stats| stats.redundancy.encoded),
        ),
        ("nacks_received", "Packets subscribers asked for again", None, sum(|stats| stats.feedback.nacks_received)),
        (
            "nacks_unanswered",
            "Packets subscribers asked for in vain",
            None,
            sum(|stats| stats.feedback.nacks_unanswered),
        ),
        ("nacks_sent", "Packets asked of publishers again", None, sum(|stats| stats.feedback.nacks_sent)),
        ("plis_sent", "Keyframes asked of publishers", None, sum(|stats| stats.feedback.plis_sent)),
        (
            "panics",
            "Faults of ours over one client's packets, which ended its connection",
            None,
            sum(|stats| stats.panics),
        ),
        ("send_failures", "Datagrams the system did not take", None, own(|report| report.lost)),
        ("worker_inbox_dropped", "Messages that did not fit a media thread's queue", None, own(|r| r.inbox_dropped)),
        ("worker_events_dropped", "Events that did not fit control's queue", None, own(|r| r.events_dropped)),
        ("media_connections_hung_up", "TCP connections without a client of ours", None, own(|r| r.strangers)),
        (
            "relayed_messages",
            "Messages about tracks given to other media threads",
            None,
            sum(|stats| stats.relay.sent.packets),
        ),
        ("relayed", "Media given to other media threads", Some(Unit::Bytes), sum(|stats| stats.relay.sent.bytes)),
        ("worker_strays", "Datagrams handed to another media thread", None, own(|report| report.strays)),
    ]
}

fn gauges(reports: &[WorkerReport]) -> [(&'static str, &'static str, f64); 3] {
    let sum = |of: fn(&EngineStats) -> u64| reports.iter().map(|report| of(&report.engine) as f64).sum();
    [
        ("transports", "Transports now", sum(|stats| stats.transports)),
        ("tracks", "Published tracks now, on each media thread that has them", sum(|stats| stats.tracks)),
        ("subscriptions", "Copies sent now", sum(|stats| stats.subscriptions)),
    ]
}

fn encode_busy(encoder: &mut DescriptorEncoder<'_>, reports: &[WorkerReport]) -> Result<(), std::fmt::Error> {
    let help = "Time media threads worked";
    let kind = ConstCounter::new(0.0).metric_type();
    let mut metric = encoder.encode_descriptor("worker_busy", help, Some(&Unit::Seconds), kind)?;
    for report in reports {
        let labels = [("worker", report.worker.to_string())];
        let counter = ConstCounter::new(report.busy_total.as_secs_f64());
        counter.encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn encode_delay(encoder: &mut DescriptorEncoder<'_>, reports: &[WorkerReport]) -> Result<(), std::fmt::Error> {
    let help = "Time from when datagrams were there, at the latest, to the last copy being sent";
    let kind = prometheus_client::metrics::MetricType::Histogram;
    let mut metric: MetricEncoder<'_> =
        encoder.encode_descriptor("forwarding_delay", help, Some(&Unit::Seconds), kind)?;
    let mut buckets = Vec::with_capacity(DELAY_BOUNDS_US.len() + 1);
    for (index, bound) in DELAY_BOUNDS_US.iter().map(|us| *us as f64 / 1e6).chain([f64::MAX]).enumerate() {
        buckets.push((bound, reports.iter().map(|report| report.delay.counts[index]).sum::<u64>()));
    }
    let count = buckets.iter().map(|(_, n)| n).sum();
    let sum = reports.iter().map(|report| report.delay.sum_us as f64 / 1e6).sum();
    metric.encode_histogram::<NoLabels>(sum, count, &buckets, None)
}

fn encode_protection(encoder: &mut DescriptorEncoder<'_>, reports: &[WorkerReport]) -> Result<(), std::fmt::Error> {
    let help = "Transports that have keys now, by protection profile of their media";
    let kind = ConstGauge::new(0_u64).metric_type();
    let mut metric = encoder.encode_descriptor("protected_transports", help, None, kind)?;
    let profiles: [Protected; 3] = [
        (Profile::AeadAes128Gcm, |counts| counts.aes_128_gcm),
        (Profile::AeadAes256Gcm, |counts| counts.aes_256_gcm),
        (Profile::Aes128CmHmacSha1_80, |counts| counts.aes_128_cm),
    ];
    for (profile, of) in profiles {
        let total: u64 = reports.iter().map(|report| of(&report.protection)).sum();
        ConstGauge::new(total).encode(metric.encode_family(&[("profile", profile.name())])?)?;
    }
    Ok(())
}

fn encode_dropped(encoder: &mut DescriptorEncoder<'_>, reports: &[WorkerReport]) -> Result<(), std::fmt::Error> {
    let help = "Datagrams that came and were dropped, by reason";
    let kind = ConstCounter::new(0_u64).metric_type();
    let mut metric = encoder.encode_descriptor("dropped_packets", help, None, kind)?;
    let reasons: [Reason; 18] = [
        ("malformed", |stats| stats.dropped.malformed),
        ("unknown_path", |stats| stats.dropped.unknown_path),
        ("unknown_ufrag", |stats| stats.dropped.unknown_ufrag),
        ("rejected_check", |stats| stats.dropped.rejected_check),
        ("too_fast", |stats| stats.dropped.too_fast),
        ("no_keys", |stats| stats.dropped.no_keys),
        ("forged", |stats| stats.dropped.forged),
        ("replayed", |stats| stats.dropped.replayed),
        ("too_many_ssrcs", |stats| stats.dropped.too_many_ssrcs),
        ("unmatched", |stats| stats.dropped.unmatched),
        ("duplicate", |stats| stats.dropped.duplicate),
        ("muted", |stats| stats.dropped.muted),
        ("unheard", |stats| stats.dropped.unheard),
        ("unrelated", |stats| stats.dropped.unrelated),
        ("no_codec", |stats| stats.dropped.no_codec),
        ("unsealable", |stats| stats.dropped.unsealable),
        ("no_path", |stats| stats.dropped.no_path),
        ("overflow", |stats| stats.dropped.overflow),
    ];
    for (reason, of) in reasons {
        let total: u64 = reports.iter().map(|report| of(&report.engine)).sum();
        ConstCounter::new(total).encode(metric.encode_family(&[("reason", reason)])?)?;
    }
    Ok(())
}
