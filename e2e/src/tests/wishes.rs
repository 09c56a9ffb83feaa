//! What receivers want reaches who sends, and what their network allows reaches them: livekit-client as it is released,
//! in real browsers.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::bench::network::measure::{CAMERA, FULL_WIDTH, Participant, VOICE};
use crate::browser::{Kind, LaunchOptions, Person};
use crate::test::{Ring, Stage, Test};
use crate::tests::watching::{Sent, ask, received, sent, shows, until};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test("layers_nobody_wants_are_not_sent_in_dev", layers_nobody_wants_are_not_sent),
    test("a_pause_of_pictures_is_told_and_its_end_too_in_dev", a_pause_of_pictures_is_told_and_its_end_too),
    test("calls_encrypted_end_to_end_are_seen_and_heard_in_dev", calls_encrypted_end_to_end_are_seen_and_heard),
];

const fn test(name: &'static str, run: fn(&Stage) -> Result<()>) -> Test {
    Test { name, ring: Ring::Dev, slow: false, run }
}

/// The layers livekit-client makes of a picture of 540 lines: of 180, 360 and 540.
const SMALLEST: f64 = FULL_WIDTH / 3.0;
const MIDDLE: f64 = FULL_WIDTH / 1.5;
/// A layer of which nothing was encoded for as long rests.
const STILL: Duration = Duration::from_secs(3);
/// How long the course of the network takes that lets nothing but voices through in its middle third.
const COURSE: Duration = Duration::from_mins(1);
/// Loudness of a received tone, summed over half a second at least (W3C webrtc-stats, `totalAudioEnergy`).
const HEARD: f64 = 0.001;

fn layers_nobody_wants_are_not_sent(stage: &Stage) -> Result<()> {
    let (driver, call, entrance) = (stage.browsers()?, stage.call_name(), stage.entrance());
    stage.block_on(async {
        let browser = driver.launch(Kind::Chromium, &LaunchOptions::default()).await?;
        let ada = Participant { sends: &[CAMERA], codec: Some("vp8"), ..Participant::new("Ada") };
        let ada = ada.join(&driver, &browser, &entrance, &call).await?;
        let bo = Participant::new("Bo").join(&driver, &browser, &entrance, &call).await?;
        let cleo = Participant::new("Cleo").join(&driver, &browser, &entrance, &call).await?;
        shows(&bo, FULL_WIDTH).await?;
        shows(&cleo, FULL_WIDTH).await?;

        // By what shows it: the smallest layer that is large enough.
        tell(&bo, "size", "200, 112").await?;
        shows(&bo, SMALLEST).await?;
        tell(&bo, "size", "500, 281").await?;
        shows(&bo, MIDDLE).await?;
        tell(&cleo, "want", "\"MEDIUM\"").await?;
        shows(&cleo, MIDDLE).await?;
        rests(&ada, &["f"]).await.context("nobody wants the largest layer")?;

        for person in [&bo, &cleo] {
            tell(person, "enable", "false").await?;
        }
        rests(&ada, &["q", "h", "f"]).await.context("nobody looks")?;

        tell(&bo, "enable", "true").await?;
        tell(&bo, "want", "\"HIGH\"").await?;
        shows(&bo, FULL_WIDTH).await.context("somebody looks again")?;
        Ok(())
    })
}

fn a_pause_of_pictures_is_told_and_its_end_too(stage: &Stage) -> Result<()> {
    let (driver, call, entrance) = (stage.browsers()?, stage.call_name(), stage.entrance());
    let mut relay = stage.relay(1)?;
    stage.block_on(async {
        let browser = driver.launch(Kind::Chromium, &LaunchOptions::default()).await?;
        let ada = Participant { sends: &[VOICE, CAMERA], ..Participant::new("Ada") };
        let _ada = ada.join(&driver, &browser, &entrance, &call).await?;
        let bo = Participant { relay: Some(relay.places.relay), ..Participant::new("Bo") };
        let bo = bo.join(&driver, &browser, &entrance, &call).await?;
        shows(&bo, FULL_WIDTH).await?;
        ensure!(states(&bo).await?.is_empty(), "nothing was paused yet");

        relay.change("choke", COURSE)?;
        let last_is = async |state: &str| {
            let states = states(&bo).await?;
            Ok((states.last().is_some_and(|last| last == state), states))
        };
        until("word of a pause", async || last_is("paused").await).await?;
        let before = heard(&bo).await?;
        until("sound during the pause", async || Ok((heard(&bo).await? > before + HEARD, before))).await?;
        until("word of its end", async || last_is("active").await).await?;
        let paused_at = received(&bo).await?.frames_decoded;
        until("pictures after it", async || {
            let camera = received(&bo).await?;
            Ok((camera.frames_decoded > paused_at + 10.0, camera))
        })
        .await?;
        Ok(())
    })
}

