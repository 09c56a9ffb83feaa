//! The session keys of one direction and kind, and what they do to one packet. Counts nothing: the index comes from
//! `seal` and `open`.

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{constant_time, hmac};
use zeroize::Zeroizing;

use super::keys::{InvalidKey, MasterKey};
use super::packet::RTCP_CLEAR_LEN;
use super::profile::{GCM_TAG_LEN, Profile, SHA1_TAG_LEN, SRTCP_INDEX_LEN};

const GCM_SALT_LEN: usize = 12;
const CM_SALT_LEN: usize = 14;
const SHA1_KEY_LEN: usize = 20;
/// The bit that says an SRTCP packet is encrypted; WebRTC allows nothing else (RFC 8834, section 4.7).
const ENCRYPTED: u32 = 1 << 31;

/// What a packet protected with these keys is; decides the labels of the key derivation (RFC 3711, section 4.3.2).
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Rtp = 0,
    Rtcp = 3,
}

/// The bytes did not authenticate, or are too few to.
#[derive(Debug)]
pub(super) struct Forged;

/// Session keys derived from a master key.
pub(super) struct SessionCipher(Keys);

enum Keys {
    Gcm { key: Box<LessSafeKey>, salt: [u8; GCM_SALT_LEN] },
    Cm { key: Box<EncryptingKey>, auth: Box<hmac::Key>, salt: [u8; CM_SALT_LEN] },
}

impl std::fmt::Debug for SessionCipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionCipher").finish_non_exhaustive()
    }
}

impl SessionCipher {
    /// Derives the session keys with the key derivation rate 0, as DTLS-SRTP has it. RFC 3711, section 4.3.1;
    /// RFC 7714, section 11.
    pub(super) fn derive(master: &MasterKey, kind: Kind) -> Result<Self, InvalidKey> {
        let (profile, label) = (master.profile(), kind as u8);
        let invalid = InvalidKey { profile, actual: master.key().len() + master.salt().len() };
        let mut key = Zeroizing::new(vec![0; profile.key_len()]);
        let mut auth = Zeroizing::new([0; SHA1_KEY_LEN]);
        let mut salt = vec![0; profile.salt_len()];
        derive(master, label, &mut key).ok_or(invalid)?;
        derive(master, label + 1, auth.as_mut()).ok_or(invalid)?;
        derive(master, label + 2, &mut salt).ok_or(invalid)?;
        Self::from_session_keys(profile, &key, auth.as_ref(), &salt).ok_or(invalid)
    }

