//! What a client says when it opens the signalling connection: query parameters, or a packed `JoinRequest`.

use std::collections::HashMap;
use std::io::Read as _;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use flate2::read::GzDecoder;
use livekit_protocol as proto;
use prost::Message as _;
use serde::Deserialize;
use sfu_core::call::{MAX_ATTRIBUTES_BYTES, MAX_METADATA_BYTES};
use thiserror::Error;

use super::token::{Claims, VideoGrant};

/// Largest `JoinRequest` once unpacked, in bytes.
const MAX_JOIN_REQUEST: u64 = 1024 * 1024;
/// Most bytes of a room name or an identity (LiveKit's limits).
const MAX_NAME: usize = 256;

/// URL-safe base64, padded or not: clients differ.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Query of `/rtc` and `/rtc/v1`. Unknown parameters are ignored.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct JoinQuery {
    pub access_token: Option<String>,
    pub join_request: Option<String>,
    protocol: Option<i32>,
    client_protocol: Option<i32>,
    sdk: Option<String>,
    version: Option<String>,
    auto_subscribe: Option<String>,
    adaptive_stream: Option<String>,
    reconnect: Option<String>,
    sid: Option<String>,
    attributes: Option<String>,
}

/// How many peer connections the client uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerMode {
    /// One, on which the client always offers.
    Single,
    /// Two: the client offers to publish, the server offers what it sends.
    Dual,
}

/// A client's wish to take part, read and checked.
#[derive(Debug, Clone)]
pub struct Join {
    pub room: String,
    pub identity: String,
    pub claims: Claims,
    pub grant: VideoGrant,
    pub mode: PeerMode,
    pub client: proto::ClientInfo,
    pub auto_subscribe: bool,
    /// Id of the stay to go on with, if this is a resume.
    pub resume: Option<String>,
    pub metadata: String,
    pub attributes: HashMap<String, String>,
    pub add_tracks: Vec<proto::AddTrackRequest>,
    pub publisher_offer: Option<proto::SessionDescription>,
}

