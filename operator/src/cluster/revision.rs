//! Which SFU Deployments should exist, and with how many replicas.
//!
//! A *revision* is one version of the SFU's pod template, a *slot* one of two sets of host ports. A changed template
//! gets the free slot, surges to full beside its predecessor, and once it is ready nothing is wanted of the
//! predecessor: its SFUs leave ([`super::leaving`]), and it is removed. So a new SFU never waits for the port of the
//! one it replaces, and calls keep running until there is somewhere to go. Until the wanted revision is ready it may be
//! held back ([`Hold`]); then its predecessor serves on.
//!
//! Pure. Guarantees, whatever Deployments are found: at most one revision per slot is given replicas, nothing is placed
//! in a slot before the last pod of another revision has left it or should have for a minute, and without a change in
//! the input the plan repeats itself.

use std::collections::BTreeSet;

use crate::port::Slot;

/// What exists of one revision in one slot: its Deployment, its pods, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveRevision {
    pub revision: String,
    pub slot: Slot,
    /// `spec.replicas` of the Deployment; `None` if only pods are left of it.
    pub wanted: Option<u32>,
    /// Ready pods that are not going away.
    pub ready: u32,
    /// Those of them that told the operator how they are.
    pub answering: u32,
    /// Pods that were asked to leave.
    pub leaving: u32,
    /// All pods, those that are terminating included: they hold their host ports to the end. Those that are past their
    /// end, because their node does not answer, are not counted.
    pub pods: u32,
    /// Host ports its pods hold.
    pub host_ports: BTreeSet<u16>,
    /// Seconds since its Deployment was made.
    pub age_seconds: i64,
}

impl LiveRevision {
    /// Of which nothing was found yet.
    pub fn new(revision: String, slot: Slot, host_ports: BTreeSet<u16>) -> Self {
        Self { revision, slot, wanted: None, ready: 0, answering: 0, leaving: 0, pods: 0, host_ports, age_seconds: 0 }
    }

    /// Whether all of its SFUs were asked to leave, so that it is on its way out as a whole.
    fn is_leaving(&self) -> bool {
        self.pods > 0 && self.leaving >= self.pods
    }

    /// Whether it has or will have pods.
    fn is_alive(&self) -> bool {
        self.pods > 0 || self.wanted.is_some_and(|wanted| wanted > 0)
    }
}

/// The revision that should serve.
#[derive(Clone, Debug)]
pub struct Desired<'a> {
    pub revision: &'a str,
    pub replicas: u32,
    /// Host ports it would take in each slot.
    pub host_ports: [BTreeSet<u16>; 2],
    pub update: Update,
}

/// When a revision may take its predecessor's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update {
    pub is_paused: bool,
    /// Seconds a revision may take to become ready.
    pub deadline_seconds: i64,
    /// The wanted revision has been tried, and was taken back.
    pub was_rolled_back: bool,
}

/// Why the wanted revision does not take its predecessor's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Somebody wants it so.
    Paused,
    /// It did not become ready in time.
    RolledBack,
}

/// How far the fleet is from what is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Only the wanted revision is there, with all its replicas ready.
    Settled,
    /// The wanted revision is the only one, and not all of its replicas are ready.
    Starting,
    /// The wanted revision starts beside its predecessor.
    Surging,
    /// The predecessor's SFUs leave.
    Draining,
    /// No slot is free yet for the wanted revision.
    WaitingForSlot,
    /// The predecessor serves on.
    Held(Hold),
}

/// A Deployment that is not the wanted one, and how many replicas are wanted of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retired {
    pub revision: String,
    pub slot: Slot,
    pub replicas: u32,
    /// It serves in the wanted one's stead, which is held back.
    pub stands_in: bool,
}

/// What should exist. A Deployment that is in none of these is to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The slot of the wanted revision; `None` while none is free, or it is held back.
    pub slot: Option<Slot>,
    /// Deployments of other revisions that stay for now.
    pub retired: Vec<Retired>,
    pub progress: Progress,
}

/// Plans the way from what is live to `desired`.
pub fn plan_revisions(live: &[LiveRevision], desired: &Desired<'_>) -> Plan {
    // By hand or by a race there may be two Deployments of the wanted revision: the one that serves more stays.
    let current = live
        .iter()
        .filter(|one| one.revision == desired.revision && one.wanted.is_some())
        .max_by_key(|one| (one.ready, one.pods, std::cmp::Reverse(one.slot)));
    let others: Vec<&LiveRevision> =
        live.iter().filter(|one| current.is_none_or(|current| !std::ptr::eq(*one, current))).collect();

    match current {
        Some(current) => keep(current, &others, desired),
        None => place(&others, desired),
    }
}

