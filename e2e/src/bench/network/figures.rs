//! What a receiver's samples come to: a number for each thing a person would notice.

use super::measure::{CAMERA, FULL_WIDTH, Measured, SCREEN, Sample, Stream, VOICE};

/// A number that a measurement gives.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// What it is, with its unit.
    pub name: &'static str,
    pub better: Better,
    /// Smaller differences say nothing.
    pub slack: f64,
    of: fn(&Window<'_>) -> Option<f64>,
}

/// Which of two values people prefer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    Low,
    High,
    /// It explains others.
    Neither,
}

/// The samples of one measurement and what the network was.
#[derive(Debug)]
struct Window<'a> {
    measured: &'a Measured,
    rates: &'a [u64],
    seconds: f64,
}

/// All metrics, in the order of the table.
pub const METRICS: [Metric; 23] = [
    Metric { name: "voice: concealed, %", better: Better::Low, slack: 0.5, of: |w| w.concealed() },
    Metric { name: "voice: held in the buffer, ms", better: Better::Low, slack: 15.0, of: |w| w.buffered(VOICE) },
    Metric { name: "voice: packets lost, %", better: Better::Neither, slack: 0.0, of: |w| w.lost(VOICE) },
    Metric { name: "camera: freezes", better: Better::Low, slack: 1.0, of: |w| w.sum(CAMERA, |s| s.freeze_count) },
    Metric {
        name: "camera: frozen, s",
        better: Better::Low,
        slack: 0.5,
        of: |w| w.sum(CAMERA, |s| s.total_freezes_duration),
    },
    Metric { name: "camera: without a frame, s", better: Better::Low, slack: 0.6, of: |w| w.still(CAMERA) },
    Metric {
        name: "camera: frames a second",
        better: Better::High,
        slack: 0.7,
        of: |w| w.a_second(CAMERA, |s| s.frames_decoded),
    },
    Metric { name: "camera: mean width", better: Better::High, slack: 40.0, of: |w| w.width(CAMERA) },
    Metric { name: "camera: held in the buffer, ms", better: Better::Low, slack: 20.0, of: |w| w.buffered(CAMERA) },
    Metric { name: "camera: kbit/s", better: Better::Neither, slack: 0.0, of: |w| w.kilobits(CAMERA) },
    Metric { name: "camera: packets lost, %", better: Better::Neither, slack: 0.0, of: |w| w.lost(CAMERA) },
    Metric {
        name: "camera: keyframes",
        better: Better::Neither,
        slack: 0.0,
        of: |w| w.sum(CAMERA, |s| s.key_frames_decoded),
    },
    Metric { name: "screen: freezes", better: Better::Low, slack: 1.0, of: |w| w.sum(SCREEN, |s| s.freeze_count) },
    Metric {
        name: "screen: frozen, s",
        better: Better::Low,
        slack: 0.7,
        of: |w| w.sum(SCREEN, |s| s.total_freezes_duration),
    },
    Metric { name: "screen: without a frame, s", better: Better::Low, slack: 1.1, of: |w| w.still(SCREEN) },
    Metric {
        name: "screen: frames a second",
        better: Better::High,
        slack: 0.3,
        of: |w| w.a_second(SCREEN, |s| s.frames_decoded),
    },
    Metric { name: "screen: mean width", better: Better::High, slack: 40.0, of: |w| w.width(SCREEN) },
    Metric { name: "screen: held in the buffer, ms", better: Better::Low, slack: 40.0, of: |w| w.buffered(SCREEN) },
    Metric { name: "screen: kbit/s", better: Better::Neither, slack: 0.0, of: |w| w.kilobits(SCREEN) },
    Metric { name: "received of what the link carries, %", better: Better::High, slack: 5.0, of: |w| w.used() },
    Metric { name: "dropped by the link's full queue, %", better: Better::Low, slack: 0.5, of: |w| w.overflowed() },
    Metric {
        name: "camera: in full again after the link healed, s",
        better: Better::Low,
        slack: 1.0,
        of: |w| w.healed(),
    },
    Metric { name: "camera: in full after joining, s", better: Better::Low, slack: 1.5, of: |w| w.full_after() },
];

impl Metric {
    /// The metric of this name.
    pub fn named(name: &str) -> Option<Self> {
        METRICS.into_iter().find(|metric| metric.name == name)
    }

    /// Its value in a measurement over a network of these rates that lasted so long; `None` where it has no meaning.
    pub fn of(&self, measured: &Measured, rates: &[u64], seconds: f64) -> Option<f64> {
        (self.of)(&Window { measured, rates, seconds })
    }

    /// What counts when something that could be measured did not happen at all: a picture that never came is later than
    /// any that came. Of a metric that only explains others, nothing.
    pub const fn worst(&self) -> Option<f64> {
        match self.better {
            Better::Low => Some(f64::INFINITY),
            Better::High => Some(f64::NEG_INFINITY),
            Better::Neither => None,
        }
    }

