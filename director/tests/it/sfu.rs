//! The SFU's half of the fleet API, as it is in the SFU: the director is tested against it and not against a copy. By
//! path, because the SFU as a whole (media, its libraries) is much to build for it.

#[path = "../../../sfu/src/claims.rs"]
pub mod claims;
#[path = "../../../sfu/src/fleet_api.rs"]
pub mod fleet_api;
#[path = "../../../sfu/src/tls.rs"]
pub mod tls;
#[path = "../../../sfu/src/turned_away.rs"]
pub mod turned_away;
