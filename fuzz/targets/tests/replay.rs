//! Every target on its corpus, and on inputs made of it: a few seconds each, in every run, with any compiler.
//!
//! The seed is printed. `CRESSET_FUZZ_SEED=<n>` plays it again; `CRESSET_FUZZ_CASES=<n>` plays so many inputs for each target.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cresset_fuzz_targets::mutate::{Dice, mutated};
use cresset_fuzz_targets::{TARGETS, Target};

/// Inputs for each target, unless told otherwise.
const CASES: u64 = 60_000;
/// However slow the machine is.
const TIME_MAX: Duration = Duration::from_secs(3);

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../corpus")
        .join(target.name);
    let mut found: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.display().to_string(), fs::read(&path).unwrap())
        })
        .collect();
    found.sort();
    found
}

/// Says which input it was when it panics.
struct Shown<'a>(&'a Target, &'a [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!(
                "{} fails on {:?}, bytes {:?}",
                self.0.name,
                String::from_utf8_lossy(self.1),
                self.1
            );
        }
    }
}

fn hold(target: &Target, data: &[u8]) {
    let _shown = Shown(target, data);
    (target.hold)(data);
}

#[test]
fn every_kept_input_and_what_is_made_of_it_is_read_or_refused() {
    let fresh = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = number("CRESSET_FUZZ_SEED").unwrap_or_else(fresh);
    println!("CRESSET_FUZZ_SEED={seed}");
    let told = number("CRESSET_FUZZ_CASES");
    for (index, target) in TARGETS.iter().enumerate() {
        let kept = corpus(target);
        assert!(
            kept.len() >= 5,
            "{}: {} inputs: has the corpus moved?",
            target.name,
            kept.len()
        );
        for (_, data) in &kept {
            hold(target, data);
            // Cut anywhere it is another input, and no better.
            (0..data.len().min(target.bytes_max)).for_each(|len| hold(target, &data[..len]));
        }
        let kept: Vec<_> = kept.into_iter().map(|(_, data)| data).collect();
        let mut dice = Dice::new(seed ^ index as u64);
        let (began, mut played) = (Instant::now(), 0);
        while played < told.unwrap_or(CASES) && (told.is_some() || began.elapsed() < TIME_MAX) {
            hold(target, &mutated(&kept, target.bytes_max, &mut dice));
            played += 1;
        }
        println!("{}: {} kept, {played} made of them", target.name, kept.len());
        assert!(played > 0, "{}", target.name);
    }
}

#[test]
fn the_corpus_is_small_and_each_target_has_one_and_a_fuzzer() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut bytes = 0;
    for target in TARGETS {
        bytes += corpus(target).iter().map(|(_, data)| data.len()).sum::<usize>();
        let fuzzer = fuzz.join("fuzz_targets").join(target.name).with_extension("rs");
        assert!(fuzzer.exists(), "{} is missing", fuzzer.display());
    }
    let folders = fs::read_dir(fuzz.join("corpus")).unwrap().count();
    assert_eq!(folders, TARGETS.len(), "a corpus without a target");
    assert!(bytes < 200_000, "{bytes} bytes");
}
