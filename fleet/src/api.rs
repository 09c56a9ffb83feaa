//! The fleet API: JSON over HTTPS on the SFU's control port, client certificate required.
//!
//! | call | answer | who asks |
//! | --- | --- | --- |
//! | `GET /fleet/v1/info` | [`SfuStatus`] | operator, every few seconds |
//! | `GET /fleet/v1/watch` | [`FleetEvent`]s, one JSON document a line, the first a snapshot | each director replica |
//! | `POST /fleet/v1/claims` with [`Claim`] | [`Placement`]: the placement that stands | director, before a call's first join |
//! | `POST /fleet/v1/drain` with [`DrainOrder`] | 202, and [`SfuStatus::drain`] from then on | operator, when an SFU is to leave |
//! | `DELETE /fleet/v1/drain` | 202 | operator, when it is to stay after all |
//!
//! A call goes from one SFU to another by one verb, [`FleetEvent::TakeCall`], whose detail is the means.

use serde::{Deserialize, Serialize};

pub const INFO_PATH: &str = "/fleet/v1/info";
pub const WATCH_PATH: &str = "/fleet/v1/watch";
pub const CLAIMS_PATH: &str = "/fleet/v1/claims";
pub const DRAIN_PATH: &str = "/fleet/v1/drain";

/// A watch line is sent at least this often, so that a reader can tell a quiet SFU from a dead one.
pub const WATCH_HEARTBEAT_SECONDS: u64 = 1;
/// Response header by which an SFU says why it refused; see [`REFUSED_DRAINING`].
pub const REFUSED_HEADER: &str = "x-calls-refused";
/// Value of [`REFUSED_HEADER`] with status 503: "I take no calls any more, and this one is not here." The director
/// then tries another SFU.
pub const REFUSED_DRAINING: &str = "draining";
/// How long a claim stands after it was last asked for. Long enough for the call to begin and every director to see it;
/// short enough that nobody is sent to an old choice long after.
pub const CLAIM_SECONDS: u64 = 30;
/// Longest time a [`DrainOrder`] may give, in seconds: an hour.
pub const MAX_DRAIN_SECONDS: u32 = 3600;
/// Longest call name accepted, in bytes (LiveKit's limit of a room name).
pub const MAX_CALL_NAME: usize = 256;

/// What one SFU says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SfuStatus {
    /// Pod name (host name outside Kubernetes).
    pub name: String,
    /// Node name, empty outside Kubernetes.
    #[serde(default)]
    pub node: String,
    /// Version of the program.
    pub version: String,
    pub state: SfuState,
    /// What it tells clients to send media to.
    pub candidates: Vec<AdvertisedCandidate>,
    /// Why there is no advertised address, as a sentence; `None` when all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address_problem: Option<AddressProblem>,
    pub load: SfuLoad,
    /// How its leaving stands, if it was asked to leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainStatus>,
    /// It can be asked to leave. One of a version before that cannot; it sends its calls elsewhere when it ends.
    #[serde(default)]
    pub can_drain: bool,
}

/// Whether an SFU takes new calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SfuState {
    /// No address to advertise yet.
    Starting,
    Active,
    /// Takes no new calls. Those it has go on, and may be joined, until they end or are sent elsewhere: see
    /// [`SfuStatus::drain`].
    Draining,
}

/// "Leave": take no new calls, and let go of those there are. Said again, it changes mode and deadline of a drain that
/// is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainOrder {
    pub mode: DrainMode,
    /// Seconds from now after which what is left is sent elsewhere all at once; at most [`MAX_DRAIN_SECONDS`]. 0: at
    /// once.
    pub within_seconds: u32,
    /// No other SFU takes calls, and none will while this one leaves. Whoever it turns away has not begun anywhere else,
    /// so they may come back at once if it stays after all.
    #[serde(default)]
    pub nobody_takes: bool,
}

/// What becomes of the calls of an SFU that leaves, until its deadline. New calls go elsewhere in either mode, and
/// people may join those that are still here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DrainMode {
    /// They go on until they end.
    Wait,
    /// They are sent elsewhere, call by call, small ones first.
    Move,
}

