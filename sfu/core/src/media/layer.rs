//! Which layer of a track a subscriber gets.

use std::time::Duration;

use crate::engine::command::Target;
use crate::time::Time;

/// A layer that sends nothing for this long has been switched off by the publisher. A screen that stands still is sent
/// at least once a second.
pub const SILENCE: Duration = Duration::from_millis(2500);
/// A layer has been switched off already when so many pictures of a lower one came without it: encoders give up the
/// highest layer first when their network narrows, while a screen that stands still is silent on all of them.
pub const OUTRUN: u8 = 6;
/// Of them, those that come within this time of the layer's last packet do not count: layers of one picture come one
/// after the other.
const LAG: Duration = Duration::from_millis(200);
/// Nor those that come before a layer that has fewer pictures would have left out so many of its own.
const MISSED: u32 = 4;
/// Packets closer together than this are of one picture.
pub const SAME_PICTURE: Duration = Duration::from_millis(8);

/// How long after a layer's last packet pictures of lower ones begin to count, if its own are so far apart.
pub fn lag(interval: Duration) -> Duration {
    LAG.max(interval * MISSED)
}

/// The layer a subscriber should get, given which layers are alive, lowest first.
///
/// The highest that is wanted and alive; if none of those is, the lowest alive above: a too large picture is better than
/// none. `None` if nothing is wanted or nothing is alive.
pub fn choose(target: Target, alive: impl DoubleEndedIterator<Item = bool> + ExactSizeIterator + Clone) -> Option<u8> {
    let Target::Layer(highest) = target else { return None };
    let lively = alive.enumerate().filter(|(_, alive)| *alive).map(|(layer, _)| layer as u8);
    lively.clone().rfind(|layer| *layer <= highest).or_else(|| lively.clone().next())
}

/// The layers that [`choose`] chooses from, lowest first, for targets at or below this one.
pub fn candidates(
    target: Target,
    alive: impl DoubleEndedIterator<Item = bool> + ExactSizeIterator + Clone,
) -> impl Iterator<Item = u8> {
    let best = choose(target, alive.clone());
    let lively = alive.enumerate().filter(|(_, alive)| *alive).map(|(layer, _)| layer as u8);
    lively.filter(move |layer| best.is_some_and(|best| *layer <= best))
}

/// Whether a layer whose last packet came at `last` is alive.
pub fn is_alive(now: Time, last: Option<Time>) -> bool {
    last.is_some_and(|last| now.since(last) < SILENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(target: Target, alive: [bool; 3]) -> Option<u8> {
        choose(target, alive.into_iter())
    }

    #[test]
    fn the_highest_wanted_layer_that_is_alive() {
        assert_eq!(chosen(Target::HIGHEST, [true, true, true]), Some(2));
        assert_eq!(chosen(Target::HIGHEST, [true, true, false]), Some(1));
        assert_eq!(chosen(Target::Layer(1), [true, true, true]), Some(1));
        assert_eq!(chosen(Target::Layer(1), [true, false, true]), Some(0));
    }

    #[test]
    fn a_larger_picture_is_better_than_none() {
        assert_eq!(chosen(Target::Layer(0), [false, true, true]), Some(1));
    }

    #[test]
    fn nothing_wanted_or_nothing_there() {
        assert_eq!(chosen(Target::Off, [true, true, true]), None);
        assert_eq!(chosen(Target::HIGHEST, [false, false, false]), None);
    }

    #[test]
    fn a_slow_layer_is_waited_for_longer() {
        assert_eq!(lag(Duration::from_millis(33)), LAG);
        assert_eq!(lag(Duration::from_millis(500)), Duration::from_secs(2));
    }

    #[test]
    fn a_layer_dies_of_silence() {
        assert!(is_alive(Time::from_millis(2499), Some(Time::ZERO)));
        assert!(!is_alive(Time::from_millis(2500), Some(Time::ZERO)));
        assert!(!is_alive(Time::ZERO, None));
    }
}
