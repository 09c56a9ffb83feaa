//! What sealer and opener promise together.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::id::Ssrc;
use crate::transport::DtlsRole;

const PROFILES: [Profile; 3] = [Profile::AeadAes128Gcm, Profile::AeadAes256Gcm, Profile::Aes128CmHmacSha1_80];

fn ends(profile: Profile) -> (Sealer, Opener) {
    let material: Vec<u8> = (0..profile.keying_material_len() as u8).collect();
    let keys = |role| SrtpKeys::from_keying_material(profile, &material, role).unwrap();
    (Sealer::new(keys(DtlsRole::Server).local).unwrap(), Opener::new(keys(DtlsRole::Client).remote).unwrap())
}

fn packet(payload: &[u8]) -> Vec<u8> {
    [&[0x80, 111, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0], payload].concat()
}

#[test]
fn what_is_sealed_opens_once_across_the_rollover_of_the_sequence_number() {
    for profile in PROFILES {
        let (mut sealer, mut opener) = ends(profile);
        let stream = sealer.open_stream(Ssrc(7)).unwrap();
        for index in [65_533, 65_535, 65_534, 65_537, 65_536, 65_600_u64] {
            let mut sealed = packet(b"payload");
            sealer.seal_rtp(stream, index, &mut sealed).unwrap();
            assert_eq!(sealed.len(), 12 + 7 + profile.rtp_overhead());
            let mut replayed = sealed.clone();
            let opened = opener.open_rtp(&mut sealed).unwrap();
            assert_eq!((opened.ssrc, opened.index), (Ssrc(7), index));
            assert_eq!(&sealed[opened.header_len..opened.len], b"payload");
            assert_eq!(opener.open_rtp(&mut replayed), Err(OpenError::Replayed));
        }
    }
}

#[test]
fn control_packets_open_once() {
    let receiver_report = [0x80, 201, 0, 1, 0, 0, 0, 5, 1, 2, 3, 4];
    for profile in PROFILES {
        let (mut sealer, mut opener) = ends(profile);
        for _ in 0..3 {
            let mut sealed = receiver_report.to_vec();
            sealer.seal_rtcp(&mut sealed).unwrap();
            assert_eq!(sealed.len(), 12 + profile.rtcp_overhead());
            let mut replayed = sealed.clone();
            let len = opener.open_rtcp(&mut sealed).unwrap();
            assert_eq!(sealed[..len], receiver_report);
            assert_eq!(opener.open_rtcp(&mut replayed), Err(OpenError::Replayed));
        }
    }
}

#[test]
fn changed_packets_are_forged() {
    for profile in PROFILES {
        let (mut sealer, mut opener) = ends(profile);
        let stream = sealer.open_stream(Ssrc(7)).unwrap();
        let mut sealed = packet(b"payload");
        sealer.seal_rtp(stream, 1, &mut sealed).unwrap();
        for at in 4..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(opener.open_rtp(&mut changed), Err(OpenError::Forged), "byte {at}");
        }
        assert!(opener.open_rtp(&mut sealed).is_ok(), "and the real one still opens");
    }
}

#[test]
fn a_closed_stream_does_not_begin_again() {
    let (mut sealer, _) = ends(Profile::AeadAes128Gcm);
    let stream = sealer.open_stream(Ssrc(7)).unwrap();
    sealer.seal_rtp(stream, 500, &mut packet(b"")).unwrap();
    sealer.close_stream(stream);
    assert_eq!(sealer.seal_rtp(stream, 501, &mut packet(b"")), Err(SealError::NotOpen));
    let again = sealer.open_stream(Ssrc(7)).unwrap();
    assert_eq!(sealer.seal_rtp(again, 499, &mut packet(b"")), Err(SealError::IndexUsed));
    assert_eq!(sealer.seal_rtp(again, 501, &mut packet(b"")), Ok(()));
}

