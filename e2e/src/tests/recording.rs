//! Recordings of calls that people hold in real browsers: files that play, in a browser and elsewhere.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use crate::bench::network::measure::Participant;
use crate::browser::{Kind, LaunchOptions, Person, Visitor};
use crate::command::{command, output};
use crate::recorder::{Recorded, Recorder};
use crate::test::{Ring, Stage, Test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    Test {
        name: "a_call_is_recorded_to_one_file_that_plays_in_dev",
        ring: Ring::Dev,
        slow: false,
        run: a_call_is_recorded_to_one_file_that_plays,
    },
    Test { name: "the_host_records_from_the_page_in_dev", ring: Ring::Dev, slow: false, run: the_host_records },
    Test { name: "livekits_server_sdk_records_a_call_in_dev", ring: Ring::Dev, slow: false, run: an_sdk_records },
];

/// For something to reach somebody on a busy machine.
const SOON: Duration = Duration::from_secs(20);
/// A tone comes through at about 0.1; noise and other tones are far below (root mean square).
const AUDIBLE: f64 = 0.02;
const INAUDIBLE: f64 = 0.005;
/// Of a picture: what is shared is bright, no screen is black.
const BRIGHT: u8 = 60;
const BLACK: u8 = 20;
/// A recording and what people did meanwhile may differ by what a busy machine takes to start a program.
const MARGIN: f64 = 4.0;

fn a_call_is_recorded_to_one_file_that_plays(stage: &Stage) -> Result<()> {
    let (driver, call, entrance) = (stage.browsers()?, stage.call_name(), stage.entrance());
    let folder = stage.folder("recording")?;
    let link = format!("{}/c/{call}", stage.page());
    let (ada, bo) = (Visitor::new("Ada", 440), Visitor::new("Bo", 880));
    stage.block_on(async {
        let browser = driver.launch(Kind::Chromium, &LaunchOptions::default()).await?;
        let (ada, bo) = (browser.join(&link, &ada).await?, browser.join(&link, &bo).await?);
        ada.hear("Bo", 880, SOON).await?;
        bo.hear("Ada", 440, SOON).await?;

        let killed = Recorder::start(&stage.recorder()?, &entrance, &call, &folder.join("killed.webm"))?;
        let recorder = Recorder::start(&stage.recorder()?, &entrance, &call, &folder.join("call.webm"))?;
        let began = Instant::now();
        ada.wait_text("This call is being recorded", SOON).await?;
        bo.wait_text("This call is being recorded", SOON).await?;
        ada.share().await?;
        bo.see_advance(10, SOON).await?;
        ada.stop_sharing().await?;
        bo.wait_no_share(SOON).await?;
        bo.mute().await?;
        ada.hear_silence("Bo", SOON).await?;
        // The file is behind by less.
        ada.measure(Duration::from_secs(3)).await?;
        let killed = killed.kill()?;
        let (recorded, took) = (recorder.stop()?, began.elapsed().as_secs_f64());

        let duration = recorded.duration()?.context("the file does not say how long it is")?;
        ensure!((duration - took).abs() < MARGIN, "{duration} s were recorded in {took} s");
        looks_and_sounds_right(&recorded)?;
        ensure!(killed.duration()?.is_none(), "who is killed cannot know how long the file became");
        looks_and_sounds_right(&killed).context("what was written when the recorder was killed")?;

        let page = Participant::new("Viewer").join(&driver, &browser, &entrance, &call).await?;
        let played = play(&page, &recorded).await?;
        ensure!((played.duration - duration).abs() < 0.1, "{played:?} of {duration} s");
        ensure!(played.width > 0 && played.at > duration - 0.5, "did not play to its end: {played:?}");
        play(&page, &killed).await.context("what was written when the recorder was killed")?;
        Ok(browser.close().await?)
    })
}

fn the_host_records(stage: &Stage) -> Result<()> {
    let (driver, call) = (stage.browsers()?, stage.call_name());
    let link = format!("{}/c/{call}", stage.page());
    let (ada, bo) = (Visitor::new("Ada", 440), Visitor::new("Bo", 880));
    stage.block_on(async {
        let browser = driver.launch(Kind::Chromium, &LaunchOptions::default()).await?;
        let (ada, bo) = (browser.join(&link, &ada).await?, browser.join(&link, &bo).await?);
        ada.hear("Bo", 880, SOON).await?;
        bo.hear("Ada", 440, SOON).await?;
        ensure!(bo.evaluate(BUTTON).await? == Value::Null, "who is not the host has a button to record");
        ensure!(ada.evaluate(BUTTON).await? == "Record the call", "the host has none");

        ada.evaluate(&format!("{PRESS}(true)")).await?;
        bo.wait_text("This call is being recorded", SOON).await?;
        ada.wait_text("This call is being recorded", SOON).await?;
        ada.share().await?;
        bo.see_advance(10, SOON).await?;
        ada.stop_sharing().await?;
        bo.wait_no_share(SOON).await?;
        // Whoever comes later is told as well.
        let cy = browser.join(&link, &Visitor::new("Cy", 1320)).await?;
        cy.wait_text("This call is being recorded", SOON).await?;

        ada.evaluate(&format!("{PRESS}(false)")).await?;
        ada.wait_text("The recording is finished", SOON).await?;
        for person in [&ada, &bo, &cy] {
            person.evaluate(UNRECORDED).await.context("the call is said to be recorded still")?;
        }
        let is_of_call = |name: &str| name.starts_with(&call) && Path::new(name).extension() == Some("webm".as_ref());
        let files = fs::read_dir(stage.recordings())?.collect::<io::Result<Vec<_>>>()?;
        let mut files = files.into_iter().filter(|file| file.file_name().to_str().is_some_and(is_of_call));
        let (file, more) = (files.next().context("there is no file")?, files.next());
        ensure!(more.is_none(), "there is more than one file");
        let recorded = Recorded { file: file.path() };
        ensure!(recorded.duration()?.is_some(), "the file is not finished");
        looks_and_sounds_right(&recorded)?;
        Ok(browser.close().await?)
    })
}

