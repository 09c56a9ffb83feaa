//! Calls of two people that go on for long, whatever happens around them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;

use super::{ADA, BO, SOON, address, close, mute_silences};
use crate::browser::{Driver, Kind, LaunchOptions, Person};

/// Ada and Bo talk while `fail` does its worst, once a round: after each they hear each other again within `limit`.
/// `in_the_end` looks at the fleet while they are still there.
pub async fn two_people_talk_through(
    driver: &Driver,
    page: &str,
    call: &str,
    rounds: u32,
    limit: Duration,
    mut fail: impl FnMut(u32) -> Result<()>,
    in_the_end: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let options = LaunchOptions::default();
    let browsers = [driver.launch(Kind::Chromium, &options).await?, driver.launch(Kind::Chromium, &options).await?];
    let ada = browsers[0].join(&address(page, call), &ADA).await?;
    let bo = browsers[1].join(&address(page, call), &BO).await?;
    both_talk(&ada, &bo, SOON).await?;
    for round in 1..=rounds {
        fail(round)?;
        both_talk(&ada, &bo, limit).await.with_context(|| format!("after round {round}"))?;
    }
    in_the_end()?;
    close(browsers).await
}

/// Ada and Bo are in a call for as long as told and do what people do in a day: share, go and come, mute, and lose their
/// way to the server, which `interrupt` does. `look` is called after each. Returns how many rounds that were.
pub async fn a_long_call(
    driver: &Driver,
    page: &str,
    call: &str,
    lasting: Duration,
    interrupt: impl Fn() -> Result<()>,
    mut look: impl FnMut() -> Result<()>,
) -> Result<u32> {
    let options = LaunchOptions::default();
    let browsers = [driver.launch(Kind::Chromium, &options).await?, driver.launch(Kind::Chromium, &options).await?];
    let ada = browsers[0].join(&address(page, call), &ADA).await?;
    let bo = browsers[1].join(&address(page, call), &BO).await?;
    let began = Instant::now();
    let mut rounds = 0;
    while began.elapsed() < lasting {
        rounds += 1;
        both_talk(&ada, &bo, SOON).await.with_context(|| format!("round {rounds}"))?;
        match rounds % 4 {
            1 => {
                ada.share().await?;
                bo.see_advance(20, SOON).await?;
                ada.stop_sharing().await?;
                bo.wait_no_share(SOON).await?;
            }
            2 => {
                bo.leave().await?;
                ada.wait_gone(BO.name, SOON).await?;
                bo.reload().await?;
                bo.join().await?;
            }
            3 => {
                interrupt()?;
                ada.wait_banner(SOON).await?;
                for person in [&ada, &bo] {
                    person.wait_state(json!({ "connection": "connected" }), SOON).await?;
                }
            }
            _ => mute_silences(&bo, BO.tone, &ada).await?,
        }
        look().with_context(|| format!("round {rounds}"))?;
    }
    both_talk(&ada, &bo, SOON).await?;
    ada.leave().await?;
    bo.leave().await?;
    close(browsers).await?;
    Ok(rounds)
}

async fn both_talk(ada: &Person, bo: &Person, limit: Duration) -> Result<()> {
    tokio::try_join!(ada.hear(BO.name, BO.tone, limit), bo.hear(ADA.name, ADA.tone, limit))?;
    Ok(())
}
