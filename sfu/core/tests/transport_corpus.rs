//! Replays the corpus of the transport fuzz targets, and mutations of it, as an ordinary test.

use std::fs;
use std::path::Path;

use sfu_core::media::random::Random;

#[path = "../fuzz/checks/dtls.rs"]
mod dtls;
#[path = "../fuzz/checks/srtp.rs"]
mod srtp;
#[path = "../fuzz/checks/stun.rs"]
mod stun;

fn replay(corpus: &str, mutations: usize, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(corpus);
    let mut random = Random::new(1);
    let mut files = 0;
    for file in fs::read_dir(folder).expect("the corpus is checked in") {
        let bytes = fs::read(file.expect("readable").path()).expect("readable");
        files += 1;
        for length in 0..=bytes.len() {
            check(&bytes[..length]);
        }
        for _ in 0..mutations {
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
fn stun_of_the_corpus_is_refused() {
    replay("stun", 2000, stun::check);
}

#[test]
fn srtp_of_the_corpus_is_refused() {
    replay("srtp", 1000, srtp::check);
}

#[test]
fn dtls_of_the_corpus_is_survived() {
    replay("dtls", 100, dtls::check);
}
