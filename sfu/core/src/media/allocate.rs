//! What of a path's rate each of a subscriber's video tracks gets.
//!
//! A pure decision: wishes and a budget in, a layer for each out. Screens are served before faces: whoever cannot read
//! the text is not helped by faces. Within one kind everybody gets the lowest layer before anybody gets a higher one.

use crate::engine::command::Priority;

/// Layers a wish can have.
pub const MAX_LAYERS: usize = 8;
/// A layer is taken up only if this much more would fit, in percent: rates are measured and move.
const HEADROOM: u64 = 115;
/// A paused track is resumed only if this much more would fit, in percent: each time costs a whole picture.
const HEADROOM_PAUSED: u64 = 130;
/// A lowest layer that flows is paused when less than this is left for it, in percent: a little too much is better
/// than nothing, and encoders waver.
const MIN_SHARE: u64 = 75;

/// A track a subscriber wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    pub priority: Priority,
    /// Bits per second of each layer that may be chosen, lowest first; `None` for those that may not.
    pub layers: [Option<u64>; MAX_LAYERS],
    /// The layer it gets now; `None` if it is paused.
    pub current: Option<u8>,
    /// What it is to get; written by [`allocate`].
    pub chosen: Option<u8>,
}

impl Wish {
    /// The best layer it could get, and its rate.
    pub fn best(&self) -> Option<(u8, u64)> {
        self.candidates().next_back()
    }

    /// The best layer it could get at or below `layer`.
    pub fn best_up_to(&self, layer: u8) -> Option<u8> {
        self.candidates().map(|(candidate, _)| candidate).rfind(|candidate| *candidate <= layer)
    }

    pub fn is_lowered(&self) -> bool {
        self.chosen < self.current
    }

    pub fn is_raised(&self) -> bool {
        self.chosen > self.current
    }

    /// Whether it gets the best there is, or would if anything were sent.
    pub fn is_fulfilled(&self) -> bool {
        self.best().map_or(self.chosen.is_some(), |(best, _)| self.chosen >= Some(best))
    }

    /// Bits per second of the layer it gets now.
    pub fn current_rate(&self) -> u64 {
        self.current.map_or(0, |layer| self.rate_of(layer))
    }

    fn candidates(&self) -> impl DoubleEndedIterator<Item = (u8, u64)> {
        self.layers.iter().enumerate().filter_map(|(layer, rate)| Some((layer as u8, (*rate)?)))
    }

    fn rate_of(&self, layer: u8) -> u64 {
        self.layers.get(usize::from(layer)).copied().flatten().unwrap_or_default()
    }

    /// What must be free for a layer to be chosen.
    const fn needed(&self, layer: u8, rate: u64) -> u64 {
        match self.current {
            Some(current) if layer <= current => rate,
            Some(_) => rate * HEADROOM / 100,
            None => rate * HEADROOM_PAUSED / 100,
        }
    }
}

/// Whether somebody may get more than now. Not soon after somebody had to get less, or pictures would change all the
/// time; nor soon after somebody got more, whose effect has to be seen first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Raises {
    /// By one layer.
    Allowed,
    Held,
}

/// What there is to share out, in bits per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Means {
    pub budget: u64,
    pub raises: Raises,
    /// Nobody gets more if all together then got as much as this: it did not last the last time.
    pub ceiling: u64,
    /// What flows may go on with so much more than there is, all together: it waits, until somebody who shares the path
    /// gives back what he took.
    pub patience: u64,
}

/// Chooses a layer for each wish. Equal wishes are served in their order. `O` says whose they are.
pub fn allocate<O>(means: Means, wishes: &mut [(O, Wish)]) {
    let Means { budget, raises, ceiling, patience } = means;
    let mut left = Left { budget: budget.into(), used: 0, ceiling, patience: patience.into() };
    for priority in [Priority::Screen, Priority::Camera] {
        let of_priority = |(_, wish): &&mut (O, Wish)| wish.priority == priority;
        for (_, wish) in wishes.iter_mut().filter(of_priority) {
            left.begin(raises, wish);
        }
        // One layer each in turn, until nothing fits any more.
        let mut is_left = true;
        while is_left {
            is_left = false;
            for (_, wish) in wishes.iter_mut().filter(of_priority) {
                is_left |= left.raise(raises, wish);
            }
        }
    }
}

