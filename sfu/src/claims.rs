//! Claims of call names: where calls that have not begun yet are to live.
//!
//! Directors place calls on their own, each from its own view of the fleet. So that two of them never place one call
//! twice, each asks the registrar of the name (an SFU) first, and this table answers everybody with the choice that was
//! first. Pure: time is passed in. What runs already is not its business; see [`super::fleet_api`].

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleet::api::{CLAIM_SECONDS, Claim};

/// Claims held at most. Directors claim once for each new call, and only for clients whose token opens it, so this is
/// reached only by a director gone wrong.
pub const MAX_CLAIMS: usize = 65_536;

/// The claims that stand.
#[derive(Debug, Default)]
pub struct ClaimTable {
    claims: HashMap<Arc<str>, Standing>,
    /// By time of expiry, soonest first.
    expiries: BTreeSet<(Instant, Arc<str>)>,
}

#[derive(Debug)]
struct Standing {
    sfu: String,
    expires: Instant,
}

/// The table holds [`MAX_CLAIMS`] claims, none of them expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many claims stand")]
pub struct ClaimsFull;

impl ClaimTable {
    /// The SFU where `claim.call` is to live: `claim.sfu` if nobody claimed the name before, or if what stands is what
    /// this claim replaces; otherwise the standing choice. Whatever stands now stands for [`CLAIM_SECONDS`] from `now`.
    pub fn claim(&mut self, claim: Claim, now: Instant) -> Result<String, ClaimsFull> {
        self.expire(now);
        let expires = now + Duration::from_secs(CLAIM_SECONDS);
        if let Some((call, _)) = self.claims.get_key_value(claim.call.as_str()) {
            let call = call.clone();
            if let Some(standing) = self.claims.get_mut(&call) {
                self.expiries.remove(&(standing.expires, call.clone()));
                self.expiries.insert((expires, call));
                standing.expires = expires;
                if claim.replaces.as_ref() == Some(&standing.sfu) {
                    standing.sfu = claim.sfu;
                }
                return Ok(standing.sfu.clone());
            }
        }
        if self.claims.len() >= MAX_CLAIMS {
            return Err(ClaimsFull);
        }
        let call: Arc<str> = claim.call.into();
        self.expiries.insert((expires, call.clone()));
        self.claims.insert(call, Standing { sfu: claim.sfu.clone(), expires });
        Ok(claim.sfu)
    }

    fn expire(&mut self, now: Instant) {
        while let Some((expires, _)) = self.expiries.first() {
            if *expires > now {
                break;
            }
            if let Some((_, call)) = self.expiries.pop_first() {
                self.claims.remove(&call);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fleet::api::AccessToken;

    use super::*;

    fn claim(call: &str, sfu: &str) -> Claim {
        Claim { call: call.into(), token: AccessToken::default(), sfu: sfu.into(), replaces: None }
    }

    fn replacing(call: &str, sfu: &str, replaces: &str) -> Claim {
        Claim { replaces: Some(replaces.into()), ..claim(call, sfu) }
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn the_first_claim_of_a_name_wins() {
        let (mut table, now) = (ClaimTable::default(), Instant::now());
        assert_eq!(table.claim(claim("standup", "a"), now), Ok("a".into()));
        assert_eq!(table.claim(claim("standup", "b"), now), Ok("a".into()));
        assert_eq!(table.claim(claim("retro", "b"), now), Ok("b".into()));
    }

    #[test]
    fn a_claim_expires_when_nobody_asks_for_it() {
        let (mut table, start) = (ClaimTable::default(), Instant::now());
        assert_eq!(table.claim(claim("standup", "a"), start), Ok("a".into()));
        assert_eq!(table.claim(claim("standup", "b"), after(start, CLAIM_SECONDS - 1)), Ok("a".into()));
        assert_eq!(table.claim(claim("standup", "c"), after(start, 2 * CLAIM_SECONDS - 2)), Ok("a".into()));
        assert_eq!(table.claim(claim("standup", "d"), after(start, 3 * CLAIM_SECONDS)), Ok("d".into()));
        assert_eq!(table.claims.len(), 1);
    }

    #[test]
    fn of_two_who_replace_a_lost_sfu_the_first_wins() {
        let (mut table, now) = (ClaimTable::default(), Instant::now());
        assert_eq!(table.claim(claim("standup", "lost"), now), Ok("lost".into()));
        assert_eq!(table.claim(replacing("standup", "b", "lost"), now), Ok("b".into()));
        assert_eq!(table.claim(replacing("standup", "c", "lost"), now), Ok("b".into()));
    }

    #[test]
    fn a_full_table_refuses_until_claims_expire() {
        let (mut table, start) = (ClaimTable::default(), Instant::now());
        for n in 0..MAX_CLAIMS {
            table.claim(claim(&n.to_string(), "a"), start).unwrap();
        }
        assert_eq!(table.claim(claim("standup", "a"), start), Err(ClaimsFull));
        assert_eq!(table.claim(claim("7", "b"), after(start, 1)), Ok("a".into()));
        assert_eq!(table.claim(claim("standup", "a"), after(start, CLAIM_SECONDS)), Ok("a".into()));
        assert_eq!((table.claims.len(), table.expiries.len()), (2, 2));
    }
}
