//! Decrypts what a client sends, once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cipher::{Forged, Kind, SessionCipher};
use super::keys::{InvalidKey, MasterKey};
use super::packet::{RTCP_CLEAR_LEN, read_u16, read_u32, rtp_header_len};
use super::profile::Profile;
use super::window::{IndexWindow, Verdict, WindowState};
use crate::id::Ssrc;

/// SSRCs a client may use under one key, for RTP and for RTCP each. Only authenticated packets count. Forgetting one
/// would let its packets be replayed, so a client with more of them has to make a new transport.
const MAX_SSRCS: usize = 1024;
/// Half the sequence number space.
const HALF: u16 = 1 << 15;

/// Opens the packets of one direction of a transport: authenticates, refuses replays, decrypts in place.
#[derive(Debug)]
pub struct Opener {
    key: MasterKey,
    rtp: SessionCipher,
    rtcp: SessionCipher,
    rtp_seen: BTreeMap<Ssrc, IndexWindow>,
    rtcp_seen: BTreeMap<Ssrc, IndexWindow>,
}

/// A decrypted RTP packet: `packet[..header_len]` is its header, `packet[header_len..len]` its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenedRtp {
    pub ssrc: Ssrc,
    /// ROC and sequence number: the sequence number continued beyond 16 bits.
    pub index: u64,
    pub header_len: usize,
    /// Length without the tag.
    pub len: usize,
}

impl Opener {
    /// # Errors
    /// [`InvalidKey`] if the key's lengths do not fit its profile.
    pub fn new(key: MasterKey) -> Result<Self, InvalidKey> {
        Ok(Self {
            rtp: SessionCipher::derive(&key, Kind::Rtp)?,
            rtcp: SessionCipher::derive(&key, Kind::Rtcp)?,
            key,
            rtp_seen: BTreeMap::new(),
            rtcp_seen: BTreeMap::new(),
        })
    }

    pub fn profile(&self) -> Profile {
        self.key.profile()
    }

    /// Opens an SRTP packet in place. RFC 3711, section 3.3.
    ///
    /// # Errors
    /// See [`OpenError`]; the packet's bytes are then not to be used.
    pub fn open_rtp(&mut self, packet: &mut [u8]) -> Result<OpenedRtp, OpenError> {
        let header_len = rtp_header_len(packet).ok_or(OpenError::NotAPacket)?;
        let sequence_number = read_u16(packet, 2).ok_or(OpenError::NotAPacket)?;
        let ssrc = Ssrc(read_u32(packet, 8).ok_or(OpenError::NotAPacket)?);
        let seen = self.rtp_seen.get(&ssrc);
        let index = match seen.and_then(IndexWindow::highest) {
            None => u64::from(sequence_number),
            Some(highest) => estimate_index(highest, sequence_number).ok_or(OpenError::TooOld)?,
        };
        admit(&self.rtp_seen, seen, index)?;
        let len = self.rtp.open_rtp(ssrc.0, index, header_len, packet)?;
        self.rtp_seen.entry(ssrc).or_insert_with(IndexWindow::new).insert(index);
        Ok(OpenedRtp { ssrc, index, header_len, len })
    }

    /// Opens a compound SRTCP packet in place; returns its length without index and tag. RFC 3711, section 3.4.
    ///
    /// # Errors
    /// See [`OpenError`]; the packet's bytes are then not to be used.
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, OpenError> {
        if packet.len() < RTCP_CLEAR_LEN || packet[0] >> 6 != 2 {
            return Err(OpenError::NotAPacket);
        }
        let ssrc = Ssrc(read_u32(packet, 4).ok_or(OpenError::NotAPacket)?);
        let index = self.rtcp.rtcp_index(packet)?;
        admit(&self.rtcp_seen, self.rtcp_seen.get(&ssrc), index.into())?;
        let len = self.rtcp.open_rtcp(ssrc.0, index, packet)?;
        self.rtcp_seen.entry(ssrc).or_insert_with(IndexWindow::new).insert(index.into());
        Ok(len)
    }

    /// The exact state. Unlike a sealer's it may be copied; but what arrives after a copy was made can be replayed to
    /// the one that is restored from it.
    pub fn export(&self) -> OpenerState {
        let export = |seen: &BTreeMap<Ssrc, IndexWindow>| seen.iter().map(|(ssrc, w)| (*ssrc, w.export())).collect();
        OpenerState { key: self.key.duplicate(), rtp_seen: export(&self.rtp_seen), rtcp_seen: export(&self.rtcp_seen) }
    }

    /// # Errors
    /// [`InvalidKey`] if the key's lengths do not fit its profile.
    pub fn restore(state: OpenerState) -> Result<Self, InvalidKey> {
        let restore = |seen: Vec<(Ssrc, WindowState)>| {
            seen.into_iter().map(|(ssrc, window)| (ssrc, IndexWindow::restore(&window))).collect()
        };
        let mut opener = Self::new(state.key)?;
        opener.rtp_seen = restore(state.rtp_seen);
        opener.rtcp_seen = restore(state.rtcp_seen);
        Ok(opener)
    }
}

/// Whether a packet is worth the work of authenticating it.
fn admit(all: &BTreeMap<Ssrc, IndexWindow>, seen: Option<&IndexWindow>, index: u64) -> Result<(), OpenError> {
    match seen.map(|window| window.check(index)) {
        None if all.len() >= MAX_SSRCS => Err(OpenError::TooManySsrcs),
        None | Some(Verdict::Fresh) => Ok(()),
        Some(Verdict::Seen) => Err(OpenError::Replayed),
        Some(Verdict::TooOld) => Err(OpenError::TooOld),
    }
}

/// The index with this sequence number that is nearest to the highest one; `None` before the first or beyond the last
/// index. RFC 3711, section 3.3.1 and appendix A.
fn estimate_index(highest: u64, sequence_number: u16) -> Option<u64> {
    let (roc, last) = (highest >> 16, highest as u16);
    let roc = if last < HALF && sequence_number > last + HALF {
        roc.checked_sub(1)?
    } else if last >= HALF && sequence_number < last - HALF {
        roc + 1
    } else {
        roc
    };
    u32::try_from(roc).is_ok().then_some(roc << 16 | u64::from(sequence_number))
}

/// An [`Opener`], written down. Carries the key: whatever stores or sends it must keep it secret.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenerState {
    key: MasterKey,
    rtp_seen: Vec<(Ssrc, WindowState)>,
    rtcp_seen: Vec<(Ssrc, WindowState)>,
}

impl OpenerState {
    /// Whether there can be an opener of it; [`Opener::restore`] uses it up either way.
    ///
    /// # Errors
    /// [`InvalidKey`] if the key's lengths do not fit its profile.
    pub fn check(&self) -> Result<(), InvalidKey> {
        SessionCipher::derive(&self.key, Kind::Rtp).map(drop)
    }
}

/// Why a packet was dropped; each is a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum OpenError {
    #[error("not an RTP or RTCP packet")]
    NotAPacket,
    #[error("does not authenticate")]
    Forged,
    #[error("was received before")]
    Replayed,
    #[error("is older than the replay window")]
    TooOld,
    #[error("client uses too many SSRCs")]
    TooManySsrcs,
}

impl From<Forged> for OpenError {
    fn from(_: Forged) -> Self {
        Self::Forged
    }
}