/// What LiveKit's SDK was answered.
#[derive(Debug, Deserialize)]
struct Answered {
    statuses: [String; 4],
    /// Whether each that ran was the one that was started.
    running: Vec<bool>,
    file: PathBuf,
    seconds: f64,
    bytes: u64,
    /// The code of stopping it again.
    again: String,
}

fn an_sdk_records(stage: &Stage) -> Result<()> {
    let (driver, call, entrance) = (stage.browsers()?, stage.call_name(), stage.entrance());
    let link = format!("{}/c/{call}", stage.page());
    stage.block_on(async {
        let browser = driver.launch(Kind::Chromium, &LaunchOptions::default()).await?;
        let (ada, bo) = (Visitor::new("Ada", 440), Visitor::new("Bo", 880));
        let (_ada, bo) = (browser.join(&link, &ada).await?, browser.join(&link, &bo).await?);
        bo.hear("Ada", 440, SOON).await?;
        let mut record = command("node", ["egress/record.mjs", stage.page(), &entrance.key, &entrance.secret, &call]);
        let answered = output(record.current_dir(stage.driver_folder()))?;
        let answered: Answered = serde_json::from_str(&answered).context(answered)?;
        let statuses = ["EGRESS_STARTING", "EGRESS_ACTIVE", "EGRESS_ENDING", "EGRESS_COMPLETE"];
        ensure!(answered.statuses == statuses && answered.running == [true], "{answered:?}");
        ensure!(answered.again == "failed_precondition", "{answered:?}");
        let recorded = Recorded { file: stage.recordings().join(&answered.file) };
        ensure!(fs::metadata(&recorded.file)?.len() == answered.bytes, "{answered:?}");
        let duration = recorded.duration()?.context("the file is not finished")?;
        ensure!((duration - answered.seconds).abs() < 0.1, "{duration} s: {answered:?}");
        for tone in [440, 880] {
            let loudest = recorded.loudest(tone)?;
            ensure!(loudest > AUDIBLE, "the voice of {tone} Hz is recorded at {loudest}");
        }
        Ok(browser.close().await?)
    })
}

/// What the button for recordings says, if there is one.
const BUTTON: &str = "document.querySelector('[data-action=record]')?.getAttribute('aria-label') ?? null";
/// Presses it, and waits until it says that it is (`true`) or is not (`false`) recorded.
const PRESS: &str = "(async (recorded) => {
    const button = () => document.querySelector('[data-action=record]');
    button().click();
    while ((button().dataset.active === 'true') !== recorded) await new Promise((done) => setTimeout(done, 50));
})";
const UNRECORDED: &str = "(async () => {
    while (document.querySelector('[data-banner=recording]')) await new Promise((done) => setTimeout(done, 50));
})()";

/// Both voices are in it, nothing else, and the screen for as long as it was shared.
fn looks_and_sounds_right(recorded: &Recorded) -> Result<()> {
    for tone in [440, 880] {
        let loudest = recorded.loudest(tone)?;
        ensure!(loudest > AUDIBLE, "the voice of {tone} Hz is recorded at {loudest}");
    }
    let loudest = recorded.loudest(620)?;
    ensure!(loudest < INAUDIBLE, "a tone of 620 Hz nobody made is recorded at {loudest}");
    let brightness = recorded.brightness()?;
    ensure!(brightness.iter().max() > Some(&BRIGHT), "the shared screen is not in it: {brightness:?}");
    ensure!(brightness.last() < Some(&BLACK), "the screen that is shared no more stands still: {brightness:?}");
    Ok(())
}

#[derive(Debug, Deserialize)]
struct Played {
    duration: f64,
    width: u32,
    /// Where it was when it ended.
    at: f64,
}

/// Opens the file in a browser, seeks to its last second, and plays to the end.
async fn play(page: &Person, recorded: &Recorded) -> Result<Played> {
    const PLAY: &str = r"(async () => {
        const bytes = Uint8Array.from(atob(FILE), (c) => c.charCodeAt(0));
        const video = document.createElement('video');
        video.muted = true;
        const told = (name) => new Promise((resolve, reject) => {
            video.addEventListener(name, resolve, { once: true });
            video.addEventListener('error', () => reject(new Error(video.error.message)), { once: true });
        });
        const opened = told('loadedmetadata');
        video.src = URL.createObjectURL(new Blob([bytes], { type: 'video/webm' }));
        await opened;
        if (video.duration === Infinity) {
            // A file that does not say how long it is: a browser finds out by going to its end.
            const known = told('durationchange');
            video.currentTime = 1e9;
            await known;
        }
        const duration = video.duration;
        const there = told('seeked');
        video.currentTime = Math.max(0, duration - 1);
        await there;
        const ended = told('ended');
        await video.play();
        await ended;
        return { duration, width: video.videoWidth, at: video.currentTime };
    })()";
    let file = STANDARD.encode(fs::read(&recorded.file)?);
    Ok(serde_json::from_value(page.evaluate(&PLAY.replace("FILE", &format!("{file:?}"))).await?)?)
}
