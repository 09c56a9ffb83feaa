//! Access tokens: JWTs as LiveKit defines them, and the page's invitations.
//!
//! HS256 only; `iss` names the API key, `sub` the participant's identity, `exp` is required.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fleet::invite::{AUDIENCE, Invite};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};
use sfu_core::call::host::HOST_ATTRIBUTE;
use sfu_core::call::{Participant, Permissions, TrackSource};
use thiserror::Error;

use crate::clock::unix_now;
use crate::keys::{Keys, Secret};

/// Clocks of issuer and server may differ by this much.
const LEEWAY_SECONDS: u64 = 60;

/// What a token says. Fields it does not name are absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Claims {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub iss: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sub: String,
    /// Used as the identity when `sub` is empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub jti: String,
    /// Seconds since the Unix epoch.
    pub exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub metadata: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video: Option<VideoGrant>,
    /// What means nothing here, but belongs to the token: `roomConfig`, `kindDetails`, grants of other services.
    #[serde(flatten)]
    pub others: Others,
}

/// Fields that are passed on and not looked at.
type Others = serde_json::Map<String, serde_json::Value>;

/// What the holder may do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VideoGrant {
    pub room_join: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub room: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub room_create: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub room_list: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub room_admin: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub room_record: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_subscribe: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish_data: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub can_publish_sources: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_update_own_metadata: Option<bool>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub recorder: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub agent: bool,
    /// Grants that mean nothing here.
    #[serde(flatten)]
    pub others: Others,
}

impl Claims {
    pub fn identity(&self) -> &str {
        if self.sub.is_empty() { &self.jti } else { &self.sub }
    }

    /// What the next token of `holder` says: who it is by now, and what was granted, all of it. When the token was made
    /// and its id are its own.
    pub fn renewed(&self, holder: &Participant) -> Self {
        let mut renewed = Self {
            sub: holder.identity.0.clone(),
            jti: String::new(),
            name: holder.name.clone(),
            metadata: holder.metadata.clone(),
            attributes: holder.attributes.clone(),
            ..self.clone()
        };
        renewed.attributes.remove(HOST_ATTRIBUTE);
        renewed.others.remove("iat");
        renewed
    }

    /// What the holder may do and counts as: what was granted, and what its kind implies.
    pub fn permissions(&self) -> Permissions {
        let granted = self.video.clone().unwrap_or_default().permissions();
        Permissions {
            recorder: granted.recorder || self.kind == "egress",
            agent: granted.agent || self.kind == "agent",
            ..granted
        }
    }

    /// LiveKit's participant kind as a number.
    pub fn kind_number(&self) -> i32 {
        match self.kind.as_str() {
            "ingress" => 1,
            "egress" => 2,
            "sip" => 3,
            "agent" => 4,
            "connector" => 7,
            "bridge" => 8,
            _ => 0,
        }
    }
}

impl VideoGrant {
    /// The grants with every default resolved: publishing and subscribing are allowed unless denied, data follows
    /// publishing.
    pub fn permissions(&self) -> Permissions {
        let publish = self.can_publish.unwrap_or(true);
        Permissions {
            publish,
            publish_sources: self.can_publish_sources.iter().map(|source| source_of(source)).collect(),
            subscribe: self.can_subscribe.unwrap_or(true),
            publish_data: self.can_publish_data.unwrap_or(publish),
            update_own_metadata: self.can_update_own_metadata.unwrap_or(false),
            hidden: self.hidden,
            recorder: self.recorder,
            agent: self.agent,
        }
    }
}

fn source_of(name: &str) -> TrackSource {
    match name.to_ascii_lowercase().as_str() {
        "camera" => TrackSource::Camera,
        "microphone" => TrackSource::Microphone,
        "screen_share" => TrackSource::ScreenShare,
        "screen_share_audio" => TrackSource::ScreenShareAudio,
        _ => TrackSource::Unknown,
    }
}

/// Why a token is refused. The messages go to the client; they tell nothing about keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TokenError {
    #[error("no token was given: pass access_token in the query or an Authorization header")]
    Missing,
    #[error("the token cannot be read")]
    Malformed,
    #[error("the token's API key is not known here")]
    UnknownKey,
    #[error("the token's signature does not match its API key")]
    BadSignature,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYetValid,
    #[error("this server has no API key to sign with")]
    NoKey,
}