    pub(super) fn from_session_keys(profile: Profile, key: &[u8], auth: &[u8], salt: &[u8]) -> Option<Self> {
        let gcm = |algorithm| {
            let key = Box::new(LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?));
            Some(Keys::Gcm { key, salt: salt.try_into().ok()? })
        };
        Some(Self(match profile {
            Profile::AeadAes128Gcm => gcm(&aead::AES_128_GCM)?,
            Profile::AeadAes256Gcm => gcm(&aead::AES_256_GCM)?,
            Profile::Aes128CmHmacSha1_80 => Keys::Cm {
                key: Box::new(counter_mode_key(key)?),
                auth: Box::new(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, auth)),
                salt: salt.try_into().ok()?,
            },
        }))
    }

    /// Encrypts `payload` into `out`, of which the first `header_len` bytes are the packet's header, and appends the
    /// tag. `index` is ROC and sequence number, which must be those in the header. Returns the packet's length; `None`
    /// if `out` is too short. RFC 3711, section 3.3; RFC 7714, section 8.
    pub(super) fn seal_rtp(
        &self,
        ssrc: u32,
        index: u64,
        header_len: usize,
        payload: &[u8],
        out: &mut [u8],
    ) -> Option<usize> {
        let sealed_end = header_len.checked_add(payload.len())?;
        match &self.0 {
            Keys::Gcm { key, salt } => {
                let out = out.get_mut(..sealed_end + GCM_TAG_LEN)?;
                let (header, sealed) = out.split_at_mut(header_len);
                let (body, tag) = sealed.split_at_mut(payload.len());
                let nonce = gcm_nonce(salt, ssrc, index);
                key.seal_out_of_place_scatter(nonce, Aad::from(&*header), payload, body, &[], tag).ok()?;
                Some(sealed_end + GCM_TAG_LEN)
            }
            Keys::Cm { key, auth, salt } => {
                let out = out.get_mut(..sealed_end + SHA1_TAG_LEN)?;
                let (packet, tag) = out.split_at_mut(sealed_end);
                packet[header_len..].copy_from_slice(payload);
                counter_mode(key, cm_iv(salt, ssrc, index), &mut packet[header_len..])?;
                tag.copy_from_slice(&sha1_tag(auth, packet, &roc_bytes(index)));
                Some(sealed_end + SHA1_TAG_LEN)
            }
        }
    }

    /// Decrypts in place what follows the header; returns the length of header and payload.
    pub(super) fn open_rtp(
        &self,
        ssrc: u32,
        index: u64,
        header_len: usize,
        packet: &mut [u8],
    ) -> Result<usize, Forged> {
        let (header, sealed) = packet.split_at_mut_checked(header_len).ok_or(Forged)?;
        match &self.0 {
            Keys::Gcm { key, salt } => {
                let nonce = gcm_nonce(salt, ssrc, index);
                let payload = key.open_in_place(nonce, Aad::from(&*header), sealed).map_err(|_| Forged)?;
                Ok(header_len + payload.len())
            }
            Keys::Cm { key, auth, salt } => {
                let payload_len = sealed.len().checked_sub(SHA1_TAG_LEN).ok_or(Forged)?;
                let end = header_len + payload_len;
                let (packet, tag) = packet.split_at_mut(end);
                verify(&sha1_tag(auth, packet, &roc_bytes(index)), tag)?;
                counter_mode(key, cm_iv(salt, ssrc, index), &mut packet[header_len..]).ok_or(Forged)?;
                Ok(end)
            }
        }
    }

    /// Encrypts the compound packet in the first `len` bytes of `out` in place, appends index and tag, and returns
    /// the packet's length; `None` if `out` is too short. RFC 3711, section 3.4; RFC 7714, section 9.
    pub(super) fn seal_rtcp(&self, ssrc: u32, index: u32, len: usize, out: &mut [u8]) -> Option<usize> {
        let word = (ENCRYPTED | index).to_be_bytes();
        match &self.0 {
            Keys::Gcm { key, salt } => {
                let end = len.checked_add(GCM_TAG_LEN + SRTCP_INDEX_LEN)?;
                let out = out.get_mut(..end)?;
                let aad = rtcp_aad(out, word)?;
                let (packet, trailer) = out.split_at_mut(len);
                let nonce = gcm_nonce(salt, ssrc, index.into());
                let body = packet.get_mut(RTCP_CLEAR_LEN..)?;
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), body).ok()?;
                trailer[..GCM_TAG_LEN].copy_from_slice(tag.as_ref());
                trailer[GCM_TAG_LEN..].copy_from_slice(&word);
                Some(end)
            }
            Keys::Cm { key, auth, salt } => {
                let end = len.checked_add(SRTCP_INDEX_LEN + SHA1_TAG_LEN)?;
                let out = out.get_mut(..end)?;
                let (packet, trailer) = out.split_at_mut(len);
                counter_mode(key, cm_iv(salt, ssrc, index.into()), packet.get_mut(RTCP_CLEAR_LEN..)?)?;
                trailer[..SRTCP_INDEX_LEN].copy_from_slice(&word);
                trailer[SRTCP_INDEX_LEN..].copy_from_slice(&sha1_tag(auth, packet, &word));
                Some(end)
            }
        }
    }

    /// The SRTCP index a packet claims; not yet authenticated.
    pub(super) fn rtcp_index(&self, packet: &[u8]) -> Result<u32, Forged> {
        let behind = match &self.0 {
            Keys::Gcm { .. } => SRTCP_INDEX_LEN,
            Keys::Cm { .. } => SRTCP_INDEX_LEN + SHA1_TAG_LEN,
        };
        let at = packet.len().checked_sub(behind).ok_or(Forged)?;
        let word = super::packet::read_u32(packet, at).ok_or(Forged)?;
        // A packet in the clear is as good as forged: no client of ours sends one.
        if word & ENCRYPTED == 0 { Err(Forged) } else { Ok(word & !ENCRYPTED) }
    }

    /// Decrypts a compound packet in place; returns its length without index and tag.
    pub(super) fn open_rtcp(&self, ssrc: u32, index: u32, packet: &mut [u8]) -> Result<usize, Forged> {
        let word = (ENCRYPTED | index).to_be_bytes();
        match &self.0 {
            Keys::Gcm { key, salt } => {
                let aad = rtcp_aad(packet, word).ok_or(Forged)?;
                let end = packet.len().checked_sub(SRTCP_INDEX_LEN).ok_or(Forged)?;
                let sealed = packet.get_mut(RTCP_CLEAR_LEN..end).ok_or(Forged)?;
                let nonce = gcm_nonce(salt, ssrc, index.into());
                let body = key.open_in_place(nonce, Aad::from(aad), sealed).map_err(|_| Forged)?;
                Ok(RTCP_CLEAR_LEN + body.len())
            }
            Keys::Cm { key, auth, salt } => {
                let end = packet.len().checked_sub(SRTCP_INDEX_LEN + SHA1_TAG_LEN).ok_or(Forged)?;
                let (packet, trailer) = packet.split_at_mut(end);
                verify(&sha1_tag(auth, packet, &word), &trailer[SRTCP_INDEX_LEN..])?;
                let body = packet.get_mut(RTCP_CLEAR_LEN..).ok_or(Forged)?;
                counter_mode(key, cm_iv(salt, ssrc, index.into()), body).ok_or(Forged)?;
                Ok(end)
            }
        }
    }
}

