use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

mod cordon;

const TERMS: Terms = Terms { mode: DrainMode::Move, within_seconds: 480 };

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn place() -> Place {
    ("r".into(), Slot::ALL[0])
}

/// A ready SFU that has been there for an hour.
fn sfu(pod: &str, people: u32) -> Sfu {
    Sfu {
        pod: pod.into(),
        place: place(),
        created: now() - SignedDuration::from_hours(1),
        is_ready: true,
        is_running: true,
        is_unschedulable: false,
        is_cordoned: false,
        load: Some(SfuLoad { calls: people / 2, participants: people, percent: 0 }),
        drain: None,
        can_drain: true,
        since: None,
        is_marked: false,
        is_evictable: false,
    }
}

/// The same, `seconds` after it was asked to leave, with so many calls left.
fn leaving(pod: &str, calls: u32, seconds: i64) -> Sfu {
    let since = now() - SignedDuration::from_secs(seconds);
    let (begun, deadline) = (since.as_second(), since.as_second() + i64::from(TERMS.within_seconds));
    let told = DrainStatus {
        mode: DrainMode::Move,
        nobody_takes: false,
        since: begun,
        deadline,
        calls_left: calls,
        calls_moved: 3,
    };
    Sfu { is_ready: false, since: Some(since), drain: Some(told), ..sfu(pod, calls * 2) }
}

fn cordoned(sfu: Sfu) -> Sfu {
    Sfu { is_cordoned: true, ..sfu }
}

fn pending(pod: &str, is_unschedulable: bool) -> Sfu {
    Sfu { is_ready: false, is_running: false, load: None, is_unschedulable, ..sfu(pod, 0) }
}

fn current(has: u32, target: u32, free_nodes: u32) -> Wanted {
    Wanted { place: place(), has: Some(has), target, is_current: true, free_nodes }
}

fn plan(wanted: &Wanted, sfus: &[Sfu]) -> Departures {
    plan_departures(std::slice::from_ref(wanted), sfus, TERMS, now())
}

fn order(mode: DrainMode, within_seconds: u32) -> DrainOrder {
    DrainOrder { mode, within_seconds, nobody_takes: false }
}

/// Who leaves, by what is done about it now: `a new order`, `b done mark`, …
fn words(plan: &Departures) -> Vec<String> {
    let one = |one: &Departure| {
        let said = [
            (one.is_new, "new"),
            (one.order.is_some(), "order"),
            (one.is_done, "done"),
            (one.mark, "mark"),
            (one.unmark, "unmark"),
            (one.open, "open"),
        ];
        let said = said.iter().filter(|(holds, _)| *holds).map(|(_, word)| format!(" {word}"));
        format!("{}{}", one.pod, said.collect::<String>())
    };
    plan.leaving.iter().map(one).collect()
}

#[test]
fn the_way_of_one_that_is_not_wanted() {
    // what, who is there, replicas of the Deployment → who leaves, its replicas
    type Row<'a> = (&'a str, [Sfu; 2], u32, &'a [&'a str], u32);
    let marked = Sfu { is_marked: true, ..leaving("b", 0, 20) };
    let table: [Row<'_>; 4] = [
        ("it is asked", [sfu("a", 9), sfu("b", 4)], 2, &["b new order"], 2),
        ("it is waited for", [sfu("a", 9), leaving("b", 2, 20)], 2, &["b"], 2),
        ("empty, it is marked", [sfu("a", 9), leaving("b", 0, 20)], 2, &["b done mark"], 2),
        ("marked, its replica goes", [sfu("a", 9), marked], 2, &["b done"], 1),
    ];
    for (what, sfus, has, leave, replicas) in table {
        let plan = plan(&current(has, 1, 0), &sfus);
        assert_eq!(words(&plan), leave, "{what}");
        assert_eq!(plan.replicas[&place()], replicas, "{what}");
    }
}

