//! How many SFUs the operator's autoscaler takes, and how often they are too few: weeks of calls in seconds, beside a
//! HorizontalPodAutoscaler, a buffer as Agones keeps it, and a fixed number.
//!
//! ```text
//! family, seed ─→ trace ─→ world, with a scaler ─→ outcome ─→ sweep ─→ table, picture
//!  how people     people    a fleet that does      minutes,   each scaler with
//!  meet           in calls  as it is told          pod-hours  many parameters
//! ```
//!
//! Everybody has the same fleet, traces and start; a scaler differs from another only in what it decides, from what it
//! can see. No clock, and the same seed gives the same figures everywhere.

pub mod family;
pub mod picture;
pub mod random;
pub mod run;
pub mod scaler;
pub mod sweep;
pub mod table;
pub mod trace;
pub mod world;