fn calls_encrypted_end_to_end_are_seen_and_heard(stage: &Stage) -> Result<()> {
    let (driver, call, entrance) = (stage.browsers()?, stage.call_name(), stage.entrance());
    stage.block_on(async {
        let browser = driver.launch(Kind::Chromium, &LaunchOptions::default()).await?;
        let secret = Some("correct horse battery staple");
        let ada = Participant { sends: &[VOICE, CAMERA], codec: Some("vp8"), secret, ..Participant::new("Ada") };
        let _ada = ada.join(&driver, &browser, &entrance, &call).await?;
        let bo = Participant { secret, ..Participant::new("Bo") };
        let bo = bo.join(&driver, &browser, &entrance, &call).await?;
        shows(&bo, FULL_WIDTH).await?;
        let encrypted: Vec<String> = ask(&bo, "window.measured.encrypted()").await?;
        ensure!(encrypted.len() == 2, "of a voice and a camera, encrypted are {encrypted:?}");
        for (quality, width) in [("LOW", SMALLEST), ("HIGH", FULL_WIDTH)] {
            tell(&bo, "want", &format!("{quality:?}")).await?;
            shows(&bo, width).await.with_context(|| format!("after asking for {quality}"))?;
        }
        let before = heard(&bo).await?;
        until("decrypted sound", async || Ok((heard(&bo).await? > before + HEARD, before))).await?;

        // Who has another key gets it all, and hears nothing.
        let eve = Participant { secret: Some("another"), ..Participant::new("Eve") };
        let eve = eve.join(&driver, &browser, &entrance, &call).await?;
        until("packets for who has another key", async || {
            let packets: f64 = ask(&eve, &of_voice("packetsReceived")).await?;
            Ok((packets > 200.0, packets))
        })
        .await?;
        let heard = heard(&eve).await?;
        ensure!(heard < HEARD, "who has another key hears {heard}");
        Ok(())
    })
}

/// Has the page of a receiver ask for something of the camera.
async fn tell(person: &Person, what: &str, with: &str) -> Result<()> {
    person.evaluate(&format!("window.measured.{what}({CAMERA:?}, {with})")).await.map(drop).map_err(Into::into)
}

/// Waits until these layers are encoded no more.
async fn rests(sender: &Person, layers: &[&str]) -> Result<()> {
    let mut last = (Instant::now(), Vec::new());
    until("rest", async || {
        let sent = sent(sender).await?;
        let of = |one: &Sent| layers.contains(&one.rid.as_str()).then_some(one.frames_encoded);
        let encoded: Vec<f64> = sent.iter().filter_map(of).collect();
        if encoded != last.1 {
            last = (Instant::now(), encoded);
        }
        Ok((last.1.len() == layers.len() && last.0.elapsed() >= STILL, sent))
    })
    .await
    .map(drop)
}

/// What the page was told of the camera's stream, in order.
async fn states(person: &Person) -> Result<Vec<String>> {
    ask(
        person,
        &format!("window.measured.states.filter(([source]) => source === {CAMERA:?}).map(([, state]) => state)"),
    )
    .await
}

/// How much was heard so far.
async fn heard(person: &Person) -> Result<f64> {
    ask(person, &of_voice("totalAudioEnergy")).await
}

fn of_voice(figure: &str) -> String {
    format!("window.measured.samples.at(-1)?.received[{VOICE:?}]?.{figure} ?? 0")
}
