//! Applications built on earlier releases of livekit-client, in calls with people on our page.
//!
//! Releases before 2.16 use two peer connections: the client offers what it sends on one, and the server offers what it
//! sends on the other.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::{ADA, BO, CY, SOON, address, close, mute_silences, recovery, visitor};
use crate::browser::{Driver, Kind, LaunchOptions, Person, Visitor};

/// What the releases can do that are tried, oldest first.
const RELEASES: [Release; 3] = [
    Release { version: "2.0", has_attributes: false, has_text: false },
    Release { version: "2.9", has_attributes: true, has_text: true },
    Release { version: "2.15", has_attributes: true, has_text: true },
];

/// A fourth in the call.
const DI: Visitor<'static> = visitor("Di", 1040);

/// A release of livekit-client, and what came only after the first of 2.x.
struct Release {
    version: &'static str,
    has_attributes: bool,
    has_text: bool,
}

/// Ada on our page and Bo on an earlier client, in a browser of `kind`, do everything a call is for.
pub async fn an_earlier_client_holds_a_call(
    driver: &Driver,
    page: &str,
    call: &str,
    version: &str,
    kind: Kind,
) -> Result<()> {
    let release = RELEASES.iter().find(|release| release.version == version);
    let Some(release) = release else { anyhow::bail!("{version} is none of the releases there are") };
    let options = LaunchOptions::default();
    let first = driver.launch(Kind::Chromium, &options).await?;
    let second = driver.launch(kind, &options).await?;
    let bo = second.join(&driver.earlier_client(version, page, call).await?, &BO).await?;
    let ada = first.join(&address(page, call), &ADA).await?;
    tokio::try_join!(ada.hear(BO.name, BO.tone, SOON), bo.hear(ADA.name, ADA.tone, SOON))?;
    ensure!(connections(&bo).await? == 2, "{version} uses {} peer connections", connections(&bo).await?);

    for (shows, sees) in [(&ada, &bo), (&bo, &ada)] {
        shows.share().await?;
        sees.see_advance(5, SOON).await?;
        shows.stop_sharing().await?;
        sees.wait_no_share(SOON).await?;
    }
    for (reacts, sees) in [(&ada, &bo), (&bo, &ada)] {
        reacts.react("🎉").await?;
        sees.wait_state(json!({ "reactions": [{ "emoji": "🎉", "name": reacts.name }] }), SOON).await?;
    }
    if release.has_attributes {
        for (raises, sees) in [(&ada, &bo), (&bo, &ada)] {
            raises.raise_hand().await?;
            sees.wait_tile(&raises.name, json!({ "hand": true }), SOON).await?;
        }
    }
    if release.has_text {
        for (writes, reads) in [(&ada, &bo), (&bo, &ada)] {
            let text = format!("Hello from {}", writes.name);
            // The chat must be open on our page for its lines to be there.
            reads.chat("Yes?").await?;
            writes.chat(&text).await?;
            reads.wait_state(json!({ "chat": [{ "from": writes.name, "text": text, "own": false }] }), SOON).await?;
        }
    }
    mute_silences(&ada, ADA.tone, &bo).await?;
    mute_silences(&bo, BO.tone, &ada).await?;
    bo.leave().await?;
    ada.wait_gone(BO.name, SOON).await?;
    close([first, second]).await
}

/// Ada on our page and a person on each earlier client; `kill` ends their server the hard way and starts another. All
/// hear each other again on their own within `limit`. Returns how long it took.
pub async fn earlier_clients_survive_a_killed_server<F>(
    driver: &Driver,
    page: &str,
    call: &str,
    limit: Duration,
    kill: impl FnOnce() -> F,
) -> Result<Duration>
where
    F: Future<Output = Result<()>>,
{
    let options = LaunchOptions::default();
    let first = driver.launch(Kind::Chromium, &options).await?;
    let second = driver.launch(Kind::Chromium, &options).await?;
    let mut people = vec![(first.join(&address(page, call), &ADA).await?, ADA.tone)];
    for (release, visitor) in RELEASES.iter().zip([BO, CY, DI]) {
        let url = driver.earlier_client(release.version, page, call).await?;
        people.push((second.join(&url, &visitor).await?, visitor.tone));
    }
    all_hear_all(&people, SOON).await?;

    let everybody: Vec<&Person> = people.iter().map(|(person, _)| person).collect();
    let took = recovery(&everybody, limit, kill, all_hear_all(&people, limit)).await?;
    close([first, second]).await?;
    Ok(took)
}

async fn all_hear_all(people: &[(Person, u32)], limit: Duration) -> Result<()> {
    for (listener, _) in people {
        for (speaker, tone) in people.iter().filter(|(speaker, _)| speaker.name != listener.name) {
            listener.hear(&speaker.name, *tone, limit).await?;
        }
    }
    Ok(())
}

/// How many peer connections somebody's page has that are connected.
async fn connections(person: &Person) -> Result<u64> {
    let count = "window.__calls.connections.filter((one) => one.connectionState === 'connected').length";
    Ok(person.evaluate(count).await?.as_u64().unwrap_or_default())
}
