//! What the director knows: the SFUs, whether each can be heard, and which call lives where.
//!
//! In: the list of SFUs, what each one's watch stream says, what became of connections to it, and the time. Out: where a
//! call is, who can take a new one, and which SFUs were given up ([`Effects`]). Pure: it knows no socket and no clock.
//!
//! An SFU's life here:
//!
//! ```text
//! listed ─▶ Calling ──snapshot──▶ Live ──stream lost──▶ Suspect ──3 s──▶ Away, its calls forgotten
//!              │ refused, 3 s      ▲        ◀─snapshot──  │ refused        │
//!              ▼                   │                      ▼                │
//!             Away ──snapshot──────┘                     Away              └─ called again, for as long as it is listed
//! ```
//!
//! *Calling* holds up decisions about calls nobody is known to have, because this SFU may have them; *Away* does not.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleet::api::{CLAIM_SECONDS, FleetEvent, Means, SfuState, SfuStatus, WATCH_HEARTBEAT_SECONDS};

use crate::place::Candidate;
use crate::sfu_address::SfuAddress;

/// How long an SFU may be silent on its watch stream before the stream counts as lost.
pub const SILENCE: Duration = Duration::from_secs(3 * WATCH_HEARTBEAT_SECONDS);
/// How long the calls of an SFU whose stream was lost are kept. With [`SILENCE`] this is 6 s after a node dies, which
/// leaves clients 4 s of the 10 s in which they are to talk again.
pub const GRACE: Duration = Duration::from_secs(3);
/// How long an SFU that was never heard holds up decisions. One that runs answers in milliseconds.
pub const FIRST_CONTACT: Duration = Duration::from_secs(3);
/// A join is in the SFU's report when that was made this long after the join was sent there.
const REPORT_LAG: Duration = Duration::from_secs(WATCH_HEARTBEAT_SECONDS);
/// How long people of a call that was sent elsewhere are expected: a client that is asked to connect anew is back
/// within a second or two.
const EXPECTED: Duration = Duration::from_secs(10);
/// People counted at once for a call that was sent elsewhere; more than any SFU carries in one.
const MAX_EXPECTED: u32 = 4096;
/// How long the names of SFUs that were given up are remembered: as long as a claim can still name them.
const GONE_KEPT: Duration = Duration::from_secs(2 * CLAIM_SECONDS);

/// The table. Every method that changes something takes the time and says what came of it.
#[derive(Debug, Default)]
pub struct Table {
    sfus: BTreeMap<SfuAddress, Sfu>,
    calls: HashMap<Arc<str>, Vec<SfuAddress>>,
    /// Calls that were sent elsewhere and are not there yet.
    sent_away: HashMap<Arc<str>, SentAway>,
    /// Names of SFUs given up, and when.
    gone: HashMap<String, Instant>,
    /// The list of SFUs has arrived once.
    listed_once: bool,
}

#[derive(Debug)]
struct Sfu {
    contact: Contact,
    listed: bool,
    status: Option<SfuStatus>,
    calls: HashSet<Arc<str>>,
    /// When joins were sent here that its last report does not count yet, oldest first.
    reserved: VecDeque<Instant>,
}

/// A call on its way to another SFU.
#[derive(Debug)]
struct SentAway {
    from: SfuAddress,
    people: u32,
    at: Instant,
}

/// Whether an SFU can be heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contact {
    /// Never heard; being called since then.
    Calling { since: Instant },
    /// Its watch stream flows.
    Live,
    /// Its stream was lost then; it may be back in a moment.
    Suspect { since: Instant },
    /// Cannot be reached, so it is taken to have no calls.
    Away,
}

/// What a change of the table means for others.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Effects {
    /// Some answer of the table may be different now: whoever waits should ask again.
    pub routing: bool,
    /// SFUs given up: connections to them are worth nothing.
    pub dropped: Vec<SfuAddress>,
}

