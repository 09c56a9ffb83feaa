//! Codecs that send several layers in one stream (SVC), as browsers make and show them: each receiver gets the layer it
//! asks for, and nobody notices what the others asked for.

use anyhow::{Context as _, Result, ensure};

use crate::bench::network::measure::{CAMERA, FULL_WIDTH, Participant};
use crate::browser::{Kind, LaunchOptions};
use crate::test::{Ring, Stage, Test};
use crate::tests::watching::{received, sent, shows};

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

/// The picture halves from layer to layer.
const SMALLEST: f64 = FULL_WIDTH / 4.0;
const MIDDLE: f64 = FULL_WIDTH / 2.0;

fn each_receiver_gets_its_layer(stage: &Stage, codec: &str, mime_type: &str) -> Result<()> {
    let (driver, call, entrance) = (stage.browsers()?, stage.call_name(), stage.entrance());
    stage.block_on(async {
        let browser = driver.launch(Kind::Chromium, &LaunchOptions::default()).await?;
        let ada = Participant { sends: &[CAMERA], codec: Some(codec), ..Participant::new("Ada") };
        let ada = ada.join(&driver, &browser, &entrance, &call).await?;
        let bo = Participant::new("Bo").join(&driver, &browser, &entrance, &call).await?;
        let cleo = Participant::new("Cleo").join(&driver, &browser, &entrance, &call).await?;

        let largest = shows(&bo, FULL_WIDTH).await?;
        shows(&cleo, FULL_WIDTH).await?;
        ensure!(largest.mime_type == mime_type, "{codec} was asked for, and {} comes", largest.mime_type);
        let sent = sent(&ada).await?;
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
