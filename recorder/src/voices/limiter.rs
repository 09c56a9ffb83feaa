//! Keeps a sum of voices from clipping: turned down before it would be too loud, turned up slowly afterwards.

use super::{FRAME, Frame};

/// Loudest sample that leaves: -0.4 dB, because an encoder's output overshoots its input a little.
const CEILING: f32 = 0.95;
/// How much of what was turned down comes back in 20 ms. All of it within a second; faster is heard as pumping.
const RELEASE: f32 = 0.06;

/// One frame behind, so that it knows what comes.
#[derive(Debug)]
pub struct Limiter {
    waiting: Option<Frame>,
    /// The most that the waiting frame may be multiplied with.
    allowed: f32,
    /// What the end of the last frame was multiplied with.
    gain: f32,
}

impl Limiter {
    pub const fn new() -> Self {
        Self { waiting: None, allowed: 1.0, gain: 1.0 }
    }

    /// Takes in a frame, and gives back the one before it.
    ///
    /// The gain goes in a straight line from frame to frame, and at each border is one that both may have, so that no
    /// sample is above the ceiling and no step is heard.
    pub fn push(&mut self, next: &Frame) -> Option<Frame> {
        let peak = next.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
        let next_allowed = if peak > CEILING { CEILING / peak } else { 1.0 };
        let frame = self.waiting.replace(*next);
        let frame = frame.map(|mut frame| {
            let end = (self.gain + RELEASE).min(self.allowed).min(next_allowed);
            ramp(&mut frame, self.gain, end);
            self.gain = end;
            frame
        });
        if frame.is_none() {
            self.gain = next_allowed;
        }
        self.allowed = next_allowed;
        frame
    }

    /// The frame that waits for one to come after it.
    pub fn finish(&mut self) -> Option<Frame> {
        let frame = self.push(&[0.0; FRAME]);
        self.waiting = None;
        frame
    }
}

fn ramp(frame: &mut Frame, start: f32, end: f32) {
    if start >= 1.0 && end >= 1.0 {
        return;
    }
    let step = (end - start) / FRAME as f32;
    let mut gain = start;
    for sample in frame {
        *sample *= gain;
        gain += step;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_too_loud_passes_untouched_one_frame_later() {
        let mut limiter = Limiter::new();
        assert_eq!(limiter.push(&[0.5; FRAME]), None);
        assert_eq!(limiter.push(&[-0.9; FRAME]), Some([0.5; FRAME]));
        assert_eq!(limiter.finish(), Some([-0.9; FRAME]));
    }

    proptest! {
        #[test]
        fn no_sample_is_above_the_ceiling_and_no_step_is_heard(peaks in proptest::collection::vec(0.0_f32..12.0, 2..60)) {
            let mut limiter = Limiter::new();
            let mut last: Option<f32> = None;
            for peak in peaks {
                let Some(frame) = limiter.push(&[peak; FRAME]) else { continue };
                prop_assert!(frame.iter().all(|sample| *sample <= CEILING + 1e-4));
                prop_assert!(frame.windows(2).all(|pair| (pair[1] - pair[0]).abs() < 0.02));
                let gain = limiter.gain;
                prop_assert!(gain > 0.0 && gain <= 1.0);
                if let Some(last) = last { prop_assert!(gain <= last + RELEASE + 1e-6) }
                last = Some(gain);
            }
        }
    }
}