/// Where a call is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    Known(SfuAddress),
    /// Nobody is known to have it, but not everybody has said what they have.
    NotReady,
    /// Nobody has it.
    Unknown,
}

/// What the table knows of an SFU that a claim names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    Here(SfuAddress),
    /// It was here and was given up.
    Gone,
    /// Another director may know it already.
    NeverSeen,
}

/// Sizes, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub calling: usize,
    pub live: usize,
    pub suspect: usize,
    pub away: usize,
    pub calls: usize,
    /// Calls that more than one SFU says it has.
    pub doubled: usize,
}

impl Table {
    /// The SFUs there are. One that is not listed any more stays for as long as it is heard: it knows better than a list
    /// whether it lives.
    pub fn list(&mut self, listed: &BTreeSet<SfuAddress>, now: Instant) -> Effects {
        let mut effects = Effects { routing: !self.listed_once, dropped: Vec::new() };
        self.listed_once = true;
        for address in listed {
            let sfu = self.sfus.entry(address.clone()).or_insert_with(|| {
                effects.routing = true;
                Sfu::called(now)
            });
            sfu.listed = true;
        }
        let unlisted: Vec<_> = self.sfus.keys().filter(|address| !listed.contains(*address)).cloned().collect();
        for address in unlisted {
            if let Some(sfu) = self.sfus.get_mut(&address) {
                sfu.listed = false;
                if sfu.contact != Contact::Live {
                    self.give_up(&address, now, &mut effects);
                }
            }
        }
        effects
    }

    /// A line of the SFU's watch stream. Changes mean something only after a snapshot.
    pub fn heard(&mut self, address: &SfuAddress, event: FleetEvent, now: Instant) -> Effects {
        let mut effects = Effects::default();
        let Some(sfu) = self.sfus.get(address) else { return effects };
        if sfu.contact != Contact::Live && !matches!(event, FleetEvent::Snapshot { .. }) {
            return effects;
        }
        match event {
            FleetEvent::Snapshot { status, calls } => {
                self.take_snapshot(address, status, calls, now, &mut effects);
                effects.routing = true;
            }
            FleetEvent::CallStarted { call } => {
                let call: Arc<str> = call.into();
                if let Some(sfu) = self.sfus.get_mut(address)
                    && sfu.calls.insert(call.clone())
                {
                    self.calls.entry(call).or_default().push(address.clone());
                    effects.routing = true;
                }
            }
            FleetEvent::CallEnded { call } => self.call_left(&call, address, &mut effects),
            FleetEvent::TakeCall { call, people, means: Means::Reconnect } => {
                self.call_left(&call, address, &mut effects);
                let people = people.min(MAX_EXPECTED);
                self.sent_away.insert(call.into(), SentAway { from: address.clone(), people, at: now });
            }
            FleetEvent::Status { status } => {
                if let Some(sfu) = self.sfus.get_mut(address) {
                    effects.routing = sfu.status.as_ref().is_none_or(|old| old.state != status.state);
                    sfu.report(status, now);
                }
            }
        }
        effects
    }

    /// The SFU's stream broke, fell silent, or could not be opened.
    pub fn lost(&mut self, address: &SfuAddress, now: Instant) -> Effects {
        let mut effects = Effects::default();
        let Some(sfu) = self.sfus.get_mut(address) else { return effects };
        if sfu.contact == Contact::Live {
            if sfu.listed {
                sfu.contact = Contact::Suspect { since: now };
                effects.routing = true;
            } else {
                self.give_up(address, now, &mut effects);
            }
        }
        effects
    }

    /// Nothing listens at the SFU's control port. While its stream flows that is a passing thing (the end of a drain,
    /// mostly), otherwise its process is gone.
    pub fn refused(&mut self, address: &SfuAddress, now: Instant) -> Effects {
        let mut effects = Effects::default();
        match self.sfus.get(address).map(|sfu| sfu.contact) {
            Some(Contact::Calling { .. } | Contact::Suspect { .. }) => self.give_up(address, now, &mut effects),
            Some(Contact::Live | Contact::Away) | None => {}
        }
        effects
    }

