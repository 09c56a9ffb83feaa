//! Load cheap enough to saturate a server on the other core, and what it costs the server.
//!
//! Clients are made of the SFU's own transports in the other role, with a controlling ICE agent; their signalling is
//! LiveKit's, so that the same clients drive a peer's server in the same run.
//!
//! | file | concept |
//! | --- | --- |
//! | `scenario`, `schedule` | who sends what to whom, and when |
//! | `ice`, `transport` | a peer connection without its socket |
//! | `offer` | session descriptions |
//! | `publisher`, `sink`, `histogram` | what is sent, and what is counted |
//! | `client`, `thread`, `receive` | all sockets in one loop |
//! | `join` | signalling |
//! | `bare` | the limit: the same packets from a process that does nothing else |
//! | `livekit` | the peer's server |
//! | `measure` | one scenario at one server |
//! | `figures`, `table`, `picture` | many measurements for people |
//! | `run` | all scenarios, servers and repeats |
//! | `churn` | people who come and go, and whether memory stays level |

pub mod bare;
pub mod churn;
mod client;
pub mod figures;
mod histogram;
mod ice;
pub mod join;
pub mod livekit;
pub mod measure;
mod offer;
pub mod picture;
mod publisher;
mod receive;
pub mod run;
pub mod scenario;
mod schedule;
mod sink;
pub mod table;
mod thread;
mod transport;