/// The pseudo-random function of RFC 3711, section 4.3.3: AES in counter mode, here over zeros.
fn derive(master: &MasterKey, label: u8, out: &mut [u8]) -> Option<()> {
    let mut iv = [0; 16];
    iv[..master.salt().len().min(CM_SALT_LEN)].copy_from_slice(master.salt().get(..master.profile().salt_len())?);
    iv[7] ^= label;
    out.fill(0);
    counter_mode(&counter_mode_key(master.key())?, iv, out)
}

fn counter_mode_key(key: &[u8]) -> Option<EncryptingKey> {
    let algorithm = if key.len() == 32 { &AES_256 } else { &AES_128 };
    EncryptingKey::ctr(UnboundCipherKey::new(algorithm, key).ok()?).ok()
}

fn counter_mode(key: &EncryptingKey, iv: [u8; 16], data: &mut [u8]) -> Option<()> {
    if data.is_empty() {
        return Some(());
    }
    key.less_safe_encrypt(data, EncryptionContext::Iv128(FixedLength::from(iv))).ok().map(|_| ())
}

/// RFC 7714, sections 8.1 and 9.1: zeros, SSRC and index, whitened with the salt. For RTCP the index has 31 bits,
/// which leaves the place of the ROC's upper half zero, as the section wants it.
fn gcm_nonce(salt: &[u8; GCM_SALT_LEN], ssrc: u32, index: u64) -> Nonce {
    let mut nonce = *salt;
    for (byte, value) in nonce[2..6].iter_mut().zip(ssrc.to_be_bytes()) {
        *byte ^= value;
    }
    for (byte, value) in nonce[6..].iter_mut().zip(index.to_be_bytes().into_iter().skip(2)) {
        *byte ^= value;
    }
    Nonce::assume_unique_for_key(nonce)
}

/// RFC 3711, section 4.1.1: (salt * 2^16) XOR (SSRC * 2^64) XOR (index * 2^16).
fn cm_iv(salt: &[u8; CM_SALT_LEN], ssrc: u32, index: u64) -> [u8; 16] {
    let mut iv = [0; 16];
    iv[..CM_SALT_LEN].copy_from_slice(salt);
    for (byte, value) in iv[4..8].iter_mut().zip(ssrc.to_be_bytes()) {
        *byte ^= value;
    }
    for (byte, value) in iv[8..14].iter_mut().zip(index.to_be_bytes().into_iter().skip(2)) {
        *byte ^= value;
    }
    iv
}

fn rtcp_aad(packet: &[u8], word: [u8; SRTCP_INDEX_LEN]) -> Option<[u8; RTCP_CLEAR_LEN + SRTCP_INDEX_LEN]> {
    let mut aad = [0; RTCP_CLEAR_LEN + SRTCP_INDEX_LEN];
    aad[..RTCP_CLEAR_LEN].copy_from_slice(packet.get(..RTCP_CLEAR_LEN)?);
    aad[RTCP_CLEAR_LEN..].copy_from_slice(&word);
    Some(aad)
}

fn roc_bytes(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

fn sha1_tag(auth: &hmac::Key, packet: &[u8], suffix: &[u8]) -> [u8; SHA1_TAG_LEN] {
    let mut context = hmac::Context::with_key(auth);
    context.update(packet);
    context.update(suffix);
    let mut tag = [0; SHA1_TAG_LEN];
    tag.copy_from_slice(&context.sign().as_ref()[..SHA1_TAG_LEN]);
    tag
}

fn verify(expected: &[u8], actual: &[u8]) -> Result<(), Forged> {
    constant_time::verify_slices_are_equal(expected, actual).map_err(|_| Forged)
}
