//! The transcoder: JSON tokens in, protobuf fields out, by the tables of [`schema`](super::schema).

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::lexer::{Kind as Token, LexError, Lexer};
use super::schema::{Field, Kind, Message};
use super::{JsonError, JsonLimits};
use crate::wire::Writer;

/// Each level takes up to 4 KiB of stack in an unoptimised build, and a thread has 2 MiB.
const DEEPEST: usize = 256;

/// Paths in errors are cut at this many bytes: a body nested to the limit has one of a kilobyte.
const LONGEST_PATH: usize = 240;

/// Scalars in errors are cut at this many characters: enough to find them, too few to repeat a log line.
const LONGEST_EXCERPT: usize = 32;

pub(super) fn transcode(
    message: &'static Message,
    json: &[u8],
    out: &mut Vec<u8>,
    limits: JsonLimits,
) -> Result<(), JsonError> {
    let text = simdutf8::compat::from_utf8(json).map_err(|error| JsonError::NotUtf8 {
        offset: error.valid_up_to(),
    })?;
    let before = out.len();
    let mut transcoder = Transcoder {
        lexer: Lexer::new(text),
        writer: Writer::new(out),
        path: Vec::new(),
        depth: 0,
        max_depth: limits.max_depth.min(DEEPEST),
    };
    let result = transcoder.body(message);
    if result.is_err() {
        out.truncate(before);
    }
    result
}

/// One step of the way from the body to a value.
enum Step {
    Key(&'static str),
    Index(usize),
}

struct Transcoder<'a, 'o> {
    lexer: Lexer<'a>,
    writer: Writer<'o>,
    /// Where we are. Left as it is on an error, which reads it.
    path: Vec<Step>,
    /// Objects and lists around the next value.
    depth: usize,
    max_depth: usize,
}

impl<'a> Transcoder<'a, '_> {
    fn body(&mut self, message: &'static Message) -> Result<(), JsonError> {
        self.message(message)?;
        self.lexer.end().map_err(|error| self.syntax(error))
    }

