//! Encrypts what we send, and counts it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::cipher::{Kind, SessionCipher};
use super::keys::{InvalidKey, MasterKey};
use super::packet::{RTCP_CLEAR_LEN, RTP_FIXED_LEN, read_u32, rtp_header_len};
use super::profile::Profile;
use super::window::{IndexWindow, Verdict, WindowState};
use crate::id::Ssrc;

/// One more than the largest packet index: 32 bits ROC, 16 bits sequence number.
const INDEX_LIMIT: u64 = 1 << 48;
/// A receiver follows the rollover counter only across steps below half the sequence number space.
const MAX_STEP: u64 = 1 << 15;
/// One more than the largest SRTCP index (RFC 3711, section 9.2).
const RTCP_INDEX_LIMIT: u32 = 1 << 31;
/// SSRCs one key may see in its life, open or closed. Each costs 20 bytes when closed; a client that joins and leaves
/// subscriptions once a second gets there after a working day.
const MAX_SSRCS: usize = 65_536;

/// Names an open stream of one [`Sealer`]; valid until [`Sealer::close_stream`], also after export and restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OutboundStream(NonZeroU32);

impl OutboundStream {
    /// The one in this slot. There are at most [`MAX_SSRCS`].
    const fn at(slot: usize) -> Self {
        Self(NonZeroU32::MIN.saturating_add(slot as u32))
    }

