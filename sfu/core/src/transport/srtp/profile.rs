//! The protection profiles we speak.

use serde::{Deserialize, Serialize};

/// Length of a GCM authentication tag (RFC 7714, section 5.3) in bytes.
pub(super) const GCM_TAG_LEN: usize = 16;
/// Length of a truncated HMAC-SHA1 tag (RFC 3711, section 5.2) in bytes.
pub(super) const SHA1_TAG_LEN: usize = 10;
/// Length of the word with the E bit and the SRTCP index (RFC 3711, section 3.4) in bytes.
pub(super) const SRTCP_INDEX_LEN: usize = 4;

/// A protection profile of DTLS-SRTP (RFC 5764, section 4.1.2; RFC 7714, section 14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Profile {
    /// First choice: four to five times cheaper than AES-CM with HMAC-SHA1 at full packet size.
    AeadAes128Gcm,
    AeadAes256Gcm,
    /// Every WebRTC client has it (RFC 8827, section 6.5).
    Aes128CmHmacSha1_80,
}

impl Profile {
    /// The most bytes sealing adds to an RTP or RTCP packet, whatever the profile.
    pub const MAX_OVERHEAD: usize = GCM_TAG_LEN + SRTCP_INDEX_LEN;

    /// Length of a master key in bytes.
    pub const fn key_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::Aes128CmHmacSha1_80 => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Length of a master salt in bytes.
    pub const fn salt_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
            Self::Aes128CmHmacSha1_80 => 14,
        }
    }

    /// Length of the keying material DTLS exports for both directions (RFC 5764, section 4.2) in bytes.
    pub const fn keying_material_len(self) -> usize {
        2 * (self.key_len() + self.salt_len())
    }

    /// Bytes that sealing adds to an RTP packet.
    pub const fn rtp_overhead(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => GCM_TAG_LEN,
            Self::Aes128CmHmacSha1_80 => SHA1_TAG_LEN,
        }
    }

    /// Bytes that sealing adds to a compound RTCP packet.
    pub const fn rtcp_overhead(self) -> usize {
        self.rtp_overhead() + SRTCP_INDEX_LEN
    }

    /// The profile's name as DTLS registers it; for logs and metrics, a closed set.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
            Self::Aes128CmHmacSha1_80 => "AES128_CM_HMAC_SHA1_80",
        }
    }
}
