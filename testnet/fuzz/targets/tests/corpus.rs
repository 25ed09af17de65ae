//! The committed corpus through every target, and changes of it by chance.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panic")]

use std::{
    any::Any,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use opus_core::{Rng, Seed, testing::test_seed};
use opus_fuzz_targets::{INPUT_MAX, TARGETS, Target};
use rand::{RngExt, seq::IndexedRandom};

/// Inputs of one target that may be committed, so that a run stays a matter of seconds.
const INPUTS_MAX: usize = 30;

/// Changed inputs for each target; `OPUS_MUTATIONS` multiplies them.
const MUTATIONS: u64 = 2_000;

fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = here.join("../corpus").join(target.name);
    let files = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("no corpus in {}: {error}", directory.display()));
    let mut inputs: Vec<_> = files
        .map(|file| file.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    inputs.sort();
    inputs
}

/// Runs a target; a panic names the input, so that it can be kept.
fn run(target: &Target, bytes: &[u8], what: &str) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))) {
        let hex = opus_ipc::json::hex(bytes);
        panic!("{}, {what}: {}\ninput: {hex}", target.name, text(&*panic));
    }
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words")
}

/// What a fuzzer does to an input, without its eyes.
fn change(rng: &mut Rng, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    for _ in 0..rng.random_range(1..6) {
        let len = changed.len();
        let at = rng.random_range(0..=len);
        match rng.random_range(0..6) {
            0 if at < len => changed[at] ^= 1 << rng.random_range(0..8),
            1 if at < len => changed[at] = *[0, 1, 0x7f, 0x80, 0xff].choose(rng).unwrap(),
            2 => changed.insert(at, rng.random()),
            3 => drop(changed.drain(at..rng.random_range(at..=len))),
            4 => {
                let from = rng.random_range(0..=other.len());
                changed.splice(at..at, other[from..].iter().copied());
            }
            _ if at < len => changed[at] = rng.random(),
            _ => {}
        }
    }
    changed.truncate(INPUT_MAX);
    changed
}

#[test]
fn the_corpus_of_every_target_is_there_and_small() {
    for target in &TARGETS {
        let inputs = corpus(target);
        assert!(!inputs.is_empty(), "{}", target.name);
        assert!(inputs.len() <= INPUTS_MAX, "{}", target.name);
        for (path, bytes) in inputs {
            assert!(bytes.len() <= INPUT_MAX, "{}", path.display());
        }
    }
}

#[test]
fn no_input_of_the_corpus_breaks_a_property_of_any_target() {
    for of in &TARGETS {
        for (path, bytes) in corpus(of) {
            for target in &TARGETS {
                run(target, &bytes, &path.display().to_string());
            }
        }
    }
}

#[test]
fn nor_does_a_changed_one() {
    let number = test_seed(1);
    let times = std::env::var("OPUS_MUTATIONS").map_or(1, |times| times.parse().unwrap());
    println!("OPUS_SEED={number}");
    for target in &TARGETS {
        let inputs: Vec<_> = corpus(target).into_iter().map(|(_, bytes)| bytes).collect();
        let mut rng = Seed::new(number).derive(target.name, 0).rng();
        for round in 0..MUTATIONS * times {
            let (one, other) = (inputs.choose(&mut rng), inputs.choose(&mut rng));
            let changed = change(&mut rng, one.unwrap(), other.unwrap());
            run(
                target,
                &changed,
                &format!("OPUS_SEED={number}, change {round}"),
            );
        }
    }
}