    /// Whether `ours` is worse than `theirs` by more than chance: the slack, and a tenth.
    pub fn is_worse(&self, ours: f64, theirs: f64) -> bool {
        let by = match self.better {
            Better::Low => ours - theirs,
            Better::High => theirs - ours,
            Better::Neither => return false,
        };
        let by_chance = if theirs.is_finite() { theirs.abs() / 10.0 } else { 0.0 };
        by > self.slack && by > by_chance
    }
}

impl Window<'_> {
    fn stream<'a>(sample: &'a Sample, source: &str) -> Option<&'a Stream> {
        sample.received.get(source)
    }

    /// How much a counter grew. A stream that was not there at first began at nothing.
    fn sum(&self, source: &str, of: fn(&Stream) -> f64) -> Option<f64> {
        let samples = &self.measured.samples;
        let last = of(Self::stream(samples.last()?, source)?);
        Some(last - samples.first().and_then(|first| Self::stream(first, source)).map_or(0.0, of))
    }

    fn time(&self) -> Option<f64> {
        let samples = &self.measured.samples;
        let seconds = (samples.last()?.at - samples.first()?.at) / 1000.0;
        (seconds > 0.0).then_some(seconds)
    }

    fn a_second(&self, source: &str, of: fn(&Stream) -> f64) -> Option<f64> {
        Some(self.sum(source, of)? / self.time()?)
    }

    fn kilobits(&self, source: &str) -> Option<f64> {
        Some(self.a_second(source, |stream| stream.bytes_received + stream.header_bytes_received)? * 8.0 / 1000.0)
    }

    fn concealed(&self) -> Option<f64> {
        percent(
            self.sum(VOICE, |stream| stream.concealed_samples)?,
            self.sum(VOICE, |stream| stream.total_samples_received)?,
        )
    }

    fn lost(&self, source: &str) -> Option<f64> {
        let lost = self.sum(source, |stream| stream.packets_lost)?;
        percent(lost, lost + self.sum(source, |stream| stream.packets_received)?)
    }

    /// The mean over what left the jitter buffer.
    fn buffered(&self, source: &str) -> Option<f64> {
        let n_left = self.sum(source, |stream| stream.jitter_buffer_emitted_count)?;
        (n_left > 0.0).then_some(self.sum(source, |stream| stream.jitter_buffer_delay)? * 1000.0 / n_left)
    }

    /// Time between samples in which no frame was decoded. A freeze is counted only when it ends; this also sees the one
    /// that does not.
    fn still(&self, source: &str) -> Option<f64> {
        Self::stream(self.measured.samples.last()?, source)?;
        let decoded = |sample: &Sample| Self::stream(sample, source).map_or(0.0, |stream| stream.frames_decoded);
        let stands = |pair: &&[Sample]| decoded(&pair[0]) >= decoded(&pair[1]);
        let seconds = |pair: &[Sample]| (pair[1].at - pair[0].at) / 1000.0;
        let pairs = self.measured.samples.windows(2);
        Some(pairs.filter(stands).map(seconds).fold(0.0, std::ops::Add::add))
    }

    fn width(&self, source: &str) -> Option<f64> {
        let widths = self.measured.samples.iter().filter_map(|sample| Some(Self::stream(sample, source)?.frame_width));
        let (sum, n_widths) = widths.fold((0.0, 0.0), |(sum, n), width| (sum + width, n + 1.0));
        (n_widths > 0.0).then_some(sum / n_widths)
    }

    /// All that came through the relay, as a share of what the link could carry.
    fn used(&self) -> Option<f64> {
        let carried = self.rates.iter().sum::<u64>() as f64 / self.rates.len() as f64 * self.seconds / 8.0;
        if self.rates.is_empty() { None } else { percent(self.measured.traffic.down.bytes as f64, carried) }
    }

    fn overflowed(&self) -> Option<f64> {
        let down = self.measured.traffic.down;
        if self.rates.is_empty() { None } else { percent(down.overflowed as f64, down.datagrams as f64) }
    }

    /// Seconds from the last change of the link's rate until the camera came in its largest layer again; the time that was
    /// left if it did not.
    fn healed(&self) -> Option<f64> {
        let (n_before, first) = (self.rates.len().checked_sub(1)?, self.measured.samples.first()?.at);
        if n_before == 0 {
            return None;
        }
        let changed = first + self.seconds * 1000.0 * n_before as f64 / self.rates.len() as f64;
        let is_full =
            |sample: &&Sample| Self::stream(sample, CAMERA).is_some_and(|camera| camera.frame_width >= FULL_WIDTH);
        let full = self.measured.samples.iter().filter(|sample| sample.at >= changed).find(is_full);
        Some((full.or(self.measured.samples.last())?.at - changed) / 1000.0)
    }

    fn full_after(&self) -> Option<f64> {
        self.measured.full_after.map(|after| after.as_secs_f64())
    }
}

fn percent(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then_some(part / whole * 100.0)
}