#[test]
fn who_leaves_costs_least() {
    let busy = |percent| SfuLoad { percent, ..sfu("", 4).load.unwrap() };
    let younger = Sfu { created: now(), ..sfu("b", 4) };
    let silent = Sfu { load: None, ..sfu("b", 0) };
    // both there → who goes
    let table: [(&str, [Sfu; 2], &str); 7] = [
        ("one that leaves already, whoever came", [leaving("a", 9, 5), sfu("b", 0)], "a"),
        ("one that is not ready", [sfu("a", 2), Sfu { is_ready: false, ..sfu("b", 8) }], "b"),
        ("one that never had a node", [sfu("a", 0), pending("b", true)], "b"),
        ("fewest people", [sfu("a", 4), sfu("b", 6)], "a"),
        ("then least load", [Sfu { load: Some(busy(40)), ..sfu("a", 4) }, sfu("b", 4)], "b"),
        ("then the younger", [sfu("a", 4), younger], "b"),
        ("one that does not answer may have anybody", [sfu("a", 900), silent], "a"),
    ];
    for (what, sfus, goes) in table {
        let plan = plan(&current(2, 1, 0), &sfus);
        let leave: Vec<&str> = plan.leaving.iter().map(|one| one.pod.as_str()).collect();
        assert_eq!(leave, [goes], "{what}");
    }
}

#[test]
fn one_that_is_wanted_again_stays_and_no_other_is_started() {
    let marked = Sfu { is_marked: true, ..leaving("b", 0, 20) };
    for sfu_b in [leaving("b", 2, 20), marked] {
        let plan = plan(&current(2, 2, 3), &[sfu("a", 9), sfu_b]);
        assert_eq!((plan.leaving, plan.staying), (vec![], vec!["b".to_owned()]));
        assert_eq!(plan.replicas[&place()], 2);
    }
}

#[test]
fn what_is_left_after_the_deadline_holds_nobody_up() {
    let late = 480 + OVERTIME.as_secs();
    assert_eq!(words(&plan(&current(2, 1, 0), &[sfu("a", 9), leaving("b", 2, late - 1)])), ["b"]);
    assert_eq!(words(&plan(&current(2, 1, 0), &[sfu("a", 9), leaving("b", 2, late)])), ["b done mark"]);
    let silent = Sfu { load: None, drain: None, ..leaving("b", 0, late) };
    assert_eq!(words(&plan(&current(2, 1, 0), &[sfu("a", 9), silent])), ["b done mark"]);
}

#[test]
fn a_mark_on_one_that_is_not_done_is_taken_away_before_any_replica_goes() {
    let done = |pod: &str| Sfu { is_marked: true, ..leaving(pod, 0, 20) };
    let restarted = Sfu { is_marked: true, drain: None, ..leaving("c", 2, 20) };
    let one = plan(&current(3, 1, 0), &[sfu("a", 9), done("b"), restarted]);
    assert_eq!((words(&one), one.replicas[&place()]), (vec!["b done".into(), "c order unmark".into()], 3));
    let one = plan(&current(3, 1, 0), &[sfu("a", 9), done("b"), leaving("c", 2, 20)]);
    assert_eq!(one.replicas[&place()], 2);
}

#[test]
fn one_that_is_ready_is_not_scaled_away_while_another_would_be_deleted_in_its_place() {
    // It never answered, so it does not know that it leaves.
    let silent = |pod: &str| Sfu { is_ready: true, is_marked: true, load: None, drain: None, ..leaving(pod, 0, 600) };
    let starting = Sfu { is_ready: false, ..sfu("a", 4) };
    let one = plan(&current(2, 1, 0), &[starting, silent("b")]);
    assert_eq!((words(&one), one.replicas[&place()]), (vec!["b done".into()], 2));
    let one = plan(&current(2, 1, 0), &[sfu("a", 4), silent("b")]);
    assert_eq!(one.replicas[&place()], 1);
}