/// What has not been given away yet.
struct Left {
    /// Below zero where patience is used.
    budget: i128,
    used: u64,
    ceiling: u64,
    patience: i128,
}

impl Left {
    /// Gives a wish its lowest layer, if that fits.
    fn begin(&mut self, raises: Raises, wish: &mut Wish) {
        wish.chosen = None;
        let Some((lowest, rate)) = wish.candidates().next() else {
            // It sends nothing, so there is nothing to limit.
            wish.chosen = wish.current.or((raises == Raises::Allowed).then_some(u8::MAX));
            return;
        };
        let flows = wish.current.is_some();
        let needed = if flows { rate * MIN_SHARE / 100 } else { wish.needed(lowest, rate) };
        let may = flows || (raises == Raises::Allowed && self.used + rate < self.ceiling);
        let fits = i128::from(needed) <= self.budget || (flows && i128::from(rate) <= self.budget + self.patience);
        if may && fits {
            wish.chosen = Some(lowest);
            self.take(rate, 0);
        }
    }

    /// Gives a wish the next layer, if that fits. Returns whether it did.
    fn raise(&mut self, raises: Raises, wish: &mut Wish) -> bool {
        let Some(chosen) = wish.chosen else { return false };
        let Some((next, rate)) = wish.candidates().find(|(layer, _)| *layer > chosen) else { return false };
        let freed = wish.rate_of(chosen);
        let is_more = wish.current.is_none_or(|current| next > current);
        // Above what it has there is one layer it may get, if it has not got it.
        let has_more = wish.current.is_none_or(|current| chosen > current);
        let may = !is_more || (raises == Raises::Allowed && !has_more && self.used + rate - freed < self.ceiling);
        let patience = if is_more { 0 } else { self.patience };
        if !may || i128::from(wish.needed(next, rate)) > self.budget + patience + i128::from(freed) {
            return false;
        }
        wish.chosen = Some(next);
        self.take(rate, freed);
        true
    }