    /// An object: each known member becomes a field.
    fn message(&mut self, message: &'static Message) -> Result<(), JsonError> {
        self.token(Token::Object, "an object")?;
        self.enter(b'{')?;
        // Which fields were given, a bit each: no message has more than 16.
        let mut seen = 0u32;
        let mut oneof = false;
        if !self.lexer.eat(b'}') {
            loop {
                let key = self.lex(Lexer::string)?;
                self.lex(|l| l.expect(b':', "expected a colon"))?;
                match lookup(message, &key) {
                    None => {
                        let levels = self.max_depth - self.depth;
                        self.lex(|l| l.skip(levels))?;
                    }
                    Some((index, field)) => {
                        self.path.push(Step::Key(field.json));
                        if seen & 1 << index != 0 {
                            return Err(JsonError::Duplicate { path: self.path() });
                        }
                        seen |= 1 << index;
                        if self.lex(Lexer::kind)? == Token::Null {
                            self.lex(Lexer::null)?;
                        } else {
                            if field.oneof && std::mem::replace(&mut oneof, true) {
                                return Err(JsonError::Exclusive { path: self.path() });
                            }
                            self.field(field)?;
                        }
                        self.path.pop();
                    }
                }
                if !self.lexer.eat(b',') {
                    break;
                }
            }
            self.lex(|l| l.expect(b'}', "expected a comma or the end of the object"))?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn field(&mut self, field: &'static Field) -> Result<(), JsonError> {
        if !field.repeated {
            return self.value(field);
        }
        self.token(Token::List, "a list")?;
        match field.kind {
            Kind::Fixed64 => self.packed(field, |t| {
                let value = t.fixed64()?;
                t.writer.raw_fixed64(value);
                Ok(())
            }),
            Kind::Uint64 => self.packed(field, |t| {
                let value = t.fixed64()?;
                t.writer.raw_varint(value);
                Ok(())
            }),
            Kind::Double => self.packed(field, |t| {
                let value = t.double()?;
                t.writer.raw_fixed64(value.to_bits());
                Ok(())
            }),
            _ => self.list(|t| t.value(field)),
        }
    }

    fn packed(&mut self, field: &Field, item: impl Fn(&mut Self) -> Result<(), JsonError>) -> Result<(), JsonError> {
        let open = self.writer.open(field.number);
        self.list(item)?;
        self.writer.close(open);
        Ok(())
    }

    fn list(&mut self, item: impl Fn(&mut Self) -> Result<(), JsonError>) -> Result<(), JsonError> {
        self.enter(b'[')?;
        if !self.lexer.eat(b']') {
            for index in 0.. {
                self.path.push(Step::Index(index));
                item(self)?;
                self.path.pop();
                if !self.lexer.eat(b',') {
                    break;
                }
            }
            self.lex(|l| l.expect(b']', "expected a comma or the end of the list"))?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn value(&mut self, field: &'static Field) -> Result<(), JsonError> {
        let number = field.number;
        match field.kind {
            Kind::Message(message) => {
                let open = self.writer.open(number);
                self.message(message)?;
                self.writer.close(open);
            }
            Kind::String => {
                let text = self.string("a string")?;
                self.writer.bytes(number, text.as_bytes());
            }
            Kind::Id => {
                const HEX: &str = "hex digits, two for each byte (OTLP/JSON ids are not base64)";
                let text = self.string(HEX)?;
                let id = unhex(&text).ok_or_else(|| self.invalid(HEX, &text))?;
                self.writer.bytes(number, &id);
            }
            Kind::Bytes => {
                let text = self.string("base64")?;
                let bytes = unbase64(&text).ok_or_else(|| self.invalid("base64", &text))?;
                self.writer.bytes(number, &bytes);
            }
            Kind::Bool => {
                self.token(Token::Bool, "true or false")?;
                let value = self.lex(Lexer::bool)?;
                self.writer.varint(number, u64::from(value));
            }
            Kind::Double => {
                let value = self.double()?;
                self.writer.fixed64(number, value.to_bits());
            }
            Kind::Int64 => {
                let value = self.int64()?;
                self.writer.varint(number, value as u64);
            }
            Kind::Sfixed64 => {
                let value = self.int64()?;
                self.writer.fixed64(number, value as u64);
            }
            Kind::Uint64 => {
                let value = self.fixed64()?;
                self.writer.varint(number, value);
            }
            Kind::Fixed64 => {
                let value = self.fixed64()?;
                self.writer.fixed64(number, value);
            }
            Kind::Uint32 => {
                let value: u32 = self.integer("an integer from 0 to 2^32 - 1")?;
                self.writer.varint(number, u64::from(value));
            }
            Kind::Fixed32 => {
                let value: u32 = self.integer("an integer from 0 to 2^32 - 1")?;
                self.writer.fixed32(number, value);
            }
            Kind::Sint32 => {
                let value: i32 = self.integer("a 32-bit integer")?;
                self.writer.sint32(number, value);
            }
            Kind::Enum(prefix, names) => {
                let value = self.enumeration(prefix, names)?;
                self.writer.varint(number, i64::from(value) as u64);
            }
        }
        Ok(())
    }

    fn int64(&mut self) -> Result<i64, JsonError> {
        self.integer("a 64-bit integer, as a string or a number")
    }

    fn fixed64(&mut self) -> Result<u64, JsonError> {
        self.integer("an integer from 0 to 2^64 - 1, as a string or a number")
    }

    fn integer<T: TryFrom<i128>>(&mut self, expected: &'static str) -> Result<T, JsonError> {
        let text = self.number_or_string(expected)?;
        let value = integer(&text).and_then(|value| T::try_from(value).ok());
        value.ok_or_else(|| self.invalid(expected, &text))
    }

    fn double(&mut self) -> Result<f64, JsonError> {
        const EXPECTED: &str = "a number, \"NaN\", \"Infinity\" or \"-Infinity\"";
        let text = self.number_or_string(EXPECTED)?;
        match &*text {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            text => double(text).ok_or_else(|| self.invalid(EXPECTED, text)),
        }
    }

    fn enumeration(&mut self, prefix: &str, names: &[(&str, i32)]) -> Result<i32, JsonError> {
        const EXPECTED: &str = "the enumeration's number or name";
        let text = self.number_or_string(EXPECTED)?;
        if let Some(value) = integer(&text).and_then(|value| i32::try_from(value).ok()) {
            return Ok(value);
        }
        let name = text.strip_prefix(prefix);
        let known = names.iter().find(|(known, _)| Some(*known) == name);
        known
            .map(|(_, value)| *value)
            .ok_or_else(|| self.invalid(EXPECTED, &text))
    }

    // --- tokens, with errors that know the path

    fn lex<T>(&mut self, read: impl FnOnce(&mut Lexer<'a>) -> Result<T, LexError>) -> Result<T, JsonError> {
        read(&mut self.lexer).map_err(|error| self.syntax(error))
    }

    /// Errors unless `token` comes next; reads nothing.
    fn token(&mut self, token: Token, expected: &'static str) -> Result<(), JsonError> {
        let found = self.lex(Lexer::kind)?;
        if found == token {
            return Ok(());
        }
        Err(self.mismatch(expected, found))
    }

    fn enter(&mut self, bracket: u8) -> Result<(), JsonError> {
        if self.depth == self.max_depth {
            return Err(self.too_deep());
        }
        self.depth += 1;
        self.lex(|l| l.expect(bracket, "expected an object or a list"))
    }

    fn string(&mut self, expected: &'static str) -> Result<Cow<'a, str>, JsonError> {
        self.token(Token::String, expected)?;
        self.lex(Lexer::string)
    }

    fn number_or_string(&mut self, expected: &'static str) -> Result<Cow<'a, str>, JsonError> {
        match self.lex(Lexer::kind)? {
            Token::Number => self.lex(Lexer::number).map(Cow::Borrowed),
            Token::String => self.lex(Lexer::string),
            found => Err(self.mismatch(expected, found)),
        }
    }

    // --- errors

    #[cold]
    fn syntax(&self, error: LexError) -> JsonError {
        match error {
            LexError::Syntax { offset, problem } => JsonError::Syntax {
                offset,
                path: self.path(),
                problem,
            },
            LexError::TooDeep => self.too_deep(),
        }
    }

    #[cold]
    fn mismatch(&self, expected: &'static str, found: Token) -> JsonError {
        JsonError::Invalid {
            path: self.path(),
            expected,
            found: found.describe().to_owned(),
        }
    }

    #[cold]
    fn invalid(&self, expected: &'static str, found: &str) -> JsonError {
        let mut excerpt: String = found.chars().take(LONGEST_EXCERPT).collect();
        if excerpt.len() < found.len() {
            excerpt.push_str("...");
        }
        JsonError::Invalid {
            path: self.path(),
            expected,
            found: format!("{excerpt:?}"),
        }
    }

    #[cold]
    fn too_deep(&self) -> JsonError {
        JsonError::TooDeep {
            path: self.path(),
            limit: self.max_depth,
        }
    }

    /// `resourceSpans[0].scopeSpans[1]`, or `$` for the body itself.
    #[cold]
    fn path(&self) -> String {
        let mut path = String::new();
        for step in &self.path {
            if path.len() > LONGEST_PATH {
                path.push_str("...");
                return path;
            }
            match step {
                Step::Key(key) if path.is_empty() => path.push_str(key),
                Step::Key(key) => {
                    path.push('.');
                    path.push_str(key);
                }
                Step::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        if path.is_empty() {
            path.push('$');
        }
        path
    }
}

fn lookup(message: &'static Message, key: &str) -> Option<(usize, &'static Field)> {
    let mut fields = message.fields.iter().enumerate();
    fields.find(|(_, field)| field.json == key || field.proto == key)
}

/// An integer as proto3 JSON reads it: `1.0` and `1e3` are integers, `1.5` and ` 1` are not.
fn integer(text: &str) -> Option<i128> {
    if let Ok(value) = text.parse::<i64>() {
        return (!text.starts_with('+')).then_some(value.into());
    }
    if text.contains(['.', 'e', 'E']) {
        let value = double(text)?;
        // Every whole double below 2^64 fits; the caller checks its own range.
        let whole = value.fract() == 0.0 && value.abs() < 18_446_744_073_709_551_616.0;
        return whole.then_some(value as i128);
    }
    (!text.starts_with('+')).then(|| text.parse().ok()).flatten()
}

/// A finite double from digits; the names of the others are the caller's matter.
fn double(text: &str) -> Option<f64> {
    let digits = text
        .bytes()
        .all(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    // The standard library rounds correctly, and takes a leading `+`, which JSON does not.
    let value: f64 = (digits && !text.starts_with('+')).then(|| text.parse().ok())??;
    value.is_finite().then_some(value)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |b: u8| char::from(b).to_digit(16);
    pairs
        .iter()
        .map(|&[high, low]| Some((digit(high)? << 4 | digit(low)?) as u8))
        .collect()
}

fn unbase64(text: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
    const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
    let url_safe = text.contains(['-', '_']);
    let engine = if url_safe { &URL_SAFE } else { &STANDARD };
    engine.decode(text).ok()
}
