use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::media::random::Random;

const A: SourceId = SourceId(1);
const B: SourceId = SourceId(2);

fn sent(rewriter: &mut Rewriter, source: SourceId, sequence: u64) -> Option<u64> {
    rewriter.map(source, sequence).map(|mapped| mapped.sequence)
}

#[test]
fn numbers_continue_across_a_switch() {
    let mut rewriter = Rewriter::new(100);
    rewriter.begin(A, 70_000, Offsets::default());
    assert_eq!(sent(&mut rewriter, A, 70_000), Some(100));
    assert_eq!(sent(&mut rewriter, A, 70_002), Some(102));
    rewriter.begin(B, 5, Offsets { timestamp: 9, ..Offsets::default() });
    assert_eq!(sent(&mut rewriter, B, 5), Some(103));
    assert_eq!(sent(&mut rewriter, A, 70_001), Some(101), "late, but it fills a gap the receiver sees");
    assert_eq!(sent(&mut rewriter, A, 70_003), None, "never sent, so nobody misses it");
    assert_eq!(sent(&mut rewriter, B, 4), None);
    let origin = rewriter.origin(101).expect("sent");
    assert_eq!((origin.source, origin.sequence, origin.offsets.timestamp), (A, 70_001, 0));
    assert_eq!(rewriter.origin(103).expect("sent").offsets.timestamp, 9);
    assert_eq!(rewriter.origin(104), None);
    assert_eq!(rewriter.origin(99), None);
}

#[test]
fn a_skipped_packet_leaves_no_gap() {
    let mut rewriter = Rewriter::new(0);
    rewriter.begin(A, 10, Offsets::default());
    assert_eq!(sent(&mut rewriter, A, 10), Some(0));
    assert!(rewriter.skip(A, 11));
    assert!(rewriter.skip(A, 12));
    assert_eq!(sent(&mut rewriter, A, 13), Some(1));
    assert!(rewriter.skip(A, 11), "its copy needs no number either");
    assert!(!rewriter.skip(A, 15), "14 may still come, so 15 has a number of its own");
    assert_eq!(sent(&mut rewriter, A, 15), Some(3));
    assert_eq!(sent(&mut rewriter, A, 14), Some(2));
    assert_eq!(rewriter.origin(1).expect("sent").sequence, 13);
}

#[test]
fn what_is_left_out_leaves_no_gap_and_what_is_missing_before_it_keeps_its_number() {
    let mut rewriter = Rewriter::new(0);
    rewriter.begin(A, 10, Offsets::default());
    assert_eq!(sent(&mut rewriter, A, 10), Some(0));
    assert!(rewriter.omit(A, 11) && rewriter.omit(A, 12));
    assert_eq!(sent(&mut rewriter, A, 13), Some(1));
    assert!(rewriter.omit(A, 16), "14 and 15 may still come");
    assert_eq!(sent(&mut rewriter, A, 17), Some(4));
    assert_eq!(sent(&mut rewriter, A, 14), Some(2));
    assert!(!rewriter.omit(A, 15), "it has a number");
    assert!(rewriter.omit(A, 12) && rewriter.omit(A, 16), "they have none");
    let origins = [1, 2, 3, 4].map(|number| rewriter.origin(number).expect("given out").sequence);
    assert_eq!(origins, [13, 14, 15, 17]);
}

#[test]
fn offsets_turn_at_a_packet_and_numbers_run_on() {
    let mut rewriter = Rewriter::new(0);
    let turned = Offsets { timestamp: 5, ..Offsets::default() };
    rewriter.begin(A, 10, Offsets::default());
    assert_eq!(sent(&mut rewriter, A, 10), Some(0));
    rewriter.turn(A, 12, turned);
    assert_eq!(rewriter.map(A, 12), Some(Mapped { sequence: 2, offsets: turned, newest: true }));
    assert_eq!(rewriter.map(A, 11), Some(Mapped { sequence: 1, offsets: Offsets::default(), newest: false }));
    rewriter.turn(A, 12, Offsets::default());
    assert_eq!(rewriter.origin(2).expect("sent").offsets, turned, "too late");
}

