use proptest::prelude::*;

use self::descriptors::{Kind, Table, Told};
use super::*;

#[allow(clippy::duplicate_mod, reason = "scenarios write descriptors in the same way")]
#[path = "../../tests/engine/descriptors.rs"]
mod descriptors;

/// L1T3 of the specification (A.6.1).
fn l1t3() -> Table {
    let kinds = vec![
        Kind::new((0, 0), "SSS", &[], &[0]),
        Kind::new((0, 0), "SSS", &[4], &[4]),
        Kind::new((0, 1), "SD-", &[2], &[2]),
        Kind::new((0, 2), "D--", &[1], &[1]),
        Kind::new((0, 2), "D--", &[1], &[3]),
    ];
    Table { offset: 60, kinds, protected_by: vec![0; 3], n_chains: 1, resolutions: false }
}

/// L2T1 with an occasional switch (A.6.2).
fn l2t1() -> Table {
    let kinds = vec![
        Kind::new((0, 0), "SS", &[], &[0, 0]),
        Kind::new((0, 0), "RS", &[2], &[2, 1]),
        Kind::new((0, 0), "SS", &[2], &[2, 1]),
        Kind::new((1, 0), "S-", &[1], &[1, 1]),
        Kind::new((1, 0), "R-", &[2, 1], &[1, 1]),
    ];
    Table { offset: 0, kinds, protected_by: vec![1, 0], n_chains: 2, resolutions: true }
}

fn told(frame: &Kind) -> Told<'_> {
    Told { begins: true, ends: false, number: 65_535, frame, attach: false, active: None }
}

fn structure(table: &Table) -> Structure {
    let data = table.write(Told { attach: true, ..told(&table.kinds[0]) });
    let read = Descriptor::parse(&data, None).expect("whole");
    read.structure.expect("attached")
}

#[test]
fn a_keyframe_brings_the_structure() {
    // Written out by hand from the syntax: L1T1 with one decode target and one chain.
    // 1 1 000000 | number 7 | 1 0 0 0 0 | offset 0, targets 1 - 1 | layers: 0, 3 | S, S | fdiffs: none, 1 | chains 1 of 2,
    // protected by 0 of 2 | chain distances 0, 1 | no resolutions.
    let bits = "11000000 0000000000000111 10000 000000 00000 0011 10 10 0 1 0000 0 1 0 0000 0001 0";
    let data = bytes(bits);
    let read = Descriptor::parse(&data, None).expect("whole");
    assert!(read.begins_frame && read.ends_frame && read.frame_number == 7);
    let structure = read.structure.expect("attached");
    let templates: Vec<_> = structure.templates.iter().map(|t| (t.indications.of(0), t.needs, t.chains[0])).collect();
    assert_eq!(templates, [(Indication::Switch, 0, 0), (Indication::Switch, 1, 1)]);
    assert_eq!(structure.targets, [DecodeTarget { layer: Layer::default(), chain: Some(0), includes: 1 }]);
    assert_eq!((read.active, read.frame.needs), (Some(1), 0));
    // A later frame, in three bytes.
    let later = Descriptor::parse(&[0x81, 0, 8], Some(&structure)).expect("whole");
    assert_eq!((later.frame_number, later.frame.needs, later.ends_frame, later.active), (8, 1, false, None));
}

#[test]
fn a_structure_that_is_repeated_is_not_read_again() {
    for table in [l1t3(), l2t1()] {
        let known = structure(&table);
        for (number, frame) in (7..).zip(&table.kinds) {
            let told = Told { attach: true, active: Some(1), number, ..told(frame) };
            let data = table.write(told);
            let (repeated, read) = (Descriptor::parse(&data, Some(&known)), Descriptor::parse(&data, None));
            let (repeated, read) = (repeated.expect("whole"), read.expect("whole"));
            assert_eq!((repeated.has_structure, &repeated.structure), (true, &None), "it is known");
            assert_eq!(repeated, Descriptor { structure: None, ..read }, "and all the rest is the same");
        }
    }
}

#[test]
fn another_structure_is_read_wherever_it_differs() {
    let known = structure(&l1t3());
    let data = l1t3().write(Told { attach: true, ..told(&l1t3().kinds[0]) });
    let end = known.written.end;
    for bit in FLAGS_END..end {
        let mut other = data.clone();
        other[bit / 8] ^= 0x80 >> (bit % 8);
        assert!(!known.written.is_in(&other), "bit {bit} of {end}");
    }
    assert!(known.written.is_in(&data) && !known.written.is_in(&data[..data.len() - 1]));
    assert!(!Structure::default().written.is_in(&data), "VP9's is nowhere written");
}

fn bytes(bits: &str) -> Vec<u8> {
    let bits: Vec<u8> = bits.bytes().filter(u8::is_ascii_digit).map(|digit| digit - b'0').collect();
    let byte = |chunk: &[u8]| (0..8).fold(0, |byte, at| byte << 1 | chunk.get(at).copied().unwrap_or_default());
    bits.chunks(8).map(byte).collect()
}

