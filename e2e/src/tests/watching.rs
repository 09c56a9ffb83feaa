//! What a page of a measured call says of the pictures it shows and sends, and waiting for them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::sleep;

use crate::bench::network::measure::CAMERA;
use crate::browser::Person;

/// For a layer to come that was asked for: a keyframe of a software encoder on a busy machine.
const LIMIT: Duration = Duration::from_secs(40);
/// Between two looks at a page.
const LOOK: Duration = Duration::from_millis(250);
/// Pictures to be seen of a layer before it counts as shown.
const PICTURES: f64 = 10.0;

/// What a browser says of the camera it receives, in its own words (W3C webrtc-stats).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Camera {
    pub mime_type: String,
    pub frame_width: f64,
    pub frames_decoded: f64,
}

/// What a browser says of a layer of the camera it sends; of all of them where one stream has several.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sent {
    pub source: String,
    pub rid: String,
    pub scalability_mode: String,
    pub frames_encoded: f64,
}

/// Waits until pictures of this width are shown, and go on; returns what the browser says then.
pub async fn shows(person: &Person, width: f64) -> Result<Camera> {
    let mut first = None;
    let what = format!("pictures of width {width}");
    until(&what, async || {
        let camera = received(person).await?;
        if (camera.frame_width - width).abs() > 1.0 {
            first = None;
        }
        let is_shown = camera.frames_decoded >= *first.get_or_insert(camera.frames_decoded) + PICTURES;
        Ok((first.is_some() && is_shown, camera))
    })
    .await
}

/// The received camera at the last look; all zero before the first picture.
pub async fn received(person: &Person) -> Result<Camera> {
    ask(person, &format!("window.measured.samples.at(-1)?.received[{CAMERA:?}] ?? {{}}")).await
}

/// The layers of the sent camera, at the last look.
pub async fn sent(person: &Person) -> Result<Vec<Sent>> {
    let all: Vec<Sent> = ask(person, "window.measured.samples.at(-1)?.sent ?? []").await?;
    Ok(all.into_iter().filter(|one| one.source == CAMERA).collect())
}

/// Looks until it `is` so, with what was seen; says `what` did not come, with what was seen last.
pub async fn until<T: std::fmt::Debug>(what: &str, mut look: impl AsyncFnMut() -> Result<(bool, T)>) -> Result<T> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let (is, seen) = look().await?;
        if is {
            return Ok(seen);
        }
        if Instant::now() > deadline {
            bail!("no {what} within {} s, but {seen:?}", LIMIT.as_secs());
        }
        sleep(LOOK).await;
    }
}

/// What an expression is in the person's page.
pub async fn ask<T: for<'de> Deserialize<'de>>(person: &Person, expression: &str) -> Result<T> {
    let answer: Value = person.evaluate(expression).await?;
    serde_json::from_value(answer).context("the page counts in another form")
}
