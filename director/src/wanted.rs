//! What a client's request wants: which call, and whether it may begin it.
//!
//! The call's name is read from the access token without verifying it: the SFU verifies, and before a call begins its
//! registrar does; the director only sends the request to where it belongs. Name and token are found exactly where an SFU finds them, or else a join could reach an
//! SFU that sees a call in it where the director saw none.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use fleet::api::{AccessToken, MAX_CALL_NAME, bearer};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Uri, header};
use serde::Deserialize;

/// What a request wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// To be in the call, which begins if it is not there.
    Join { call: String, token: AccessToken },
    /// Something about the call, if it is there.
    About(String),
    /// Something any SFU can answer: the page, mostly.
    Anything,
}

/// Paths of LiveKit's signalling websocket.
const JOIN_PATHS: [&str; 2] = ["/rtc", "/rtc/v1"];

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

impl Wanted {
    /// From a request's head. A name longer than calls may have is none; the SFU says so to the client.
    pub fn from_head(head: &Parts) -> Self {
        let token = token(&head.headers, &head.uri).filter(|token| is_token(token));
        let Some((call, token)) = token.and_then(|token| call_of_token(&token).map(|call| (call, token))) else {
            return Self::Anything;
        };
        // Clients whose base URL ends in a slash ask for `//rtc`.
        let path = format!("/{}", head.uri.path().trim_matches('/'));
        if JOIN_PATHS.contains(&path.as_str()) && is_websocket(head) {
            Self::Join { call, token: AccessToken::new(token) }
        } else {
            Self::About(call)
        }
    }

    pub fn call(&self) -> Option<&str> {
        match self {
            Self::Join { call, .. } | Self::About(call) => Some(call),
            Self::Anything => None,
        }
    }
}

/// Whether the request asks to become a websocket.
pub fn is_websocket(head: &Parts) -> bool {
    let lists = |name, wanted: &str| {
        let values = head.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case(wanted))
    };
    lists(header::CONNECTION, "upgrade") && lists(header::UPGRADE, "websocket")
}

/// The access token: the header wins over the query.
fn token<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<Cow<'a, str>> {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some(token) = authorization.and_then(bearer) {
        return Some(token.into());
    }
    let mut pairs = form_urlencoded::parse(uri.query()?.as_bytes());
    pairs.find(|(name, _)| name == "access_token").map(|(_, token)| token)
}

/// Whether it is made of what tokens are made of. What is not, no SFU takes; and a claim must not grow by escapes.
fn is_token(token: &str) -> bool {
    token.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'='))
}

#[derive(Debug, Deserialize)]
struct Claims {
    #[serde(default)]
    video: Grants,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Grants {
    room: String,
    destination_room: String,
}

fn call_of_token(token: &str) -> Option<String> {
    let payload = token.split('.').nth(1)?;
    let claims: Claims = serde_json::from_slice(&BASE64.decode(payload).ok()?).ok()?;
    let Grants { room, destination_room } = claims.video;
    let call = if room.is_empty() { destination_room } else { room };
    (!call.is_empty() && call.len() <= MAX_CALL_NAME).then_some(call)
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn token_with(payload: &str) -> String {
        format!("e30.{}.c2ln", BASE64.encode(payload).trim_end_matches('='))
    }

    fn token_for(call: &str) -> String {
        token_with(&format!(r#"{{"iss":"key","video":{{"roomJoin":true,"room":"{call}"}}}}"#))
    }

    fn joins(call: &str) -> Wanted {
        Wanted::Join { call: call.into(), token: AccessToken::new(token_for(call)) }
    }

    fn wanted(uri: &str, headers: &[(&str, &str)]) -> Wanted {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Wanted::from_head(&request.body(()).unwrap().into_parts().0)
    }

    const WEBSOCKET: [(&str, &str); 2] = [("Connection", "keep-alive, Upgrade"), ("Upgrade", "websocket")];

    #[test]
    fn a_websocket_with_a_token_wants_to_join() {
        let token = token_for("standup");
        for path in ["/rtc", "/rtc/", "//rtc", "/rtc/v1"] {
            let uri = format!("{path}?protocol=16&access_token={token}");
            assert_eq!(wanted(&uri, &WEBSOCKET), joins("standup"), "{path}");
        }
        let resume = format!("/rtc?reconnect=1&sid=PA_1&access_token={token}");
        assert_eq!(wanted(&resume, &WEBSOCKET), joins("standup"));
    }

    #[test]
    fn what_is_no_signalling_websocket_is_about_the_call() {
        let token = token_for("standup");
        let about = Wanted::About("standup".into());
        assert_eq!(wanted(&format!("/rtc/validate?access_token={token}"), &[]), about);
        assert_eq!(wanted(&format!("/rtc?access_token={token}"), &[]), about);
        let bearer = format!("Bearer {token}");
        assert_eq!(wanted("/twirp/livekit.RoomService/ListParticipants", &[("Authorization", &bearer)]), about);
    }

    #[test]
    fn without_a_readable_token_anybody_will_do() {
        assert_eq!(wanted("/c/standup", &[]), Wanted::Anything);
        assert_eq!(wanted("/rtc?access_token=nonsense", &WEBSOCKET), Wanted::Anything);
        assert_eq!(wanted("/rtc?access_token=a.b.c", &WEBSOCKET), Wanted::Anything);
        let with_more = format!("/rtc?access_token={}%00", token_for("standup"));
        assert_eq!(wanted(&with_more, &WEBSOCKET), Wanted::Anything);
        let too_long = token_for(&"x".repeat(MAX_CALL_NAME + 1));
        assert_eq!(wanted(&format!("/rtc?access_token={too_long}"), &WEBSOCKET), Wanted::Anything);
        let list = token_with(r#"{"video":{"roomList":true}}"#);
        assert_eq!(wanted(&format!("/twirp?access_token={list}"), &[]), Wanted::Anything);
    }

    #[test]
    fn the_header_wins_over_the_query() {
        let uri = format!("/rtc?access_token={}", token_for("query"));
        let bearer = format!("bearer {}", token_for("header"));
        assert_eq!(wanted(&uri, &[("Authorization", &bearer)]), Wanted::About("header".into()));
        // Somebody else's header is no reason not to look further: the SFU does, and would take the join anywhere.
        for other in ["Basic dXNlcjpwYXNz", "Bearer", ""] {
            assert_eq!(wanted(&uri, &[("Authorization", other)]), Wanted::About("query".into()), "{other}");
        }
    }

    #[test]
    fn an_escaped_or_padded_token_is_read_as_an_sfu_reads_it() {
        let token = token_for("standup");
        let escaped = token.replace('.', "%2E").replace('e', "%65");
        assert_eq!(wanted(&format!("/x?access_token={escaped}"), &[]), Wanted::About("standup".into()));
        let payload = BASE64.encode(r#"{"video":{"room":"padded"}}"#);
        assert_eq!(wanted(&format!("/x?access_token=e30.{payload}.c2ln"), &[]), Wanted::About("padded".into()));
    }

    #[test]
    fn a_token_that_moves_somebody_goes_by_its_room_first() {
        let both = token_with(r#"{"video":{"room":"here","destinationRoom":"there"}}"#);
        assert_eq!(wanted(&format!("/x?access_token={both}"), &[]), Wanted::About("here".into()));
        let there = token_with(r#"{"video":{"destinationRoom":"there"}}"#);
        assert_eq!(wanted(&format!("/x?access_token={there}"), &[]), Wanted::About("there".into()));
    }
}