/// Why a wish is refused, before anything is done.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JoinError {
    /// The client may not; told as 401, LiveKit's answer to every missing grant.
    #[error("permissions denied: {0}")]
    Denied(&'static str),
    /// The request makes no sense; told as 400.
    #[error("{0}")]
    Invalid(&'static str),
}

impl Join {
    /// Reads the wish of a client whose token was verified.
    pub fn read(query: &JoinQuery, claims: Claims, requires_join_request: bool) -> Result<Self, JoinError> {
        let grant = claims.video.clone().ok_or(JoinError::Denied("the token has no video grant"))?;
        if !grant.room_join {
            return Err(JoinError::Denied("the token does not grant roomJoin"));
        }
        let identity = claims.identity().to_owned();
        if identity.is_empty() {
            return Err(JoinError::Invalid("the token names no identity (sub)"));
        }
        if grant.room.is_empty() {
            return Err(JoinError::Invalid("the token names no room"));
        }
        if identity.len() > MAX_NAME || grant.room.len() > MAX_NAME {
            return Err(JoinError::Invalid("room and identity may have at most 256 bytes each"));
        }
        let join = Self {
            room: grant.room.clone(),
            identity,
            metadata: claims.metadata.clone(),
            attributes: claims.attributes.clone().into_iter().collect(),
            grant,
            claims,
            mode: PeerMode::Dual,
            client: query.client_info(),
            auto_subscribe: flag(query.auto_subscribe.as_deref(), true),
            resume: None,
            add_tracks: Vec::new(),
            publisher_offer: None,
        };
        match &query.join_request {
            Some(packed) => join.with_request(unpack(packed)?),
            None if requires_join_request => Err(JoinError::Invalid("join_request is required on this path")),
            None => join.with_query(query),
        }
    }

    fn with_query(mut self, query: &JoinQuery) -> Result<Self, JoinError> {
        if flag(query.reconnect.as_deref(), false) {
            self.resume = Some(query.sid.clone().unwrap_or_default());
        }
        if let Some(packed) = &query.attributes {
            let text = BASE64.decode(packed).map_err(|_| JoinError::Invalid("attributes are not base64"))?;
            let attributes: HashMap<String, String> = serde_json::from_slice(&text)
                .map_err(|_| JoinError::Invalid("attributes are not a JSON object of strings"))?;
            self.describe(String::new(), attributes)?;
        }
        Ok(self)
    }

    fn with_request(mut self, request: proto::JoinRequest) -> Result<Self, JoinError> {
        self.mode = PeerMode::Single;
        if let Some(client) = request.client_info {
            self.client = client;
        }
        self.auto_subscribe = request.connection_settings.is_some_and(|settings| settings.auto_subscribe);
        if request.reconnect {
            self.resume = Some(request.participant_sid);
        }
        self.add_tracks = request.add_track_requests;
        self.publisher_offer = request.publisher_offer;
        self.describe(request.metadata, request.participant_attributes)?;
        Ok(self)
    }

    /// Takes metadata and attributes of the request over the token's.
    fn describe(&mut self, metadata: String, attributes: HashMap<String, String>) -> Result<(), JoinError> {
        if metadata.is_empty() && attributes.is_empty() {
            return Ok(());
        }
        if !self.grant.can_update_own_metadata.unwrap_or(false) {
            return Err(JoinError::Denied("the token does not grant canUpdateOwnMetadata"));
        }
        if !metadata.is_empty() {
            self.metadata = metadata;
        }
        self.attributes.extend(attributes);
        let attributes_bytes: usize = self.attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
        if attributes_bytes > MAX_ATTRIBUTES_BYTES || self.metadata.len() > MAX_METADATA_BYTES {
            return Err(JoinError::Invalid("metadata may have at most 512 KiB, attributes 64 KiB together"));
        }
        Ok(())
    }
}

impl JoinQuery {
    fn client_info(&self) -> proto::ClientInfo {
        let sdk = match self.sdk.as_deref() {
            Some("js") => proto::client_info::Sdk::Js,
            Some("swift" | "ios") => proto::client_info::Sdk::Swift,
            Some("android") => proto::client_info::Sdk::Android,
            Some("flutter") => proto::client_info::Sdk::Flutter,
            Some("go") => proto::client_info::Sdk::Go,
            Some("python") => proto::client_info::Sdk::Python,
            Some("rust") => proto::client_info::Sdk::Rust,
            _ => proto::client_info::Sdk::Unknown,
        };
        proto::ClientInfo {
            sdk: sdk as i32,
            version: self.version.clone().unwrap_or_default(),
            protocol: self.protocol.unwrap_or_default(),
            client_protocol: self.client_protocol.unwrap_or_default(),
            ..proto::ClientInfo::default()
        }
    }
}

fn flag(value: Option<&str>, default: bool) -> bool {
    value.map_or(default, |value| matches!(value, "1" | "true"))
}

fn unpack(packed: &str) -> Result<proto::JoinRequest, JoinError> {
    let bytes = BASE64.decode(packed).map_err(|_| JoinError::Invalid("join_request is not base64"))?;
    let wrapped = proto::WrappedJoinRequest::decode(bytes.as_slice())
        .map_err(|_| JoinError::Invalid("join_request is not a WrappedJoinRequest"))?;
    let gzip = proto::wrapped_join_request::Compression::Gzip as i32;
    let bytes = if wrapped.compression == gzip {
        let mut unzipped = Vec::new();
        // One byte more than allowed, so that too much is noticed and never held.
        let mut reader = GzDecoder::new(wrapped.join_request.as_slice()).take(MAX_JOIN_REQUEST + 1);
        reader.read_to_end(&mut unzipped).map_err(|_| JoinError::Invalid("join_request is not gzip"))?;
        unzipped
    } else {
        wrapped.join_request
    };
    if bytes.len() as u64 > MAX_JOIN_REQUEST {
        return Err(JoinError::Invalid("join_request is larger than 1 MiB"));
    }
    proto::JoinRequest::decode(bytes.as_slice()).map_err(|_| JoinError::Invalid("join_request cannot be read"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn claims() -> Claims {
        let video = VideoGrant { room_join: true, room: "standup".into(), ..VideoGrant::default() };
        Claims { sub: "ana".into(), video: Some(video), ..Claims::default() }
    }

    fn packed(request: &proto::JoinRequest, gzip: bool) -> String {
        let mut join_request = request.encode_to_vec();
        if gzip {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&join_request).unwrap();
            join_request = encoder.finish().unwrap();
        }
        BASE64.encode(proto::WrappedJoinRequest { compression: gzip.into(), join_request }.encode_to_vec())
    }

    fn read(query: &JoinQuery, claims: Claims) -> Result<Join, JoinError> {
        Join::read(query, claims, false)
    }

    #[test]
    fn the_old_path_subscribes_by_default_and_uses_two_connections() {
        let join = read(&JoinQuery::default(), claims()).unwrap();
        assert!(join.auto_subscribe);
        assert_eq!(join.mode, PeerMode::Dual);
        let query = JoinQuery { auto_subscribe: Some("0".into()), ..JoinQuery::default() };
        assert!(!read(&query, claims()).unwrap().auto_subscribe);
    }

    #[test]
    fn a_join_request_means_one_connection_packed_or_not() {
        let request = proto::JoinRequest {
            connection_settings: Some(proto::ConnectionSettings { auto_subscribe: true, ..Default::default() }),
            publisher_offer: Some(proto::SessionDescription { sdp: "v=0".into(), id: 1, ..Default::default() }),
            ..Default::default()
        };
        for gzip in [false, true] {
            let query = JoinQuery { join_request: Some(packed(&request, gzip)), ..JoinQuery::default() };
            let join = Join::read(&query, claims(), true).unwrap();
            assert_eq!(join.mode, PeerMode::Single);
            assert!(join.auto_subscribe);
            assert_eq!(join.publisher_offer.as_ref().map(|offer| offer.id), Some(1));
        }
    }

    #[test]
    fn the_new_path_needs_a_join_request() {
        assert!(matches!(Join::read(&JoinQuery::default(), claims(), true), Err(JoinError::Invalid(_))));
    }

    #[test]
    fn garbage_is_refused_and_a_bomb_is_never_unpacked() {
        for packed in ["%%%", "AAAA", &BASE64.encode([0x08, 0x01, 0x12, 0x02, 1, 2])] {
            let query = JoinQuery { join_request: Some(packed.to_owned()), ..JoinQuery::default() };
            assert!(matches!(read(&query, claims()), Err(JoinError::Invalid(_))), "{packed}");
        }
        let request = proto::JoinRequest { metadata: "x".repeat(20 * 1024 * 1024), ..Default::default() };
        let query = JoinQuery { join_request: Some(packed(&request, true)), ..JoinQuery::default() };
        assert!(matches!(read(&query, claims()), Err(JoinError::Invalid(_))));
    }

    #[test]
    fn grants_are_needed() {
        let without = Claims { video: None, ..claims() };
        assert!(matches!(read(&JoinQuery::default(), without), Err(JoinError::Denied(_))));
        let mut no_join = claims();
        no_join.video.as_mut().unwrap().room_join = false;
        assert!(matches!(read(&JoinQuery::default(), no_join), Err(JoinError::Denied(_))));
        let attributes = HashMap::from([("a".to_string(), "b".to_string())]);
        let request = proto::JoinRequest { participant_attributes: attributes, ..Default::default() };
        let query = JoinQuery { join_request: Some(packed(&request, false)), ..JoinQuery::default() };
        assert!(matches!(read(&query, claims()), Err(JoinError::Denied(_))));
    }

    #[test]
    fn a_resume_names_the_stay() {
        let query = JoinQuery { reconnect: Some("1".into()), sid: Some("PA_1".into()), ..JoinQuery::default() };
        assert_eq!(read(&query, claims()).unwrap().resume.as_deref(), Some("PA_1"));
    }
}