#[test]
fn one_that_has_forgotten_is_told_again_with_what_is_left_of_its_time() {
    let restarted = Sfu { drain: None, ..leaving("b", 2, 100) };
    let one = plan(&current(2, 1, 0), &[sfu("a", 9), restarted]).leaving.remove(0);
    assert_eq!(one.order, Some(order(DrainMode::Move, 380)));
    assert!(!one.is_new && !one.is_done);
}

#[test]
fn mode_and_time_of_the_spec_reach_one_that_leaves_already() {
    let sfus = [sfu("a", 9), leaving("b", 2, 100)];
    let told = |terms: Terms| plan_departures(&[current(2, 1, 0)], &sfus, terms, now()).leaving.remove(0).order;
    assert_eq!(told(TERMS), None);
    let waiting = Terms { mode: DrainMode::Wait, ..TERMS };
    assert_eq!(told(waiting), Some(order(DrainMode::Wait, 380)));
    let longer = Terms { within_seconds: 600, ..TERMS };
    assert_eq!(told(longer), Some(order(DrainMode::Move, 500)));
}

#[test]
fn without_anybody_to_take_them_calls_end_at_once_or_are_waited_for() {
    let told = |mode| {
        let terms = Terms { mode, ..TERMS };
        plan_departures(&[current(1, 0, 0)], &[sfu("a", 4)], terms, now()).leaving.remove(0).order.unwrap()
    };
    assert_eq!(told(DrainMode::Move), DrainOrder { nobody_takes: true, ..order(DrainMode::Move, 0) });
    assert_eq!(told(DrainMode::Wait), DrainOrder { nobody_takes: true, ..order(DrainMode::Wait, 480) });
}

#[test]
fn calls_stay_where_they_are_while_whoever_could_take_them_is_not_ready() {
    let b = || leaving("b", 2, 100);
    let told = |wanted: &[Wanted], sfus: &[Sfu]| plan_departures(wanted, sfus, TERMS, now()).leaving.remove(0).order;
    let fewer = [current(2, 1, 0)];
    assert_eq!(told(&fewer, &[sfu("a", 9), b()]), None, "it moves already");
    let wait = Some(order(DrainMode::Wait, 380));
    assert_eq!(told(&fewer, &[Sfu { is_ready: false, ..sfu("a", 9) }, b()]), wait, "not ready for a moment");
    assert_eq!(told(&fewer, &[Sfu { load: None, ..sfu("a", 9) }, b()]), wait, "silent, as on a dead node");
    let waits = Sfu { drain: b().drain.map(|told| DrainStatus { mode: DrainMode::Wait, ..told }), ..b() };
    assert_eq!(told(&fewer, &[sfu("a", 9), waits]), Some(order(DrainMode::Move, 380)), "ready again");

    let new = |target| Wanted { place: ("s".into(), Slot::ALL[1]), ..current(target, target, 0) };
    let old = || Wanted { is_current: false, ..current(1, 0, 0) };
    assert_eq!(told(&[new(1), old()], &[b()]), wait, "its pod is not there yet");
    let at_once = DrainOrder { nobody_takes: true, ..order(DrainMode::Move, 0) };
    assert_eq!(told(&[new(0), old()], &[b()]), Some(at_once), "nobody is wanted");
    let alone = b().drain.map(|told| DrainStatus { nobody_takes: true, deadline: now().as_second() - 9, ..told });
    let alone = Sfu { drain: alone, ..b() };
    assert_eq!(told(&[new(0), old()], std::slice::from_ref(&alone)), None, "which is said once");
    assert_eq!(told(&[new(1), old()], &[alone]), wait);
}