/// The wanted revision has its slot; what of the others?
fn keep(current: &LiveRevision, others: &[&LiveRevision], desired: &Desired<'_>) -> Plan {
    // One that does not answer us, while others do, hardly answers directors.
    let do_others_answer = others.iter().any(|other| other.answering > 0);
    let ready = if do_others_answer { current.answering } else { current.ready };
    // What has begun to leave goes on, though one more is wanted, or one of the new is not ready for a moment.
    let has_handed_over = current.ready > 0 && others.iter().any(|other| other.is_leaving());
    let is_ready = ready >= desired.replicas || has_handed_over;
    let survivor = if is_ready { None } else { serving(others) };
    if let Some((survivor, hold)) =
        survivor.and_then(|survivor| Some((survivor, hold(Some(current), survivor, desired)?)))
    {
        return hold_back(survivor, others.iter().copied().chain([current]), desired, hold);
    }
    let retired = others.iter().filter_map(|other| {
        let may_serve = survivor.is_some_and(|survivor| std::ptr::eq(survivor, *other)) && other.slot != current.slot;
        retire(other, if may_serve { desired.replicas } else { 0 })
    });
    let progress = match (is_ready, others.iter().any(|other| other.is_alive())) {
        (true, false) => Progress::Settled,
        (true, true) => Progress::Draining,
        (false, false) => Progress::Starting,
        (false, true) => Progress::Surging,
    };
    Plan { slot: Some(current.slot), retired: retired.collect(), progress }
}

/// The wanted revision needs a slot.
fn place(others: &[&LiveRevision], desired: &Desired<'_>) -> Plan {
    let is_free = |slot: &Slot| {
        let ports = &desired.host_ports[usize::from(slot.number())];
        others
            .iter()
            .filter(|other| other.is_alive())
            .all(|other| other.slot != *slot && other.host_ports.is_disjoint(ports))
    };
    let slot = Slot::ALL.into_iter().find(is_free);
    let survivor = serving(others);
    if let Some((survivor, hold)) = survivor.and_then(|survivor| Some((survivor, hold(None, survivor, desired)?))) {
        return hold_back(survivor, others.iter().copied(), desired, hold);
    }
    // The survivor serves on, unless no slot can become free beside it, as when a moved port range overlaps the old one.
    let can_stay = |survivor: &LiveRevision| {
        Slot::ALL.into_iter().any(|slot| {
            slot != survivor.slot && survivor.host_ports.is_disjoint(&desired.host_ports[usize::from(slot.number())])
        })
    };
    let retired = others.iter().filter_map(|other| {
        let serves_on = survivor.is_some_and(|survivor| std::ptr::eq(survivor, *other) && can_stay(survivor));
        retire(other, if serves_on { desired.replicas } else { 0 })
    });
    let progress = match slot {
        Some(_) if others.iter().any(|other| other.is_alive()) => Progress::Surging,
        Some(_) => Progress::Starting,
        None => Progress::WaitingForSlot,
    };
    Plan { slot, retired: retired.collect(), progress }
}

/// Whether the wanted revision, of which this is there, is held back in favour of `survivor`.
fn hold(current: Option<&LiveRevision>, survivor: &LiveRevision, desired: &Desired<'_>) -> Option<Hold> {
    let Update { is_paused, deadline_seconds, was_rolled_back } = desired.update;
    // What was asked to leave takes no more calls, so there is nothing to go back to.
    let is_late = survivor.leaving == 0 && current.is_some_and(|current| current.age_seconds >= deadline_seconds);
    match (is_paused, was_rolled_back || is_late) {
        (true, _) => Some(Hold::Paused),
        (false, true) => Some(Hold::RolledBack),
        (false, false) => None,
    }
}

/// The survivor has all that is wanted; of all others nothing is.
fn hold_back<'a>(
    survivor: &LiveRevision,
    all: impl Iterator<Item = &'a LiveRevision>,
    desired: &Desired<'_>,
    hold: Hold,
) -> Plan {
    let others = all.filter(|other| !std::ptr::eq(*other, survivor)).filter_map(|other| retire(other, 0));
    let stand_in = Retired {
        revision: survivor.revision.clone(),
        slot: survivor.slot,
        replicas: desired.replicas,
        stands_in: true,
    };
    Plan { slot: None, retired: std::iter::once(stand_in).chain(others).collect(), progress: Progress::Held(hold) }
}