    const fn slot(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// Seals the packets of one direction of a transport. See the module's documentation for what it guarantees.
#[derive(Debug)]
pub struct Sealer {
    key: MasterKey,
    rtp: SessionCipher,
    rtcp: SessionCipher,
    streams: Vec<Option<Stream>>,
    /// Highest index of streams that were closed, should one be opened again.
    closed: BTreeMap<Ssrc, u64>,
    next_rtcp_index: u32,
}

#[derive(Debug)]
struct Stream {
    ssrc: Ssrc,
    used: IndexWindow,
}

impl Sealer {
    /// Starts counting with a key that has never been used.
    ///
    /// # Errors
    /// [`InvalidKey`] if the key's lengths do not fit its profile.
    pub fn new(key: MasterKey) -> Result<Self, InvalidKey> {
        Ok(Self {
            rtp: SessionCipher::derive(&key, Kind::Rtp)?,
            rtcp: SessionCipher::derive(&key, Kind::Rtcp)?,
            key,
            streams: Vec::new(),
            closed: BTreeMap::new(),
            next_rtcp_index: 1,
        })
    }

    pub fn profile(&self) -> Profile {
        self.key.profile()
    }

    /// Starts to send on an SSRC, or returns its stream if it is open already.
    ///
    /// # Errors
    /// [`SealError::TooManyStreams`].
    pub fn open_stream(&mut self, ssrc: Ssrc) -> Result<OutboundStream, SealError> {
        if let Some(open) = self.streams.iter().position(|stream| stream.as_ref().is_some_and(|s| s.ssrc == ssrc)) {
            return Ok(OutboundStream::at(open));
        }
        let used = match self.closed.remove(&ssrc) {
            Some(highest) => IndexWindow::all_seen_up_to(highest),
            None if self.closed.len() + self.streams.len() >= MAX_SSRCS => return Err(SealError::TooManyStreams),
            None => IndexWindow::new(),
        };
        let stream = Some(Stream { ssrc, used });
        let slot = self.streams.iter().position(Option::is_none).unwrap_or(self.streams.len());
        if slot == self.streams.len() {
            self.streams.push(stream);
        } else {
            self.streams[slot] = stream;
        }
        Ok(OutboundStream::at(slot))
    }

    /// The index after the highest one the stream has used, also before it was closed and opened again. `None` if it has
    /// sent nothing, or is not open.
    pub fn next_index(&self, stream: OutboundStream) -> Option<u64> {
        Some(self.streams.get(stream.slot())?.as_ref()?.used.highest()? + 1)
    }

    /// Starts to send on an SSRC on which somebody else may have used all indices below `next`.
    ///
    /// # Errors
    /// [`SealError::TooManyStreams`].
    pub fn open_stream_from(&mut self, ssrc: Ssrc, next: u64) -> Result<OutboundStream, SealError> {
        let stream = self.open_stream(ssrc)?;
        let slot = self.streams.get_mut(stream.slot()).and_then(Option::as_mut);
        if let (Some(stream), Some(last)) = (slot, next.checked_sub(1))
            && stream.used.highest().is_none_or(|highest| highest < last)
        {
            stream.used = IndexWindow::all_seen_up_to(last);
        }
        Ok(stream)
    }

    /// Whether an index of a stream may still be used.
    pub fn is_fresh(&self, stream: OutboundStream, index: u64) -> bool {
        let stream = self.streams.get(stream.slot()).and_then(Option::as_ref);
        stream.is_some_and(|stream| stream.check(index).is_ok())
    }

    /// Forgets a stream but for the highest index it used, so that it may be opened again.
    pub fn close_stream(&mut self, stream: OutboundStream) {
        let Some(Stream { ssrc, used }) = self.streams.get_mut(stream.slot()).and_then(Option::take) else {
            return;
        };
        if let Some(highest) = used.highest() {
            self.closed.insert(ssrc, highest);
        }
    }

    /// Seals one packet without allocating: `out` begins with the packet's header, `payload` is encrypted behind it and
    /// the tag follows. Returns the packet's length.
    ///
    /// `index` is the sequence number continued beyond 16 bits (ROC and sequence number, RFC 3711, section 3.3.1); a
    /// stream's first one is below 2^16. It need not be the next one: a packet that overtook another may go out first,
    /// as long as fewer than 960 indices lie between. The header's sequence number and SSRC are written here.
    ///
    /// # Errors
    /// See [`SealError`]. After an error the index has not been used, and `out` is not to be sent.
    pub fn seal_rtp_into(
        &mut self,
        stream: OutboundStream,
        index: u64,
        header_len: usize,
        payload: &[u8],
        out: &mut [u8],
    ) -> Result<usize, SealError> {
        let stream = self.streams.get_mut(stream.slot()).and_then(Option::as_mut).ok_or(SealError::NotOpen)?;
        stream.check(index)?;
        if header_len < RTP_FIXED_LEN {
            return Err(SealError::NotAPacket);
        }
        let len = header_len + payload.len() + self.key.profile().rtp_overhead();
        if out.len() < len {
            return Err(SealError::NoRoom);
        }
        out[2..4].copy_from_slice(&(index as u16).to_be_bytes());
        out[8..12].copy_from_slice(&stream.ssrc.0.to_be_bytes());
        // Used from here on, whatever the cipher says.
        stream.used.insert(index);
        self.rtp.seal_rtp(stream.ssrc.0, index, header_len, payload, out).ok_or(SealError::NoRoom)
    }

    /// Seals a whole packet in its own buffer; otherwise as [`seal_rtp_into`](Self::seal_rtp_into).
    ///
    /// # Errors
    /// See [`SealError`].
    pub fn seal_rtp(&mut self, stream: OutboundStream, index: u64, packet: &mut Vec<u8>) -> Result<(), SealError> {
        let header_len = rtp_header_len(packet).ok_or(SealError::NotAPacket)?;
        let payload = packet.split_off(header_len);
        packet.resize(header_len + payload.len() + self.key.profile().rtp_overhead(), 0);
        let len = self.seal_rtp_into(stream, index, header_len, &payload, packet)?;
        packet.truncate(len);
        Ok(())
    }

    /// Seals the compound RTCP packet in the first `len` bytes of `out` in place, without allocating. Returns the
    /// packet's length, [`Profile::rtcp_overhead`] bytes more.
    ///
    /// # Errors
    /// [`SealError::NotAPacket`], [`SealError::NoRoom`] or [`SealError::KeyExhausted`].
    pub fn seal_rtcp_into(&mut self, len: usize, out: &mut [u8]) -> Result<usize, SealError> {
        if len < RTCP_CLEAR_LEN {
            return Err(SealError::NotAPacket);
        }
        if out.len() < len + self.key.profile().rtcp_overhead() {
            return Err(SealError::NoRoom);
        }
        let ssrc = read_u32(out, 4).ok_or(SealError::NotAPacket)?;
        let index = self.next_rtcp_index;
        if index >= RTCP_INDEX_LIMIT {
            return Err(SealError::KeyExhausted);
        }
        self.next_rtcp_index += 1;
        self.rtcp.seal_rtcp(ssrc, index, len, out).ok_or(SealError::NoRoom)
    }

    /// Seals a compound RTCP packet in its own buffer.
    ///
    /// # Errors
    /// As [`seal_rtcp_into`](Self::seal_rtcp_into).
    pub fn seal_rtcp(&mut self, packet: &mut Vec<u8>) -> Result<(), SealError> {
        let len = packet.len();
        packet.resize(len + self.key.profile().rtcp_overhead(), 0);
        let sealed = self.seal_rtcp_into(len, packet)?;
        packet.truncate(sealed);
        Ok(())
    }

    /// The exact state, for another process to go on with. Consumes the sealer: there is one owner of a key.
    pub fn export(self) -> SealerState {
        let (streams, closed) = (self.export_streams(), self.closed);
        SealerState { key: self.key, streams, closed, next_rtcp_index: self.next_rtcp_index }
    }

    /// # Errors
    /// [`InvalidKey`] if the key's lengths do not fit its profile.
    pub fn restore(state: SealerState) -> Result<Self, InvalidKey> {
        let mut sealer = Self::new(state.key)?;
        let restore =
            |stream: SealedStreamState| Stream { ssrc: stream.ssrc, used: IndexWindow::restore(&stream.used) };
        sealer.streams = state.streams.into_iter().map(|stream| stream.map(restore)).collect();
        sealer.closed = state.closed;
        sealer.next_rtcp_index = state.next_rtcp_index;
        Ok(sealer)
    }

    /// A copy for the case that this process dies. It is stale at once, so it cannot be restored as it is.
    pub fn checkpoint(&self) -> SealerCheckpoint {
        SealerCheckpoint(SealerState {
            key: self.key.duplicate(),
            streams: self.export_streams(),
            closed: self.closed.clone(),
            next_rtcp_index: self.next_rtcp_index,
        })
    }

    fn export_streams(&self) -> Vec<Option<SealedStreamState>> {
        let export = |stream: &Stream| SealedStreamState { ssrc: stream.ssrc, used: stream.used.export() };
        self.streams.iter().map(|stream| stream.as_ref().map(export)).collect()
    }
}

impl Stream {
    fn check(&self, index: u64) -> Result<(), SealError> {
        if index >= INDEX_LIMIT {
            return Err(SealError::KeyExhausted);
        }
        match self.used.highest() {
            None if index > u64::from(u16::MAX) => return Err(SealError::StepTooLarge),
            Some(highest) if index.saturating_sub(highest) >= MAX_STEP => return Err(SealError::StepTooLarge),
            _ => {}
        }
        match self.used.check(index) {
            Verdict::Fresh => Ok(()),
            Verdict::Seen => Err(SealError::IndexUsed),
            Verdict::TooOld => Err(SealError::IndexTooOld),
        }
    }
}

/// A [`Sealer`], written down. Carries the key: whatever stores or sends it must keep it secret.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealerState {
    key: MasterKey,
    streams: Vec<Option<SealedStreamState>>,
    closed: BTreeMap<Ssrc, u64>,
    next_rtcp_index: u32,
}

impl SealerState {
    /// Whether there can be a sealer of it; [`Sealer::restore`] uses it up either way.
    ///
    /// # Errors
    /// [`InvalidKey`] if the key's lengths do not fit its profile.
    pub fn check(&self) -> Result<(), InvalidKey> {
        SessionCipher::derive(&self.key, Kind::Rtp).map(drop)
    }
}

/// An outbound stream, written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedStreamState {
    pub ssrc: Ssrc,
    pub used: WindowState,
}

