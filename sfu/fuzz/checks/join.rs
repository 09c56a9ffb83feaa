//! What must hold of anything a client says when it opens the websocket: it is taken or refused, and what is taken is
//! the token's room and identity with texts within their limits. Bytes are taken for a query, and for a `JoinRequest`
//! which is packed for them, plain and zipped: nobody finds a valid packing by chance.

use std::io::Write as _;

use axum::extract::Query;
use axum::http::Uri;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use calls_sfu::livekit::join::{Join, JoinQuery};
use calls_sfu::livekit::token::{Claims, VideoGrant};
use flate2::Compression;
use flate2::write::GzEncoder;
use livekit_protocol as proto;
use prost::Message as _;
use sfu_core::call::{MAX_ATTRIBUTES_BYTES, MAX_METADATA_BYTES};

pub fn check(bytes: &[u8]) {
    if let Ok(query) = std::str::from_utf8(bytes) {
        read(query);
    }
    let mut zip = GzEncoder::new(Vec::new(), Compression::fast());
    zip.write_all(bytes).expect("a Vec takes it");
    let zipped = zip.finish().expect("a Vec takes it");
    for (compression, join_request) in [(0, bytes.to_vec()), (1, zipped), (1, bytes.to_vec())] {
        let wrapped = proto::WrappedJoinRequest { compression, join_request };
        read(&format!("join_request={}", URL_SAFE.encode(wrapped.encode_to_vec())));
    }
}

fn read(query: &str) {
    let Ok(uri) = Uri::builder().path_and_query(format!("/rtc?{query}")).build() else { return };
    let Ok(Query(query)) = Query::<JoinQuery>::try_from_uri(&uri) else { return };
    for may_describe_itself in [None, Some(true)] {
        let video = VideoGrant {
            room_join: true,
            room: "standup".into(),
            can_update_own_metadata: may_describe_itself,
            ..VideoGrant::default()
        };
        let claims = Claims { sub: "ana".into(), video: Some(video), ..Claims::default() };
        for requires_join_request in [false, true] {
            let Ok(join) = Join::read(&query, claims.clone(), requires_join_request) else { continue };
            assert_eq!((join.room.as_str(), join.identity.as_str()), ("standup", "ana"));
            assert!(!requires_join_request || query.join_request.is_some());
            let attributes: usize = join.attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
            assert!(attributes <= MAX_ATTRIBUTES_BYTES && join.metadata.len() <= MAX_METADATA_BYTES);
            let is_described = attributes > 0 || !join.metadata.is_empty();
            assert!(!is_described || may_describe_itself.is_some(), "described without the grant");
        }
    }
}