/// The one of several predecessors that goes on serving.
fn serving<'a>(others: &[&'a LiveRevision]) -> Option<&'a LiveRevision> {
    others
        .iter()
        .copied()
        .filter(|other| other.wanted.is_some_and(|wanted| wanted > 0))
        .max_by_key(|other| (other.ready, other.pods, std::cmp::Reverse(other.slot)))
}

/// What stays of a predecessor: never more replicas than it has, nothing once it is empty.
fn retire(other: &LiveRevision, at_most: u32) -> Option<Retired> {
    let replicas = other.wanted?.min(at_most);
    let is_empty = replicas == 0 && other.pods == 0 && other.wanted == Some(0);
    (!is_empty).then(|| Retired { revision: other.revision.clone(), slot: other.slot, replicas, stands_in: false })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slot(number: u16) -> Slot {
        Slot::ALL[usize::from(number)]
    }

    fn ports(from: u16) -> [BTreeSet<u16>; 2] {
        [BTreeSet::from([from]), BTreeSet::from([from + 1])]
    }

    const AHEAD: Update = Update { is_paused: false, deadline_seconds: 600, was_rolled_back: false };

    fn desired(revision: &str, replicas: u32) -> Desired<'_> {
        Desired { revision, replicas, host_ports: ports(100), update: AHEAD }
    }

    /// `a0 2/2/2`: revision a in slot 0 wants 2, has 2 ready of 2 pods. `a0 -/0/1`: only a pod is left. `a0 2/0/2/1`: one
    /// of the two was asked to leave.
    fn live(text: &str) -> LiveRevision {
        let (name, counts) = text.split_once(' ').unwrap();
        let number: u16 = name[1..].parse().unwrap();
        let mut counts = counts.split('/').map(|count| count.parse::<u32>().ok());
        LiveRevision {
            wanted: counts.next().unwrap(),
            ready: counts.next().unwrap().unwrap(),
            pods: counts.next().unwrap().unwrap(),
            leaving: counts.next().flatten().unwrap_or_default(),
            ..LiveRevision::new(name[..1].into(), slot(number), ports(100)[usize::from(number)].clone())
        }
    }

    #[test]
    fn the_table() {
        use Progress::{Draining, Settled, Starting, Surging, WaitingForSlot};
        // live, wanted revision and replicas → its slot, what stays of others, progress
        type Row<'a> = (&'a str, &'a [&'a str], &'a str, u32, Option<u16>, &'a [&'a str], Progress);
        let table: &[Row<'_>] = &[
            ("nothing yet", &[], "a", 2, Some(0), &[], Starting),
            ("starting", &["a0 2/0/1"], "a", 2, Some(0), &[], Starting),
            ("settled", &["a0 2/2/2"], "a", 2, Some(0), &[], Settled),
            ("scaled to nothing", &["a0 0/0/0"], "a", 0, Some(0), &[], Settled),
            ("a change takes the free slot", &["a0 2/2/2"], "b", 2, Some(1), &["a0=2"], Surging),
            ("and the other the next time", &["b1 2/2/2"], "c", 2, Some(0), &["b1=2"], Surging),
            ("the old serves while the new starts", &["a0 2/2/2", "b1 2/1/2"], "b", 2, Some(1), &["a0=2"], Surging),
            ("the old goes when the new is ready", &["a0 2/2/2", "b1 2/2/2"], "b", 2, Some(1), &["a0=0"], Draining),
            ("its pods finish", &["a0 0/0/1", "b1 2/2/2"], "b", 2, Some(1), &["a0=0"], Draining),
            ("then it is removed", &["a0 0/0/0", "b1 2/2/2"], "b", 2, Some(1), &[], Settled),
            (
                "a change during a change gives up the middle",
                &["a0 2/2/2", "b1 2/1/2"],
                "c",
                2,
                None,
                &["a0=2", "b1=0"],
                WaitingForSlot,
            ),
            ("and waits for its pods", &["a0 2/2/2", "b1 0/0/1"], "c", 2, None, &["a0=2", "b1=0"], WaitingForSlot),
            ("even when the Deployment is gone", &["a0 2/2/2", "b1 -/0/1"], "c", 2, None, &["a0=2"], WaitingForSlot),
            ("then takes its slot", &["a0 2/2/2", "b1 0/0/0"], "c", 2, Some(1), &["a0=2"], Surging),
            ("a change taken back keeps what serves", &["a0 2/2/2", "b1 2/0/2"], "a", 2, Some(0), &["b1=0"], Draining),
            ("a change of a broken revision", &["a0 1/0/1"], "b", 1, Some(1), &["a0=1"], Surging),
            ("fewer replicas reach the old as well", &["a0 5/5/5", "b1 5/0/5"], "b", 2, Some(1), &["a0=2"], Surging),
            ("more replicas are made of the new only", &["a0 2/2/2", "b1 2/0/2"], "b", 5, Some(1), &["a0=2"], Surging),
            ("a leaving old goes on", &["a0 2/0/2/2", "b1 2/1/2"], "b", 2, Some(1), &["a0=0"], Draining),
            ("though more are wanted", &["a0 2/0/2/2", "b1 5/2/5"], "b", 5, Some(1), &["a0=0"], Draining),
            ("unless there is nobody else", &["a0 2/0/2/2", "b1 2/0/2"], "b", 2, Some(1), &["a0=2"], Surging),
            ("one that leaves its node is not all", &["a0 2/1/2/1", "b1 2/1/2"], "b", 2, Some(1), &["a0=2"], Surging),
            ("two revisions in one slot by a race", &["b1 2/2/2", "c1 2/0/0"], "c", 2, Some(1), &["b1=0"], Surging),
        ];
        for (what, given, revision, replicas, slot, stays, progress) in table {
            let given: Vec<LiveRevision> = given.iter().map(|text| live(text)).collect();
            let plan = plan_revisions(&given, &desired(revision, *replicas));
            let kept: Vec<String> = plan
                .retired
                .iter()
                .map(|one| format!("{}{}={}", one.revision, one.slot.number(), one.replicas))
                .collect();
            assert_eq!(plan.slot.map(Slot::number), *slot, "slot: {what}");
            assert_eq!(kept, *stays, "others: {what}");
            assert_eq!(plan.progress, *progress, "progress: {what}");
        }
    }

    #[test]
    fn a_new_sfu_that_does_not_answer_is_not_ready_while_its_predecessor_does() {
        let answering = |text: &str, answering: u32| LiveRevision { answering, ..live(text) };
        // how many of two answer, of the old and of the new → whether the old goes
        for (old, new, goes) in [(2, 1, false), (1, 0, false), (2, 2, true), (0, 0, true)] {
            let given = [answering("a0 2/2/2", old), answering("b1 2/2/2", new)];
            let plan = plan_revisions(&given, &desired("b", 2));
            assert_eq!(plan.retired[0].replicas == 0, goes, "{old} {new}");
        }
    }

    #[test]
    fn a_port_range_moved_by_one_uses_the_slot_that_does_not_overlap() {
        // Old range 100-101, new range 101-102: the old in slot 0 holds 100, the new in slot 1 takes 102.
        let wanted = Desired { host_ports: ports(101), ..desired("b", 1) };
        let plan = plan_revisions(&[live("a0 1/1/1")], &wanted);
        assert_eq!((plan.slot, plan.progress), (Some(slot(1)), Progress::Surging));
    }

    #[test]
    fn a_port_range_that_leaves_no_room_retires_the_old_first() {
        // The old in slot 1 holds 101, which the new would take in slot 0; slot 1 is taken.
        let wanted = Desired { host_ports: ports(101), ..desired("b", 1) };
        let plan = plan_revisions(&[live("a1 1/1/1")], &wanted);
        assert_eq!((plan.slot, &plan.progress), (None, &Progress::WaitingForSlot));
        assert_eq!(plan.retired, [Retired { revision: "a".into(), slot: slot(1), replicas: 0, stands_in: false }]);
        assert_eq!(plan_revisions(&[live("a1 0/0/0")], &wanted).slot, Some(slot(0)));
    }

    /// What it is, what is live and how to go on; the slot of the wanted one, what stays, and why that one is held back.
    type HeldCase<'a> = (&'a str, Vec<LiveRevision>, Update, Option<u16>, &'a [&'a str], Option<Hold>);

    #[test]
    fn a_revision_that_is_held_back_leaves_its_predecessor_in_place() {
        let paused = Update { is_paused: true, ..AHEAD };
        let tried = Update { was_rolled_back: true, ..AHEAD };
        let late = |text: &str| LiveRevision { age_seconds: AHEAD.deadline_seconds, ..live(text) };
        let table: [HeldCase<'_>; 11] = [
            ("paused before it began", vec![live("a0 2/2/2")], paused, None, &["a0=2"], Some(Hold::Paused)),
            ("paused, and more are wanted", vec![live("a0 1/1/1")], paused, None, &["a0=2"], Some(Hold::Paused)),
            (
                "paused as it starts",
                vec![live("a0 2/2/2"), live("b1 2/1/2")],
                paused,
                None,
                &["a0=2", "b1=0"],
                Some(Hold::Paused),
            ),
            ("paused too late", vec![live("a0 2/2/2"), live("b1 2/2/2")], paused, Some(1), &["a0=0"], None),
            ("paused with nothing before", vec![], paused, Some(0), &[], None),
            ("paused and settled", vec![live("b1 2/1/2")], paused, Some(1), &[], None),
            ("in time", vec![live("a0 2/2/2"), live("b1 2/0/2")], AHEAD, Some(1), &["a0=2"], None),
            ("late", vec![live("a0 2/2/2"), late("b1 2/1/2")], AHEAD, None, &["a0=2", "b1=0"], Some(Hold::RolledBack)),
            (
                "late, but those before leave",
                vec![live("a0 2/2/2/1"), late("b1 2/1/2")],
                AHEAD,
                Some(1),
                &["a0=2"],
                None,
            ),
            ("late and alone", vec![late("b1 2/1/2")], AHEAD, Some(1), &[], None),
            ("taken back before", vec![live("a0 2/2/2")], tried, None, &["a0=2"], Some(Hold::RolledBack)),
        ];
        for (what, given, update, slot, stays, held) in table {
            let plan = plan_revisions(&given, &Desired { update, ..desired("b", 2) });
            let retired = |one: &Retired| format!("{}{}={}", one.revision, one.slot.number(), one.replicas);
            assert_eq!(plan.retired.iter().map(retired).collect::<Vec<_>>(), stays, "{what}");
            assert_eq!(plan.slot.map(Slot::number), slot, "{what}");
            let is_held = |progress| match progress {
                Progress::Held(hold) => Some(hold),
                _ => None,
            };
            assert_eq!(is_held(plan.progress), held, "{what}");
            assert_eq!(plan.retired.iter().any(|one| one.stands_in), held.is_some(), "{what}");
        }
    }

    fn any_live() -> impl Strategy<Value = Vec<LiveRevision>> {
        let one = ("[abc]", 0u16..2, prop::option::of(0u32..4), 0u32..4, 0u32..4, 0u32..4).prop_map(
            |(revision, number, wanted, ready, more, leaving)| LiveRevision {
                wanted,
                ready,
                answering: ready / 2,
                leaving,
                pods: ready + more,
                ..LiveRevision::new(revision, slot(number), ports(100)[usize::from(number)].clone())
            },
        );
        prop::collection::vec(one, 0..5)
    }

    proptest! {
        #[test]
        fn no_slot_is_given_to_two_revisions(given in any_live(), replicas in 0u32..4) {
            let plan = plan_revisions(&given, &desired("a", replicas));
            for number in 0..2 {
                let wanted = usize::from(plan.slot == Some(slot(number)));
                let kept = plan.retired.iter().filter(|one| one.slot == slot(number) && one.replicas > 0).count();
                prop_assert!(wanted + kept <= 1, "{plan:?}");
            }
        }

        /// Deployments that do as they are told reach the wanted revision alone, from wherever they start.
        #[test]
        fn every_start_ends_settled(given in any_live(), replicas in 0u32..4) {
            let mut given = given;
            given.dedup_by_key(|one| (one.revision.clone(), one.slot));
            let wanted = desired("a", replicas);
            for _ in 0..12 {
                let plan = plan_revisions(&given, &wanted);
                if plan.progress == Progress::Settled && given.len() == 1 {
                    return Ok(());
                }
                given = obey(&given, &plan, replicas);
            }
            prop_assert!(false, "never settled: {given:?}");
        }
    }

    /// What a working cluster makes of a plan.
    fn obey(given: &[LiveRevision], plan: &Plan, replicas: u32) -> Vec<LiveRevision> {
        let mut next: Vec<LiveRevision> =
            plan.retired.iter().map(|one| live_with(&one.revision, one.slot, one.replicas, one.replicas)).collect();
        let is_new = |number: Slot| !given.iter().any(|one| one.revision == "a" && one.slot == number);
        if let Some(number) = plan.slot {
            let ready = if is_new(number) { 0 } else { replicas };
            next.push(live_with("a", number, replicas, ready));
        }
        next
    }

    fn live_with(revision: &str, slot: Slot, wanted: u32, ready: u32) -> LiveRevision {
        let host_ports = ports(100)[usize::from(slot.number())].clone();
        let new = LiveRevision::new(revision.into(), slot, host_ports);
        LiveRevision { wanted: Some(wanted), ready, answering: ready, pods: ready, ..new }
    }
}