    /// Time passed. Call it several times a second.
    pub fn tick(&mut self, now: Instant) -> Effects {
        let mut effects = Effects::default();
        let over: Vec<_> = self
            .sfus
            .iter()
            .filter(|(_, sfu)| match sfu.contact {
                Contact::Calling { since } => now.duration_since(since) >= FIRST_CONTACT,
                Contact::Suspect { since } => now.duration_since(since) >= GRACE,
                Contact::Live | Contact::Away => false,
            })
            .map(|(address, _)| address.clone())
            .collect();
        for address in over {
            self.give_up(&address, now, &mut effects);
        }
        self.gone.retain(|_, since| now.duration_since(*since) < GONE_KEPT);
        self.sent_away.retain(|_, sent| now.duration_since(sent.at) < EXPECTED);
        effects
    }

    /// A join of `call` was sent there that its reports do not count yet. The first of a call that leaves another SFU
    /// stands for all of its people, so that the calls after it are placed as if they were there.
    pub fn reserve(&mut self, address: &SfuAddress, call: &str, now: Instant) {
        let is_taken = self.sent_away.get(call).is_some_and(|sent| sent.from != *address);
        let people = if is_taken { self.sent_away.remove(call).map_or(1, |sent| sent.people.max(1)) } else { 1 };
        if let Some(sfu) = self.sfus.get_mut(address) {
            sfu.reserved.extend((0..people).map(|_| now));
        }
    }

    /// Where `call` is. If several say they have it, one that is heard, and of those the first by name, so that all
    /// directors send everybody to the same one.
    pub fn locate(&self, call: &str) -> Location {
        let known = self.calls.get(call).into_iter().flatten().min_by_key(|address| {
            let sfu = self.sfus.get(*address);
            (sfu.is_none_or(|sfu| sfu.contact != Contact::Live), sfu.map(Sfu::name), *address)
        });
        match known {
            Some(address) => Location::Known(address.clone()),
            None if self.everybody_was_heard() => Location::Unknown,
            None => Location::NotReady,
        }
    }

