//! Invitation links: a link to a call's page with a signed permission to join in its fragment, which browsers do not
//! send to servers or write to logs.

use std::net::IpAddr;

use fleet::invite::{AUDIENCE, Invite};
use jsonwebtoken::{EncodingKey, Header};
use thiserror::Error;

use crate::keys::ApiKey;

/// Why no link could be made.
#[derive(Debug, Error)]
pub enum InviteError {
    #[error("the call's name is empty or longer than {} bytes: choose a shorter one", fleet::api::MAX_CALL_NAME)]
    CallName,
    #[error("failed to sign the invitation")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

/// A link to `call` on the page at `url`, valid from `now` for `ttl_seconds`.
pub fn link(url: &str, call: &str, key: &ApiKey, now: i64, ttl_seconds: i64) -> Result<String, InviteError> {
    // As the page reads it from the link's path.
    let call = call.trim();
    if call.is_empty() || call.len() > fleet::api::MAX_CALL_NAME {
        return Err(InviteError::CallName);
    }
    let invite = Invite {
        iss: key.name.clone(),
        exp: now.saturating_add(ttl_seconds),
        // Clocks differ; a link must work the moment it is made.
        nbf: now - 60,
        aud: AUDIENCE.to_owned(),
        call: call.to_owned(),
    };
    let signing = EncodingKey::from_secret(key.secret.as_bytes());
    let token = jsonwebtoken::encode(&Header::default(), &invite, &signing).map_err(InviteError::Sign)?;
    Ok(format!("{}/c/{}#invite={token}", url.trim_end_matches('/'), escape(call)))
}

/// Whether browsers keep the microphone from the page at `url`: they give it to HTTPS and to the machine they run on alone
/// (Secure Contexts, section 3.1).
pub fn is_mute(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let is_local = host == "localhost" || host.ends_with(".localhost");
    !is_local && !host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push('%');
            for half in [byte >> 4, byte & 15] {
                escaped.push(char::from_digit(u32::from(half), 16).unwrap_or('0').to_ascii_uppercase());
            }
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation};

    use super::*;

    fn key() -> ApiKey {
        ApiKey { name: "APIx".into(), secret: "0123456789abcdef0123456789abcdef".into() }
    }

    #[test]
    fn the_microphone_is_for_https_and_this_machine() {
        for url in ["https://calls.example", "http://localhost:8080", "http://127.0.0.1", "http://[::1]:8080/c/a"] {
            assert!(!is_mute(url), "{url}");
        }
        for url in ["http://10.200.0.2:31111", "http://calls.example/", "http://[2001:db8::1]:80"] {
            assert!(is_mute(url), "{url}");
        }
    }

    #[test]
    fn the_link_carries_an_invitation_that_the_key_verifies() {
        let now = i64::try_from(jsonwebtoken::get_current_timestamp()).unwrap();
        let link = link("http://127.0.0.1:8080/", "daily standup/ü", &key(), now, 60).unwrap();
        let (page, token) = link.split_once("#invite=").unwrap();
        assert_eq!(page, "http://127.0.0.1:8080/c/daily%20standup%2F%C3%BC");
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[AUDIENCE]);
        let decoded =
            jsonwebtoken::decode::<Invite>(token, &DecodingKey::from_secret(key().secret.as_bytes()), &validation)
                .unwrap();
        assert_eq!((decoded.claims.call.as_str(), decoded.claims.iss.as_str()), ("daily standup/ü", "APIx"));
        assert_eq!(decoded.claims.exp, now + 60);
    }

    #[test]
    fn a_call_without_a_usable_name_gets_no_link() {
        assert!(matches!(link("http://x", "", &key(), 0, 1), Err(InviteError::CallName)));
        assert!(matches!(link("http://x", &"a".repeat(257), &key(), 0, 1), Err(InviteError::CallName)));
    }
}
