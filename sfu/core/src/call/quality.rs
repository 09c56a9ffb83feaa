//! Connection quality: from loss, jitter and round trip to a word people understand.

use serde::{Deserialize, Serialize};

use crate::engine::event::Quality;

/// What people are told, best last so that the worst of several is their minimum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Grade {
    Lost,
    Poor,
    Good,
    Excellent,
}

/// Rates one stream by the E-model's transmission rating (ITU-T G.107, simplified): 0 to 100.
///
/// Delay is half the round trip plus a jitter buffer of twice the jitter. Loss costs 2.5 points a percent.
pub fn rating(quality: Quality) -> f32 {
    let delay = quality.rtt_ms.unwrap_or(0.0) / 2.0 + 2.0 * quality.jitter_ms;
    let delay_cost = if delay < 160.0 { delay / 40.0 } else { (delay - 120.0) / 10.0 };
    (93.2 - delay_cost - 250.0 * quality.loss.clamp(0.0, 1.0)).clamp(0.0, 100.0)
}

/// The grade of a rating.
pub fn grade(rating: f32) -> Grade {
    match rating {
        r if r > 80.0 => Grade::Excellent,
        r if r > 40.0 => Grade::Good,
        r if r > 20.0 => Grade::Poor,
        _ => Grade::Lost,
    }
}

/// Mean opinion score of a rating, 1.0 to 4.5 (ITU-T G.107, annex B).
pub fn mean_opinion_score(rating: f32) -> f32 {
    let r = rating.clamp(0.0, 100.0);
    (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7.0e-6).clamp(1.0, 4.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grades_fall_with_loss() {
        let of = |loss| grade(rating(Quality { loss, jitter_ms: 5.0, rtt_ms: Some(40.0) }));
        assert_eq!(of(0.0), Grade::Excellent);
        assert_eq!(of(0.1), Grade::Good);
        assert_eq!(of(0.25), Grade::Poor);
        assert_eq!(of(0.5), Grade::Lost);
    }

    #[test]
    fn a_perfect_line_scores_above_four() {
        assert!(mean_opinion_score(rating(Quality::default())) > 4.0);
        assert!((mean_opinion_score(0.0) - 1.0).abs() < f32::EPSILON);
    }
}
