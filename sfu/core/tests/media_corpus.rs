//! Replays the corpus of the media fuzz targets, and mutations of it, as an ordinary test.

use std::fs;
use std::path::Path;

use sfu_core::media::random::Random;

#[path = "../fuzz/checks/rtcp.rs"]
mod rtcp;
#[path = "../fuzz/checks/rtp.rs"]
mod rtp;

fn replay(corpus: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(corpus);
    let mut random = Random::new(1);
    let mut files = 0;
    for file in fs::read_dir(folder).expect("the corpus is checked in") {
        let bytes = fs::read(file.expect("readable").path()).expect("readable");
        files += 1;
        for length in 0..=bytes.len() {
            check(&bytes[..length]);
        }
        for _ in 0..2_000 {
            let mut mutated = bytes.clone();
            for _ in 0..=random.next() % 4 {
                let at = random.next() as usize % mutated.len();
                mutated[at] = random.next() as u8;
            }
            check(&mutated);
        }
    }
    assert!(files >= 5, "{files} files");
}

#[test]
fn rtp_packets_of_the_corpus_are_read_or_refused() {
    replay("rtp", rtp::check);
}

#[test]
fn rtcp_packets_of_the_corpus_are_read_or_refused() {
    replay("rtcp", rtcp::check);
}
