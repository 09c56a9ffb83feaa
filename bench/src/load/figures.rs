//! Many measurements as few numbers: medians, how far repeats lie apart, and ratios within a repeat.

use super::measure::Measured;

/// A number that a measurement gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    Sessions,
    PacketsPerSecond,
    CpuPerPacket,
    CpuShare,
    CpuPerIdleSession,
    MemoryPerSession,
    CpuPerJoin,
    DelayMedian,
    Delay99,
    Delay999,
    Loss,
    GeneratorShare,
}

impl Metric {
    pub const ALL: [Self; 12] = [
        Self::Sessions,
        Self::PacketsPerSecond,
        Self::CpuPerPacket,
        Self::CpuShare,
        Self::CpuPerIdleSession,
        Self::MemoryPerSession,
        Self::CpuPerJoin,
        Self::DelayMedian,
        Self::Delay99,
        Self::Delay999,
        Self::Loss,
        Self::GeneratorShare,
    ];

    /// What it is, with its unit.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::PacketsPerSecond => "packets delivered a second",
            Self::CpuPerPacket => "server CPU a packet delivered, us",
            Self::CpuShare => "server CPU of a core, %",
            Self::CpuPerIdleSession => "server CPU an idle session a second, us",
            Self::MemoryPerSession => "server memory a session, KiB",
            Self::CpuPerJoin => "server CPU a join, ms",
            Self::DelayMedian => "delay p50, ms",
            Self::Delay99 => "delay p99, ms",
            Self::Delay999 => "delay p99.9, ms",
            Self::Loss => "packets lost, %",
            Self::GeneratorShare => "(generator's CPU of a core, %)",
        }
    }

    /// `None` where it has no meaning: nothing is delivered in an idle call, and the bare send has no sessions.
    pub fn of(self, measured: &Measured) -> Option<f64> {
        let seconds = measured.took.as_secs_f64();
        let (delivered, sessions) = (measured.n_delivered as f64, measured.sessions as f64);
        let delay = |percent| measured.delays.percentile(percent).map(|delay| delay.as_secs_f64() * 1e3);
        let value = match self {
            Self::Sessions if measured.filled => sessions,
            Self::PacketsPerSecond if measured.filled => delivered / seconds,
            Self::CpuPerPacket if measured.n_delivered > 0 => measured.cpu.as_secs_f64() * 1e6 / delivered,
            Self::CpuShare => measured.cpu.as_secs_f64() / seconds * 100.0,
            Self::CpuPerIdleSession if measured.n_expected == 0 => {
                measured.cpu.as_secs_f64() * 1e6 / seconds / sessions
            }
            Self::MemoryPerSession if measured.memory > 0 => measured.memory as f64 / 1024.0 / sessions,
            Self::CpuPerJoin if !measured.join_cpu.is_zero() => measured.join_cpu.as_secs_f64() * 1e3 / sessions,
            Self::DelayMedian => delay(50.0)?,
            Self::Delay99 => delay(99.0)?,
            Self::Delay999 => delay(99.9)?,
            Self::Loss if measured.has_layers => {
                measured.n_gaps as f64 / (delivered + measured.n_gaps as f64).max(1.0) * 100.0
            }
            Self::Loss if measured.n_expected > 0 => {
                measured.n_expected.saturating_sub(measured.n_delivered) as f64 / measured.n_expected as f64 * 100.0
            }
            Self::GeneratorShare => measured.generator_cpu.as_secs_f64() / seconds * 100.0,
            Self::Sessions
            | Self::PacketsPerSecond
            | Self::CpuPerPacket
            | Self::CpuPerIdleSession
            | Self::MemoryPerSession
            | Self::CpuPerJoin
            | Self::Loss => return None,
        };
        Some(value)
    }

    /// Whether ratios to others say something.
    pub const fn is_compared(self) -> bool {
        !matches!(self, Self::Loss | Self::GeneratorShare)
    }
}

