//! Directors, registrars and SFUs as values, in random order: is a call ever in two places?
//!
//! Everything that decides is real (table, trip, round, claim table); the network is queues of which any may move next.
//! Views differ as they do in life: each director hears of a new, lost or draining SFU when it pleases the run. One
//! SFU's coming or going is finished (heard by all, joins arrived) before the next begins: that is what the claim's
//! chain of two registrars is made for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use calls_director::claim::{Round, Step};
use calls_director::sfu_address::SfuAddress;
use calls_director::table::Table;
use calls_director::trip::{Decision, HOLD, Trip};
use calls_director::wanted::Wanted;
use fleet::api::{AccessToken, Claim, FleetEvent, Means, Placement, SfuLoad, SfuState, SfuStatus};
use proptest::prelude::*;

use crate::sfu::claims::ClaimTable;
use crate::sfu::turned_away::TurnedAway;

const CALLS: usize = 4;
const STEP: Duration = Duration::from_millis(1);

struct World {
    now: Instant,
    sfus: Vec<Sfu>,
    directors: Vec<Director>,
    joins: Vec<Join>,
}

struct Sfu {
    claims: ClaimTable,
    turned_away: TurnedAway,
    calls: BTreeSet<String>,
    draining: bool,
    /// It was told that no other takes calls while it leaves.
    alone: bool,
    alive: bool,
}

#[derive(Default)]
struct Director {
    table: Table,
    /// What each SFU's stream still has to bring; `None` is its end. No entry: not listed yet.
    streams: BTreeMap<usize, VecDeque<Option<FleetEvent>>>,
}

struct Join {
    director: usize,
    call: String,
    trip: Trip,
    stage: Stage,
}

enum Stage {
    Deciding,
    /// On its way to a registrar.
    Asking(Round, usize, Claim),
    /// On its way back.
    Answered(Round, Option<Placement>),
    /// On its way to an SFU.
    Sent(usize),
    Arrived,
}

fn address(sfu: usize) -> SfuAddress {
    SfuAddress::new("10.0.0.1", u16::try_from(sfu).unwrap())
}

fn sfu_at(address: &SfuAddress) -> usize {
    address.as_pair().1.into()
}

fn name(sfu: usize) -> String {
    format!("main-sfu-{sfu}")
}

impl World {
    fn new(sfus: usize, directors: usize) -> Self {
        let mut world = Self { now: Instant::now(), sfus: Vec::new(), directors: Vec::new(), joins: Vec::new() };
        world.directors.resize_with(directors, Director::default);
        for _ in 0..sfus {
            world.add_sfu();
            for director in 0..directors {
                world.list(director);
            }
        }
        world
    }

    fn add_sfu(&mut self) {
        // The operator wants one before it is there.
        for sfu in &mut self.sfus {
            sfu.alone = false;
        }
        self.sfus.push(Sfu {
            claims: ClaimTable::default(),
            turned_away: TurnedAway::default(),
            calls: BTreeSet::new(),
            draining: false,
            alone: false,
            alive: true,
        });
    }

    fn status(&self, sfu: usize) -> SfuStatus {
        SfuStatus {
            name: name(sfu),
            node: String::new(),
            version: "1".into(),
            state: if self.sfus[sfu].draining { SfuState::Draining } else { SfuState::Active },
            candidates: Vec::new(),
            address_problem: None,
            load: SfuLoad { calls: self.sfus[sfu].calls.len().try_into().unwrap(), ..SfuLoad::default() },
            drain: None,
            can_drain: true,
        }
    }

    /// The director learns of all SFUs there are, and opens streams to the new ones.
    fn list(&mut self, director: usize) {
        for sfu in 0..self.sfus.len() {
            if self.sfus[sfu].alive && !self.directors[director].streams.contains_key(&sfu) {
                let calls = self.sfus[sfu].calls.iter().cloned().collect();
                let snapshot = FleetEvent::Snapshot { status: self.status(sfu), calls };
                self.directors[director].streams.insert(sfu, VecDeque::from([Some(snapshot)]));
            }
        }
        let Director { table, streams } = &mut self.directors[director];
        let _ = table.list(&streams.keys().copied().map(address).collect(), self.now);
    }

    fn tell_all(&mut self, sfu: usize, event: Option<&FleetEvent>) {
        for director in &mut self.directors {
            if let Some(stream) = director.streams.get_mut(&sfu) {
                stream.push_back(event.cloned());
            }
        }
    }

    /// Everybody knows everything, and nobody is on the way.
    fn is_quiet(&self) -> bool {
        let alive = self.sfus.iter().filter(|sfu| sfu.alive).count();
        let heard = |director: &Director| {
            director.streams.values().all(VecDeque::is_empty) && director.table.counts().live == alive
        };
        self.directors.iter().all(heard) && self.joins.iter().all(|join| matches!(join.stage, Stage::Arrived))
    }

