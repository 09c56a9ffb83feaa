//! How somebody joins.

use std::net::Ipv4Addr;

use anyhow::Result;
use calls_client::peer::Reach;
use calls_client::signal::{ApiKey, Frames, PROTOCOL};
use serde_json::{Value, json};

use super::{Door, Person};

/// How many peer connections a client uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One, on which the client offers: `/rtc/v1`.
    Single,
    /// Two, one of which the server offers: `/rtc`.
    Dual,
}

/// A wish to join, with everything customary unless told.
#[derive(Debug, Clone)]
pub struct Join {
    pub(super) identity: String,
    pub(super) room: String,
    video: Value,
    pub(super) mode: Mode,
    pub(super) protocol: i32,
    pub(super) auto_subscribe: bool,
    pub(super) speaks: bool,
    pub(super) reach: Reach,
    /// Where its websocket comes from.
    pub(super) from: Ipv4Addr,
    pub(super) recorded: bool,
    pub(super) keeps_frames: bool,
    pub(super) frames: Frames,
}

impl Join {
    pub fn new(identity: &str) -> Self {
        Self {
            identity: identity.into(),
            room: "standup".into(),
            video: json!({ "roomJoin": true, "canUpdateOwnMetadata": true }),
            mode: Mode::Single,
            protocol: PROTOCOL,
            auto_subscribe: true,
            speaks: false,
            reach: Reach::Udp(Ipv4Addr::LOCALHOST),
            from: Ipv4Addr::LOCALHOST,
            recorded: false,
            keeps_frames: false,
            frames: Frames::Binary,
        }
    }

    /// With a voice from the beginning, on the track [`Person::voice`].
    pub fn speaking(mut self) -> Self {
        self.speaks = true;
        self
    }

    /// Of this call instead of the customary one.
    pub fn of(mut self, call: &str) -> Self {
        self.room = call.into();
        self
    }

    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    pub fn protocol(mut self, protocol: i32) -> Self {
        self.protocol = protocol;
        self
    }

    pub fn grant(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.video[name] = value.into();
        self
    }

    pub fn choosing_tracks(mut self) -> Self {
        self.auto_subscribe = false;
        self
    }

    pub fn reach(mut self, reach: Reach) -> Self {
        self.reach = reach;
        self
    }

    /// Everything it sends comes from `address`, of 127.0.0.0/8.
    pub fn from(mut self, address: Ipv4Addr) -> Self {
        self.from = address;
        self.reach = Reach::Udp(address);
        self
    }

    /// Keeps copies of the datagrams it sends.
    pub fn recorded(mut self) -> Self {
        self.recorded = true;
        self
    }

    /// Keeps the frames it hears, as they are: see [`Seen::kept`](super::Seen::kept).
    pub fn keeping_frames(mut self) -> Self {
        self.keeps_frames = true;
        self
    }

    /// Says everything on its websocket in frames of a kind.
    pub fn writing(mut self, frames: Frames) -> Self {
        self.frames = frames;
        self
    }

    pub(super) fn token(&self, key: &ApiKey) -> Result<String> {
        let mut video = self.video.clone();
        video["room"] = self.room.clone().into();
        key.sign(&json!({ "video": video, "sub": self.identity, "name": self.identity }))
    }

    /// Joins; returns as soon as the server let it in.
    pub async fn enter(self, door: &impl Door) -> Person {
        Person::join(door, self).await
    }

    /// Joins, and waits for its media to be connected.
    pub async fn to(self, door: &impl Door) -> Person {
        let person = self.enter(door).await;
        person.wait("media connected", |seen| seen.connected.then_some(())).await;
        person
    }
}
