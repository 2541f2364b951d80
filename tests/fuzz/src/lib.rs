//! Readers of what strangers send, given what no stranger has thought of yet: good inputs with a few bytes changed, cut, doubled or
//! mixed. A reader may refuse all of it; it may not panic, and it may not let through what it should not.
//!
//! Each reader's test runs some hundred inputs of a fixed seed, and for `FUZZ_SECONDS` ever new ones (`make fuzz`, which runs every test whose
//! name ends in `a_verdict`). What made a reader panic is left in `target/tmp`; put into `corpus/READER/`, it is
//! tried first from then on.

mod mutate;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const INPUTS: usize = 300;

/// What a reader is given.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    /// Name of the reader, and of its folder in the corpus.
    pub name: &'a str,
    /// Good ones, to begin with.
    pub seeds: Vec<Vec<u8>>,
    /// What the format is made of.
    pub words: &'a [&'a str],
}

impl<'a> Inputs<'a> {
    /// With short texts to begin with.
    pub fn of_texts(name: &'a str, seeds: &[&str], words: &'a [&'a str]) -> Self {
        let seeds = seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect();
        Self { name, seeds, words }
    }
}

/// Gives the reader one input after the other, the corpus first.
///
/// # Panics
///
/// When the reader does.
#[expect(clippy::print_stdout, reason = "`make fuzz` is watched")]
pub fn fuzz(inputs: &Inputs<'_>, read: impl Fn(&[u8])) {
    let Inputs { name, seeds, words } = inputs;
    let seeds = [seeds.as_slice(), &corpus(name)].concat();
    assert!(!seeds.is_empty(), "no seeds for {name}");
    let mut slowest = Duration::ZERO;
    let mut tried = |input: &[u8]| {
        let started = Instant::now();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| read(input))) {
            left(name, input);
            resume_unwind(panic);
        }
        slowest = slowest.max(started.elapsed());
    };
    for seed in &seeds {
        tried(seed);
    }
    let time = setting("FUZZ_SECONDS").map(Duration::from_secs);
    let chance = setting("FUZZ_SEED").or(time.map(|_| fastrand::u64(..))).unwrap_or(7);
    let mut random = fastrand::Rng::with_seed(chance);
    let (started, mut count) = (Instant::now(), 0);
    while time.map_or(count < INPUTS, |time| started.elapsed() < time) {
        tried(&mutate::mutated(&seeds, words, &mut random));
        count += 1;
    }
    println!(
        "{name}: {count} inputs from {} seeds, the slowest {slowest:?}, random seed {chance}",
        seeds.len()
    );
}

/// What once made trouble.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let entries = fs_err::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths.iter().filter_map(|path| fs_err::read(path).ok()).collect()
}

#[expect(clippy::print_stdout, reason = "whoever mends the reader needs the input")]
fn left(name: &str, input: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tmp");
    let path = folder.join(format!("fuzz-{name}"));
    let written = fs_err::create_dir_all(&folder).and_then(|()| fs_err::write(&path, input));
    match written {
        Ok(()) => println!("the reader of {name} panics on {}", path.display()),
        Err(error) => println!("the reader of {name} panics on {input:?}, which was not kept: {error}"),
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var_os(name)?.to_str()?.parse().ok()
}
