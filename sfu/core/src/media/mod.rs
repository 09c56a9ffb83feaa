//! The small machines the engine is made of, each pure: packets and the time in, a decision out.
//!
//! They must not know transports, keys or one another's owners; [`engine`](crate::engine) puts them together.

pub mod allocate;
pub mod bits;
pub mod dependency;
pub mod estimate;
pub mod extension;
pub mod heard;
pub mod history;
pub mod keyframe;
pub mod layer;
pub mod level;
pub mod meter;
pub mod nack;
pub mod pace;
pub mod picture;
pub mod random;
pub mod receive;
pub mod red;
pub mod redundancy;
pub mod report;
pub mod resend;
pub mod rewrite;
pub mod rtcp;
pub mod rtp;
pub mod rtx;
pub mod scalable;
pub mod select;
pub mod sequence;
pub mod timeline;
pub mod twcc;
pub mod voice;
pub mod vp8;
pub mod vp9;
pub mod vp9_layers;
