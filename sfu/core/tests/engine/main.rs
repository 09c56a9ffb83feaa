//! The engine among simulated clients: virtual time, a lossy network, real ICE checks and SRTP.
//!
//! Every scenario runs twice: as it is, and with the engine written down as JSON and restored at random steps. Both
//! runs must put out the same datagrams and events. In each of them, no (key, SSRC, index) may be sealed twice.

mod adaptation;
mod allocations;
mod client;
mod connectivity;
mod crashes;
mod descriptors;
mod encoder;
mod forwarding;
mod garbage;
mod growth;
mod hearing;
mod layers;
mod long;
mod loss;
mod moves;
mod moving;
mod network;
mod nonces;
mod pacing;
mod payloads;
mod redundancy;
mod redundant_publishers;
mod relay;
mod stun;
mod svc;
mod svc_elsewhere;
mod table;
mod tracks;
mod world;