#[test]
fn numbers_another_owner_may_have_used_are_left_out() {
    let mut rewriter = Rewriter::new(100);
    let offsets = Offsets { timestamp: 9, ..Offsets::default() };
    rewriter.begin(A, 10, offsets);
    assert_eq!(sent(&mut rewriter, A, 12), Some(102));
    assert_eq!((rewriter.number_of(A, 11), rewriter.number_of(A, 15)), (Some(101), Some(105)));
    rewriter.leave_out(1000);
    assert_eq!((sent(&mut rewriter, A, 11), sent(&mut rewriter, A, 13)), (None, None), "it may have been sent");
    assert_eq!((rewriter.origin(102), rewriter.origin(500)), (None, None));
    assert_eq!(rewriter.last(), Some((A, offsets)), "so that time runs on");
    assert!(rewriter.begin(A, 14, offsets));
    assert_eq!(sent(&mut rewriter, A, 14), Some(1103));
}

#[test]
fn nothing_new_passes_while_paused() {
    let mut rewriter = Rewriter::new(0);
    rewriter.begin(A, 10, Offsets::default());
    assert_eq!(sent(&mut rewriter, A, 12), Some(2));
    rewriter.pause();
    assert_eq!(sent(&mut rewriter, A, 13), None);
    assert_eq!(sent(&mut rewriter, A, 11), Some(1));
    assert_eq!(rewriter.source(), None);
    rewriter.begin(A, 20, Offsets::default());
    assert_eq!(sent(&mut rewriter, A, 20), Some(3));
}

#[test]
fn a_jump_of_the_source_is_hidden() {
    let mut rewriter = Rewriter::new(0);
    rewriter.begin(A, 10, Offsets::default());
    assert_eq!(sent(&mut rewriter, A, 10), Some(0));
    assert_eq!(sent(&mut rewriter, A, 30_000), Some(1));
    assert_eq!(sent(&mut rewriter, A, 30_001), Some(2));
}

#[derive(Debug, Clone)]
enum Step {
    Packet { source: u8, back: u64, forward: u64 },
    Skip { source: u8 },
    Omit { source: u8, back: u64, forward: u64 },
    Turn { source: u8 },
    Switch { source: u8, back: u64 },
    Pause,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (0_u8..3, 0_u64..20, 0_u64..4).prop_map(|(source, back, forward)| Step::Packet { source, back, forward }),
        2 => (0_u8..3).prop_map(|source| Step::Skip { source }),
        4 => (0_u8..3, 0_u64..4, 0_u64..4).prop_map(|(source, back, forward)| Step::Omit { source, back, forward }),
        1 => (0_u8..3).prop_map(|source| Step::Turn { source }),
        1 => (0_u8..3, 0_u64..20).prop_map(|(source, back)| Step::Switch { source, back }),
        1 => Just(Step::Pause),
    ]
}

proptest! {
    /// Each outgoing number stands for one source packet and each source packet has one number, forwards and
    /// backwards, whatever happens.
    #[test]
    fn numbers_and_packets_are_one_to_one(steps in proptest::collection::vec(step(), 1..2_000)) {
        let mut rewriter = Rewriter::new(65_000);
        let mut heads = [70_000_u64, 500_000, 131_070];
        let mut by_out = BTreeMap::new();
        let mut by_in = BTreeMap::new();
        let mut newest = 64_999;
        for step in steps {
            match step {
                Step::Packet { source, back, forward } => {
                    let head = &mut heads[usize::from(source)];
                    *head += forward;
                    let sequence = *head - back;
                    let source = SourceId(u32::from(source));
                    let Some(mapped) = rewriter.map(source, sequence) else { continue };
                    // What was missing before a packet that was left out is not newer than that.
                    prop_assert!(!mapped.newest || mapped.sequence > newest);
                    newest = newest.max(mapped.sequence);
                    let known = by_out.entry(mapped.sequence).or_insert((source, sequence));
                    prop_assert_eq!(*known, (source, sequence));
                    let known = by_in.entry((source.0, sequence)).or_insert(mapped.sequence);
                    prop_assert_eq!(*known, mapped.sequence);
                    let origin = rewriter.origin(mapped.sequence as u16).expect("just sent");
                    prop_assert_eq!((origin.source, origin.sequence, origin.out), (source, sequence, mapped.sequence));
                }
                Step::Skip { source } => {
                    let head = &mut heads[usize::from(source)];
                    *head += 1;
                    if rewriter.skip(SourceId(u32::from(source)), *head) {
                        prop_assert_eq!(rewriter.map(SourceId(u32::from(source)), *head), None);
                    }
                }
                Step::Omit { source, back, forward } => {
                    let head = &mut heads[usize::from(source)];
                    *head += forward;
                    let (sequence, source) = (*head - back, SourceId(u32::from(source)));
                    if rewriter.omit(source, sequence) {
                        prop_assert_eq!(rewriter.map(source, sequence), None);
                    }
                }
                Step::Turn { source } => {
                    let head = &mut heads[usize::from(source)];
                    *head += 1;
                    let offsets = Offsets { timestamp: *head as u32, ..Offsets::default() };
                    rewriter.turn(SourceId(u32::from(source)), *head, offsets);
                }
                Step::Switch { source, back } => {
                    let head = &mut heads[usize::from(source)];
                    *head += 1;
                    rewriter.begin(SourceId(u32::from(source)), *head - back, Offsets::default());
                }
                Step::Pause => rewriter.pause(),
            }
        }
    }
}

