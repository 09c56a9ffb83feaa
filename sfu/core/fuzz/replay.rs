//! What is found by fuzzing stays found: runs a target's check over its corpus as an ordinary test.
//!
//! Tests include this file, those of this crate and those of `calls-sfu`; each reads `fuzz/corpus` of its own crate.

use std::fs;
use std::path::Path;

use sfu_core::media::random::Random;

/// Fewer files are no corpus but a wrong path.
const MIN_FILES: usize = 5;

/// Checks every file of a corpus, every beginning of it, and `mutations` copies with up to four bytes replaced.
pub fn replay(corpus: &str, mutations: usize, check: impl Fn(&[u8])) {
    let mut random = Random::new(1);
    let check = |bytes: &[u8]| {
        let _input = Input(bytes);
        check(bytes);
    };
    for bytes in files(corpus) {
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
}

/// Checks every file of a corpus as it is: for checks that take long.
#[allow(dead_code, reason = "not every test that includes this file has a slow check")]
pub fn replay_files(corpus: &str, check: impl Fn(&[u8])) {
    for bytes in files(corpus) {
        let _input = Input(&bytes);
        check(&bytes);
    }
}

fn files(corpus: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(corpus);
    let entries = fs::read_dir(&folder).expect("the corpus is checked in");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    // As the file system lists them would be another sequence of mutations on each machine.
    paths.sort();
    assert!(paths.len() >= MIN_FILES, "{} files in {}", paths.len(), folder.display());
    paths.iter().map(|path| fs::read(path).expect("readable")).collect()
}

/// Told when its check fails, to become a file of the corpus.
struct Input<'a>(&'a [u8]);

impl Drop for Input<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the check failed on: {}", self.0.escape_ascii());
        }
    }
}
