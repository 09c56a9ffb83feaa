//! People in real browsers hold calls: first against a development server, then through the cluster.

use anyhow::Result;

use crate::browser::Kind;
use crate::scenarios;
use crate::test::{Ring, Stage, Test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test("two_people_hold_a_call_in_dev", Ring::Dev, |stage| hold_a_call(stage, [Kind::Chromium, Kind::Chromium])),
    test("chromium_and_firefox_hold_a_call_in_dev", Ring::Dev, |stage| {
        hold_a_call(stage, [Kind::Chromium, Kind::Firefox])
    }),
    test("blocked_udp_talks_over_tcp_in_dev", Ring::Dev, blocked_udp_talks_over_tcp),
    test("blocked_media_is_explained_in_dev", Ring::Dev, blocked_media_is_explained),
    test("two_people_hold_a_call_in_the_cluster", Ring::Cluster, |stage| {
        hold_a_call(stage, [Kind::Chromium, Kind::Chromium])
    }),
    test("chromium_and_firefox_hold_a_call_in_the_cluster", Ring::Cluster, |stage| {
        hold_a_call(stage, [Kind::Chromium, Kind::Firefox])
    }),
    test("blocked_udp_talks_over_tcp_in_the_cluster", Ring::Cluster, blocked_udp_talks_over_tcp),
    test("blocked_media_is_explained_in_the_cluster", Ring::Cluster, blocked_media_is_explained),
];

const fn test(name: &'static str, ring: Ring, run: fn(&Stage) -> Result<()>) -> Test {
    Test { name, ring, slow: false, run }
}

fn hold_a_call(stage: &Stage, kinds: [Kind; 2]) -> Result<()> {
    let (driver, call) = (stage.browsers()?, stage.call_name());
    stage.block_on(scenarios::two_people_hold_a_call(&driver, stage.page(), &call, kinds))
}

fn blocked_udp_talks_over_tcp(stage: &Stage) -> Result<()> {
    let (driver, call) = (stage.browsers()?, stage.call_name());
    stage.block_on(scenarios::blocked_udp_talks_over_tcp(&driver, stage.page(), &call, Kind::Chromium))
}

fn blocked_media_is_explained(stage: &Stage) -> Result<()> {
    let (driver, call, ports) = (stage.browsers()?, stage.call_name(), stage.media_tcp_ports());
    stage.block_on(scenarios::blocked_media_is_explained(&driver, stage.page(), &call, Kind::Chromium, &ports))
}
