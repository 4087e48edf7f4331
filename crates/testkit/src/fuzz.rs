//! Bytes that are nearly right: one engine for the fuzz tests of all crates.
//!
//! Inputs begin as the files of a corpus (`tests/data/corpus/<target>` in the repository) and are mutated by a seeded
//! generator, so a run is the same everywhere and ends soon. libFuzzer would be guided by coverage, but needs a nightly compiler;
//! the corpus stands in for it: a file for each branch that mutation would not find.
//!
//! A failure names its seed. `OTLP_FUZZ_SEED` starts there, `OTLP_FUZZ_ROUNDS` sets how many seeds are tried and `OTLP_FUZZ_SECONDS`
//! how long, by each [`run`]; `make fuzz` runs them for long, with a limit on memory.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The files of a target's corpus, in the order of their names.
///
/// # Panics
/// When there is none: a test without inputs must fail, not pass.
pub fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/corpus")).join(target);
    let entries = std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", directory.display());
    let read = |file: &PathBuf| std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    files.iter().map(read).collect()
}

/// As [`corpus`], with each line of each file as an input.
pub fn lines(target: &str) -> Vec<Vec<u8>> {
    let files = corpus(target);
    let lines = files.iter().flat_map(|file| file.split(|&byte| byte == b'\n'));
    lines.filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
}

/// A small generator of numbers (SplitMix64): equal seeds give equal numbers.
#[derive(Debug, Clone)]
pub struct Source(u64);

impl Source {
    /// A generator that begins at `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, 0 if that is 0.
    pub const fn below(&mut self, end: usize) -> usize {
        if end == 0 {
            0
        } else {
            (self.number() % end as u64) as usize
        }
    }

    fn byte(&mut self) -> u8 {
        self.number() as u8
    }
}

/// Texts at which parsers of numbers, times, paths and SQL part ways.
const WORDS: [&[u8]; 24] = [
    b"0",
    b"-1",
    b"18446744073709551616",
    b"9223372036854775807",
    b"1e309",
    b"NaN",
    b"0x",
    b"\0",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"%00",
    b"%",
    b"..",
    b"/",
    b"'",
    b"\"",
    b"((((((((",
    b"]]]]",
    b"{}",
    b"null",
    b"\r\n",
    b"--",
    b"\xe2\x80\xae",
    b";",
];

/// Changes a few places; `other` lends pieces.
pub fn mutate(bytes: &mut Vec<u8>, other: &[u8], source: &mut Source) {
    for _ in 0..1 + source.below(5) {
        let at = source.below(bytes.len());
        if bytes.is_empty() {
            bytes.push(source.byte());
        }
        match source.below(11) {
            0 => bytes[at] ^= 1 << source.below(8),
            1 => bytes[at] = source.byte(),
            2 => drop(bytes.remove(at)),
            3 => bytes.insert(at, source.byte()),
            // Lengths, mostly: a little more or less than there is.
            4 => bytes[at] = bytes[at].wrapping_add([1, 255, 128][source.below(3)]),
            5 if !other.is_empty() => {
                let from = source.below(other.len());
                let until = (from + 1 + source.below(40)).min(other.len());
                bytes.splice(at..at, other[from..until].iter().copied());
            }
            6 => {
                let piece = bytes[at..(at + 1 + source.below(30)).min(bytes.len())].to_vec();
                let to = source.below(bytes.len());
                bytes.splice(to..to, piece.repeat(1 + source.below(4)));
            }
            7 => drop(bytes.splice(at..at, WORDS[source.below(WORDS.len())].iter().copied())),
            8 => bytes.truncate(at),
            // A number of four or eight bytes becomes one of the extremes.
            9 => {
                let width = [4, 8][source.below(2)].min(bytes.len() - at);
                bytes[at..at + width].fill([0, 0x7f, 0x80, 0xff][source.below(4)]);
            }
            _ => {
                let until = (at + 1 + source.below(20)).min(bytes.len());
                bytes.drain(at..until);
            }
        }
    }
}

/// A number from the environment.
pub fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// The seeds to try: `rounds` of them if the environment does not say otherwise.
pub fn seeds(rounds: u64) -> impl Iterator<Item = u64> {
    let first = number("OTLP_FUZZ_SEED").unwrap_or(1);
    let count = number("OTLP_FUZZ_ROUNDS").unwrap_or(rounds);
    // One target takes microseconds for a seed, another one milliseconds: what runs for long is bounded by time.
    let time = number("OTLP_FUZZ_SECONDS").map(Duration::from_secs);
    let begun = Instant::now();
    (first..first.saturating_add(count)).take_while(move |_| time.is_none_or(|time| begun.elapsed() < time))
}

/// Gives `check` every input of the corpus as it is, and then one mutated input for each seed.
///
/// # Panics
/// When `check` does; the seed and the input are printed before.
pub fn run(corpus: &[Vec<u8>], rounds: u64, check: impl Fn(&[u8])) {
    assert!(!corpus.is_empty(), "no inputs");
    for input in corpus {
        check(input);
    }
    for seed in seeds(rounds) {
        let mut source = Source::new(seed);
        let mut input = corpus[source.below(corpus.len())].clone();
        let other = &corpus[source.below(corpus.len())];
        mutate(&mut input, other, &mut source);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(&input))) {
            let shown = input[..input.len().min(2000)].escape_ascii();
            eprintln!("run again with OTLP_FUZZ_SEED={seed} OTLP_FUZZ_ROUNDS=1; the input:\n{shown}");
            resume_unwind(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_inputs_and_others_do_not() {
        let input = |seed| {
            let mut bytes = b"some bytes that are nearly right".to_vec();
            mutate(&mut bytes, b"other bytes", &mut Source::new(seed));
            bytes
        };
        let all: Vec<_> = (0..500).map(input).collect();
        assert_eq!(all, (0..500).map(input).collect::<Vec<_>>());
        let mut distinct = all.clone();
        distinct.sort();
        distinct.dedup();
        assert!(distinct.len() > 450, "{}", distinct.len());
    }

    #[test]
    fn nothing_is_too_short_to_mutate() {
        for seed in 0..500 {
            let mut source = Source::new(seed);
            for bytes in [&b""[..], b"x"] {
                mutate(&mut bytes.to_vec(), b"", &mut source);
            }
        }
    }

    #[test]
    #[should_panic(expected = "found")]
    fn a_failing_check_fails_the_run() {
        run(&[b"abc".to_vec()], 500, |input| assert!(input.len() < 8, "found"));
    }
}
