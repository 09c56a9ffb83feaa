//! Calls that people have, played by real browsers: the same against a development server and a cluster.
//!
//! Each scenario gets the address of a page and a call of its own, and fails with what somebody did not hear or see.

mod earlier;
mod lasting;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::try_join_all;
use serde_json::json;

pub use self::earlier::{an_earlier_client_holds_a_call, earlier_clients_survive_a_killed_server};
pub use self::lasting::{a_long_call, two_people_talk_through};
use crate::browser::{Browser, BrowserError, Driver, Kind, LaunchOptions, Person, Sound, Visitor};

/// For something to reach another browser on a busy machine; what a person waits is measured apart.
const SOON: Duration = Duration::from_secs(20);
/// A mute must silence within this time; the measuring itself takes some of it.
const SILENCE_WITHIN: Duration = Duration::from_secs(1);
/// A person whose media finds no way must be told within this time.
const TOLD_WITHIN: Duration = Duration::from_secs(10);
/// What is heard is looked at in windows of this length.
const HEARING: Duration = Duration::from_secs(1);
/// Pages of a fleet are served by any SFU: so many alike are from all of them.
const ASKED_IN_A_ROW: usize = 6;
/// A tone comes through at about 0.1; noise is far below (root mean square).
const AUDIBLE: f64 = 0.01;
/// A codec and a window of a second move a tone by less than this (hertz).
const TONE_TOLERANCE: f64 = 30.0;

/// Tones are far enough apart that no browser's audio processing mixes them up.
const ADA: Visitor<'static> = visitor("Ada", 440);
const BO: Visitor<'static> = visitor("Bo", 880);
const CY: Visitor<'static> = visitor("Cy", 620);