impl TokenError {
    /// Name for metrics: a closed set.
    pub fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::NoKey => "no_key",
        }
    }
}

/// Verifies an access token against the keys in force.
pub fn verify(token: &str, keys: &Keys) -> Result<Claims, TokenError> {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_aud = false;
    verify_with(token, keys, &validation)
}

fn verify_with<T: serde::de::DeserializeOwned>(
    token: &str,
    keys: &Keys,
    validation: &Validation,
) -> Result<T, TokenError> {
    use jsonwebtoken::errors::ErrorKind;
    let mut validation = validation.clone();
    validation.leeway = LEEWAY_SECONDS;
    validation.validate_nbf = true;
    validation.set_required_spec_claims(&["exp"]);
    let secret = keys.secret(&unverified_issuer(token)?).ok_or(TokenError::UnknownKey)?;
    let decoded = decode::<T>(token, &DecodingKey::from_secret(secret.as_bytes()), &validation);
    decoded.map(|data| data.claims).map_err(|error| match error.kind() {
        ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm => TokenError::BadSignature,
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::ImmatureSignature => TokenError::NotYetValid,
        _ => TokenError::Malformed,
    })
}

/// The API key a token claims to be signed with.
fn unverified_issuer(token: &str) -> Result<String, TokenError> {
    #[derive(Deserialize)]
    struct Issuer {
        iss: String,
    }
    let payload = token.split('.').nth(1).ok_or(TokenError::Malformed)?;
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).map_err(|_| TokenError::Malformed)?;
    serde_json::from_slice::<Issuer>(&payload).map(|issuer| issuer.iss).map_err(|_| TokenError::Malformed)
}

/// Signs claims with the first key in force, valid for `lifetime` from now.
pub fn sign(mut claims: Claims, keys: &Keys, lifetime: Duration) -> Result<String, TokenError> {
    let (key, secret) = keys.signing().ok_or(TokenError::NoKey)?;
    let now = unix_now().as_secs();
    claims.iss = key;
    claims.nbf = Some(now);
    claims.exp = now + lifetime.as_secs();
    sign_raw(&claims, &secret)
}

fn sign_raw(claims: &impl Serialize, secret: &Secret) -> Result<String, TokenError> {
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret.as_bytes()))
        .map_err(|_| TokenError::Malformed)
}

