//! The load generator drives a real server.

use std::time::Duration;

use calls_bench::load::join::Entrance;
use calls_bench::load::measure::{Options, measure};
use calls_bench::load::scenario::Scenario;
use calls_tests::live::Server;
use calls_tests::server;

/// Runs a scenario for two seconds, with every client opening what it receives; returns what was expected and what came.
async fn run(server: &Server, scenario: Scenario) {
    let entrance = Entrance { url: format!("ws://{}", server.http()), key: server.key.clone() };
    let options = Options { window: Duration::from_secs(2), opens_one_of: 1, busy: None };
    let measured = measure(&scenario, server.pid(), &entrance, options).await.expect("a measurement");
    let sent_per_second = 50 * scenario.voices + 120 * scenario.screens;
    let least = (sent_per_second * (scenario.people - 1)) as u64;
    assert!(measured.n_expected > least, "only {} packets were sent: {measured:?}", measured.n_expected);
    assert_eq!((measured.n_delivered, measured.n_gaps), (measured.n_expected, 0));
    assert_eq!(
        (measured.delays.total(), measured.n_forged),
        (measured.n_expected, 0),
        "each is opened and has its time"
    );
    assert!(measured.cpu > Duration::ZERO && measured.join_cpu > Duration::ZERO && measured.memory > 0, "{measured:?}");
}

#[tokio::test]
async fn every_frame_of_two_who_speak_arrives_at_six_who_listen_and_at_the_other() {
    let server = server!();
    run(&server, Scenario { name: "voices", people: 8, ..Scenario::of(2, 0) }).await;
}

#[tokio::test]
async fn every_packet_of_a_screen_arrives_beside_a_voice() {
    let server = server!();
    run(&server, Scenario { name: "screen", people: 5, ..Scenario::of(1, 1) }).await;
}

#[tokio::test]
async fn every_packet_arrives_in_a_call_on_three_threads() {
    let server = server!("info", &["--workers", "3", "--people-per-worker", "3"]);
    run(&server, Scenario { name: "threads", people: 8, ..Scenario::of(2, 1) }).await;
}