    /// SFUs that take new calls.
    pub fn candidates(&self) -> impl Iterator<Item = Candidate<'_>> {
        self.live().filter_map(|(address, sfu, status)| {
            let reserved = u32::try_from(sfu.reserved.len()).unwrap_or(u32::MAX);
            let candidate = Candidate { address, name: &status.name, load: status.load, reserved };
            Some(candidate).filter(|_| status.state == SfuState::Active)
        })
    }

    /// SFUs that can be asked something which concerns no call: those that take calls, or else any that is heard.
    pub fn anyone(&self) -> Vec<SfuAddress> {
        let active: Vec<_> = self.candidates().map(|candidate| candidate.address.clone()).collect();
        if active.is_empty() { self.live().map(|(address, ..)| address.clone()).collect() } else { active }
    }

    /// SFUs that can register claims, with their names: all that are heard, whatever their state, because the fewer
    /// reasons for directors to see different registrars, the better.
    pub fn registrars(&self) -> impl Iterator<Item = (&SfuAddress, &str)> {
        self.live().map(|(address, _, status)| (address, status.name.as_str()))
    }

    /// The SFU of that name.
    pub fn named(&self, name: &str) -> Named {
        let here = self.sfus.iter().filter(|(_, sfu)| matches!(sfu.contact, Contact::Live | Contact::Suspect { .. }));
        match here.filter(|(_, sfu)| sfu.name() == name).map(|(address, _)| address).next() {
            Some(address) => Named::Here(address.clone()),
            None if self.gone.contains_key(name) => Named::Gone,
            None => Named::NeverSeen,
        }
    }

    /// Whether the SFU is worth calling again after its stream was lost.
    pub fn is_listed(&self, address: &SfuAddress) -> bool {
        self.sfus.get(address).is_some_and(|sfu| sfu.listed)
    }

    /// Whether the list of SFUs has arrived.
    pub fn is_synced(&self) -> bool {
        self.listed_once
    }

    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            calls: self.calls.len(),
            doubled: self.calls.values().filter(|at| at.len() > 1).count(),
            ..Counts::default()
        };
        for sfu in self.sfus.values() {
            match sfu.contact {
                Contact::Calling { .. } => counts.calling += 1,
                Contact::Live => counts.live += 1,
                Contact::Suspect { .. } => counts.suspect += 1,
                Contact::Away => counts.away += 1,
            }
        }
        counts
    }

    fn live(&self) -> impl Iterator<Item = (&SfuAddress, &Sfu, &SfuStatus)> {
        self.sfus.iter().filter_map(|(address, sfu)| {
            let status = sfu.status.as_ref()?;
            (sfu.contact == Contact::Live).then_some((address, sfu, status))
        })
    }

    fn everybody_was_heard(&self) -> bool {
        self.listed_once && !self.sfus.values().any(|sfu| matches!(sfu.contact, Contact::Calling { .. }))
    }

    fn take_snapshot(
        &mut self,
        address: &SfuAddress,
        status: SfuStatus,
        calls: Vec<String>,
        now: Instant,
        effects: &mut Effects,
    ) {
        let Some(sfu) = self.sfus.get_mut(address) else { return };
        let before = std::mem::take(&mut sfu.calls);
        if let Some(old) = sfu.status.take()
            && old.name != status.name
        {
            // Another pod at the same node and port: what was connected to the old one is lost.
            sfu.reserved.clear();
            self.gone.insert(old.name, now);
            effects.dropped.push(address.clone());
        }
        self.gone.remove(&status.name);
        sfu.contact = Contact::Live;
        sfu.report(status, now);
        sfu.calls = calls.into_iter().map(Arc::from).collect();
        for call in &sfu.calls {
            let at = self.calls.entry(call.clone()).or_default();
            if !at.contains(address) {
                at.push(address.clone());
            }
        }
        let ended: Vec<_> = before.difference(&sfu.calls).cloned().collect();
        for call in ended {
            self.forget_call(&call, address);
        }
    }

    /// The SFU says that it has the call no more.
    fn call_left(&mut self, call: &str, address: &SfuAddress, effects: &mut Effects) {
        if let Some(sfu) = self.sfus.get_mut(address) {
            sfu.calls.remove(call);
            self.forget_call(call, address);
            effects.routing = true;
        }
    }

    fn forget_call(&mut self, call: &str, address: &SfuAddress) {
        if let Some(at) = self.calls.get_mut(call) {
            at.retain(|other| other != address);
            if at.is_empty() {
                self.calls.remove(call);
            }
        }
    }

    /// Takes the SFU to be gone, and forgets it unless it is listed.
    fn give_up(&mut self, address: &SfuAddress, now: Instant, effects: &mut Effects) {
        let Some(sfu) = self.sfus.get_mut(address) else { return };
        sfu.contact = Contact::Away;
        sfu.reserved.clear();
        if let Some(status) = sfu.status.take() {
            self.gone.insert(status.name, now);
            effects.dropped.push(address.clone());
        }
        let calls = std::mem::take(&mut sfu.calls);
        let listed = sfu.listed;
        for call in calls {
            self.forget_call(&call, address);
        }
        if !listed {
            self.sfus.remove(address);
        }
        effects.routing = true;
    }
}

impl Sfu {
    fn called(now: Instant) -> Self {
        Self {
            contact: Contact::Calling { since: now },
            listed: true,
            status: None,
            calls: HashSet::new(),
            reserved: VecDeque::new(),
        }
    }

    fn name(&self) -> &str {
        self.status.as_ref().map_or("", |status| &status.name)
    }

    fn report(&mut self, status: SfuStatus, now: Instant) {
        self.status = Some(status);
        while self.reserved.front().is_some_and(|sent| now.duration_since(*sent) >= REPORT_LAG) {
            self.reserved.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
