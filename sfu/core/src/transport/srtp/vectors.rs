//! The packets that RFC 3711, appendix B, and RFC 7714, sections 16 and 17, give with their ciphertext.

use super::cipher::{Kind, SessionCipher};
use super::{MasterKey, Profile};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

const GCM_SALT: &str = "51756964 2070726f 2071756f";
const RTP: &str = "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070
                   61727465 73207472 6573";
const RTP_SSRC: u32 = 0x5501_a0b2;
const RTP_INDEX: u64 = 0xf17b;
const RTCP: &str = "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef deadbeef
                    deadbeef deadbeef";
const RTCP_SSRC: u32 = 0x4d61_7273;
const RTCP_INDEX: u32 = 0x5d4;

fn gcm(profile: Profile) -> SessionCipher {
    let key: Vec<u8> = (0..profile.key_len() as u8).collect();
    SessionCipher::from_session_keys(profile, &key, &[], &hex(GCM_SALT)).unwrap()
}

fn check_rtp(profile: Profile, sealed: &str) {
    let (plain, sealed, cipher) = (hex(RTP), hex(sealed), gcm(profile));
    let mut out = vec![0; sealed.len()];
    out[..12].copy_from_slice(&plain[..12]);
    assert_eq!(cipher.seal_rtp(RTP_SSRC, RTP_INDEX, 12, &plain[12..], &mut out), Some(sealed.len()));
    assert_eq!(out, sealed);
    let len = cipher.open_rtp(RTP_SSRC, RTP_INDEX, 12, &mut out).unwrap();
    assert_eq!(out[..len], plain);
}

fn check_rtcp(profile: Profile, sealed: &str) {
    let (plain, sealed, cipher) = (hex(RTCP), hex(sealed), gcm(profile));
    let mut out = plain.clone();
    out.resize(sealed.len(), 0);
    assert_eq!(cipher.seal_rtcp(RTCP_SSRC, RTCP_INDEX, plain.len(), &mut out), Some(sealed.len()));
    assert_eq!(out, sealed);
    assert_eq!(cipher.rtcp_index(&out).unwrap(), RTCP_INDEX);
    let len = cipher.open_rtcp(RTCP_SSRC, RTCP_INDEX, &mut out).unwrap();
    assert_eq!(out[..len], plain);
}

#[test]
fn rfc_7714_srtp_aead_aes_128_gcm() {
    check_rtp(
        Profile::AeadAes128Gcm,
        "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b 36de3adf
         8833899d 7f27beb1 6a9152cf 765ee439 0cce",
    );
}

#[test]
fn rfc_7714_srtp_aead_aes_256_gcm() {
    check_rtp(
        Profile::AeadAes256Gcm,
        "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02 76ffae0f 1ba63799
         b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13",
    );
}

#[test]
fn rfc_7714_srtcp_aead_aes_128_gcm() {
    check_rtcp(
        Profile::AeadAes128Gcm,
        "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda 4ce09b46 86303ded
         0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4",
    );
}

#[test]
fn rfc_7714_srtcp_aead_aes_256_gcm() {
    check_rtcp(
        Profile::AeadAes256Gcm,
        "81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50 a2eaa5c1 110555be 8415f658 c61de047
         6f1b6fad 1d1eb30c 4446839f 57ff6f6c b26ac3be 800005d4",
    );
}

#[test]
fn rfc_3711_aes_cm_keystream() {
    let key = hex("2B7E151628AED2A6ABF7158809CF4F3C");
    let salt = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD");
    let cipher = SessionCipher::from_session_keys(Profile::Aes128CmHmacSha1_80, &key, &[0; 20], &salt).unwrap();
    let mut out = [0; 12 + 48 + 10];
    cipher.seal_rtp(0, 0, 12, &[0; 48], &mut out).unwrap();
    let expected =
        hex("E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB 41E95B3BB0A2E8DD477901E4FCA894C0");
    assert_eq!(out[12..60], expected);
}

/// The session keys are not to be had from outside, so two ciphers are compared: one derived from the appendix's
/// master key, one made from the session keys the appendix says come out.
#[test]
fn rfc_3711_key_derivation() {
    let profile = Profile::Aes128CmHmacSha1_80;
    let master =
        MasterKey::new(profile, &hex("E1F97A0D3E018BE0D64FA32C06DE4139"), &hex("0EC675AD498AFEEBB6960B3AABE6"))
            .unwrap();
    let derived = SessionCipher::derive(&master, Kind::Rtp).unwrap();
    let expected = SessionCipher::from_session_keys(
        profile,
        &hex("C61E7A93744F39EE10734AFE3FF7A087"),
        &hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"),
        &hex("30CBBC08863D8C85D49DB34A9AE1"),
    )
    .unwrap();
    let seal = |cipher: &SessionCipher| {
        let mut out = [7; 12 + 30 + 10];
        cipher.seal_rtp(0xCAFE_BABE, 0x1_2345, 12, &[1; 30], &mut out).unwrap();
        out
    };
    assert_eq!(seal(&derived), seal(&expected));
}
