//! One call over one network: a real Chromium sends, another receives through a relay, and the browser's own statistics
//! say what came of it.
//!
//! Both pages are ours (`e2e/browser/network/`) and the same at every server. Only the receiver's media goes through the
//! relay; its signalling does not.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::sleep;

use crate::browser::{Browser, CallEnd, Driver, Person, Visitor};
use crate::relay::{Relay, Traffic};

/// What the sender publishes, as livekit-client names sources.
pub const VOICE: &str = "microphone";
pub const CAMERA: &str = "camera";
pub const SCREEN: &str = "screen_share";
/// Width of the camera's largest layer; `pictures.mjs` draws it.
pub const FULL_WIDTH: f64 = 960.0;

/// For both to be connected, and everything to arrive.
const START_LIMIT: Duration = Duration::from_secs(40);
/// For the camera to come in its largest layer. Without it the measurement goes on, and says so.
const FULL_LIMIT: Duration = Duration::from_secs(20);
/// With everything there, before the network changes: bitrates settle.
const WARM_UP: Duration = Duration::from_secs(4);
/// Between two looks at a page.
const LOOK: Duration = Duration::from_millis(250);
const TOKEN_SECONDS: u64 = 3600;

/// A server and how to get into it.
#[derive(Clone, Debug)]
pub struct Entrance {
    /// `ws://host:port`.
    pub url: String,
    pub key: String,
    pub secret: String,
}

/// What a browser's statistics say of one received stream so far, in their words and units (W3C webrtc-stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Stream {
    pub packets_received: f64,
    /// Negative when duplicates outnumber losses (RFC 3550, section 6.4.1).
    pub packets_lost: f64,
    pub bytes_received: f64,
    pub header_bytes_received: f64,
    pub retransmitted_packets_received: f64,
    pub nack_count: f64,
    pub pli_count: f64,
    /// In seconds, summed over all that left the buffer.
    pub jitter_buffer_delay: f64,
    pub jitter_buffer_emitted_count: f64,
    pub frame_width: f64,
    pub frames_decoded: f64,
    pub key_frames_decoded: f64,
    pub freeze_count: f64,
    pub total_freezes_duration: f64,
    pub concealed_samples: f64,
    pub total_samples_received: f64,
}

/// A look at all received streams, by source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Milliseconds after the receiver began to join.
    pub at: f64,
    pub received: BTreeMap<String, Stream>,
}

/// What one measurement gave.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Measured {
    /// From joining until the camera came in its largest layer; `None` if it did not.
    pub full_after: Option<Duration>,
    /// Looks since the network changed, in order.
    pub samples: Vec<Sample>,
    /// What went through the relay meanwhile.
    pub traffic: Traffic,
}

/// How to measure.
#[derive(Clone, Copy, Debug)]
pub struct Course<'a> {
    /// The network, by its name.
    pub network: &'a str,
    pub seconds: f64,
}

/// Who joins a measured call, and with what.
#[derive(Clone, Copy, Debug)]
pub struct Participant<'a> {
    pub name: &'a str,
    /// Sources, none for a receiver.
    pub sends: &'a [&'a str],
    /// Of the camera; otherwise livekit-client's own choice.
    pub codec: Option<&'a str>,
    /// The port of the network that its media goes through.
    pub relay: Option<u16>,
    /// What its media is encrypted with, end to end.
    pub secret: Option<&'a str>,
}

impl<'a> Participant<'a> {
    /// One who only receives, without a network between.
    pub const fn new(name: &'a str) -> Self {
        Self { name, sends: &[], codec: None, relay: None, secret: None }
    }

    /// Opens a page in this browser that joins; returns when it is in the call.
    ///
    /// # Errors
    /// When it is not, after a while.
    pub async fn join(&self, driver: &Driver, browser: &Browser, entrance: &Entrance, call: &str) -> Result<Person> {
        let Self { name, sends, codec, relay, secret } = *self;
        let token = token(entrance, call, name)?;
        let end = CallEnd { server: &entrance.url, token: &token, sends, codec, relay, secret };
        let url = driver.network_page(&end).await?;
        let person = browser.open(&url, &Visitor::new(name, 440)).await?;
        if let Err(error) = self.connected(&person).await {
            // Otherwise it would go on trying, and be in the way of whoever comes next.
            let _ = person.close().await;
            return Err(error);
        }
        Ok(person)
    }