/// The middle of several values, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    pub median: f64,
    pub lowest: f64,
    pub highest: f64,
}

impl Summary {
    /// `None` without values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (lowest, highest) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) };
        Some(Self { median, lowest, highest })
    }

    /// Of a metric over the repeats of one scenario at one server.
    pub fn of_metric(metric: Metric, repeats: &[Measured]) -> Option<Self> {
        Self::of(repeats.iter().filter_map(|measured| metric.of(measured)))
    }

    /// Of the quotients of a metric, each taken within one repeat: what disturbs a repeat disturbs both.
    pub fn of_ratio(metric: Metric, repeats: &[Measured], to: &[Measured]) -> Option<Self> {
        let pairs = repeats.iter().zip(to).filter_map(|(ours, theirs)| Some((metric.of(ours)?, metric.of(theirs)?)));
        Self::of(pairs.filter(|(_, theirs)| *theirs > 0.0).map(|(ours, theirs)| ours / theirs))
    }

    /// Half the distance from the lowest to the highest, as a share of the median.
    pub fn spread(&self) -> f64 {
        if self.median == 0.0 { 0.0 } else { (self.highest - self.lowest) / 2.0 / self.median }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn measured(cpu_ms: u64, n_delivered: u64) -> Measured {
        Measured {
            sessions: 10,
            n_expected: 1000,
            n_delivered,
            cpu: Duration::from_millis(cpu_ms),
            took: Duration::from_secs(2),
            ..Measured::default()
        }
    }

    #[test]
    fn a_measurement_becomes_numbers() {
        let one = measured(20, 500);
        assert_eq!(Metric::CpuPerPacket.of(&one), Some(40.0));
        assert_eq!(Metric::CpuShare.of(&one), Some(1.0));
        assert_eq!(Metric::Loss.of(&one), Some(50.0));
        for absent in [Metric::CpuPerIdleSession, Metric::MemoryPerSession, Metric::CpuPerJoin, Metric::Delay99] {
            assert_eq!(absent.of(&one), None, "{absent:?}");
        }
        let idle = Measured { n_expected: 0, n_delivered: 0, ..one };
        assert_eq!(Metric::CpuPerIdleSession.of(&idle), Some(1000.0));
        assert_eq!((Metric::CpuPerPacket.of(&idle), Metric::Loss.of(&idle)), (None, None));
    }

    #[test]
    fn what_fills_a_server_says_how_much_and_layers_are_lost_by_their_gaps() {
        let filled = Measured { filled: true, ..measured(20, 500) };
        assert_eq!((Metric::Sessions.of(&filled), Metric::PacketsPerSecond.of(&filled)), (Some(10.0), Some(250.0)));
        assert_eq!(Metric::Sessions.of(&measured(20, 500)), None);
        let layered = Measured { has_layers: true, n_gaps: 125, ..measured(20, 375) };
        assert_eq!(Metric::Loss.of(&layered), Some(25.0));
    }

    #[test]
    fn medians_and_spread_are_of_all_repeats() {
        let summary = Summary::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!((summary.median, summary.lowest, summary.highest), (2.0, 1.0, 3.0));
        assert!((summary.spread() - 0.5).abs() < 1e-9);
        assert!((Summary::of([4.0, 1.0]).unwrap().median - 2.5).abs() < 1e-9);
        assert_eq!(Summary::of([]), None);
    }

    #[test]
    fn ratios_are_taken_within_a_repeat() {
        // The machine was twice as slow in the second repeat: the ratio does not know.
        let (ours, theirs) = ([measured(10, 1000), measured(20, 1000)], [measured(100, 1000), measured(200, 1000)]);
        let ratio = Summary::of_ratio(Metric::CpuPerPacket, &ours, &theirs).unwrap();
        assert!((ratio.median - 0.1).abs() < 1e-9 && ratio.spread() < 1e-9, "{ratio:?}");
        assert_eq!(Summary::of_ratio(Metric::Delay99, &ours, &theirs), None);
    }
}