#[test]
fn one_of_a_version_that_cannot_be_asked_is_not_waited_for() {
    let older = Sfu { can_drain: false, ..sfu("b", 4) };
    assert_eq!(words(&plan(&current(2, 1, 0), &[sfu("a", 9), older.clone()])), ["b new done mark"]);
    let silent = Sfu { load: None, since: Some(now()), ..older };
    assert_eq!(words(&plan(&current(2, 1, 0), &[sfu("a", 9), silent])), ["b order"]);
}

#[test]
fn one_that_is_done_and_does_not_answer_once_keeps_its_mark() {
    let done = Sfu { is_marked: true, ..leaving("b", 0, 20) };
    let silent = Sfu { load: None, drain: None, ..done.clone() };
    let one = plan(&current(2, 1, 0), &[sfu("a", 9), silent]);
    assert_eq!((words(&one), one.replicas[&place()]), (vec!["b order".into()], 2));
    assert_eq!(words(&plan(&current(2, 1, 0), &[sfu("a", 9), done])), ["b done"]);
}

#[test]
fn nobody_is_given_more_time_than_the_spec_says_whatever_clocks_say() {
    let ahead = Sfu { drain: None, ..leaving("b", 2, -3600) };
    let one = plan(&current(2, 1, 0), &[sfu("a", 9), ahead]).leaving.remove(0);
    assert_eq!(one.order, Some(order(DrainMode::Move, 480)));
}

#[test]
fn one_that_does_not_run_goes_rather_than_one_that_leaves() {
    let one = plan(&current(2, 1, 0), &[leaving("a", 3, 20), pending("b", true)]);
    assert_eq!((words(&one), one.staying), (vec!["b new done mark".into()], vec!["a".to_owned()]));
}

#[test]
fn a_predecessor_leaves_as_a_whole_and_its_deployment_shrinks_as_its_pods_become_empty() {
    let new = Wanted { place: ("s".into(), Slot::ALL[1]), ..current(2, 2, 0) };
    let old = Wanted { is_current: false, ..current(2, 0, 0) };
    let of_new = |pod: &str| Sfu { place: new.place.clone(), ..sfu(pod, 0) };
    let sfus = [of_new("n1"), of_new("n2"), leaving("a", 5, 9), Sfu { is_marked: true, ..leaving("b", 0, 9) }];
    let plan = plan_departures(&[new.clone(), old], &sfus, TERMS, now());
    assert_eq!(words(&plan), ["a", "b done"]);
    assert!(plan.leaving.iter().all(|one| one.cause == Cause::Replaced));
    assert_eq!((plan.replicas[&new.place], plan.replicas[&place()]), (2, 1));
}

#[test]
fn the_way_of_one_on_a_cordoned_node() {
    // what, who is there, replicas, wanted, free nodes → who leaves, replicas, who is stuck
    type Row<'a> = (&'a str, Vec<Sfu>, (u32, u32, u32), &'a [&'a str], u32, &'a [&'a str]);
    let done = || cordoned(Sfu { is_marked: true, ..leaving("a", 0, 9) });
    let opened = || Sfu { is_evictable: true, ..done() };
    let starting = || Sfu { is_ready: false, created: now(), ..sfu("b", 0) };
    let table: [Row<'_>; 11] = [
        ("a replacement is asked for", vec![cordoned(sfu("a", 4))], (1, 1, 1), &[], 2, &[]),
        ("and waited for", vec![cordoned(sfu("a", 4)), starting()], (2, 1, 0), &[], 2, &[]),
        ("then it leaves", vec![cordoned(sfu("a", 4)), sfu("b", 0)], (2, 1, 0), &["a new order"], 2, &[]),
        ("and its replica goes", vec![done(), sfu("b", 4)], (2, 1, 0), &["a done"], 1, &[]),
        ("alone on the only node, it stays", vec![cordoned(sfu("a", 4))], (1, 1, 0), &[], 1, &["a"]),
        (
            "without a node for another, those elsewhere take its calls",
            vec![cordoned(sfu("a", 4)), sfu("b", 4)],
            (2, 2, 0),
            &["a new order"],
            2,
            &[],
        ),
        ("and evictions may pass once it is empty", vec![done(), sfu("b", 4)], (2, 2, 0), &["a done open"], 2, &[]),
        ("which is said once", vec![opened(), sfu("b", 4)], (2, 2, 0), &["a done"], 2, &[]),
        (
            "a replacement that the scheduler cannot place is not waited for",
            vec![cordoned(sfu("a", 4)), sfu("b", 4), pending("c", true)],
            (3, 2, 1),
            &["a new order"],
            3,
            &[],
        ),
        (
            "of fewer that are wanted, it is the one that goes",
            vec![cordoned(sfu("a", 90)), sfu("b", 4)],
            (2, 1, 0),
            &["a new order"],
            2,
            &[],
        ),
        (
            "one that does not run has nothing to lose",
            vec![cordoned(pending("a", false))],
            (1, 1, 0),
            &["a new done mark"],
            1,
            &[],
        ),
    ];
    for (what, sfus, (has, target, free), leave, replicas, stuck) in table {
        let plan = plan(&current(has, target, free), &sfus);
        assert_eq!(words(&plan), leave, "{what}");
        assert_eq!(plan.replicas[&place()], replicas, "{what}");
        assert_eq!(plan.stuck, stuck, "{what}");
    }
}

