//! Calls over bad networks, as a receiver's browser counts them. `cargo e2e bench network` measures more of them, longer.

use anyhow::{Context as _, Result, ensure};

use crate::bench::network::figures::Metric;
use crate::bench::network::measure::{Course, Pair};
use crate::browser::{Kind, LaunchOptions};
use crate::test::{Ring, Stage, Test};

/// The tests of this file.
pub const TESTS: &[Test] = &[Test {
    name: "voice_and_pictures_go_on_while_a_twentieth_is_lost_in_dev",
    ring: Ring::Dev,
    slow: false,
    run: voice_and_pictures_go_on_while_a_twentieth_is_lost,
}];

/// How long it is lost.
const SECONDS: f64 = 8.0;

/// What must be so for people not to complain: name of the figure, and the most or the least of it. A busy machine is
/// allowed its share.
const MOST: [(&str, f64); 3] =
    [("voice: concealed, %", 10.0), ("camera: without a frame, s", 1.5), ("screen: without a frame, s", 2.5)];
const LEAST: [(&str, f64); 2] = [("camera: frames a second", 8.0), ("screen: frames a second", 2.5)];

fn voice_and_pictures_go_on_while_a_twentieth_is_lost(stage: &Stage) -> Result<()> {
    let (driver, call, entrance) = (stage.browsers()?, stage.call_name(), stage.entrance());
    let mut relay = stage.relay(1)?;
    let measured = stage.block_on(async {
        let options = LaunchOptions::default();
        let sender = driver.launch(Kind::Chromium, &options).await?;
        let receiver = driver.launch(Kind::Chromium, &options).await?;
        let pair = Pair { driver: &driver, sender: &sender, receiver: &receiver };
        pair.measure(&entrance, &mut relay, &call, Course { network: "loss", seconds: SECONDS }).await
    })?;
    let down = measured.traffic.down;
    ensure!(down.lost * 40 > down.datagrams, "the network lost {} of {} datagrams only", down.lost, down.datagrams);
    let value = |name: &str| {
        let metric = Metric::named(name).with_context(|| format!("there is no figure {name:?}"))?;
        metric.of(&measured, &[], SECONDS).with_context(|| format!("no {name}: {:?}", measured.samples.last()))
    };
    for (name, most) in MOST {
        ensure!(value(name)? <= most, "{name}: {} and not at most {most}", value(name)?);
    }
    for (name, least) in LEAST {
        ensure!(value(name)? >= least, "{name}: {} and not at least {least}", value(name)?);
    }
    Ok(())
}
