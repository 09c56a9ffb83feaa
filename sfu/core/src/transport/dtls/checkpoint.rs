//! An association goes on after its owner has died, with record numbers that the owner cannot have used.

use rkyv::rancor::Error;
use rkyv::util::AlignedVec;
use serde::{Deserialize, Serialize};

use super::{Dtls, DtlsRestoreError, DtlsState, PEER, Phase};
use crate::transport::guard::guard;

/// Record numbers left out at each takeover: more than anybody sends in the life of a checkpoint. There are 2^48, and
/// receivers follow any step forward (RFC 6347, section 4.1.2.6).
const GAP: u64 = 1 << 24;

/// A [`DtlsState`] of some time ago, whose owner may have sent more since. Carries keys.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DtlsCheckpoint(DtlsState);

/// The library's form of its state. It can be read, but not changed, through the library.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct LibraryState {
    local_epoch: u16,
    remote_epoch: u16,
    local_random: [u8; 32],
    remote_random: [u8; 32],
    cipher_suite_id: u16,
    master_secret: Vec<u8>,
    sequence_number: u64,
    srtp_protection_profile: u16,
    peer_certificates: Vec<Vec<u8>>,
    identity_hint: Vec<u8>,
    is_client: bool,
}

impl Dtls {
    /// A copy for the case that this process dies. `None` unless established.
    pub fn checkpoint(&self) -> Option<DtlsCheckpoint> {
        let Phase::Established(endpoint) = &self.phase else { return None };
        let library = guard(|| endpoint.get_connection_state(PEER)?.marshal_binary().ok()).ok().flatten()?;
        Some(DtlsCheckpoint(DtlsState { role: self.role, library, highest_record: self.intake.highest_record() }))
    }
}

impl DtlsCheckpoint {
    /// The state to go on with after the owner's death. `takeover` counts those from this checkpoint, from 1: each has
    /// numbers of its own.
    ///
    /// # Errors
    /// [`DtlsRestoreError`] if the state was damaged.
    pub fn take_over(self, takeover: u32) -> Result<DtlsState, DtlsRestoreError> {
        let mut aligned = AlignedVec::<16>::new();
        aligned.extend_from_slice(&self.0.library);
        let read = rkyv::from_bytes::<LibraryState, Error>(&aligned);
        let mut library = read.map_err(|_| DtlsRestoreError)?;
        library.sequence_number = library.sequence_number.saturating_add(GAP * u64::from(takeover));
        let written = rkyv::to_bytes::<Error>(&library).map_err(|_| DtlsRestoreError)?;
        Ok(DtlsState { library: written.to_vec(), ..self.0 })
    }
}