    /// One step, chosen by three numbers.
    fn step(&mut self, kind: u8, which: u8, what: u8) {
        self.now += STEP;
        let (which, what) = (usize::from(which), usize::from(what));
        match kind % 20 {
            0..=2 => {
                let director = which % self.directors.len();
                self.join(director, format!("call-{}", what % CALLS));
            }
            3..=9 => self.advance(which),
            10 | 11 => self.deliver(which, what),
            12 => self.list(which % self.directors.len()),
            13 if self.is_quiet() && self.sfus.len() < 8 => self.add_sfu(),
            14 if self.is_quiet() && self.sfus.iter().filter(|sfu| sfu.alive).count() > 2 => {
                self.kill(which % self.sfus.len());
            }
            15 if self.is_quiet() && self.takers() > 1 => {
                self.drain(which % self.sfus.len());
            }
            16 | 17 => self.send_away(which, what),
            // The last one, so that for a while there is none that takes calls.
            19 if self.is_quiet() && self.takers() == 1 => {
                if let Some(last) = self.sfus.iter().position(|sfu| sfu.alive && !sfu.draining) {
                    self.sfus[last].alone = true;
                    self.drain(last);
                }
            }
            // Without waiting for anything that is under way: this one SFU comes back before it has gone.
            18 => self.stay(which % self.sfus.len()),
            _ => {}
        }
    }

    /// How many take calls.
    fn takers(&self) -> usize {
        self.sfus.iter().filter(|sfu| sfu.alive && !sfu.draining).count()
    }

    fn kill(&mut self, sfu: usize) {
        // Somebody is left who takes calls.
        let takes = |n: usize| n != sfu && self.sfus[n].alive && !self.sfus[n].draining;
        if self.sfus[sfu].alive && (0..self.sfus.len()).any(takes) {
            self.sfus[sfu].alive = false;
            self.sfus[sfu].calls.clear();
            self.tell_all(sfu, None);
        }
    }

    /// From now on it takes no new calls; those it has go on.
    fn drain(&mut self, sfu: usize) {
        self.sfus[sfu].draining = true;
        let status = self.status(sfu);
        self.tell_all(sfu, Some(&FleetEvent::Status { status }));
    }

    /// One call of an SFU that drains goes elsewhere: its people join again, through any director.
    fn send_away(&mut self, which: usize, what: usize) {
        let draining: Vec<_> = (0..self.sfus.len()).filter(|sfu| self.sfus[*sfu].draining).collect();
        let Some(sfu) = draining.get(which % draining.len().max(1)).copied() else { return };
        let n = self.sfus[sfu].calls.len();
        let Some(call) = self.sfus[sfu].calls.iter().nth(what % n.max(1)).cloned() else { return };
        self.sfus[sfu].calls.remove(&call);
        if !self.sfus[sfu].alone {
            self.sfus[sfu].turned_away.note(&call, self.now);
        }
        let take = FleetEvent::TakeCall { call: call.clone(), people: 2, means: Means::Reconnect };
        self.tell_all(sfu, Some(&take));
        self.tell_all(sfu, Some(&FleetEvent::CallEnded { call: call.clone() }));
        for person in 0..2 {
            self.join((which + person) % self.directors.len(), call.clone());
        }
    }

    /// It takes new calls again.
    fn stay(&mut self, sfu: usize) {
        if std::mem::take(&mut self.sfus[sfu].draining) {
            // The operator tells those that leave that there is one again.
            for sfu in &mut self.sfus {
                sfu.alone = false;
            }
            let status = self.status(sfu);
            self.tell_all(sfu, Some(&FleetEvent::Status { status }));
        }
    }

    fn join(&mut self, director: usize, call: String) {
        let wanted = Wanted::Join { call: call.clone(), token: AccessToken::default() };
        let trip = Trip::new(wanted, self.now + HOLD);
        self.joins.push(Join { director, call, trip, stage: Stage::Deciding });
    }

    /// One line of one stream arrives.
    fn deliver(&mut self, director: usize, stream: usize) {
        let n = self.directors.len();
        let Director { table, streams } = &mut self.directors[director % n];
        let Some(sfu) = streams.keys().copied().nth(stream % streams.len()) else { return };
        match streams.get_mut(&sfu).and_then(VecDeque::pop_front) {
            Some(Some(event)) => {
                let _ = table.heard(&address(sfu), event, self.now);
            }
            Some(None) => {
                let _ = table.lost(&address(sfu), self.now);
                let _ = table.refused(&address(sfu), self.now);
            }
            None => {}
        }
    }

