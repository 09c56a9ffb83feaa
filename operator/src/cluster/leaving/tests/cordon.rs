//! Nodes that take no new pods.

use super::*;

fn crashing(pod: &str, seconds: i64) -> Sfu {
    let created = now() - SignedDuration::from_secs(seconds);
    Sfu { is_ready: false, is_running: false, load: None, created, ..sfu(pod, 0) }
}

fn done(pod: &str) -> Sfu {
    cordoned(Sfu { is_marked: true, ..leaving(pod, 0, 9) })
}

fn names(plan: &Departures) -> Vec<&str> {
    plan.leaving.iter().map(|one| one.pod.as_str()).collect()
}

#[test]
fn one_that_is_done_makes_room_for_another_as_soon_as_a_node_comes() {
    type Row<'a> = (&'a str, Vec<Sfu>, (u32, u32), u32);
    let opened = || Sfu { is_evictable: true, ..done("a") };
    // what, who is there, replicas and free nodes → replicas
    let table: [Row<'_>; 5] = [
        ("no node", vec![opened(), sfu("b", 4)], (2, 0), 2),
        ("a node comes", vec![opened(), sfu("b", 4)], (2, 1), 3),
        ("and the cache is late", vec![opened(), sfu("b", 4)], (3, 1), 3),
        // Kubernetes would delete it rather than the one that runs.
        ("its SFU is not started yet", vec![opened(), sfu("b", 4), crashing("c", 5)], (3, 0), 3),
        ("then it is", vec![opened(), sfu("b", 4), sfu("c", 0)], (3, 0), 2),
    ];
    for (what, sfus, (has, free), replicas) in table {
        assert_eq!(plan(&current(has, 2, free), &sfus).replicas[&place()], replicas, "{what}");
    }
}

#[test]
fn a_drained_sfu_that_is_the_last_is_taken_back_when_its_replacement_goes() {
    let one = plan(&current(2, 1, 0), &[done("a"), pending("b", true)]);
    assert_eq!((words(&one), one.replicas[&place()]), (vec![], 2));
    assert_eq!((one.staying, one.stuck), (vec!["a".to_owned()], vec!["a".to_owned()]));
}

#[test]
fn no_more_leave_their_nodes_at_once_than_others_serve_in_their_place() {
    let old = |n: u32| (0..n).map(|n| cordoned(sfu(&format!("old-{n}"), 4))).collect::<Vec<_>>();
    let new = |n: u32| (0..n).map(|n| sfu(&format!("new-{n}"), 0)).collect::<Vec<_>>();
    for (ready, leave) in [(0, 0), (1, 1), (4, 4), (10, 10)] {
        let sfus = [old(10), new(ready)].concat();
        assert_eq!(plan(&current(20, 10, 10 - ready), &sfus).leaving.len(), leave, "{ready}");
    }
    // One has begun, so as many serve as are wanted.
    let begun = cordoned(leaving("old-0", 2, 9));
    let sfus = [vec![begun], old(10).split_off(1), new(1)].concat();
    assert_eq!(names(&plan(&current(20, 10, 9), &sfus)), ["old-0"]);
}

#[test]
fn one_after_the_other_leaves_for_those_elsewhere_if_no_more_can_be_had() {
    let waits = cordoned(sfu("b", 9));
    let leave = |first: Sfu| {
        let plan = plan(&current(3, 3, 0), &[first, waits.clone(), sfu("c", 4)]);
        assert_eq!(plan.stuck, [""; 0]);
        plan.leaving.into_iter().map(|one| one.pod).collect::<Vec<_>>()
    };
    assert_eq!(leave(cordoned(sfu("a", 4))), ["a"]);
    assert_eq!(leave(cordoned(leaving("a", 2, 9))), ["a"]);
    assert_eq!(leave(done("a")), ["a", "b"]);
}

#[test]
fn an_sfu_that_never_starts_is_waited_for_two_minutes() {
    let leave = |seconds| {
        let sfus = [cordoned(sfu("a", 4)), sfu("b", 4), crashing("c", seconds)];
        plan(&current(3, 3, 0), &sfus).leaving.len()
    };
    assert_eq!((leave(119), leave(120)), (0, 1));
}

#[test]
fn a_predecessor_that_serves_on_leaves_its_node_as_well() {
    let new = Wanted { place: ("s".into(), Slot::ALL[1]), ..current(2, 2, 0) };
    let old = Wanted { is_current: false, ..current(2, 2, 0) };
    let broken = Sfu { place: new.place.clone(), ..crashing("n", 600) };
    let plan_for =
        |a: Sfu| plan_departures(&[new.clone(), old.clone()], &[broken.clone(), a, sfu("b", 4)], TERMS, now());
    let one = plan_for(cordoned(sfu("a", 4)));
    assert_eq!((words(&one), one.leaving[0].cause), (vec!["a new order".into()], Cause::NodeCordoned));
    let one = plan_for(done("a"));
    assert_eq!((words(&one), one.replicas[&place()]), (vec!["a done open".into()], 2));
}

