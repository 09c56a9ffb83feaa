//! What we write beside what another implementation writes: SRTP and SRTCP byte for byte, header extensions as they are
//! read. The other one is that of the crate `webrtc`, in the crates it is made of; with it as a whole client, calls are
//! in `tests/tests/loopback/webrtc_crate`. RTCP is compared beside `media/rtcp.rs`.

use proptest::prelude::*;
use rtc_crypto::RTCCryptoProvider;
use rtc_crypto::providers::AwsLcRsProvider;
use rtc_shared::marshal::{Marshal, Unmarshal};
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;
use sfu_core::id::Ssrc;
use sfu_core::media::random::Random;
use sfu_core::media::rtp::{ExtensionForm, ExtensionWriter, Header, write_header};
use sfu_core::transport::srtp::{MasterKey, Opener, Profile, Sealer};

const PROFILES: [(Profile, ProtectionProfile); 3] = [
    (Profile::AeadAes128Gcm, ProtectionProfile::AeadAes128Gcm),
    (Profile::AeadAes256Gcm, ProtectionProfile::AeadAes256Gcm),
    (Profile::Aes128CmHmacSha1_80, ProtectionProfile::Aes128CmHmacSha1_80),
];
const SSRC: Ssrc = Ssrc(0x1234_5678);

/// Ours that seals and opens, and theirs, all with one key.
fn ends((ours, theirs): (Profile, ProtectionProfile)) -> (Sealer, Opener, Context, Context) {
    let key: Vec<u8> = (1..=ours.key_len() as u8).collect();
    let salt: Vec<u8> = (101..101 + ours.salt_len() as u8).collect();
    let master = || MasterKey::new(ours, &key, &salt).expect("lengths of the profile");
    let provider = AwsLcRsProvider::new();
    let context = || Context::new(&key, &salt, theirs, None, None, provider.crypto()).expect("a valid key");
    (Sealer::new(master()).expect("valid"), Opener::new(master()).expect("valid"), context(), context())
}

/// A packet with a contributing source and an extension every now and then.
fn packet(random: &mut Random, index: u64) -> Vec<u8> {
    let mut packet = Vec::new();
    write_header(&mut packet, 96, index.is_multiple_of(3), index as u16, index as u32 * 960, SSRC);
    if random.next().is_multiple_of(4) {
        packet[0] |= 1;
        packet.extend_from_slice(&[9, 8, 7, 6]);
    }
    if random.next().is_multiple_of(2) {
        let mut writer = ExtensionWriter::new(&mut packet, ExtensionForm::OneByte);
        writer.push(3, &random.next().to_be_bytes()[..3]);
        writer.finish();
    }
    let length = random.next() % 1200;
    packet.extend((0..length).map(|_| random.next() as u8));
    packet
}

#[test]
fn media_is_sealed_and_opened_as_by_the_other_implementation_across_rollovers() {
    for profile in PROFILES {
        let (mut sealer, mut opener, mut encrypting, mut decrypting) = ends(profile);
        let stream = sealer.open_stream(SSRC).expect("the first");
        let mut random = Random::new(3);
        let mut index = 32_000;
        while index < 5 << 16 {
            let plain = packet(&mut random, index);
            let mut sealed = plain.clone();
            sealer.seal_rtp(stream, index, &mut sealed).expect("a fresh index");
            let theirs = encrypting.encrypt_rtp(&plain).expect("a packet");
            assert_eq!(sealed, theirs, "{profile:?}: {index}");
            assert_eq!(decrypting.decrypt_rtp(&sealed).expect("authentic"), plain);
            let mut opened = theirs.to_vec();
            let told = opener.open_rtp(&mut opened).expect("authentic");
            assert_eq!((told.index, &opened[..told.len]), (index, &plain[..]));
            // Most follow each other, and some are lost.
            index += if random.next().is_multiple_of(8) { 1 + random.next() % 2_000 } else { 1 };
        }
    }
}