/// A [`SealerState`] of some time ago, whose owner may have sent more since.
#[derive(Debug, Serialize, Deserialize)]
pub struct SealerCheckpoint(SealerState);

impl SealerCheckpoint {
    /// Takes over after the owner's death, skipping `gap` indices of every stream and as many of SRTCP.
    ///
    /// `gap` must exceed what the owner can have sent since the checkpoint and stay below 2^15, or receivers lose the
    /// rollover counter. Streams that had sent nothing yet are not taken over: whoever knows where they were to begin
    /// opens them with [`Sealer::open_stream_from`]. Those opened after the checkpoint need new SSRCs. Write the next
    /// checkpoint before the first packet: two takeovers from one checkpoint would use the same indices.
    ///
    /// # Errors
    /// [`InvalidKey`] if the key's lengths do not fit its profile.
    pub fn take_over(self, gap: u16) -> Result<Sealer, InvalidKey> {
        let mut state = self.0;
        let gap = u64::from(gap).min(MAX_STEP - 1);
        for slot in &mut state.streams {
            *slot = slot.take().and_then(|stream| {
                let used = IndexWindow::all_seen_up_to(stream.used.highest? + gap).export();
                Some(SealedStreamState { ssrc: stream.ssrc, used })
            });
        }
        for highest in state.closed.values_mut() {
            *highest += gap;
        }
        state.next_rtcp_index = state.next_rtcp_index.saturating_add(gap as u32);
        Sealer::restore(state)
    }
}

/// Why a packet was not sealed. All of these are ours to mend; no client can cause them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("stream is not open")]
    NotOpen,
    #[error("too many streams under one key")]
    TooManyStreams,
    #[error("packet index was used before")]
    IndexUsed,
    #[error("packet index is too old to know whether it was used")]
    IndexTooOld,
    #[error("packet index is too far ahead for receivers to follow")]
    StepTooLarge,
    #[error("key has no indices left")]
    KeyExhausted,
    #[error("buffer is too short for the sealed packet")]
    NoRoom,
    #[error("not an RTP or RTCP packet")]
    NotAPacket,
}
