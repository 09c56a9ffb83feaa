//! Whether a token opens a call: what a registrar looks at before it writes a claim down.
//!
//! Directors have no keys, so they claim names for anybody who asks to join. The check is the one of a join, made early:
//! what passes here may still be refused where the call is to live, which has seen the request as a whole.

use fleet::api::Claim;

use crate::fleet_api::NotAdmitted;
use crate::keys::Keys;
use crate::livekit::join::{Join, JoinQuery};
use crate::livekit::token;

/// Whether the claim's token is good with the keys in force, and grants to join the call that is claimed.
///
/// # Errors
/// Why not, as the client is told.
pub fn admit(claim: &Claim, keys: &Keys) -> Result<(), NotAdmitted> {
    let claims = token::verify(claim.token.as_str(), keys).map_err(|error| NotAdmitted(error.to_string()))?;
    let join = Join::read(&JoinQuery::default(), claims, false).map_err(|error| NotAdmitted(error.to_string()))?;
    if join.room == claim.call { Ok(()) } else { Err(NotAdmitted("the token is for another call".into())) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use fleet::api::AccessToken;

    use super::*;
    use crate::keys::Secret;
    use crate::livekit::token::{Claims, VideoGrant};

    fn keys(secret: &str) -> Keys {
        Keys::new(BTreeMap::from([("devkey".to_string(), Secret::new(secret))]))
    }

    fn signed(video: VideoGrant, secret: &str) -> AccessToken {
        let claims = Claims { sub: "ana".into(), video: Some(video), ..Claims::default() };
        AccessToken::new(token::sign(claims, &keys(secret), Duration::from_mins(1)).unwrap())
    }

    fn to_join(call: &str) -> VideoGrant {
        VideoGrant { room_join: true, room: call.into(), ..VideoGrant::default() }
    }

    fn admitted(call: &str, token: AccessToken) -> Result<(), NotAdmitted> {
        let claim = Claim { call: call.into(), token, sfu: "sfu-a".into(), replaces: None };
        admit(&claim, &keys("secret"))
    }

    #[test]
    fn a_token_opens_the_call_it_was_made_for() {
        assert_eq!(admitted("standup", signed(to_join("standup"), "secret")), Ok(()));
        assert!(admitted("retro", signed(to_join("standup"), "secret")).is_err());
    }

    #[test]
    fn a_forged_or_missing_token_opens_nothing() {
        assert!(admitted("standup", signed(to_join("standup"), "guessed")).is_err());
        let unsigned = signed(to_join("standup"), "secret").as_str().rsplit_once('.').unwrap().0.to_owned();
        for forged in ["", "nonsense", &unsigned, &format!("{unsigned}.")] {
            assert!(admitted("standup", AccessToken::new(forged)).is_err(), "{forged}");
        }
    }

    #[test]
    fn a_token_without_the_grant_opens_nothing() {
        let video = VideoGrant { room_join: false, ..to_join("standup") };
        let refused = admitted("standup", signed(video, "secret"));
        assert_eq!(refused, Err(NotAdmitted("permissions denied: the token does not grant roomJoin".into())));
    }
}
