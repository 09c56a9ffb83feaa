//! Codecs that send several layers in one stream (SVC), as browsers make and show them: each receiver gets the layer it
//! asks for, and nobody notices what the others asked for.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::sleep;

use crate::bench::network::measure::{CAMERA, Entrance, FULL_WIDTH, Participant};
use crate::browser::{Kind, LaunchOptions, Person};
use crate::test::{Ring, Stage, Test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    Test {
        name: "each_receiver_gets_its_layer_of_vp9_in_dev",
        ring: Ring::Dev,
        slow: false,
        run: |stage| each_receiver_gets_its_layer(stage, "vp9", "video/VP9"),
    },
    Test {
        name: "each_receiver_gets_its_layer_of_av1_in_dev",
        ring: Ring::Dev,
        slow: false,
        run: |stage| each_receiver_gets_its_layer(stage, "av1", "video/AV1"),
    },
];

/// For a layer to come that was asked for: a keyframe of a software encoder on a busy machine.
const LIMIT: Duration = Duration::from_secs(40);
/// Between two looks at a page.
const LOOK: Duration = Duration::from_millis(250);
/// The picture halves from layer to layer.
const SMALLEST: f64 = FULL_WIDTH / 4.0;
const MIDDLE: f64 = FULL_WIDTH / 2.0;
/// Pictures to be seen of a layer before another is asked for.
const PICTURES: f64 = 10.0;

/// What a browser says of the camera it receives, in its own words (W3C webrtc-stats).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Camera {
    mime_type: String,
    frame_width: f64,
    frames_decoded: f64,
}

/// What a browser says of the camera it sends.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Sent {
    scalability_mode: String,
}

fn each_receiver_gets_its_layer(stage: &Stage, codec: &str, mime_type: &str) -> Result<()> {
    let (driver, call) = (stage.browsers()?, stage.call_name());
    let url = stage.page().replacen("http", "ws", 1);
    let entrance = Entrance { url, key: "devkey".into(), secret: "secret".into() };
    stage.block_on(async {
        let browser = driver.launch(Kind::Chromium, &LaunchOptions::default()).await?;
        let ada = Participant { sends: &[CAMERA], codec: Some(codec), ..Participant::new("Ada") };
        let ada = ada.join(&driver, &browser, &entrance, &call).await?;
        let bo = Participant::new("Bo").join(&driver, &browser, &entrance, &call).await?;
        let cleo = Participant::new("Cleo").join(&driver, &browser, &entrance, &call).await?;

        let largest = shows(&bo, FULL_WIDTH).await?;
        shows(&cleo, FULL_WIDTH).await?;
        ensure!(largest.mime_type == mime_type, "{codec} was asked for, and {} comes", largest.mime_type);
        let sent: Vec<Sent> = ask(&ada, "window.measured.samples.at(-1).sent").await?;
        ensure!(
            matches!(&sent[..], [one] if one.scalability_mode.starts_with("L3")),
            "not three layers in one stream: {sent:?}"
        );

        for (quality, width) in [("LOW", SMALLEST), ("MEDIUM", MIDDLE), ("LOW", SMALLEST), ("HIGH", FULL_WIDTH)] {
            cleo.evaluate(&format!("window.measured.want({CAMERA:?}, {quality:?})")).await?;
            shows(&cleo, width).await.with_context(|| format!("after asking for {quality}"))?;
            let other = received(&bo).await?;
            ensure!(other.frame_width >= FULL_WIDTH, "who asked for nothing less gets {other:?}");
        }
        Ok(())
    })
}

/// Waits until pictures of this width are shown, and go on; returns what the browser says then.
async fn shows(person: &Person, width: f64) -> Result<Camera> {
    let deadline = Instant::now() + LIMIT;
    let mut first = None;
    loop {
        let camera = received(person).await?;
        if (camera.frame_width - width).abs() > 1.0 {
            first = None;
        } else if camera.frames_decoded >= *first.get_or_insert(camera.frames_decoded) + PICTURES {
            return Ok(camera);
        }
        if Instant::now() > deadline {
            bail!("no pictures of width {width} within {} s, but {camera:?}", LIMIT.as_secs());
        }
        sleep(LOOK).await;
    }
}

/// At the last look; all zero before the first picture.
async fn received(person: &Person) -> Result<Camera> {
    ask(person, &format!("window.measured.samples.at(-1)?.received[{CAMERA:?}] ?? {{}}")).await
}

async fn ask<T: for<'de> Deserialize<'de>>(person: &Person, expression: &str) -> Result<T> {
    let answer: Value = person.evaluate(expression).await?;
    serde_json::from_value(answer).context("the page counts in another form")
}