#[test]
fn steps_that_receivers_cannot_follow_are_refused() {
    let (mut sealer, _) = ends(Profile::AeadAes128Gcm);
    let stream = sealer.open_stream(Ssrc(7)).unwrap();
    assert_eq!(sealer.seal_rtp(stream, 65_536, &mut packet(b"")), Err(SealError::StepTooLarge), "first of all");
    sealer.seal_rtp(stream, 10, &mut packet(b"")).unwrap();
    assert_eq!(sealer.seal_rtp(stream, 10 + 32_768, &mut packet(b"")), Err(SealError::StepTooLarge));
    assert_eq!(sealer.seal_rtp_into(stream, 11, 12, b"long", &mut [0; 20]), Err(SealError::NoRoom));
    assert_eq!(sealer.seal_rtp(stream, 11, &mut packet(b"")), Ok(()), "a refused index is not used");
}

#[test]
fn a_takeover_skips_what_the_dead_owner_may_have_used() {
    let (mut sealer, mut opener) = ends(Profile::AeadAes128Gcm);
    let stream = sealer.open_stream(Ssrc(7)).unwrap();
    let unused = sealer.open_stream(Ssrc(8)).unwrap();
    sealer.seal_rtp(stream, 100, &mut packet(b"")).unwrap();
    let mut heir = sealer.checkpoint().take_over(2000).unwrap();
    assert_eq!(heir.seal_rtp(stream, 2100, &mut packet(b"")), Err(SealError::IndexUsed));
    assert_eq!(heir.seal_rtp(unused, 1, &mut packet(b"")), Err(SealError::NotOpen));
    let mut sealed = packet(b"alive");
    heir.seal_rtp(stream, 2101, &mut sealed).unwrap();
    assert!(opener.open_rtp(&mut sealed).is_ok());
}

#[test]
fn a_client_cannot_use_any_number_of_ssrcs() {
    let (mut sealer, mut opener) = ends(Profile::AeadAes128Gcm);
    let opened = (0..2000).filter(|ssrc| {
        let stream = sealer.open_stream(Ssrc(*ssrc)).unwrap();
        let mut sealed = packet(b"");
        sealer.seal_rtp(stream, 1, &mut sealed).unwrap();
        opener.open_rtp(&mut sealed).is_ok()
    });
    assert_eq!(opened.count(), 1024);
}

proptest! {
    #[test]
    fn no_index_is_sealed_twice_whatever_the_caller_does(
        steps in proptest::collection::vec((0_u32..3, 0_u64..3000, 0_u8..20), 1..600),
    ) {
        let (mut sealer, mut opener) = ends(Profile::AeadAes128Gcm);
        let mut used = HashSet::new();
        for (ssrc, index, action) in steps {
            let stream = sealer.open_stream(Ssrc(ssrc)).unwrap();
            match action {
                0 => sealer.close_stream(stream),
                1 => {
                    let written = serde_json::to_string(&sealer.export()).unwrap();
                    sealer = Sealer::restore(serde_json::from_str(&written).unwrap()).unwrap();
                    let written = serde_json::to_string(&opener.export()).unwrap();
                    opener = Opener::restore(serde_json::from_str(&written).unwrap()).unwrap();
                }
                _ => {
                    // A header that lies about SSRC and sequence number: the sealer writes its own.
                    let mut sealed = packet(&[action]);
                    if sealer.seal_rtp(stream, index, &mut sealed).is_ok() {
                        prop_assert!(used.insert((ssrc, index)), "{ssrc} {index} twice");
                        let opened = opener.open_rtp(&mut sealed).unwrap();
                        prop_assert_eq!((opened.ssrc.0, opened.index), (ssrc, index));
                    }
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 0..80), first in 0x80_u8..0xC0) {
        if let Some(byte) = bytes.first_mut() { *byte = first; }
        for profile in PROFILES {
            let (_, mut opener) = ends(profile);
            prop_assert!(opener.open_rtp(&mut bytes.clone()).is_err());
            prop_assert!(opener.open_rtcp(&mut bytes.clone()).is_err());
        }
    }
}
