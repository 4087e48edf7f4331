//! Single numbers out of Parquet's hybrid of runs and bit-packed numbers, which [`super::levels`] writes.
//!
//! A trace has a few rows of a page of thousands: here a page's runs are found, and only the numbers asked for unpacked.

use bytes::Bytes;
use parquet::errors::ParquetError;

/// Definition levels or dictionary codes of a page.
pub(crate) struct Runs {
    bytes: Bytes,
    width: u32,
    len: usize,
    runs: Vec<Run>,
}

struct Run {
    /// Numbers before it.
    start: usize,
    /// Sum of the numbers before it, if they are bits.
    ones: usize,
    kind: Kind,
}

enum Kind {
    /// The same number again and again.
    Repeated(u32),
    /// Numbers of `width` bits from this byte on.
    Packed(usize),
}

fn truncated() -> ParquetError {
    ParquetError::EOF("levels or codes of a page end too early".to_owned())
}

fn varint(bytes: &[u8], at: &mut usize) -> Result<usize, ParquetError> {
    let mut value = 0u32;
    for shift in (0..32).step_by(7) {
        let byte = *bytes.get(*at).ok_or_else(truncated)?;
        *at += 1;
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value as usize);
        }
    }
    Err(ParquetError::General(
        "a run of a page is longer than a page".to_owned(),
    ))
}

impl Runs {
    /// The first `len` numbers of `width` bits in `bytes`.
    ///
    /// # Errors
    /// [`ParquetError`] if there are not as many.
    pub(crate) fn parse(bytes: Bytes, width: u32, len: usize) -> Result<Self, ParquetError> {
        if width > 32 {
            return Err(ParquetError::General(format!("dictionary codes of {width} bits")));
        }
        let mut runs = Vec::new();
        let (mut at, mut start, mut ones) = (0, 0, 0);
        while start < len {
            let header = varint(&bytes, &mut at)?;
            let packed = header & 1 == 1;
            let (count, size) = match packed {
                true => ((header >> 1) * 8, (header >> 1) * width as usize),
                false => (header >> 1, width.div_ceil(8) as usize),
            };
            let data = bytes.get(at..at + size).ok_or_else(truncated)?;
            if count == 0 {
                return Err(ParquetError::General("an empty run in a page".to_owned()));
            }
            let used = count.min(len - start);
            let kind = match packed {
                true => Kind::Packed(at),
                false => Kind::Repeated(data.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte))),
            };
            runs.push(Run { start, ones, kind });
            if width == 1 {
                ones += match runs.last().map(|run| &run.kind) {
                    Some(Kind::Repeated(bit)) => used * (bit & 1) as usize,
                    _ => ones_in(data, used),
                };
            }
            start += used;
            at += size;
        }
        Ok(Self {
            bytes,
            width,
            len,
            runs,
        })
    }

    /// The sum of all numbers, which are bits.
    pub(crate) fn ones(&self) -> usize {
        self.ones_before(self.len)
    }

    /// The sum of the numbers before number `at`, all of them bits.
    pub(crate) fn ones_before(&self, at: usize) -> usize {
        let Some(run) = self.run(at) else { return 0 };
        let count = at.min(self.len) - run.start;
        run.ones
            + match run.kind {
                Kind::Repeated(bit) => count * (bit & 1) as usize,
                Kind::Packed(from) => ones_in(&self.bytes[from..], count),
            }
    }

    /// Number `at`; 0 beyond the last.
    pub(crate) fn get(&self, at: usize) -> u32 {
        match self.run(at) {
            Some(run) if at < self.len => self.number(run, at),
            _ => 0,
        }
    }

    /// All numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        self.runs.iter().enumerate().flat_map(move |(number, run)| {
            let end = self.runs.get(number + 1).map_or(self.len, |next| next.start);
            (run.start..end).map(move |at| self.number(run, at))
        })
    }

    fn run(&self, at: usize) -> Option<&Run> {
        let next = self.runs.partition_point(|run| run.start <= at);
        self.runs.get(next.checked_sub(1)?)
    }

    fn number(&self, run: &Run, at: usize) -> u32 {
        match run.kind {
            Kind::Repeated(value) => value,
            Kind::Packed(from) => {
                let bit = (at - run.start) * self.width as usize;
                let bytes = &self.bytes[from + bit / 8..];
                let mut window = [0; 8];
                let available = bytes.len().min(8);
                window[..available].copy_from_slice(&bytes[..available]);
                // At most 7 + 32 bits: they fit.
                (u64::from_le_bytes(window) >> (bit % 8)) as u32 & u32::MAX.checked_shr(32 - self.width).unwrap_or(0)
            }
        }
    }
}

/// Ones among the first `count` bits.
fn ones_in(bytes: &[u8], count: usize) -> usize {
    let whole = bytes[..count / 8].iter().map(|byte| byte.count_ones()).sum::<u32>();
    let rest = match count % 8 {
        0 => 0,
        bits => (bytes[count / 8] & ((1 << bits) - 1)).count_ones(),
    };
    (whole + rest) as usize
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::part::levels::put_codes;

    #[test]
    fn every_number_is_found_again() {
        let mut random = StdRng::seed_from_u64(1);
        for width in [0, 1, 2, 7, 8, 13, 20, 31, 32] {
            let mut numbers = Vec::new();
            while numbers.len() < 3_000 {
                let number = random.random::<u32>() & u32::MAX.checked_shr(32 - width).unwrap_or(0);
                // Short and long runs, and single numbers.
                let count = [1, 1, 1, 9, 40][random.random_range(0..5)];
                numbers.resize(numbers.len() + count, number);
            }
            let mut bytes = Vec::new();
            put_codes(&mut bytes, &numbers, width);
            let runs = Runs::parse(bytes.into(), width, numbers.len()).unwrap();
            assert!(runs.iter().eq(numbers.iter().copied()), "width {width}");
            for (at, &number) in numbers.iter().enumerate() {
                assert_eq!(runs.get(at), number, "width {width} at {at}");
                if width == 1 {
                    let ones = numbers[..at].iter().sum::<u32>() as usize;
                    assert_eq!(runs.ones_before(at), ones, "at {at}");
                }
            }
            assert_eq!(runs.get(numbers.len()), 0);
            if width == 1 {
                assert_eq!(runs.ones(), numbers.iter().sum::<u32>() as usize);
            }
        }
    }

    #[test]
    fn damaged_bytes_are_errors() {
        let mut random = StdRng::seed_from_u64(2);
        let numbers = (0..500).map(|n| n / 20 % 16).collect::<Vec<_>>();
        let mut sound = Vec::new();
        put_codes(&mut sound, &numbers, 4);
        let sound = Bytes::from(sound);
        for cut in 0..sound.len() {
            assert!(Runs::parse(sound.slice(..cut), 4, 500).is_err());
        }
        assert!(Runs::parse(sound.clone(), 33, 500).is_err());
        for _ in 0..2_000 {
            let mut bytes = sound.to_vec();
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
            // Other numbers or an error, and all of what is there can be read.
            if let Ok(runs) = Runs::parse(bytes.into(), 4, 500) {
                assert_eq!(runs.iter().count(), 500);
            }
        }
    }
}
