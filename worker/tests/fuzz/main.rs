//! Readers of strangers' files, given what no stranger has thought of yet: good files with a few bytes changed, cut, doubled or
//! mixed. A reader may refuse all of it; it may not panic, and it may not let through what it should not.
//!
//! Runs some hundred inputs of a fixed seed as a test, and for `FUZZ_SECONDS` with ever new ones in `make fuzz`. What made a reader
//! panic is left in the folder of cargo's temporary files; put into `corpus/READER/`, it is tried first from then on.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "clippy's switch for tests does not reach helpers of test crates"
)]

mod mutate;
mod readers;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use readers::{READERS, Reader};

const INPUTS: usize = 300;

fn setting(name: &str) -> Option<u64> {
    std::env::var_os(name)?.to_str()?.parse().ok()
}

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files that are read today, and those that once made trouble.
fn seeds(reader: &Reader) -> Vec<Vec<u8>> {
    let models = here().parent().unwrap().join("tests/assets/models");
    let mut paths: Vec<PathBuf> = reader.seeds.iter().map(|seed| models.join(seed)).collect();
    let corpus = here().join("tests/fuzz/corpus").join(reader.name);
    if let Ok(entries) = fs_err::read_dir(corpus) {
        paths.extend(entries.map(|entry| entry.unwrap().path()));
    }
    paths.sort();
    paths.iter().map(|path| fs_err::read(path).unwrap()).collect()
}

fn tried(reader: &Reader, folder: &Path, input: &[u8]) {
    fs_err::write(folder.join(reader.file), input).unwrap();
    if catch_unwind(AssertUnwindSafe(|| (reader.read)(folder))).is_err() {
        let left = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}", reader.name));
        fs_err::write(&left, input).unwrap();
        panic!("the reader of {} panics on {}", reader.name, left.display());
    }
}

fn fuzz(name: &str) {
    let reader = READERS.iter().find(|reader| reader.name == name).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let seeds = seeds(reader);
    assert!(!seeds.is_empty(), "no seeds for {name}");
    for seed in &seeds {
        tried(reader, folder.path(), seed);
    }
    let time = setting("FUZZ_SECONDS").map(Duration::from_secs);
    let chance = setting("FUZZ_SEED").or(time.map(|_| fastrand::u64(..))).unwrap_or(7);
    let mut random = fastrand::Rng::with_seed(chance);
    let (started, mut inputs) = (Instant::now(), 0);
    while time.map_or(inputs < INPUTS, |time| started.elapsed() < time) {
        let input = mutate::mutated(&seeds, reader.words, &mut random);
        tried(reader, folder.path(), &input);
        inputs += 1;
    }
    println!("{name}: {inputs} inputs from {} seeds, random seed {chance}", seeds.len());
}

#[test]
fn any_weights_get_a_verdict() {
    fuzz("weights");
}

#[test]
fn any_graph_gets_a_verdict() {
    fuzz("graph");
}

#[test]
fn any_tokenizer_gets_a_verdict() {
    fuzz("tokenizer");
}

#[test]
fn any_settings_get_a_verdict() {
    fuzz("settings");
}

#[test]
fn any_modules_get_a_verdict() {
    fuzz("modules");
}

#[test]
fn any_manifest_gets_a_verdict() {
    fuzz("manifest");
}
