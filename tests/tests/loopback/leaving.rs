//! SFUs that leave, under calls that do not end.

use std::time::{Duration, Instant};

use calls_tests::live::{Join, Person};
use fleet::api::{CLAIM_SECONDS, DrainMode, SfuState};
use futures_util::future::join_all;
use livekit_protocol::DisconnectReason;
use livekit_protocol::leave_request::Action;

use crate::fleet::Fleet;

/// The people of a call, who all hear each other.
async fn call(fleet: &Fleet, call: &str, people: usize) -> Vec<Person> {
    let joins = (0..people).map(|n| Join::new(&format!("{call}-{n}")).of(call).speaking().to(fleet));
    let people = join_all(joins).await;
    all_hear_each_other(&people).await;
    people
}

async fn all_hear_each_other(people: &[Person]) {
    let pairs = people.iter().flat_map(|ear| people.iter().map(move |mouth| (ear, mouth)));
    let pairs = pairs.filter(|(ear, mouth)| ear.identity != mouth.identity);
    join_all(pairs.map(|(ear, mouth)| async move { ear.hears(&mouth.voice()).await })).await;
}

/// Everybody is told to come again, and does so as clients do: each for itself, at once.
async fn come_again(fleet: &Fleet, call: &str, people: Vec<Person>) -> Vec<Person> {
    let again = people.iter().map(|person| async move {
        let leave = person.leave_received().await;
        assert_eq!((leave.action(), leave.reason()), (Action::Reconnect, DisconnectReason::ServerShutdown));
        Join::new(&person.identity).of(call).speaking().to(fleet).await
    });
    let again = join_all(again).await;
    all_hear_each_other(&again).await;
    again
}

/// The SFU that has everybody, and the other one.
async fn holder(fleet: &Fleet, people: u32) -> (usize, usize) {
    let there = fleet.people().await;
    let at = there.iter().position(|n| *n == people).unwrap_or_else(|| panic!("{people} people are split: {there:?}"));
    (at, 1 - at)
}

#[tokio::test]
async fn calls_move_whole_to_the_other_sfu_and_small_ones_go_first() {
    let fleet = Fleet::start(2).await;
    let large = call(&fleet, "all-hands", 4).await;
    let (leaving, staying) = holder(&fleet, 4).await;
    // The other has fewer people, so that the next calls go there, until it drains for a moment.
    fleet.drain(staying, DrainMode::Wait, 600).await;
    let small = call(&fleet, "one-to-one", 2).await;
    assert_eq!(holder(&fleet, 6).await.0, leaving);
    fleet.undrain(staying).await;

    fleet.drain(leaving, DrainMode::Move, 600).await;
    let (large, small) = tokio::join!(come_again(&fleet, "all-hands", large), come_again(&fleet, "one-to-one", small));
    let left = fleet.until(leaving, "is empty", |status| status.load.calls == 0).await;
    let told = left.drain.expect("it drains");
    assert_eq!((left.state, told.calls_left, told.calls_moved), (SfuState::Draining, 0, 2));
    assert_eq!(holder(&fleet, 6).await.0, staying);
    let log = fleet.sfus[leaving].log();
    let sent = |call: &str| {
        log.lines().position(|line| line.contains("call sent elsewhere") && line.contains(call)).expect("it was sent")
    };
    assert!(sent("one-to-one") < sent("all-hands"), "{log}");
    drop((large, small));
}

#[tokio::test]
async fn waiting_keeps_a_call_and_lets_people_join_it_while_new_calls_go_elsewhere() {
    let fleet = Fleet::start(2).await;
    let mut kept = call(&fleet, "standup", 2).await;
    let (leaving, staying) = holder(&fleet, 2).await;
    fleet.drain(leaving, DrainMode::Wait, 600).await;

    kept.push(Join::new("late").of("standup").speaking().to(&fleet).await);
    all_hear_each_other(&kept).await;
    assert_eq!(fleet.people().await[leaving], 3);
    let elsewhere = call(&fleet, "retro", 2).await;
    assert_eq!(fleet.people().await[staying], 2);
    assert!(kept.iter().all(|person| person.look(|seen| seen.leave().is_none())));

    drop(kept);
    let left = fleet.until(leaving, "is empty", |status| status.load.calls == 0).await;
    assert_eq!(left.drain.map(|told| (told.calls_left, told.calls_moved)), Some((0, 0)));
    drop(elsewhere);
}

#[tokio::test]
async fn at_the_deadline_what_waits_is_moved_all_at_once() {
    let fleet = Fleet::start(2).await;
    let people = call(&fleet, "standup", 2).await;
    let (leaving, staying) = holder(&fleet, 2).await;
    fleet.drain(leaving, DrainMode::Wait, 1).await;
    let people = come_again(&fleet, "standup", people).await;
    assert_eq!(fleet.people().await[staying], 2);
    drop(people);
}

#[tokio::test]
async fn an_sfu_that_stays_after_all_takes_calls_again_and_those_it_kept_go_on() {
    let fleet = Fleet::start(1).await;
    let kept = call(&fleet, "standup", 2).await;
    fleet.drain(0, DrainMode::Wait, 600).await;
    fleet.undrain(0).await;
    let cem = Join::new("cem").of("retro").speaking().to(&fleet).await;
    let status = fleet.until(0, "has both calls", |status| status.load.calls == 2).await;
    assert_eq!((status.state, status.drain), (SfuState::Active, None));
    assert!(kept.iter().all(|person| person.look(|seen| seen.leave().is_none())));
    all_hear_each_other(&kept).await;
    drop(cem);
}

#[tokio::test]
async fn whoever_the_last_sfu_turned_away_is_back_at_once_when_it_stays_after_all() {
    let fleet = Fleet::start(1).await;
    let people = call(&fleet, "standup", 2).await;
    fleet.drain_last(0).await;
    fleet.until(0, "is empty", |status| status.load.calls == 0).await;
    fleet.undrain(0).await;
    let began = Instant::now();
    let people = come_again(&fleet, "standup", people).await;
    // A name that was noted is turned away for the whole of it.
    assert!(began.elapsed() < Duration::from_secs(CLAIM_SECONDS / 2), "{:?}", began.elapsed());
    assert_eq!(fleet.people().await, [2]);
    drop(people);
}