    const fn take(&mut self, rate: u64, freed: u64) {
        self.budget += freed as i128 - rate as i128;
        self.used = (self.used + rate).saturating_sub(freed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(priority: Priority, rates: &[u64], current: Option<u8>) -> Wish {
        let mut layers = [None; MAX_LAYERS];
        for (layer, rate) in layers.iter_mut().zip(rates) {
            *layer = Some(*rate * 1000);
        }
        Wish { priority, layers, current, chosen: None }
    }

    fn camera(current: Option<u8>) -> Wish {
        wish(Priority::Camera, &[150, 500, 1_700], current)
    }

    fn chosen((budget, ceiling): (u64, u64), raises: Raises, wishes: Vec<Wish>) -> Vec<Option<u8>> {
        let mut wishes: Vec<_> = wishes.into_iter().map(|wish| ((), wish)).collect();
        allocate(Means { budget: budget * 1000, raises, ceiling: ceiling * 1000, patience: 0 }, &mut wishes);
        wishes.iter().map(|((), wish)| wish.chosen).collect()
    }

    fn free(budget: u64, wishes: Vec<Wish>) -> Vec<Option<u8>> {
        chosen((budget, 100_000), Raises::Allowed, wishes)
    }

    #[test]
    fn everybody_gets_a_little_before_anybody_gets_much() {
        let three = || vec![camera(Some(2)); 3];
        assert_eq!(free(5_100, three()), [Some(2); 3]);
        assert_eq!(free(5_000, three()), [Some(2), Some(2), Some(1)]);
        assert_eq!(free(1_500, three()), [Some(1); 3]);
        assert_eq!(free(1_000, three()), [Some(1), Some(0), Some(0)]);
        assert_eq!(free(400, three()), [Some(0), Some(0), None], "two and two thirds");
        assert_eq!(free(0, three()), [None; 3]);
    }

    #[test]
    fn a_screen_goes_before_faces() {
        let wishes = |budget| free(budget, vec![camera(Some(2)), wish(Priority::Screen, &[300, 1_500], Some(1))]);
        assert_eq!(wishes(3_200), [Some(2), Some(1)]);
        assert_eq!(wishes(1_700), [Some(0), Some(1)]);
        assert_eq!(wishes(1_550), [None, Some(1)]);
        assert_eq!(wishes(1_400), [Some(1), Some(0)]);
    }

    #[test]
    fn a_layer_that_flows_may_be_a_little_too_large_and_no_more() {
        let screen = || vec![wish(Priority::Screen, &[1_000], Some(0))];
        assert_eq!(free(750, screen()), [Some(0)]);
        assert_eq!(free(749, screen()), [None]);
    }

    #[test]
    fn a_layer_goes_on_while_the_rest_of_it_may_wait() {
        let chosen = |budget: u64, wishes: Vec<Wish>| {
            let (budget, patience): (u64, u64) = (budget * 1000, budget * 250);
            let mut wishes: Vec<_> = wishes.into_iter().map(|wish| ((), wish)).collect();
            allocate(Means { budget, raises: Raises::Allowed, ceiling: u64::MAX, patience }, &mut wishes);
            wishes.iter().map(|((), wish)| wish.chosen).collect::<Vec<_>>()
        };
        assert_eq!(chosen(1_360, vec![camera(Some(2))]), [Some(2)]);
        assert_eq!(chosen(1_359, vec![camera(Some(2))]), [Some(1)]);
        assert_eq!(chosen(1_954, vec![camera(Some(1))]), [Some(1)], "up it takes as much room as ever");
        assert_eq!(chosen(2_900, vec![camera(Some(2)); 2]), [Some(2); 2], "for all together");
        assert_eq!(chosen(2_700, vec![camera(Some(2)); 2]), [Some(2), Some(1)], "and once");
        let close = wish(Priority::Camera, &[200, 240, 290], Some(2));
        assert_eq!(chosen(150, vec![close]), [Some(0)], "not once for each layer");
        let screen = wish(Priority::Screen, &[300, 1_500], Some(1));
        assert_eq!(chosen(1_400, vec![screen, camera(Some(0))]), [Some(1), Some(0)], "nobody pauses for it");
    }

    #[test]
    fn up_takes_more_room_than_down() {
        assert_eq!(free(500, vec![camera(Some(1))]), [Some(1)]);
        assert_eq!(free(570, vec![camera(Some(0))]), [Some(0)]);
        assert_eq!(free(575, vec![camera(Some(0))]), [Some(1)]);
        assert_eq!(free(194, vec![camera(None)]), [None]);
        assert_eq!(free(195, vec![camera(None)]), [Some(0)]);
    }

    #[test]
    fn up_goes_by_one_layer() {
        assert_eq!(free(9_000, vec![camera(None), camera(Some(0)), camera(Some(1))]), [Some(0), Some(1), Some(2)]);
    }

    #[test]
    fn nobody_is_raised_while_raises_are_held_and_everybody_may_fall() {
        let wishes = vec![camera(Some(1)), camera(None), camera(Some(2))];
        assert_eq!(chosen((9_000, 9_000), Raises::Held, wishes.clone()), [Some(1), None, Some(2)]);
        assert_eq!(chosen((300, 9_000), Raises::Held, wishes), [Some(0), None, Some(0)]);
    }

    #[test]
    fn what_did_not_last_is_not_tried_and_less_is() {
        let below = |ceiling, current| chosen((9_000, ceiling), Raises::Allowed, vec![camera(current)]);
        assert_eq!(below(1_700, Some(1)), [Some(1)]);
        assert_eq!(below(1_701, Some(1)), [Some(2)]);
        assert_eq!(below(1_700, Some(0)), [Some(1)]);
        assert_eq!(below(1_700, Some(2)), [Some(2)], "what flows may go on");
        assert_eq!(below(150, None), [None]);
    }

    #[test]
    fn what_sends_nothing_is_not_limited_and_layers_may_be_missing() {
        assert_eq!(
            free(0, vec![wish(Priority::Camera, &[], Some(3)), wish(Priority::Camera, &[], None)]),
            [Some(3), Some(u8::MAX)]
        );
        let mut gap = camera(Some(2));
        gap.layers[1] = None;
        assert_eq!(free(1_000, vec![gap]), [Some(0)]);
    }
}