#[test]
fn one_on_a_cordoned_node_moves_whatever_the_spec_says_of_calls() {
    let terms = Terms { mode: DrainMode::Wait, ..TERMS };
    let sfus = [cordoned(sfu("a", 4)), sfu("b", 0)];
    let one = plan_departures(&[current(2, 1, 0)], &sfus, terms, now()).leaving.remove(0);
    assert_eq!((one.cause, one.order.map(|order| order.mode)), (Cause::NodeCordoned, Some(DrainMode::Move)));
}

fn any_sfu() -> impl Strategy<Value = Sfu> {
    let flags = prop::array::uniform6(any::<bool>());
    (flags, prop::option::of(0_u32..20), prop::option::of(0_i64..600)).prop_map(|(flags, people, since)| {
        let [is_ready, is_running, is_unschedulable, is_cordoned, is_marked, drains] = flags;
        let left = leaving("", people.unwrap_or(0), since.unwrap_or(0));
        Sfu {
            is_ready: is_ready && is_running,
            is_running,
            is_unschedulable: is_unschedulable && !is_running,
            is_cordoned,
            is_marked,
            since: since.and(left.since),
            drain: if drains { left.drain } else { None },
            load: people.and(sfu("", people.unwrap_or(0)).load),
            ..left
        }
    })
}

fn any_fleet() -> impl Strategy<Value = Vec<Sfu>> {
    prop::collection::vec(any_sfu(), 0..8).prop_map(|mut sfus| {
        for (n, sfu) in sfus.iter_mut().enumerate() {
            sfu.pod = format!("sfu-{n}");
        }
        sfus
    })
}

