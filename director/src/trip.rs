//! One request on its way: what it wants, what its attempts taught, and what to do next.
//!
//! [`Trip::decide`] is pure; [`crate::route`] does what it says.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fleet::api::{AccessToken, Claim};

use crate::claim::Round;
use crate::place;
use crate::sfu_address::SfuAddress;
use crate::table::{Location, Named, Table};
use crate::wanted::Wanted;

/// How long a request is held while nothing can take it. Clients give a websocket 15 s to open.
pub const HOLD: Duration = Duration::from_secs(15);
/// Pause before an SFU that could not be reached, or a claim nobody answered, is tried again.
pub const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Pause before SFUs are asked again that all refused the call, though they say that they take calls: one that was to
/// leave and stays after all still turns away for some seconds what it has turned away before.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);
/// How long an SFU that a claim names and this director never saw is waited for: another director saw it just now.
const NEVER_SEEN_WAIT: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub struct Trip {
    pub wanted: Wanted,
    /// When holding ends.
    pub deadline: Instant,
    /// SFUs that refused the call: it is not there, and they take no new ones.
    refused: BTreeSet<SfuAddress>,
    /// The SFU that could not be reached last, and when.
    unreachable: Option<(SfuAddress, Instant)>,
    /// Name of the SFU a claim says the call is to live at.
    claimed: Option<String>,
    /// When that name was first found to be unknown here.
    unknown_since: Option<Instant>,
    /// Name of an SFU that cannot take the call, though a claim may still name it.
    replaces: Option<String>,
}

/// What to do next.
#[derive(Debug)]
pub enum Decision {
    /// Send the request there.
    Go(SfuAddress, Found),
    /// Claim the call's name, say [`Trip::was_claimed`], and decide again.
    Claim(Round),
    /// Decide again when the table changed, or at that time.
    Wait(Instant),
}

/// Why an SFU is the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The call runs there.
    Running,
    /// The call's name is claimed for it.
    Claimed,
    /// Any would have done.
    Any,
}

impl Trip {
    /// A request that is held until `deadline` at most; see [`HOLD`].
    pub fn new(wanted: Wanted, deadline: Instant) -> Self {
        Self {
            wanted,
            deadline,
            refused: BTreeSet::new(),
            unreachable: None,
            claimed: None,
            unknown_since: None,
            replaces: None,
        }
    }

    /// The SFU said that the call is not there and that it takes no new ones.
    pub fn was_refused(&mut self, address: SfuAddress) {
        self.refused.insert(address);
    }

    /// No connection to the SFU came about, or it broke before an answer.
    pub fn was_unreachable(&mut self, address: SfuAddress, now: Instant) {
        self.unreachable = Some((address, now));
    }

    /// The call is to live at the SFU of that name: a claim's answer, fresh or remembered.
    pub fn was_claimed(&mut self, sfu: String) {
        self.claimed = Some(sfu);
    }

    /// `turn` is a number that grows with each request, to share out those that any SFU can answer.
    pub fn decide(&mut self, table: &Table, turn: usize, now: Instant) -> Decision {
        let location = match self.wanted.call() {
            Some(call) => table.locate(call),
            None => return self.go_to_anyone(table, turn, now),
        };
        match (location, &self.wanted) {
            (Location::Known(address), _) if !self.refused.contains(&address) => self.go(address, Found::Running, now),
            (Location::NotReady, _) => Decision::Wait(self.deadline),
            (_, Wanted::Join { call, token }) => self.place(&call.clone(), token.clone(), table, now),
            (_, Wanted::About(_) | Wanted::Anything) => match self.claimed.as_deref().map(|name| table.named(name)) {
                Some(Named::Here(address)) if !self.refused.contains(&address) => self.go(address, Found::Claimed, now),
                _ => self.go_to_anyone(table, turn, now),
            },
        }
    }

    fn place(&mut self, call: &str, token: AccessToken, table: &Table, now: Instant) -> Decision {
        if let Some(name) = self.claimed.take() {
            match table.named(&name) {
                Named::Here(address) if !self.refused.contains(&address) => {
                    self.claimed = Some(name);
                    return self.go(address, Found::Claimed, now);
                }
                Named::NeverSeen => {
                    let until = *self.unknown_since.get_or_insert(now) + NEVER_SEEN_WAIT;
                    if now < until {
                        self.claimed = Some(name);
                        return Decision::Wait(until);
                    }
                }
                Named::Here(_) | Named::Gone => {}
            }
            self.unknown_since = None;
            self.replaces = Some(name);
        }
        let mut excluded = self.refused.clone();
        excluded.extend(self.unreachable.iter().map(|(address, _)| address.clone()));
        let chosen = place::choose(table.candidates(), call, &excluded);
        // The one that could not be reached is better than none, if it is still there.
        let Some(chosen) = chosen.or_else(|| place::choose(table.candidates(), call, &self.refused)) else {
            if table.candidates().next().is_none() {
                return Decision::Wait(self.deadline);
            }
            self.refused.clear();
            return Decision::Wait(now + REFUSED_PAUSE);
        };
        let (call_name, sfu) = (call.to_owned(), chosen.name.to_owned());
        let claim = Claim { call: call_name, token, sfu, replaces: self.replaces.clone() };
        Decision::Claim(Round::new(claim, place::rank(table.registrars(), call)))
    }

    fn go_to_anyone(&self, table: &Table, turn: usize, now: Instant) -> Decision {
        let mut anyone = table.anyone();
        if let Some((unreachable, _)) = &self.unreachable
            && anyone.len() > 1
        {
            anyone.retain(|address| address != unreachable);
        }
        if anyone.is_empty() {
            return Decision::Wait(self.deadline);
        }
        let index = turn % anyone.len();
        self.go(anyone.swap_remove(index), Found::Any, now)
    }

    /// Goes there, but not to the one that could not be reached a moment ago.
    fn go(&self, address: SfuAddress, found: Found, now: Instant) -> Decision {
        match &self.unreachable {
            Some((unreachable, at)) if *unreachable == address && now < *at + RETRY_PAUSE => {
                Decision::Wait(*at + RETRY_PAUSE)
            }
            _ => Decision::Go(address, found),
        }
    }
}

#[cfg(test)]
mod tests;
