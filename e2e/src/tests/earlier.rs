//! Earlier releases of livekit-client take part in calls: those that use two peer connections.

use std::time::Duration;

use anyhow::Result;

use crate::browser::Kind;
use crate::scenarios;
use crate::test::{Ring, Stage, Test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test("livekit_client_2_0_in_firefox_holds_a_call_in_dev", Ring::Dev, |stage| {
        hold_a_call(stage, "2.0", Kind::Firefox)
    }),
    test("livekit_client_2_9_holds_a_call_in_dev", Ring::Dev, |stage| hold_a_call(stage, "2.9", Kind::Chromium)),
    test("livekit_client_2_15_holds_a_call_in_dev", Ring::Dev, |stage| hold_a_call(stage, "2.15", Kind::Chromium)),
    test("earlier_clients_survive_a_killed_server_in_dev", Ring::Dev, survive_a_killed_server),
    test("livekit_client_2_0_holds_a_call_in_the_cluster", Ring::Cluster, |stage| {
        hold_a_call(stage, "2.0", Kind::Chromium)
    }),
];

const fn test(name: &'static str, ring: Ring, run: fn(&Stage) -> Result<()>) -> Test {
    Test { name, ring, slow: false, run }
}

/// People should talk again within ten seconds; a busy machine may take longer.
const TALK_AGAIN_LIMIT: Duration = Duration::from_secs(40);

fn hold_a_call(stage: &Stage, version: &str, kind: Kind) -> Result<()> {
    let (driver, call) = (stage.browsers()?, stage.call_name());
    stage.block_on(scenarios::an_earlier_client_holds_a_call(&driver, stage.page(), &call, version, kind))
}

fn survive_a_killed_server(stage: &Stage) -> Result<()> {
    let (driver, call) = (stage.browsers()?, stage.call_name());
    let replace = || async { stage.replace_dev_server() };
    let scenario =
        scenarios::earlier_clients_survive_a_killed_server(&driver, stage.page(), &call, TALK_AGAIN_LIMIT, replace);
    let took = stage.block_on(scenario)?;
    println!("           all talk again {:.1} s after their server was killed", took.as_secs_f64());
    Ok(())
}