#[test]
fn the_only_one_may_be_evicted_while_it_has_no_calls() {
    let with = |is_evictable, reports: bool| {
        let load = sfu("", 0).load.filter(|_| reports);
        let only = cordoned(Sfu { load, is_evictable, ..sfu("a", 0) });
        plan(&current(1, 1, 0), &[only])
    };
    let a = || vec!["a".to_owned()];
    let idle = with(false, true);
    assert_eq!((idle.opened, idle.closed, idle.staying, idle.stuck), (a(), vec![], vec![], a()));
    let told = with(true, true);
    assert_eq!((told.opened, told.closed, told.staying), (vec![], vec![], vec![]));
    let silent = with(true, false);
    assert_eq!((silent.opened, silent.closed, silent.staying), (vec![], a(), vec![]));
    let busy = plan(&current(1, 1, 0), &[cordoned(Sfu { is_evictable: true, ..sfu("a", 4) })]);
    assert_eq!((busy.opened, busy.closed, busy.staying), (vec![], a(), vec![]));
    let uncordoned = plan(&current(1, 1, 0), &[Sfu { is_evictable: true, ..sfu("a", 0) }]);
    assert_eq!((uncordoned.closed, uncordoned.stuck), (a(), vec![]));
}

/// Nodes and a Deployment around SFUs.
struct Nodes {
    sfus: Vec<Sfu>,
    has: u32,
    free: u32,
    made: u32,
    now: Timestamp,
}

impl Nodes {
    /// Half a minute of a cluster that does as it is told, in which somebody drains all cordoned nodes.
    fn pass(&mut self, target: u32) -> Result<Departures, TestCaseError> {
        let plan = plan_departures(&[current(self.has, target, self.free)], &self.sfus, TERMS, self.now);
        let is_one_serving = |sfus: &[Sfu]| sfus.iter().any(|sfu| sfu.is_ready && sfu.drain.is_none());
        let was_serving = is_one_serving(&self.sfus);
        self.has = plan.replicas[&place()];
        while self.sfus.len() > self.has as usize {
            let gone = scale_down(&mut self.sfus);
            prop_assert!(is_harmless(&gone, &plan), "{gone:?} had calls");
            self.free += u32::from(!gone.is_cordoned && !gone.is_unschedulable);
        }
        obey(&mut self.sfus, &plan, self.now);
        let is_evicted = |sfu: &Sfu| sfu.is_cordoned && sfu.is_evictable;
        for sfu in self.sfus.iter().filter(|sfu| is_evicted(sfu)) {
            prop_assert!(is_harmless(sfu, &plan) || sfu.is_idle(), "{sfu:?} had calls");
        }
        let is_only_idle = self.sfus.iter().any(|sfu| is_evicted(sfu) && sfu.drain.is_none());
        self.sfus.retain(|sfu| !is_evicted(sfu));
        prop_assert!(!was_serving || target == 0 || is_only_idle || is_one_serving(&self.sfus), "{plan:?}");
        for sfu in &mut self.sfus {
            if !sfu.is_unschedulable {
                (sfu.is_running, sfu.is_ready) = (true, sfu.drain.is_none());
                sfu.load = sfu.load.or(Some(SfuLoad::default()));
            }
        }
        while self.sfus.len() < self.has as usize {
            self.made += 1;
            self.sfus.push(Sfu { created: self.now, ..pending(&format!("new-{}", self.made), true) });
        }
        for sfu in self.sfus.iter_mut().filter(|sfu| sfu.is_unschedulable) {
            let is_placed = self.free > 0;
            self.free -= u32::from(is_placed);
            sfu.is_unschedulable = !is_placed;
        }
        self.now += SignedDuration::from_secs(30);
        Ok(plan)
    }
}

proptest! {
    /// Cordoned nodes are emptied without a moment in which nobody serves, no pod is deleted or evicted while it has
    /// calls and time, and once there are nodes enough, as many SFUs are there as are wanted.
    #[test]
    fn cordoned_nodes_empty_and_the_fleet_is_whole_when_nodes_come(
        sfus in any_fleet(), target in 0_u32..6, free in 0_u32..3,
    ) {
        let mut sfus = sfus;
        for sfu in &mut sfus {
            // A pod has no node to be cordoned while none is found for it.
            sfu.is_cordoned &= !sfu.is_unschedulable;
        }
        let has = u32::try_from(sfus.len()).unwrap();
        let mut nodes = Nodes { sfus, has, free, made: 0, now: now() };
        for round in 0..80 {
            if round == 20 {
                nodes.free += 8;
            }
            let plan = nodes.pass(target)?;
            let is_whole = nodes.sfus.len() == target as usize && nodes.sfus.iter().all(|sfu| !sfu.is_cordoned);
            if round > 20 && is_whole && plan.leaving.is_empty() && plan.staying.is_empty() {
                return Ok(());
            }
        }
        prop_assert!(false, "never whole: {:?}", nodes.sfus);
    }
}
