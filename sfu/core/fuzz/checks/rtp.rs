//! What must hold of any bytes that are taken for an RTP packet: nothing is read outside of it, and what we write of
//! it can be read again.

use sfu_core::engine::command::{Codec, Extensions};
use sfu_core::id::Ssrc;
use sfu_core::media::extension::{self, Kind, Located, Own, WrittenIds};
use sfu_core::media::keyframe::starts_keyframe;
use sfu_core::media::picture::Numbers;
use sfu_core::media::rtp::{Header, write_header};
use sfu_core::media::scalable::{Read, Scalable};
use sfu_core::media::{red, rtx, vp9};
use sfu_core::time::Time;

const IDS: Extensions = Extensions {
    mid: Some(1),
    rid: Some(2),
    repaired_rid: Some(3),
    audio_level: Some(4),
    transport_cc: Some(5),
    abs_send_time: Some(6),
    abs_capture_time: Some(7),
    dependency_descriptor: Some(8),
    playout_delay: Some(9),
    video_orientation: Some(10),
};

pub fn check(packet: &[u8]) {
    let Some(header) = Header::parse(packet) else { return };
    let payload = header.payload.of(packet);
    assert_eq!(payload.len(), header.payload.len());
    for codec in [Codec::Opus, Codec::Red, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::H265, Codec::Av1] {
        starts_keyframe(codec, payload);
    }
    check_redundancy(&header, packet);
    for codec in [Codec::Vp8, Codec::Vp9] {
        let Some(numbers) = Numbers::of(codec, payload) else { continue };
        let mut copy = payload.to_vec();
        numbers.rewrite(&mut copy, 0x7fff, 0xff);
        assert!(Numbers::of(codec, &copy).is_some());
    }
    if let Some(retransmission) = rtx::read(&header, packet) {
        let mut out = Vec::new();
        let restored = rtx::restore(&mut out, (&header, packet), retransmission, Ssrc(1), 96).expect("it was whole");
        assert_eq!(restored.payload.of(&out), retransmission.payload.of(packet));
    }
    let located = Located::find(&header, packet, &IDS);
    check_layers(located.get(Kind::DependencyDescriptor, packet), &header, payload);
    let mut out = Vec::new();
    write_header(&mut out, header.payload_type, header.marker, header.sequence_number, header.timestamp, header.ssrc);
    let own = Own { mid: "0", now: Time::from_millis(7), transport_sequence: Some(1), dependency_descriptor: None };
    extension::write(&mut out, WrittenIds::new(&IDS), packet, located, own);
    let copy = Header::parse(&out).expect("what we write, we read");
    let read = Located::find(&copy, &out, &IDS);
    assert_eq!(read.text(Kind::Mid, &out), Some("0"));
    assert_eq!(read.audio_level(&out), located.audio_level(packet));
    assert_eq!(
        read.get(Kind::DependencyDescriptor, &out),
        located.get(Kind::DependencyDescriptor, packet),
        "passed on as it is"
    );
}

/// Redundant audio falls into parts that are all there is, and into packets that can be read.
fn check_redundancy(header: &Header, packet: &[u8]) {
    let payload = header.payload.of(packet);
    let frames = red::earlier(payload);
    let Some((payload_type, primary)) = red::primary(payload) else {
        return assert!(frames.len() <= 8);
    };
    let mut out = Vec::new();
    red::write(&mut out, frames.clone(), (payload_type, primary));
    assert_eq!(out, payload, "written as it was read");
    let restored = red::restore_primary(&mut out, (header, packet), (payload_type, primary)).expect("it was whole");
    assert_eq!((restored.payload_type, restored.payload.of(&out)), (payload_type, primary));
    for frame in frames {
        let restored = red::restore_earlier(&mut out, header, 1, frame).expect("it was whole");
        assert_eq!((restored.payload_type, restored.payload.of(&out)), (frame.payload_type, frame.data));
    }
}

/// Layers are read from either description, and frames that were read are found again.
fn check_layers(descriptor: &[u8], header: &Header, payload: &[u8]) {
    let mut scalable = Scalable::default();
    for _ in 0..2 {
        let by_descriptor = scalable.read_descriptor(descriptor, header.timestamp);
        if let Read::Frame { part, .. } = by_descriptor {
            assert!(scalable.frame(part.frame).is_some());
            scalable.count(Time::from_millis(7), part.frame, 100);
        }
        if let Some(vp9) = vp9::Descriptor::parse(payload) {
            let by_payload = Scalable::default().read_vp9(Time::from_millis(7), &vp9, header.timestamp);
            assert!(!matches!(by_payload, Read::Unclear));
        }
    }
}