#[test]
fn decode_targets_have_the_layers_of_their_frames() {
    let layers = |table: &Table| -> Vec<_> {
        let targets = structure(table).targets;
        targets.iter().map(|t| (t.layer.spatial, t.layer.temporal, t.chain, t.includes)).collect()
    };
    assert_eq!(layers(&l1t3()), [(0, 2, Some(0), 0b111), (0, 1, Some(0), 0b110), (0, 0, Some(0), 0b100)]);
    assert_eq!(layers(&l2t1()), [(1, 0, Some(1), 0b11), (0, 0, Some(0), 0b10)]);
}

#[test]
fn templates_wrap_and_may_be_changed_for_a_frame() {
    let table = l1t3();
    let structure = structure(&table);
    let odd = Kind::new((0, 2), "S-D", &[3, 20], &[200]);
    let read = Descriptor::parse(&table.write(told(&odd)), Some(&structure)).expect("whole");
    assert_eq!(read.frame.layer, Layer { spatial: 0, temporal: 2 });
    let indications = [0, 1, 2].map(|target| read.frame.indications.of(target));
    assert_eq!(indications, [Indication::Switch, Indication::NotPresent, Indication::Discardable]);
    assert_eq!((read.frame.needs, read.frame.chains[0]), (1 << 2 | 1 << 19, 200));
    assert_eq!(read.frame_number, 65_535);
}

#[test]
fn what_refers_to_no_known_structure_is_told_from_what_is_damaged() {
    let (known, table) = (structure(&l2t1()), l1t3());
    let data = table.write(told(&table.kinds[2]));
    let parse = |data: &[u8]| Descriptor::parse(data, Some(&known));
    assert_eq!(parse(&data), Err(Unreadable::UnknownStructure));
    assert_eq!(Descriptor::parse(&data, None), Err(Unreadable::UnknownStructure));
    assert_eq!(parse(&data[..2]), Err(Unreadable::Malformed));
    let whole = table.write(Told { attach: true, ..told(&table.kinds[0]) });
    for length in 0..whole.len() {
        assert!(parse(&whole[..length]).is_err(), "{length}");
    }
}

#[test]
fn a_structure_with_more_chains_than_are_read_is_refused() {
    let kind = Kind::new((0, 0), "SSSSSSSSS", &[], &[0; 9]);
    let table = Table { offset: 0, kinds: vec![kind], protected_by: (0..9).collect(), n_chains: 9, resolutions: false };
    let data = table.write(Told { attach: true, ..told(&table.kinds[0]) });
    assert_eq!(Descriptor::parse(&data, None), Err(Unreadable::Malformed));
}

/// Rewriting changes the number and the mask, and nothing else.
fn check_rewriting(table: &Table, told: Told<'_>, number: u16, mask: u32) {
    let known = structure(table);
    let data = table.write(told);
    let before = Descriptor::parse(&data, Some(&known)).expect("ours");
    let mut out = ArrayVec::new();
    rewrite(&data, before.places, number, mask, &mut out).expect("short");
    let after = Descriptor::parse(&out, Some(&known)).expect("as before");
    let active = if mask == 0 { before.active } else { Some(mask) };
    let frame_number = before.frame_number.wrapping_add(number);
    let places = Places { has_mask: after.places.has_mask, mask_at: after.places.mask_at, ..before.places };
    assert_eq!(after, Descriptor { frame_number, active, places, ..before });
}

#[test]
fn a_mask_is_written_into_the_shortest_descriptor_and_into_one_with_a_structure() {
    for table in [l1t3(), l2t1()] {
        for frame in &table.kinds {
            for (attach, active) in [(false, None), (true, None), (false, Some(1)), (true, Some(2))] {
                for (number, mask) in [(0, 1), (3, 0), (65_000, 2)] {
                    check_rewriting(&table, Told { attach, active, ..told(frame) }, number, mask);
                }
            }
        }
    }
    let odd = Kind::new((0, 2), "S-D", &[3, 20], &[200]);
    check_rewriting(&l1t3(), Told { active: Some(3), ..told(&odd) }, 9, 5);
    check_rewriting(&l1t3(), told(&odd), 9, 5);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(data in proptest::collection::vec(any::<u8>(), 0..255), number: u16, mask: u32) {
        let known = structure(&l2t1());
        if let Ok(read) = Descriptor::parse(&data, Some(&known)) {
            let mut out = ArrayVec::new();
            if rewrite(&data, read.places, number, mask, &mut out).is_some() {
                let again = Descriptor::parse(&out, Some(&known)).expect("as it was");
                prop_assert_eq!((again.frame, again.structure), (read.frame, read.structure));
            }
        }
    }

    #[test]
    fn a_structure_with_any_bit_turned_is_read_or_refused(at in 0_usize..300) {
        let table = l2t1();
        let mut data = table.write(Told { attach: true, ..told(&table.kinds[0]) });
        let length = data.len() * 8;
        data[at % length / 8] ^= 0x80 >> (at % 8);
        let _ = Descriptor::parse(&data, None);
    }
}
