//! What must hold of any text that is taken for a token: nobody without the secret makes one that opens anything; and
//! whatever an application that has it says in one is taken or refused.

use std::collections::BTreeMap;

use calls_sfu::keys::{Keys, Secret};
use calls_sfu::livekit::join::{Join, JoinQuery};
use calls_sfu::livekit::token::{sign, verify, verify_invite};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};

const KEY: &str = "devkey";
const SECRET: &str = "0f4e8cfd1f2f44e3a6f7a90b7b1d0c55";

pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let keys = Keys::new(BTreeMap::from([(KEY.to_owned(), Secret::new(SECRET))]));
    assert!(verify(text, &keys).is_err() && verify_invite(text, &keys).is_err());
    let Ok(mut claims) = serde_json::from_str::<serde_json::Value>(text) else { return };
    // Found by its key, and signed with another secret.
    if let Some(claims) = claims.as_object_mut() {
        claims.entry("iss").or_insert_with(|| KEY.into());
    }
    let signed = |secret: &str| {
        encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(secret.as_bytes()))
            .expect("JSON can be signed")
    };
    let forged = signed("another secret");
    assert!(verify(&forged, &keys).is_err() && verify_invite(&forged, &keys).is_err());
    let token = signed(SECRET);
    let _ = verify_invite(&token, &keys);
    let Ok(claims) = verify(&token, &keys) else { return };
    let permissions = claims.video.clone().unwrap_or_default().permissions();
    assert!(permissions.publish_sources.len() <= text.len());
    if let Ok(join) = Join::read(&JoinQuery::default(), claims.clone(), false) {
        assert!(!join.room.is_empty() && !join.identity.is_empty());
    }
    // As a client is told from time to time: the same once more.
    let refreshed = sign(claims.clone(), &keys, std::time::Duration::from_mins(10)).expect("a key to sign with");
    assert_eq!(verify(&refreshed, &keys).expect("signed by us").video, claims.video);
}
