//! Claiming a call's name before its first join, so that a call is never placed twice.
//!
//! The registrar of a name is the SFU first in its rendezvous order; whoever asks it first decides. Views differ for a
//! moment when an SFU comes or goes: then one director's first registrar is another's second, or not there at all. So
//! a claim goes along a chain: what the first registrar answers is claimed at the second, and the second's answer
//! stands. Two directors whose views differ by one SFU share a registrar among their first two, and a registrar that
//! died with its claims leaves them at its neighbour.
//!
//! [`Round`] is the protocol without its sockets: ask it whom to ask next, tell it what came of that.

use fleet::api::{Claim, Placement};

use crate::sfu_address::SfuAddress;

/// Registrars that must answer, where there are as many.
const CHAIN: usize = 2;
/// Registrars asked at most. Each that does not answer costs a timeout, and who cannot reach four has other problems.
const TRIES: usize = 4;

/// One attempt to claim a name.
#[derive(Debug)]
pub struct Round {
    claim: Claim,
    registrars: std::iter::Take<std::vec::IntoIter<SfuAddress>>,
    answers: usize,
    settled: bool,
}

/// What a [`Round`] does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send the claim there and say [`Round::answered`]; or ask for the next step at once if no answer comes, then the
    /// next registrar in order stands in.
    Ask(SfuAddress, Claim),
    /// The call is to live at the SFU of this name.
    Placed { call: String, sfu: String },
    /// No registrar answered.
    Failed,
}

impl Round {
    /// `registrars` as ranked by [`crate::place::rank`].
    pub fn new(claim: Claim, registrars: Vec<SfuAddress>) -> Self {
        Self { claim, registrars: registrars.into_iter().take(TRIES), answers: 0, settled: false }
    }

    pub fn next_step(&mut self) -> Step {
        let next = if self.settled || self.answers == CHAIN { None } else { self.registrars.next() };
        match next {
            Some(registrar) => Step::Ask(registrar, self.claim.clone()),
            None if self.settled || self.answers > 0 => {
                Step::Placed { call: self.claim.call.clone(), sfu: self.claim.sfu.clone() }
            }
            None => Step::Failed,
        }
    }

    /// The registrar asked last answered.
    pub fn answered(&mut self, placement: Placement) {
        self.answers += 1;
        self.settled = placement.running;
        self.claim.sfu = placement.sfu;
    }
}

#[cfg(test)]
mod tests {
    use fleet::api::AccessToken;

    use super::*;

    fn round(registrars: u16) -> Round {
        let (call, token, sfu) = ("standup".into(), AccessToken::default(), "mine".into());
        let claim = Claim { call, token, sfu, replaces: Some("lost".into()) };
        Round::new(claim, (0..registrars).map(|port| SfuAddress::new("10.0.0.1", port)).collect())
    }

    fn asked(round: &mut Round) -> (u16, String) {
        match round.next_step() {
            Step::Ask(address, claim) => {
                assert_eq!((claim.call.as_str(), claim.replaces.as_deref()), ("standup", Some("lost")));
                (address.as_pair().1, claim.sfu)
            }
            other => panic!("expected a question, got {other:?}"),
        }
    }

    fn placed(sfu: &str) -> Step {
        Step::Placed { call: "standup".into(), sfu: sfu.into() }
    }

    fn says(sfu: &str, running: bool) -> Placement {
        Placement { call: "standup".into(), sfu: sfu.into(), running }
    }

    #[test]
    fn what_the_first_registrar_answers_is_claimed_at_the_second() {
        let mut round = round(3);
        assert_eq!(asked(&mut round), (0, "mine".into()));
        round.answered(says("theirs", false));
        assert_eq!(asked(&mut round), (1, "theirs".into()));
        round.answered(says("older", false));
        assert_eq!(round.next_step(), placed("older"));
    }

    #[test]
    fn a_single_sfu_registers_alone() {
        let mut round = round(1);
        asked(&mut round);
        round.answered(says("mine", false));
        assert_eq!(round.next_step(), placed("mine"));
    }

    #[test]
    fn a_call_that_runs_at_the_registrar_ends_the_round() {
        let mut round = round(3);
        asked(&mut round);
        round.answered(says("registrar", true));
        assert_eq!(round.next_step(), placed("registrar"));
    }

    #[test]
    fn the_next_registrar_stands_in_for_one_that_does_not_answer() {
        let mut round = round(3);
        asked(&mut round);
        assert_eq!(asked(&mut round), (1, "mine".into()));
        round.answered(says("mine", false));
        assert_eq!(asked(&mut round), (2, "mine".into()));
        assert_eq!(round.next_step(), placed("mine"));
    }

    #[test]
    fn without_an_answer_nothing_is_placed() {
        assert_eq!(round(0).next_step(), Step::Failed);
        let mut round = round(9);
        for _ in 0..4 {
            asked(&mut round);
        }
        assert_eq!(round.next_step(), Step::Failed);
    }
}