/// How an SFU's leaving stands. It is empty when `calls_left` is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainStatus {
    pub mode: DrainMode,
    /// As it was ordered: see [`DrainOrder::nobody_takes`].
    #[serde(default)]
    pub nobody_takes: bool,
    /// When it was asked first, in seconds since 1970 by the SFU's clock.
    pub since: i64,
    /// When what is left is sent elsewhere all at once, by the same clock.
    pub deadline: i64,
    /// Calls that are still here.
    pub calls_left: u32,
    /// Calls sent elsewhere since it was asked.
    pub calls_moved: u32,
}

/// One address offered to clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdvertisedCandidate {
    pub protocol: Protocol,
    pub address: std::net::IpAddr,
    pub port: u16,
    /// Name of the [`crate::config::AddressSource`] that gave it.
    pub source: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    #[serde(rename = "UDP")]
    Udp,
    #[serde(rename = "TCP")]
    Tcp,
}

/// Why an SFU advertises nothing, or not what was asked for first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddressProblem {
    /// PascalCase, becomes a condition's reason: `StunUnreachable`, `StunDisagreement`, `NameNotResolved`,
    /// `NoIPv4Address`, `NoAddress`.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

/// Load as the SFU measures it, not the host's CPU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SfuLoad {
    pub calls: u32,
    /// People (not recorders) connected.
    pub participants: u32,
    /// Busy share of all media workers together over the last second, 0 to 100.
    pub percent: u8,
}

/// One line of the watch stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum FleetEvent {
    /// First line of a stream: everything.
    Snapshot { status: SfuStatus, calls: Vec<String> },
    /// A call began here.
    CallStarted { call: String },
    /// A call ended here.
    CallEnded { call: String },
    /// "Take this call": it leaves this SFU for another, which the directors choose. `CallEnded` follows it, for
    /// directors that do not know this line or its means.
    TakeCall {
        call: String,
        /// How many come with it, so that they are counted where it goes before they are there.
        people: u32,
        means: Means,
    },
    /// State, address or load changed; also the heartbeat.
    Status { status: SfuStatus },
}

/// How a call goes to another SFU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Means {
    /// Its people were asked to connect anew. The first of them to join places the call, and the others follow.
    Reconnect,
}

/// "This call is to live at that SFU." The first claim of a name wins, for [`CLAIM_SECONDS`].
///
/// The SFU that is asked is the *registrar* of the name; it is seldom the SFU the call is to live at. Directors choose
/// registrars by rendezvous hash, so that those who see the same SFUs ask the same ones.
///
/// It is written down only if [`Claim::token`] opens the call; the answer is 401 and a sentence for the client if not. So
/// whoever has no token can neither fill a registrar's memory nor choose where a call is to live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// Name of the call (LiveKit room).
    pub call: String,
    /// The token of the client whose join makes the director claim. Directors have no keys: they pass it on unread.
    #[serde(default)]
    pub token: AccessToken,
    /// Pod name of the SFU.
    pub sfu: String,
    /// Pod name of an SFU that cannot take the call (gone, or draining). If the claim that stands names it, this claim
    /// takes its place; of two directors who say so at once, the first wins and both learn its choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
}

/// A client's access token as it came. Never printed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AccessToken(String);

impl AccessToken {
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for AccessToken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("AccessToken(…)")
    }
}

/// Answer to a [`Claim`]: where the call is to live, whoever asked for that first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Name of the call.
    pub call: String,
    /// Pod name of the SFU.
    pub sfu: String,
    /// The call runs at the answering SFU itself. That is a fact and stands above any claim.
    #[serde(default)]
    pub running: bool,
}

/// The token in an `Authorization` header (RFC 6750, section 2.1). `None` for other schemes, as Basic, which are of whoever
/// stands in front of us: the token is in the query then.
pub fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claims_token_is_never_printed() {
        let token = AccessToken::new("e30.hidden.c2ln");
        let claim = Claim { call: "standup".into(), token, sfu: "sfu-a".into(), replaces: None };
        assert!(!format!("{claim:?}").contains("hidden"));
    }
}