#[test]
fn control_packets_are_opened_by_each_other() {
    for profile in PROFILES {
        let (mut sealer, mut opener, mut encrypting, mut decrypting) = ends(profile);
        for number in 0..200_u8 {
            // A receiver report with one block.
            let mut plain = vec![0x81, 201, 0, 7, 0, 0, 0, 5];
            plain.extend((0..24).map(|byte| byte ^ number));
            let mut sealed = plain.clone();
            sealer.seal_rtcp(&mut sealed).expect("a fresh index");
            assert_eq!(decrypting.decrypt_rtcp(&sealed).expect("authentic"), plain, "{profile:?}: {number}");
            let mut theirs = encrypting.encrypt_rtcp(&plain).expect("a packet").to_vec();
            let length = opener.open_rtcp(&mut theirs).expect("authentic");
            assert_eq!(theirs[..length], plain, "{profile:?}: {number}");
        }
    }
}

#[test]
fn what_was_changed_on_the_way_is_refused_by_both() {
    for profile in PROFILES {
        let (mut sealer, mut opener, _, mut decrypting) = ends(profile);
        let stream = sealer.open_stream(SSRC).expect("the first");
        let mut sealed = packet(&mut Random::new(5), 7);
        sealer.seal_rtp(stream, 7, &mut sealed).expect("a fresh index");
        for at in [4, 8, sealed.len() / 2, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[at] ^= 0x40;
            assert!(decrypting.decrypt_rtp(&changed).is_err(), "{profile:?}: {at}");
            assert!(opener.open_rtp(&mut changed).is_err(), "{profile:?}: {at}");
        }
    }
}

/// Extensions by id, as both forms can carry them.
fn elements() -> impl Strategy<Value = (bool, Vec<(u8, Vec<u8>)>)> {
    let element = |longest| (1_u8..=14, proptest::collection::vec(any::<u8>(), 1..=longest));
    let unique = |mut list: Vec<(u8, Vec<u8>)>| {
        list.sort_by_key(|(id, _)| *id);
        list.dedup_by_key(|(id, _)| *id);
        list
    };
    any::<bool>().prop_flat_map(move |long| {
        let list = proptest::collection::vec(element(if long { 60 } else { 16 }), 1..6);
        list.prop_map(move |list| (long, unique(list)))
    })
}

proptest! {
    #[test]
    fn headers_and_their_extensions_are_read_as_they_were_written(
        (long, list) in elements(), marker: bool, number: u16, timestamp: u32, payload in 0_usize..40
    ) {
        // Ours, read by them.
        let mut ours = Vec::new();
        write_header(&mut ours, 98, marker, number, timestamp, SSRC);
        let form = if long { ExtensionForm::TwoByte } else { ExtensionForm::OneByte };
        let mut writer = ExtensionWriter::new(&mut ours, form);
        for (id, data) in &list {
            writer.push(*id, data);
        }
        writer.finish();
        ours.resize(ours.len() + payload, 0x55);
        let theirs = rtc_rtp::Packet::unmarshal(&mut &ours[..]).expect("a packet");
        let head = &theirs.header;
        prop_assert_eq!((head.marker, head.sequence_number, head.timestamp), (marker, number, timestamp));
        prop_assert_eq!((head.payload_type, head.ssrc, theirs.payload.len()), (98, SSRC.0, payload));
        for (id, data) in &list {
            prop_assert_eq!(head.get_extension(*id).expect("written").to_vec(), data.clone());
        }
        // Theirs, read by us.
        let written = theirs.marshal().expect("a packet");
        let read = Header::parse(&written).expect("a packet");
        prop_assert_eq!((read.marker, read.sequence_number, read.timestamp, read.ssrc), (marker, number, timestamp, SSRC));
        prop_assert_eq!(read.payload.len(), payload);
        let found: Vec<_> = read.elements(&written).map(|(id, span)| (id, span.of(&written).to_vec())).collect();
        prop_assert_eq!(found, list);
    }
}