    /// One join that has not arrived takes its next step.
    fn advance(&mut self, which: usize) {
        let under_way: Vec<_> =
            (0..self.joins.len()).filter(|n| !matches!(self.joins[*n].stage, Stage::Arrived)).collect();
        let Some(n) = under_way.get(which % under_way.len().max(1)) else { return };
        let mut join = self.joins.swap_remove(*n);
        let stage = std::mem::replace(&mut join.stage, Stage::Deciding);
        join.stage = match stage {
            Stage::Deciding => {
                let Director { table, .. } = &mut self.directors[join.director];
                match join.trip.decide(table, 0, self.now) {
                    Decision::Go(address, _) => {
                        table.reserve(&address, &join.call, self.now);
                        Stage::Sent(sfu_at(&address))
                    }
                    Decision::Claim(round) => next_of(round, &mut join.trip),
                    Decision::Wait(_) => Stage::Deciding,
                }
            }
            Stage::Asking(round, registrar, claim) => {
                let answer = self.ask(registrar, claim);
                Stage::Answered(round, answer)
            }
            Stage::Answered(mut round, answer) => {
                if let Some(answer) = answer {
                    round.answered(answer);
                }
                next_of(round, &mut join.trip)
            }
            Stage::Sent(sfu) => self.arrive(sfu, &mut join),
            Stage::Arrived => Stage::Arrived,
        };
        self.joins.push(join);
    }

    /// What the fleet API does with a claim.
    fn ask(&mut self, registrar: usize, claim: Claim) -> Option<Placement> {
        let now = self.now;
        let sfu = self.sfus.get_mut(registrar).filter(|sfu| sfu.alive)?;
        let call = claim.call.clone();
        if sfu.calls.contains(&call) {
            return Some(Placement { call, sfu: name(registrar), running: true });
        }
        Some(Placement { call, sfu: sfu.claims.claim(claim, now).ok()?, running: false })
    }

    fn arrive(&mut self, sfu: usize, join: &mut Join) -> Stage {
        let there = &mut self.sfus[sfu];
        if !there.alive {
            join.trip.was_unreachable(address(sfu), self.now);
            let _ = self.directors[join.director].table.refused(&address(sfu), self.now);
            return Stage::Deciding;
        }
        // As control decides it.
        if !there.calls.contains(&join.call) && (there.draining || there.turned_away.contains(&join.call, self.now)) {
            if there.draining && !there.alone {
                there.turned_away.note(&join.call, self.now);
            }
            join.trip.was_refused(address(sfu));
            return Stage::Deciding;
        }
        if there.calls.insert(join.call.clone()) {
            self.tell_all(sfu, Some(&FleetEvent::CallStarted { call: join.call.clone() }));
        }
        Stage::Arrived
    }

    /// Calls that are at more than one SFU.
    fn split(&self) -> Vec<String> {
        let at = |call: &String| self.sfus.iter().filter(|sfu| sfu.calls.contains(call)).count();
        (0..CALLS).map(|n| format!("call-{n}")).filter(|call| at(call) > 1).collect()
    }

    /// Everything on its way arrives.
    fn settle(&mut self) {
        // Somebody is wanted in the end.
        if self.takers() == 0 {
            self.stay(self.sfus.iter().position(|sfu| sfu.alive).unwrap_or_default());
        }
        for round in 0..200 {
            self.now += Duration::from_millis(300);
            for join in &mut self.joins {
                // Whoever was held in vain comes again.
                if matches!(join.stage, Stage::Deciding) && self.now >= join.trip.deadline {
                    join.trip = Trip::new(join.trip.wanted.clone(), self.now + HOLD);
                }
            }
            for director in 0..self.directors.len() {
                self.list(director);
                for stream in 0..self.sfus.len() {
                    while self.directors[director].streams.get(&stream).is_some_and(|lines| !lines.is_empty()) {
                        let position = self.directors[director].streams.keys().position(|sfu| *sfu == stream);
                        self.deliver(director, position.unwrap_or_default());
                    }
                }
            }
            for which in 0..self.joins.len() {
                self.advance(which + round);
            }
        }
    }
}

fn next_of(mut round: Round, trip: &mut Trip) -> Stage {
    match round.next_step() {
        Step::Ask(registrar, claim) => Stage::Asking(round, sfu_at(&registrar), claim),
        Step::Placed { sfu, .. } => {
            trip.was_claimed(sfu);
            Stage::Deciding
        }
        Step::Failed => Stage::Deciding,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn no_call_is_split_while_one_sfu_at_a_time_comes_goes_or_drains(
        sfus in 1_usize..4,
        steps in proptest::collection::vec(any::<(u8, u8, u8)>(), 0..500),
    ) {
        let mut world = World::new(sfus, 3);
        for (kind, which, what) in steps {
            world.step(kind, which, what);
            prop_assert_eq!(world.split(), Vec::<String>::new());
        }
        world.settle();
        prop_assert_eq!(world.split(), Vec::<String>::new());
        for join in &world.joins {
            prop_assert!(matches!(join.stage, Stage::Arrived), "a join for {} never arrived", join.call);
        }
    }
}
