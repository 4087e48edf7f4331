//! The body of a log record as a template, numbers and words.
//!
//! Messages that one place of a program writes share their text and differ in a few numbers and ids. Taken apart, the
//! text is stored once and what differs becomes columns of like values, which compress to little more than what is
//! random in them.
//!
//! What differs is found in *tokens*, runs of ASCII letters and digits that hold a digit:
//!
//! * a token of lower-case hexadecimal digits only (`4711`, `0`, `07`, `b3d1`) is a number, cut every
//!   [`NUMBER_DIGITS`] digits;
//! * letters and then digits, or digits and then letters (`v1`, `12ms`): the digits are a number, the letters stay;
//! * every other token (`24T18`, `0x7f`, `Qk3b9`) is a word.
//!
//! A number is stored as the integer whose hexadecimal digits are a 1 and the number's own digits, so that leading zeros
//! survive and nothing has to be known of its base: `0042` is 0x10042. What the column holds is that integer plus 2^52 as
//! a double, whose low 52 bits are the integer: split into streams of like bytes (BYTE_STREAM_SPLIT) digits compress to
//! what is random in them, and readers other than ours often know that encoding for doubles only. In a template [`NUMBER`] and [`WORD`] stand where the
//! next number or word belongs. Words are joined by blanks. Numbers after the first [`BODY_NUMBERS`] become words.
//!
//! [`split`](Splitter::split) and [`StoredBodies::join`] are exact inverses, whatever the text; the property tests below hold them to
//! it.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use arrow::error::ArrowError;
use memchr::memchr2;
use schema::columns::BODY_NUMBERS;

/// Digits that fit the mantissa of a double behind the leading 1.
const NUMBER_DIGITS: usize = 12;

/// Sign and exponent of doubles from 2^52 to 2^53.
const EXPONENT: u64 = 0x433;
/// Where they begin.
const MANTISSA_BITS: u32 = 52;

/// Stands for a number in a template.
const NUMBER: u8 = 1;
/// Stands for a word in a template.
const WORD: u8 = 2;

/// Longer bodies are documents, not messages: their template would hardly repeat.
const MAX_BYTES: usize = 16 << 10;

/// Takes bodies apart; the fields hold the last one.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    /// UTF-8 text with [`NUMBER`] and [`WORD`] in it.
    pub template: Vec<u8>,
    /// At most [`BODY_NUMBERS`].
    pub numbers: Vec<f64>,
    /// ASCII text, words joined by blanks.
    pub words: Vec<u8>,
}

impl Splitter {
    /// Takes `text` apart; false if it must stay whole.
    pub fn split(&mut self, text: &str) -> bool {
        let text = text.as_bytes();
        if text.len() > MAX_BYTES || memchr2(NUMBER, WORD, text).is_some() {
            return false;
        }
        self.template.clear();
        self.numbers.clear();
        self.words.clear();
        let mut done = 0;
        while let Some(token) = next_token(text, done) {
            self.template.extend_from_slice(&text[done..token.start]);
            done = token.end;
            self.token(&text[token]);
        }
        self.template.extend_from_slice(&text[done..]);
        true
    }

    fn token(&mut self, token: &[u8]) {
        if token.iter().all(|&b| CLASS[b as usize] <= HEX) {
            self.number(token);
            return;
        }
        let is_digit = |b: &u8| b.is_ascii_digit();
        let from = token.iter().position(is_digit).unwrap_or(token.len());
        let length = token[from..].iter().position(|b| !is_digit(b));
        let to = length.map_or(token.len(), |length| from + length);
        // Letters on both sides, or more digits behind them: what looks random stays together.
        if (from > 0 && to < token.len()) || token[to..].iter().any(is_digit) {
            self.word(token);
            return;
        }
        self.template.extend_from_slice(&token[..from]);
        self.number(&token[from..to]);
        self.template.extend_from_slice(&token[to..]);
    }

    fn number(&mut self, digits: &[u8]) {
        for digits in digits.chunks(NUMBER_DIGITS) {
            if self.numbers.len() == BODY_NUMBERS {
                self.word(digits);
                continue;
            }
            let nibble = |b: u8| u64::from(if b.is_ascii_digit() { b - b'0' } else { b - b'a' + 10 });
            let integer = digits.iter().fold(1, |n, &b| n << 4 | nibble(b));
            self.numbers.push(f64::from_bits(EXPONENT << MANTISSA_BITS | integer));
            self.template.push(NUMBER);
        }
    }

    fn word(&mut self, word: &[u8]) {
        if !self.words.is_empty() {
            self.words.push(b' ');
        }
        self.words.extend_from_slice(word);
        self.template.push(WORD);
    }
}

const DIGIT: u8 = 0;
const HEX: u8 = 1;
const LETTER: u8 = 2;
const OTHER: u8 = 3;

/// What a byte is: digit, `a` to `f`, another ASCII letter, anything else.
static CLASS: [u8; 256] = {
    let mut class = [OTHER; 256];
    let mut byte = 0;
    while byte < 256 {
        class[byte] = match byte as u8 {
            b'0'..=b'9' => DIGIT,
            b'a'..=b'f' => HEX,
            b'g'..=b'z' | b'A'..=b'Z' => LETTER,
            _ => OTHER,
        };
        byte += 1;
    }
    class
};