    async fn connected(&self, person: &Person) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        while person.evaluate("window.measured?.state().connection").await? != json!("connected") {
            if Instant::now() > deadline {
                bail!("{} is not in the call after {} s", self.name, START_LIMIT.as_secs());
            }
            sleep(LOOK).await;
        }
        Ok(())
    }
}

/// Two browsers, to be used for one measurement after another.
#[derive(Debug)]
pub struct Pair<'a> {
    pub driver: &'a Driver,
    pub sender: &'a Browser,
    pub receiver: &'a Browser,
}

impl Pair<'_> {
    /// Holds a call named `call` and lets the network be `course` for its time.
    ///
    /// # Errors
    /// When the two do not get together on a clean network.
    pub async fn measure(
        &self,
        entrance: &Entrance,
        relay: &mut Relay,
        call: &str,
        course: Course<'_>,
    ) -> Result<Measured> {
        let Self { driver, .. } = self;
        let ada = Participant { sends: &[VOICE, CAMERA, SCREEN], ..Participant::new("Ada") };
        let sender = ada.join(driver, self.sender, entrance, call).await?;
        let bo = Participant { relay: Some(relay.places.relay), ..Participant::new("Bo") };
        let measured = match bo.join(driver, self.receiver, entrance, call).await {
            Ok(receiver) => {
                let measured = self.watch(&receiver, relay, course).await;
                receiver.close().await?;
                measured
            }
            Err(error) => Err(error),
        };
        sender.close().await?;
        measured
    }

    async fn watch(&self, receiver: &Person, relay: &mut Relay, course: Course<'_>) -> Result<Measured> {
        wait_for_everything(receiver).await?;
        let full_after = full_width(receiver).await?;
        sleep(WARM_UP).await;
        let time = Duration::from_secs_f64(course.seconds);
        relay.change(course.network, time)?;
        let n_before = receiver.evaluate("window.measured.samples.length").await?;
        sleep(time).await;
        let samples = receiver.evaluate(&format!("window.measured.samples.slice({n_before})")).await?;
        let traffic = relay.change(course.network, time)?;
        ensure!(traffic.down.datagrams > 0, "media found a way around the relay");
        let samples: Vec<Sample> = serde_json::from_value(samples).context("the page counts in another form")?;
        Ok(Measured { full_after, samples, traffic })
    }
}

async fn latest(receiver: &Person) -> Result<Sample> {
    let sample = receiver.evaluate("window.measured.samples.at(-1) ?? { at: 0, received: {} }").await?;
    serde_json::from_value(sample).context("the page counts in another form")
}

async fn wait_for_everything(receiver: &Person) -> Result<()> {
    let deadline = Instant::now() + START_LIMIT;
    loop {
        let sample = latest(receiver).await?;
        let has =
            |source: &str, count: fn(&Stream) -> f64| sample.received.get(source).is_some_and(|one| count(one) > 0.0);
        let decodes = |source| has(source, |stream| stream.frames_decoded);
        if has(VOICE, |stream| stream.packets_received) && decodes(CAMERA) && decodes(SCREEN) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("not everything arrives after {} s on a clean network: {sample:?}", START_LIMIT.as_secs());
        }
        sleep(LOOK).await;
    }
}

/// When the camera came in its largest layer.
async fn full_width(receiver: &Person) -> Result<Option<Duration>> {
    let deadline = Instant::now() + FULL_LIMIT;
    loop {
        let sample = latest(receiver).await?;
        if sample.received.get(CAMERA).is_some_and(|camera| camera.frame_width >= FULL_WIDTH) {
            return Ok(Some(Duration::from_secs_f64(sample.at / 1000.0)));
        }
        if Instant::now() > deadline {
            return Ok(None);
        }
        sleep(LOOK).await;
    }
}

fn token(entrance: &Entrance, call: &str, name: &str) -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let claims = json!({
        "iss": entrance.key, "sub": name, "name": name, "nbf": now, "exp": now + TOKEN_SECONDS,
        "video": {"roomJoin": true, "room": call},
    });
    encode(&Header::default(), &claims, &EncodingKey::from_secret(entrance.secret.as_bytes())).context("no token")
}
