//! Invitations of the page: `calls-operator link` signs them, SFUs verify them.

use serde::{Deserialize, Serialize};

/// Who an invitation is for, so that it is never taken for an access token.
pub const AUDIENCE: &str = "calls-page";

/// Claims of an invitation (RFC 7519), signed with an API key (HS256). It is in a link's fragment, which browsers neither
/// send to servers nor write to logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// Name of the API key that signed it.
    pub iss: String,
    /// [`AUDIENCE`].
    pub aud: String,
    /// End, seconds since 1970.
    pub exp: i64,
    /// Beginning, seconds since 1970.
    pub nbf: i64,
    /// Name of the call it opens, without spaces around it.
    pub call: String,
}