proptest! {
    #[test]
    fn no_more_leave_than_are_not_wanted_and_no_replica_goes_before_its_pod_is_done(
        sfus in any_fleet(), has in 0_u32..8, target in 0_u32..6, free in 0_u32..3,
    ) {
        let plan = plan(&current(has, target, free), &sfus);
        let replicas = plan.replicas[&place()] as usize;
        prop_assert!(replicas >= target as usize);
        let scaled_down = plan.leaving.iter().filter(|one| one.cause == Cause::ScaledDown).count();
        prop_assert!(scaled_down <= sfus.len().saturating_sub(target as usize));
        // Kubernetes deletes as many as there are too many, marked ones first.
        let may_go = plan.leaving.iter().filter(|one| one.is_done && !one.mark).count();
        if replicas < has as usize {
            prop_assert!(sfus.len().saturating_sub(replicas) <= may_go, "{plan:?}");
        }
        let leave: BTreeSet<&str> = plan.leaving.iter().map(|one| one.pod.as_str()).collect();
        prop_assert_eq!(leave.len(), plan.leaving.len(), "nobody leaves twice");
        prop_assert!(plan.staying.iter().chain(&plan.stuck).all(|pod| !leave.contains(pod.as_str())));
    }

    /// A cluster that does as it is told ends with as many as are wanted, none of them leaving, wherever it begins; and
    /// no pod is deleted while it has calls and time.
    #[test]
    fn every_start_ends_with_what_is_wanted(sfus in any_fleet(), target in 0_u32..6) {
        let mut sfus = sfus;
        // Nodes come back.
        for sfu in &mut sfus {
            sfu.is_cordoned = false;
        }
        let mut has = u32::try_from(sfus.len()).unwrap();
        let mut now = now();
        for round in 0..40 {
            let plan = plan_departures(&[current(has, target, 0)], &sfus, TERMS, now);
            let replicas = plan.replicas[&place()];
            let is_settled = plan.leaving.is_empty() && plan.staying.is_empty() && has == replicas;
            if is_settled && sfus.len() == target as usize {
                return Ok(());
            }
            has = replicas;
            while sfus.len() > has as usize {
                let gone = scale_down(&mut sfus);
                prop_assert!(is_harmless(&gone, &plan), "{} had calls: {gone:?}", gone.pod);
            }
            obey(&mut sfus, &plan, now);
            while sfus.len() < has as usize {
                sfus.push(sfu(&format!("new-{round}-{}", sfus.len()), 0));
            }
            now += SignedDuration::from_secs(30);
        }
        prop_assert!(false, "never settled: {sfus:?}");
    }
}

/// The pod Kubernetes deletes for a replica less.
fn scale_down(sfus: &mut Vec<Sfu>) -> Sfu {
    let rank = |n: &usize| (sfus[*n].is_running, sfus[*n].is_ready, !sfus[*n].is_marked);
    let goes = (0..sfus.len()).min_by_key(rank).unwrap();
    sfus.remove(goes)
}

/// Whether `gone` may be deleted while this is planned.
fn is_harmless(gone: &Sfu, plan: &Departures) -> bool {
    !gone.is_running || plan.leaving.iter().any(|one| one.pod == gone.pod && one.is_done)
}

/// What SFUs, pods and the operator's writer make of a plan, once its replicas are written; each SFU that drains has a
/// call less than before.
fn obey(sfus: &mut [Sfu], plan: &Departures, now: Timestamp) {
    for sfu in sfus.iter_mut() {
        if let Some(one) = plan.leaving.iter().find(|one| one.pod == sfu.pod) {
            sfu.since = Some(one.since);
            sfu.is_marked = (sfu.is_marked || one.mark) && !one.unmark;
            if let Some(order) = one.order {
                let deadline = now.as_second() + i64::from(order.within_seconds);
                let since = one.since.as_second();
                let DrainOrder { mode, nobody_takes, .. } = order;
                sfu.drain = Some(DrainStatus { mode, nobody_takes, since, deadline, calls_left: 0, calls_moved: 0 });
                sfu.is_ready = false;
            }
            if sfu.drain.is_some() {
                let calls = sfu.load.map_or(0, |load| load.calls.saturating_sub(1));
                sfu.load = Some(SfuLoad { calls, participants: calls, percent: 0 });
            }
        }
        let is_open = plan.opened.contains(&sfu.pod) || plan.leaving.iter().any(|one| one.pod == sfu.pod && one.open);
        sfu.is_evictable = (sfu.is_evictable || is_open) && !plan.closed.contains(&sfu.pod);
        if plan.staying.contains(&sfu.pod) {
            (sfu.since, sfu.drain, sfu.is_marked, sfu.is_evictable) = (None, None, false, false);
        }
        sfu.is_ready = sfu.is_running && sfu.drain.is_none();
    }
}