/// The call an invitation opens.
pub fn verify_invite(token: &str, keys: &Keys) -> Result<String, TokenError> {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_audience(&[AUDIENCE]);
    verify_with::<Invite>(token, keys, &validation).map(|invite| invite.call)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys::new(BTreeMap::from([("devkey".to_string(), Secret::new("secret"))]))
    }

    fn claims() -> Claims {
        let video = VideoGrant { room_join: true, room: "standup".into(), ..VideoGrant::default() };
        Claims { sub: "ana".into(), video: Some(video), ..Claims::default() }
    }

    fn resigned(change: impl FnOnce(&mut Claims), secret: &str) -> String {
        let mut claims = Claims { iss: "devkey".into(), exp: unix_now().as_secs() + 600, ..claims() };
        change(&mut claims);
        sign_raw(&claims, &Secret::new(secret)).unwrap()
    }

    #[test]
    fn a_signed_token_is_verified() {
        let token = sign(claims(), &keys(), Duration::from_mins(1)).unwrap();
        let verified = verify(&token, &keys()).unwrap();
        assert_eq!(verified.identity(), "ana");
        assert_eq!(verified.video.unwrap().room, "standup");
    }

    #[test]
    fn wrong_tokens_are_refused_each_for_its_reason() {
        let check = |token: &str| verify(token, &keys()).unwrap_err();
        assert_eq!(check("not a token"), TokenError::Malformed);
        assert_eq!(check(&resigned(|_| (), "other")), TokenError::BadSignature);
        assert_eq!(check(&resigned(|claims| claims.iss = "foreign".into(), "secret")), TokenError::UnknownKey);
        assert_eq!(check(&resigned(|claims| claims.exp = 1, "secret")), TokenError::Expired);
        let later = unix_now().as_secs() + 3600;
        assert_eq!(check(&resigned(|claims| claims.nbf = Some(later), "secret")), TokenError::NotYetValid);
    }

    #[test]
    fn a_renewed_token_grants_all_that_the_first_one_did() {
        let before = serde_json::json!({
            "sub": "ana", "jti": "first", "iat": 1, "exp": 2, "kind": "agent", "kindDetails": ["x"],
            "metadata": "as issued", "roomPreset": "large", "roomConfig": { "emptyTimeout": 30 },
            "sip": { "call": true },
            "video": { "roomJoin": true, "room": "standup", "canSubscribeMetrics": true, "hidden": true },
        });
        let claims: Claims = serde_json::from_value(before).unwrap();
        let identity = sfu_core::call::Identity("ana".into());
        let id = sfu_core::call::ParticipantId("PA_ana".into());
        let mut ana = Participant::new(id, identity, Permissions::default(), 0);
        ana.name = "Ana".into();
        ana.attributes.insert(HOST_ATTRIBUTE.into(), "true".into());
        ana.attributes.insert("raised_hand".into(), "now".into());
        let renewed = sign(claims.renewed(&ana), &keys(), Duration::from_mins(1)).unwrap();
        let mut renewed = serde_json::to_value(verify(&renewed, &keys()).unwrap()).unwrap();
        for time in ["exp", "nbf"] {
            assert!(renewed.as_object_mut().unwrap().remove(time).unwrap().as_u64() > Some(2), "{time}");
        }
        let expected = serde_json::json!({
            "iss": "devkey", "sub": "ana", "name": "Ana", "attributes": { "raised_hand": "now" }, "kind": "agent",
            "kindDetails": ["x"], "roomPreset": "large", "roomConfig": { "emptyTimeout": 30 },
            "sip": { "call": true },
            "video": { "roomJoin": true, "room": "standup", "canSubscribeMetrics": true, "hidden": true },
        });
        assert_eq!(renewed, expected);
    }

    #[test]
    fn another_algorithm_is_refused() {
        let claims = Claims { iss: "devkey".into(), exp: unix_now().as_secs() + 600, ..claims() };
        let key = EncodingKey::from_secret(b"secret");
        let token = encode(&Header::new(Algorithm::HS512), &claims, &key).unwrap();
        assert_eq!(verify(&token, &keys()), Err(TokenError::BadSignature));
    }

    #[test]
    fn a_recorder_is_one_by_grant_or_by_kind_and_so_is_an_agent() {
        let of = |kind: &str, recorder, agent| {
            let video = VideoGrant { recorder, agent, ..VideoGrant::default() };
            let permissions = Claims { kind: kind.into(), video: Some(video), ..Claims::default() }.permissions();
            (permissions.recorder, permissions.agent)
        };
        assert_eq!(of("", false, false), (false, false));
        assert_eq!([of("egress", false, false), of("", true, false)], [(true, false); 2]);
        assert_eq!([of("agent", false, false), of("", false, true)], [(false, true); 2]);
    }

    #[test]
    fn data_follows_publishing_unless_told() {
        let grant = VideoGrant { can_publish: Some(false), ..VideoGrant::default() };
        assert!(!grant.permissions().publish_data);
        assert!(grant.permissions().subscribe);
        let grant = VideoGrant { can_publish_data: Some(true), ..grant };
        assert!(grant.permissions().publish_data);
    }

    #[test]
    fn an_invitation_opens_its_call_and_is_no_access_token() {
        let now = i64::try_from(unix_now().as_secs()).unwrap();
        let invite =
            Invite { iss: "devkey".into(), aud: AUDIENCE.into(), exp: now + 60, nbf: now, call: "standup".into() };
        let token = sign_raw(&invite, &Secret::new("secret")).unwrap();
        assert_eq!(verify_invite(&token, &keys()).unwrap(), "standup");
        assert!(verify(&token, &keys()).unwrap().video.is_none());
        let access = sign(claims(), &keys(), Duration::from_mins(1)).unwrap();
        assert!(verify_invite(&access, &keys()).is_err());
    }
}
