//! Choosing an SFU: for a new call the one with the least load, for claims the registrars of a name.
//!
//! Pure functions over what the [`crate::table`] knows.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use fleet::api::SfuLoad;

use crate::sfu_address::SfuAddress;

/// Load is compared in steps of this many percent: a finer difference is noise, and following it would send a whole
/// burst to whoever reported one percent less a second ago.
const STEP_PERCENT: u32 = 5;
/// What a join that is not in the SFU's report yet is taken to cost, in percent. Rather more than less: too much
/// spreads a burst for a second, too little piles it up.
const RESERVED_PERCENT: u32 = 1;

/// An SFU that takes new calls.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    pub address: &'a SfuAddress,
    /// Pod name.
    pub name: &'a str,
    /// As last reported.
    pub load: SfuLoad,
    /// Joins sent there that the report does not count yet.
    pub reserved: u32,
}

/// The SFU for the new call `call`, not one of `excluded`: least load in percent, then fewest participants, then fewest
/// calls; among equals a choice that differs from call to call and not from director to director.
pub fn choose<'a>(
    candidates: impl IntoIterator<Item = Candidate<'a>>,
    call: &str,
    excluded: &BTreeSet<SfuAddress>,
) -> Option<Candidate<'a>> {
    candidates.into_iter().filter(|candidate| !excluded.contains(candidate.address)).min_by_key(|candidate| {
        let Candidate { name, load, reserved, .. } = *candidate;
        let percent = u32::from(load.percent).saturating_add(reserved.saturating_mul(RESERVED_PERCENT));
        let participants = load.participants.saturating_add(reserved);
        (percent / STEP_PERCENT, participants, load.calls, Reverse(weight(call, name)))
    })
}

/// `registrars` in the order in which claims of `call` ask them: rendezvous hashing, so that one SFU more or less
/// changes the order of the others for no call.
pub fn rank<'a>(registrars: impl IntoIterator<Item = (&'a SfuAddress, &'a str)>, call: &str) -> Vec<SfuAddress> {
    let mut ranked: Vec<_> =
        registrars.into_iter().map(|(address, name)| (Reverse(weight(call, name)), name, address)).collect();
    ranked.sort();
    ranked.into_iter().map(|(_, _, address)| address.clone()).collect()
}

/// Weight of an SFU for a call. FNV-1a with a final mix (that of MurmurHash3): directors of different versions must
/// agree on it, so it is written out here and does not depend on a library's.
fn weight(call: &str, sfu: &str) -> u64 {
    let bytes = call.bytes().chain([0]).chain(sfu.bytes());
    let mut hash = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sfus(n: u16) -> Vec<(SfuAddress, String)> {
        (0..n).map(|i| (SfuAddress::new("10.0.0.1", i), format!("main-sfu-{i}"))).collect()
    }

    fn chosen(loads: &[(u8, u32, u32, u32)], call: &str, excluded: &[u16]) -> Option<u16> {
        let sfus = sfus(u16::try_from(loads.len()).unwrap());
        let excluded = excluded.iter().map(|i| sfus[usize::from(*i)].0.clone()).collect();
        let candidates = sfus.iter().zip(loads).map(|((address, name), &(percent, participants, reserved, calls))| {
            Candidate { address, name, load: SfuLoad { calls, participants, percent }, reserved }
        });
        choose(candidates, call, &excluded).map(|candidate| candidate.address.as_pair().1)
    }

    #[test]
    fn the_least_loaded_takes_the_call() {
        // (percent, participants, reserved, calls)
        assert_eq!(chosen(&[(40, 0, 0, 0), (10, 90, 0, 9)], "standup", &[]), Some(1));
        assert_eq!(chosen(&[(10, 9, 0, 0), (12, 5, 0, 0)], "standup", &[]), Some(1));
        assert_eq!(chosen(&[(10, 5, 2, 0), (10, 6, 0, 0)], "standup", &[]), Some(1));
        assert_eq!(chosen(&[(10, 5, 0, 3), (10, 5, 0, 2)], "standup", &[]), Some(1));
    }

    #[test]
    fn one_that_is_excluded_is_not_chosen() {
        assert_eq!(chosen(&[(90, 9, 0, 9), (0, 0, 0, 0)], "standup", &[1]), Some(0));
        assert_eq!(chosen(&[(0, 0, 0, 0)], "standup", &[0]), None);
        assert_eq!(chosen(&[], "standup", &[]), None);
    }

    #[test]
    fn a_burst_between_two_reports_spreads() {
        let sfus = sfus(4);
        let mut reserved = [0_u32; 4];
        for n in 0..400 {
            let candidates =
                sfus.iter().zip(reserved).zip([3_u8, 4, 9, 11]).map(|(((address, name), reserved), percent)| {
                    Candidate { address, name, load: SfuLoad { percent, ..SfuLoad::default() }, reserved }
                });
            let at = choose(candidates, &format!("call-{n}"), &BTreeSet::new()).unwrap().address.as_pair().1;
            reserved[usize::from(at)] += 1;
        }
        assert!(reserved.iter().all(|n| (90..=110).contains(n)), "{reserved:?}");
    }

    #[test]
    fn equals_share_calls_evenly() {
        let mut taken = [0_u32; 3];
        for n in 0..3000 {
            taken[usize::from(chosen(&[(0, 0, 0, 0); 3], &format!("call-{n}"), &[]).unwrap())] += 1;
        }
        assert!(taken.iter().all(|n| (900..=1100).contains(n)), "{taken:?}");
    }

    #[test]
    fn one_registrar_less_keeps_the_order_of_the_others() {
        let sfus = sfus(8);
        for n in 0..100 {
            let call = format!("call-{n}");
            let all = rank(sfus.iter().map(|(address, name)| (address, name.as_str())), &call);
            let fewer = rank(sfus.iter().skip(1).map(|(address, name)| (address, name.as_str())), &call);
            let without: Vec<_> = all.into_iter().filter(|address| *address != sfus[0].0).collect();
            assert_eq!(fewer, without);
        }
    }

    #[test]
    fn the_order_of_registrars_is_the_same_in_every_version() {
        let sfus = sfus(4);
        let ports = |call: &str| -> Vec<u16> {
            let ranked = rank(sfus.iter().map(|(address, name)| (address, name.as_str())), call);
            ranked.iter().map(|address| address.as_pair().1).collect()
        };
        assert_eq!([ports("standup"), ports("review")], [[0, 3, 1, 2], [1, 0, 3, 2]]);
    }
}