/// The middle of several values; `None` without any.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let value = *sorted.get(middle)?;
    Some(if sorted.len() % 2 == 1 { value } else { f64::midpoint(sorted[middle - 1], value) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::relay::{Counted, Traffic};

    fn metric(name: &str) -> Metric {
        METRICS.into_iter().find(|metric| metric.name.starts_with(name)).expect("known")
    }

    fn camera(at: f64, frames_decoded: f64, frame_width: f64) -> Sample {
        let stream = Stream { frame_width, frames_decoded, ..Stream::default() };
        Sample { at, received: [(CAMERA.to_owned(), stream)].into() }
    }

    fn measured(samples: Vec<Sample>) -> Measured {
        Measured { samples, ..Measured::default() }
    }

    #[test]
    fn counters_are_taken_over_the_window_alone() {
        let voice = |at, total_samples_received, concealed_samples| {
            let stream = Stream { concealed_samples, total_samples_received, ..Stream::default() };
            Sample { at, received: [(VOICE.to_owned(), stream)].into() }
        };
        let measured = measured(vec![voice(5000.0, 1000.0, 900.0), voice(6000.0, 3000.0, 1000.0)]);
        assert_eq!(metric("voice: concealed").of(&measured, &[], 1.0), Some(5.0));
        assert_eq!(metric("camera: frames").of(&measured, &[], 1.0), None, "there is none");
    }

    #[test]
    fn a_picture_that_stands_to_the_end_is_seen() {
        let samples = vec![
            camera(0.0, 10.0, 960.0),
            camera(500.0, 18.0, 960.0),
            camera(1000.0, 18.0, 960.0),
            camera(1600.0, 18.0, 480.0),
        ];
        let measured = measured(samples);
        let still = metric("camera: without").of(&measured, &[], 1.6).expect("a number");
        assert!((still - 1.1).abs() < 1e-9, "{still}");
        assert_eq!(metric("camera: frames").of(&measured, &[], 1.6), Some(5.0));
        assert_eq!(metric("camera: mean width").of(&measured, &[], 1.6), Some(840.0));
    }

    #[test]
    fn healing_is_counted_from_the_last_change_of_the_link() {
        let rates = [3, 1, 3];
        let healed = |widths: [f64; 4]| {
            let samples = widths.iter().zip([0.0, 4000.0, 7000.0, 9000.0]).map(|(width, at)| camera(at, at, *width));
            metric("camera: in full again").of(&measured(samples.collect()), &rates, 9.0)
        };
        assert_eq!(healed([960.0, 480.0, 480.0, 960.0]), Some(3.0));
        assert_eq!(healed([960.0, 960.0, 960.0, 960.0]), Some(1.0));
        assert_eq!(healed([960.0, 240.0, 240.0, 240.0]), Some(3.0), "all that was left");
        assert_eq!(metric("camera: in full again").of(&measured(vec![camera(0.0, 0.0, 1.0)]), &[3], 9.0), None);
    }

    #[test]
    fn a_link_is_used_by_what_came_through_it() {
        let down = Counted { datagrams: 200, overflowed: 10, bytes: 500_000, lost: 0 };
        let mut measured = measured(vec![camera(0.0, 0.0, 1.0), camera(8000.0, 1.0, 1.0)]);
        measured.traffic = Traffic { down, up: Counted::default() };
        measured.full_after = Some(Duration::from_millis(2500));
        assert_eq!(metric("received of").of(&measured, &[1_000_000], 8.0), Some(50.0));
        assert_eq!(metric("dropped by").of(&measured, &[1_000_000], 8.0), Some(5.0));
        assert_eq!(metric("received of").of(&measured, &[], 8.0), None);
        assert_eq!(metric("camera: in full after joining").of(&measured, &[], 8.0), Some(2.5));
    }

    #[test]
    fn worse_is_more_than_chance() {
        let (freezes, width) = (metric("camera: freezes"), metric("camera: mean width"));
        assert!(freezes.is_worse(3.0, 1.0) && !freezes.is_worse(1.5, 1.0) && !freezes.is_worse(1.0, 3.0));
        assert!(!freezes.is_worse(21.0, 19.5), "within a tenth");
        assert!(width.is_worse(480.0, 960.0) && !width.is_worse(960.0, 480.0) && !width.is_worse(940.0, 960.0));
        assert!(!metric("camera: kbit/s").is_worse(1000.0, 1.0));
    }

    #[test]
    fn what_never_happened_is_worse_than_anything() {
        for metric in [metric("camera: in full after joining"), metric("camera: mean width")] {
            let never = metric.worst().expect("one that has a better");
            assert!(metric.is_worse(never, 960.0) && !metric.is_worse(960.0, never) && !metric.is_worse(never, never));
        }
        assert_eq!(metric("camera: kbit/s").worst(), None);
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!([median([3.0, 1.0, 2.0]), median([4.0, 1.0]), median([])], [Some(2.0), Some(2.5), None]);
    }
}