const fn visitor(name: &'static str, tone: u32) -> Visitor<'static> {
    Visitor { name, tone, devices: crate::browser::Devices::All }
}

/// Two people in two browsers do everything a call is for; a third who joins later sees the raised hand.
///
/// `page` is an address such as `http://127.0.0.1:7880`, `call` a name nobody else uses.
pub async fn two_people_hold_a_call(driver: &Driver, page: &str, call: &str, kinds: [Kind; 2]) -> Result<()> {
    let options = LaunchOptions::default();
    let first = driver.launch(kinds[0], &options).await?;
    let second = driver.launch(kinds[1], &options).await?;
    let ada = first.join(&address(page, call), &ADA).await?;
    let bo = second.join(&address(page, call), &BO).await?;

    for person in [&ada, &bo] {
        person.wait_console("rtc connected", SOON).await?;
    }
    ada.hear(BO.name, BO.tone, SOON).await?;
    bo.hear(ADA.name, ADA.tone, SOON).await?;

    for (shows, sees) in [(&ada, &bo), (&bo, &ada)] {
        shows.share().await?;
        sees.see_advance(5, SOON).await?;
        shows.stop_sharing().await?;
        sees.wait_no_share(SOON).await?;
    }

    bo.react("🎉").await?;
    ada.wait_state(json!({ "reactions": [{ "emoji": "🎉", "name": BO.name }] }), SOON).await?;

    ada.chat("Hello Bo").await?;
    bo.chat("Hello Ada").await?;
    bo.wait_state(json!({ "chat": [{ "from": ADA.name, "text": "Hello Bo", "own": false }] }), SOON).await?;
    ada.wait_state(json!({ "chat": [{ "from": BO.name, "text": "Hello Ada", "own": false }] }), SOON).await?;

    ada.raise_hand().await?;
    bo.wait_tile(ADA.name, json!({ "hand": true }), SOON).await?;
    let cy = first.join(&address(page, call), &CY).await?;
    let seen = cy.wait_tile(ADA.name, json!({ "hand": true, "host": true }), SOON).await?;
    ensure!(seen.people.iter().filter(|tile| tile.host).count() == 1, "Cy sees not one host: {:?}", seen.people);
    cy.leave().await?;
    bo.wait_gone(CY.name, SOON).await?;
    ada.lower_hand().await?;
    bo.wait_tile(ADA.name, json!({ "hand": false }), SOON).await?;

    mute_silences(&ada, ADA.tone, &bo).await?;

    ada.leave().await?;
    bo.wait_gone(ADA.name, SOON).await?;
    bo.wait_tile(BO.name, json!({ "host": true }), SOON).await?;
    close([first, second]).await
}

async fn mute_silences(speaker: &Person, tone: u32, listener: &Person) -> Result<()> {
    speaker.mute().await?;
    let muted = Instant::now();
    listener.hear_silence(&speaker.name, SOON).await?;
    let took = muted.elapsed();
    ensure!(took < SILENCE_WITHIN, "{} was still heard {took:?} after muting", speaker.name);
    listener.wait_tile(&speaker.name, json!({ "muted": true }), SOON).await?;
    speaker.unmute().await?;
    listener.hear(&speaker.name, tone, SOON).await?;
    Ok(())
}

/// Two people talk and one has a hand up; `kill` ends their server the hard way, and something starts another. They are
/// talking again on their own within `limit`, and the hand is still up. Returns how long it took.
pub async fn a_killed_server_is_survived<F>(
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
    let ada = first.join(&address(page, call), &ADA).await?;
    let bo = second.join(&address(page, call), &BO).await?;
    ada.hear(BO.name, BO.tone, SOON).await?;
    bo.hear(ADA.name, ADA.tone, SOON).await?;
    bo.raise_hand().await?;
    ada.wait_tile(BO.name, json!({ "hand": true }), SOON).await?;

    let talking = async {
        tokio::try_join!(ada.hear(BO.name, BO.tone, limit), bo.hear(ADA.name, ADA.tone, limit))?;
        anyhow::Ok(())
    };
    let took = recovery(&[&ada], limit, kill, talking).await?;
    ada.wait_tile(BO.name, json!({ "hand": true }), SOON).await?;
    close([first, second]).await?;
    Ok(took)
}

/// How long it takes after `kill` until all are `talking` again, which must be less than `limit`. The banner of those
/// in `noticing` shows that they noticed: what is heard from then on is a new connection, not the rest of the old.
async fn recovery<F>(
    noticing: &[&Person],
    limit: Duration,
    kill: impl FnOnce() -> F,
    talking: impl Future<Output = Result<()>>,
) -> Result<Duration>
where
    F: Future<Output = Result<()>>,
{
    // Of all at once, and from before it is killed: a banner may be there for a moment only.
    let noticed = try_join_all(noticing.iter().map(async |person| Ok(person.wait_banner(limit).await?)));
    let killed = Instant::now();
    let kill = async { kill().await.context("the server could not be killed") };
    tokio::try_join!(noticed, kill)?;
    talking.await?;
    let took = killed.elapsed();
    ensure!(took < limit, "they talk again only after {took:?}");
    Ok(took)
}

/// Two people talk while `trouble` is made and their server replaced under them: when it is over, they hear each other.
pub async fn two_people_talk_after(
    driver: &Driver,
    page: &str,
    call: &str,
    trouble: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let options = LaunchOptions::default();
    let browsers = [driver.launch(Kind::Chromium, &options).await?, driver.launch(Kind::Chromium, &options).await?];
    let ada = browsers[0].join(&address(page, call), &ADA).await?;
    let bo = browsers[1].join(&address(page, call), &BO).await?;
    tokio::try_join!(ada.hear(BO.name, BO.tone, SOON), bo.hear(ADA.name, ADA.tone, SOON))?;
    trouble()?;
    tokio::try_join!(ada.hear(BO.name, BO.tone, SOON), bo.hear(ADA.name, ADA.tone, SOON))?;
    close(browsers).await
}

/// Two people hear each other in every second of `lasting`, while the trouble lasts that `begin` makes and `end` ends;
/// a third comes in the middle of it.
pub async fn nobody_notices<T>(
    driver: &Driver,
    page: &str,
    call: &str,
    lasting: Duration,
    begin: impl FnOnce() -> Result<T>,
    end: impl FnOnce(T) -> Result<()>,
) -> Result<()> {
    let options = LaunchOptions::default();
    let browsers = [driver.launch(Kind::Chromium, &options).await?, driver.launch(Kind::Chromium, &options).await?];
    let ada = browsers[0].join(&address(page, call), &ADA).await?;
    let bo = browsers[1].join(&address(page, call), &BO).await?;
    tokio::try_join!(ada.hear(BO.name, BO.tone, SOON), bo.hear(ADA.name, ADA.tone, SOON))?;

    let trouble = begin()?;
    let began = Instant::now();
    let cy = browsers[0].join(&address(page, call), &CY).await.context("nobody can join meanwhile")?;
    bo.hear(CY.name, CY.tone, SOON).await?;
    while began.elapsed() < lasting {
        let (to_ada, to_bo) = tokio::try_join!(ada.measure(HEARING), bo.measure(HEARING))?;
        ensure!(is_heard(&to_ada, &BO), "after {:?}, Ada hears {to_ada:?}", began.elapsed());
        ensure!(is_heard(&to_bo, &ADA), "after {:?}, Bo hears {to_bo:?}", began.elapsed());
    }
    for person in [&ada, &bo, &cy] {
        let state = person.state().await?;
        ensure!(state.banners.is_empty(), "{} reads {:?}", person.name, state.banners);
    }
    end(trouble)?;
    close(browsers).await
}

fn is_heard(sounds: &[Sound], speaker: &Visitor<'_>) -> bool {
    sounds.iter().any(|sound| {
        sound.name.as_deref() == Some(speaker.name)
            && sound.source == "microphone"
            && sound.rms > AUDIBLE
            && (sound.frequency - f64::from(speaker.tone)).abs() < TONE_TOLERANCE
    })
}

/// Several calls at once, of two people each: both hear each other and see nobody else, wherever the fleet put them.
/// `meanwhile` looks at the fleet while all are in their calls.
pub async fn every_call_is_whole<T>(
    driver: &Driver,
    page: &str,
    calls: &[String],
    meanwhile: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let options = LaunchOptions::default();
    let browsers = [driver.launch(Kind::Chromium, &options).await?, driver.launch(Kind::Chromium, &options).await?];
    let mut pairs = Vec::new();
    for call in calls {
        let address = address(page, call);
        pairs.push((browsers[0].join(&address, &ADA).await?, browsers[1].join(&address, &BO).await?, call));
    }
    for (ada, bo, call) in &pairs {
        let here = || format!("in {call}");
        ada.hear(BO.name, BO.tone, SOON).await.with_context(here)?;
        bo.hear(ADA.name, ADA.tone, SOON).await.with_context(here)?;
        for person in [ada, bo] {
            let people = person.state().await?.people;
            ensure!(people.len() == 2, "{} sees {} people in {call}: {people:?}", person.name, people.len());
        }
    }
    let seen = meanwhile()?;
    close(browsers).await?;
    Ok(seen)
}

/// Somebody whose network drops UDP talks over TCP with somebody whose network does not. Needs root.
pub async fn blocked_udp_talks_over_tcp(driver: &Driver, page: &str, call: &str, kind: Kind) -> Result<()> {
    let free = driver.launch(Kind::Chromium, &LaunchOptions::default()).await?;
    let blocked = driver.launch(kind, &LaunchOptions { drop_udp: true, ..LaunchOptions::default() }).await?;
    let ada = free.join(&address(page, call), &ADA).await?;
    let bo = blocked.join(&address(page, call), &BO).await?;
    let line = bo.wait_console("rtc connected", SOON).await?;
    ensure!(line.text.contains("tcp"), "the console says: {}", line.text);
    ada.hear(BO.name, BO.tone, SOON).await?;
    bo.hear(ADA.name, ADA.tone, SOON).await?;
    let protocol = bo.stats().await?.protocol;
    ensure!(protocol.as_deref() == Some("tcp"), "media goes over {protocol:?}");
    close([free, blocked]).await
}

/// Somebody whose network drops UDP and the TCP media ports is told what to do, in time. Needs root.
pub async fn blocked_media_is_explained(
    driver: &Driver,
    page: &str,
    call: &str,
    kind: Kind,
    tcp_ports: &[u16],
) -> Result<()> {
    let options = LaunchOptions { drop_udp: true, drop_tcp_ports: tcp_ports.to_vec() };
    let blocked = driver.launch(kind, &options).await?;
    let bo = blocked.open(&address(page, call), &BO).await?;
    match bo.join().await {
        Ok(_) => bail!("Bo is in the call though no media can get through"),
        Err(BrowserError::Refused { reason, .. }) => {
            ensure!(reason.contains("Your network lets neither UDP nor TCP media through"), "Bo is told: {reason}");
            let told = refused_after(&reason).with_context(|| format!("no time in: {reason}"))?;
            ensure!(told < TOLD_WITHIN, "Bo is told only after {told:?}");
        }
        Err(error) => return Err(error.into()),
    }
    close([blocked]).await
}

/// Whoever opens the call's plain link is asked for an invitation, within `limit` wherever the page comes from.
pub async fn an_invitation_is_asked_for(driver: &Driver, page: &str, call: &str, limit: Duration) -> Result<()> {
    let browser = driver.launch(Kind::Chromium, &LaunchOptions::default()).await?;
    let deadline = Instant::now() + limit;
    // Several SFUs serve the page: all have to know.
    let mut in_a_row = 0;
    while in_a_row < ASKED_IN_A_ROW {
        let visitor = browser.open(&address(page, call), &ADA).await?;
        let asked = visitor.wait_text("This call takes an invitation", HEARING * 2).await;
        visitor.close().await?;
        in_a_row = if asked.is_ok() { in_a_row + 1 } else { 0 };
        ensure!(asked.is_ok() || Instant::now() < deadline, "the page still admits anybody after {limit:?}");
    }
    close([browser]).await
}

/// Two people with the link hear each other; with each of the others nobody comes in, and the page says why.
pub async fn only_the_invited_talk(driver: &Driver, link: &str, refused: &[(&str, &str)]) -> Result<()> {
    let browser = driver.launch(Kind::Chromium, &LaunchOptions::default()).await?;
    let ada = browser.join(link, &ADA).await?;
    let bo = browser.join(link, &BO).await?;
    tokio::try_join!(ada.hear(BO.name, BO.tone, SOON), bo.hear(ADA.name, ADA.tone, SOON))?;
    for (link, why) in refused {
        let answer = browser.join(link, &CY).await;
        let Err(refusal) = answer else { bail!("somebody came in with {link}") };
        ensure!(format!("{refusal:#}").contains(why), "the page does not say that the link {why}: {refusal:#}");
    }
    close([browser]).await
}

/// The time in `the page refuses after 9120 ms: …`.
fn refused_after(reason: &str) -> Option<Duration> {
    let (_, rest) = reason.split_once("refuses after ")?;
    let (number, _) = rest.split_once(" ms")?;
    number.parse().ok().map(Duration::from_millis)
}

/// A call's address.
fn address(page: &str, call: &str) -> String {
    format!("{}/c/{call}", page.trim_end_matches('/'))
}

async fn close<const N: usize>(browsers: [Browser; N]) -> Result<()> {
    for browser in browsers {
        browser.close().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_refusal_is_read() {
        let reason = "the page refuses after 9120 ms: Sound and video cannot get through";
        assert_eq!(refused_after(reason), Some(Duration::from_millis(9120)));
        assert_eq!(refused_after("not in the call"), None);
    }
}
