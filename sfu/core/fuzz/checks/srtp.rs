//! What must hold of any bytes that are taken for SRTP or SRTCP: nobody without the key makes any that opens.

use sfu_core::transport::srtp::{MasterKey, Opener, Profile};

pub fn check(packet: &[u8]) {
    for profile in [Profile::AeadAes128Gcm, Profile::AeadAes256Gcm, Profile::Aes128CmHmacSha1_80] {
        let (key, salt) = (vec![0x5A; profile.key_len()], vec![0xA5; profile.salt_len()]);
        let key = MasterKey::new(profile, &key, &salt);
        let mut opener = Opener::new(key.expect("lengths of the profile")).expect("a valid key");
        assert!(opener.open_rtp(&mut packet.to_vec()).is_err());
        assert!(opener.open_rtcp(&mut packet.to_vec()).is_err());
    }
}