/// What a receiver and its publisher agree on of the last packets.
const WINDOW: u64 = 512;

/// A million changes of layer, with packets late, left out and asked for again between them: every number is given
/// out once and to one packet, numbers ascend by one, and who asks for a number gets the packet that had it.
#[test]
fn a_million_switches_invent_and_lose_no_packet() {
    let mut random = Random::new(20_261_123);
    let mut rewriter = Rewriter::new(65_000);
    // Sources of several layers, whose numbers roll over at different times.
    let mut heads = [70_000_u64, 500_000, 131_070];
    let mut sent = vec![(0, A, 0); WINDOW as usize];
    let (mut current, mut next, mut switches, mut repeated) = (0_usize, 65_000_u64, 0, 0_u64);
    assert!(rewriter.begin(SourceId(0), heads[0], Offsets::default()));
    while switches < 1_000_000 {
        let source = SourceId(current as u32);
        match random.next() % 16 {
            0..8 => {
                let mapped = rewriter.map(source, heads[current]).expect("it is the layer that is forwarded");
                assert_eq!((mapped.sequence, mapped.newest), (next, true), "no number is left out or used again");
                sent[(next % WINDOW) as usize] = (next, source, heads[current]);
                heads[current] += 1;
                next += 1;
            }
            8 => {
                assert!(rewriter.omit(source, heads[current]), "it is the next one");
                assert_eq!(rewriter.map(source, heads[current]), None);
                heads[current] += 1;
            }
            9 => {
                // A packet overtakes another: both have their numbers, in the order of the publisher.
                let (first, second) = (heads[current], heads[current] + 1);
                let late = rewriter.map(source, second).zip(rewriter.map(source, first));
                let numbers = late.map(|(second, first)| (first.sequence, second.sequence, first.newest));
                assert_eq!(numbers, Some((next, next + 1, false)));
                sent[(next % WINDOW) as usize] = (next, source, first);
                sent[((next + 1) % WINDOW) as usize] = (next + 1, source, second);
                heads[current] += 2;
                next += 2;
            }
            10..12 => {
                // Asked for by the lower 16 bits; with each switch a segment, the last hundred numbers are known.
                let asked = next - 1 - random.next() % 100;
                let (number, of, sequence) = sent[(asked % WINDOW) as usize];
                if number == asked {
                    let origin = rewriter.origin(asked as u16).expect("given out");
                    assert_eq!((origin.out, origin.source, origin.sequence), (asked, of, sequence));
                    let again = rewriter.map(of, sequence).expect("it has a number");
                    assert_eq!((again.sequence, again.newest), (asked, false), "the same as before");
                    repeated += 1;
                }
            }
            _ => {
                let other = (current + 1 + random.next() as usize % 2) % heads.len();
                // Meanwhile it went on, and nobody got it.
                heads[other] += random.next() % 40;
                assert!(rewriter.begin(SourceId(other as u32), heads[other], Offsets::default()));
                assert_eq!(rewriter.map(source, heads[current] + 1_000), None, "what is not forwarded has no number");
                (current, switches) = (other, switches + 1);
            }
        }
    }
    assert_eq!(rewriter.next(), next);
    assert!(next >> 16 > 20 && heads.iter().all(|head| head >> 16 > 20), "it rolled over: {next}, {heads:?}");
    assert!(repeated > 400_000, "{repeated}");
}