/// The first token with a digit that begins at `from` or later; no token may reach across `from`.
fn next_token(text: &[u8], from: usize) -> Option<Range<usize>> {
    let digit = from + first_digit(&text[from..])?;
    let is_other = |&b: &u8| CLASS[b as usize] == OTHER;
    let start = text[from..digit]
        .iter()
        .rposition(is_other)
        .map_or(from, |at| from + at + 1);
    let length = text[digit..].iter().position(is_other);
    Some(start..length.map_or(text.len(), |length| digit + length))
}

fn first_digit(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    // Most bytes are no digits: sixteen at a time, which compilers turn into a few vector instructions.
    for chunk in text.as_chunks::<16>().0 {
        if chunk.iter().fold(false, |any, b| any | b.is_ascii_digit()) {
            break;
        }
        at += 16;
    }
    text[at..].iter().position(u8::is_ascii_digit).map(|found| at + found)
}

/// How many numbers a template takes.
pub(super) fn numbers_of(template: &str) -> usize {
    let count = template.bytes().filter(|&b| b == NUMBER).count();
    // More are in no template that was made here.
    count.min(BODY_NUMBERS)
}

/// A template does not go with its numbers or words: the part that they come from is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a log body's template does not go with its numbers and words")]
struct Mismatch;

/// Appends the body that `template`, `words` and the numbers (by position, from 0) stand for.
///
/// # Errors
/// [`Mismatch`] if a number or word is missing, or is not what [`Splitter::split`] makes.
fn join(
    template: &str,
    words: Option<&str>,
    number: impl Fn(usize) -> Option<f64>,
    out: &mut Vec<u8>,
) -> Result<(), Mismatch> {
    let mut rest = template.as_bytes();
    let mut words = words.map(|words| words.split(' '));
    let mut position = 0;
    while let Some(at) = memchr2(NUMBER, WORD, rest) {
        out.extend_from_slice(&rest[..at]);
        if rest[at] == NUMBER {
            push_digits(number(position).ok_or(Mismatch)?, out)?;
            position += 1;
        } else {
            let word = words.as_mut().and_then(Iterator::next).ok_or(Mismatch)?;
            out.extend_from_slice(word.as_bytes());
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    Ok(())
}

/// The digits behind the leading 1.
fn push_digits(number: f64, out: &mut Vec<u8>) -> Result<(), Mismatch> {
    let integer = number.to_bits() ^ EXPONENT << MANTISSA_BITS;
    if !(0x10..1 << MANTISSA_BITS).contains(&integer) {
        return Err(Mismatch);
    }
    let count = (63 - integer.leading_zeros()) / 4;
    if integer >> (4 * count) != 1 {
        return Err(Mismatch);
    }
    for digit in (0..count).rev() {
        out.push(b"0123456789abcdef"[(integer >> (4 * digit) & 15) as usize]);
    }
    Ok(())
}

/// The columns that bodies are stored in, any of which a part may lack.
#[derive(Debug, Default)]
pub struct StoredBodies<'a> {
    /// `body`: those that were not taken apart.
    pub whole: Option<&'a ArrayRef>,
    /// `body_template`.
    pub templates: Option<&'a ArrayRef>,
    /// `body_words`.
    pub words: Option<&'a ArrayRef>,
    /// `body_number_1`, `body_number_2` and so on.
    pub numbers: Vec<Option<&'a ArrayRef>>,
}

impl StoredBodies<'_> {
    /// The bodies of all rows as UTF-8; `None` if no row has one.
    ///
    /// # Errors
    /// [`ArrowError`] if a column has a type that it cannot have, or columns do not go together.
    pub fn join(&self) -> Result<Option<ArrayRef>, ArrowError> {
        let Some(templates) = self.templates.filter(|t| t.null_count() < t.len()) else {
            return Ok(self.whole.map(Arc::clone));
        };
        let templates = cast(templates, &DataType::Utf8View)?;
        let templates = templates.as_string_view();
        let text = |column: Option<&ArrayRef>| column.map(|column| cast(column, &DataType::Utf8)).transpose();
        let (whole, words) = (text(self.whole)?, text(self.words)?);
        let whole = whole.as_ref().map(|column| column.as_string::<i32>());
        let words = words.as_ref().map(|column| column.as_string::<i32>());
        let numbers = self.numbers.iter();
        let numbers = numbers.map(|column| column.and_then(|column| column.as_primitive_opt::<Float64Type>()));
        let numbers = numbers.collect::<Vec<_>>();
        let mut bodies = StringBuilder::with_capacity(templates.len(), templates.len() * 128);
        let mut body = Vec::with_capacity(256);
        for row in 0..templates.len() {
            if templates.is_null(row) {
                let whole = whole.filter(|column| column.is_valid(row));
                bodies.append_option(whole.map(|column| column.value(row)));
                continue;
            }
            body.clear();
            let words = words.filter(|column| column.is_valid(row));
            let number = |position: usize| {
                let column = numbers.get(position).copied().flatten()?;
                column.is_valid(row).then(|| column.value(row))
            };
            join(
                templates.value(row),
                words.map(|column| column.value(row)),
                number,
                &mut body,
            )
            .map_err(|mismatch| ArrowError::from_external_error(Box::new(mismatch)))?;
            let body = std::str::from_utf8(&body).map_err(|error| ArrowError::from_external_error(Box::new(error)))?;
            bodies.append_value(body);
        }
        Ok(Some(Arc::new(bodies.finish())))
    }
}

#[cfg(test)]
mod tests;
