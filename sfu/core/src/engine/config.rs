//! What an engine is told once.

use crate::time::NtpTime;

/// Settings of one engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineConfig {
    /// Number of the worker, which the ufrags of its transports name.
    pub worker: u8,
    /// The wall clock at [`Time::ZERO`](crate::time::Time::ZERO).
    pub wall_clock: NtpTime,
    /// Where the first sequence numbers come from. Protects nothing; equal seeds give equal output.
    pub seed: u64,
    /// Packets kept of each layer of a video track for retransmission: two seconds at 250 packets a second.
    pub video_history: u16,
    /// Packets kept of each audio track: more than a second at 50 packets a second.
    pub audio_history: u16,
    /// A frame at least this loud counts as speech, in -dBov (RFC 6464): 0 is loudest, 127 silence.
    pub speech_threshold: u8,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            worker: 0,
            wall_clock: NtpTime::default(),
            seed: 0,
            video_history: 512,
            audio_history: 64,
            speech_threshold: 35,
        }
    }
}
