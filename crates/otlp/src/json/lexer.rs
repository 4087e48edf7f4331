//! JSON's tokens (RFC 8259), pulled one at a time from a text that is known to be UTF-8.
//!
//! Written by hand because an exporter's numbers must survive exactly, and because limits and error paths belong to the
//! caller. Nothing here recurses.

use std::borrow::Cow;

/// What the next value is, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    Number,
    String,
    Object,
    List,
}

impl Kind {
    /// For "found ..." in an error.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Bool => "a boolean",
            Kind::Number => "a number",
            Kind::String => "a string",
            Kind::Object => "an object",
            Kind::List => "a list",
        }
    }
}

/// Why the text is not JSON, or why the lexer stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LexError {
    Syntax {
        offset: usize,
        problem: &'static str,
    },
    /// A skipped value was nested deeper than allowed.
    TooDeep,
}

type Result<T> = std::result::Result<T, LexError>;

pub(super) struct Lexer<'a> {
    text: &'a str,
    pos: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Lexer { text, pos: 0 }
    }

    fn error<T>(&self, offset: usize, problem: &'static str) -> Result<T> {
        Err(LexError::Syntax { offset, problem })
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.pos).copied()
    }

    /// The next byte that is not white space, unread.
    fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.byte() {
            if !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return Some(byte);
            }
            self.pos += 1;
        }
        None
    }

    /// What the next value is; it stays unread.
    pub(super) fn kind(&mut self) -> Result<Kind> {
        match self.peek() {
            Some(b'n') => Ok(Kind::Null),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b'"') => Ok(Kind::String),
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::List),
            Some(_) => self.error(self.pos, "expected a value"),
            None => self.error(self.pos, "expected a value, found the end"),
        }
    }

    /// Reads `byte` if it comes next.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.pos += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, byte: u8, problem: &'static str) -> Result<()> {
        if self.eat(byte) {
            return Ok(());
        }
        self.error(self.pos, problem)
    }

    /// Nothing but white space may be left.
    pub(super) fn end(&mut self) -> Result<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => self.error(self.pos, "expected the end"),
        }
    }

    fn word(&mut self, word: &'static str) -> Result<()> {
        let rest = self.text.as_bytes().get(self.pos..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return self.error(self.pos, "expected null, true or false");
        }
        self.pos += word.len();
        Ok(())
    }

    pub(super) fn null(&mut self) -> Result<()> {
        self.word("null")
    }

    pub(super) fn bool(&mut self) -> Result<bool> {
        let value = self.peek() == Some(b't');
        self.word(if value { "true" } else { "false" })?;
        Ok(value)
    }

    /// A number's text.
    pub(super) fn number(&mut self) -> Result<&'a str> {
        let start = self.pos;
        self.pos += usize::from(self.byte() == Some(b'-'));
        if self.byte() == Some(b'0') {
            self.pos += 1;
        } else {
            self.digits()?;
        }
        if self.byte() == Some(b'.') {
            self.pos += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.pos += 1;
            self.pos += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(self.text.get(start..self.pos).unwrap_or_default())
    }

    fn digits(&mut self) -> Result<()> {
        let start = self.pos;
        while let Some(b'0'..=b'9') = self.byte() {
            self.pos += 1;
        }
        if start == self.pos {
            return self.error(start, "expected a digit");
        }
        Ok(())
    }

    /// A string's content, borrowed when it holds no escape.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>> {
        let start = self.pos;
        self.expect(b'"', "expected a string")?;
        let mut run = self.pos;
        let mut unescaped = String::new();
        loop {
            match self.byte() {
                Some(b'"') => {
                    let tail = self.text.get(run..self.pos).unwrap_or_default();
                    self.pos += 1;
                    if unescaped.is_empty() {
                        return Ok(Cow::Borrowed(tail));
                    }
                    unescaped.push_str(tail);
                    return Ok(Cow::Owned(unescaped));
                }
                Some(b'\\') => {
                    unescaped.push_str(self.text.get(run..self.pos).unwrap_or_default());
                    self.pos += 1;
                    unescaped.push(self.escape()?);
                    run = self.pos;
                }
                Some(0..0x20) => {
                    return self.error(self.pos, "control characters in strings must be escaped");
                }
                Some(_) => self.pos += 1,
                None => return self.error(start, "the string does not end"),
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<char> {
        let escaped = match self.byte() {
            Some(b @ (b'"' | b'\\' | b'/')) => char::from(b),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.pos += 1;
                return self.unicode();
            }
            _ => return self.error(self.pos, "not an escape"),
        };
        self.pos += 1;
        Ok(escaped)
    }

    /// Four hex digits, and the second half of a surrogate pair where one follows.
    fn unicode(&mut self) -> Result<char> {
        let first = self.hex4()?;
        if (0xd800..0xdc00).contains(&first) {
            let after = self.pos;
            let rest = self.text.as_bytes().get(after..).unwrap_or_default();
            if rest.starts_with(b"\\u") {
                self.pos += 2;
                let second = self.hex4()?;
                if (0xdc00..0xe000).contains(&second) {
                    let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                    return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                // The second escape is a character of its own.
                self.pos = after;
            }
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex4(&mut self) -> Result<u32> {
        let mut code = 0;
        for _ in 0..4 {
            let Some(digit) = self.byte().and_then(|b| char::from(b).to_digit(16)) else {
                return self.error(self.pos, "expected four hex digits after \\u");
            };
            code = code << 4 | digit;
            self.pos += 1;
        }
        Ok(code)
    }

    /// Reads any value and forgets it. `levels` is how deep it may nest.
    pub(super) fn skip(&mut self, levels: usize) -> Result<()> {
        // The open containers' closing bytes.
        let mut open: Vec<u8> = Vec::new();
        loop {
            let kind = self.kind()?;
            match kind {
                Kind::Null => self.null()?,
                Kind::Bool => drop(self.bool()?),
                Kind::Number => drop(self.number()?),
                Kind::String => drop(self.string()?),
                Kind::Object | Kind::List => {
                    if open.len() == levels {
                        return Err(LexError::TooDeep);
                    }
                    self.pos += 1;
                    let close = if kind == Kind::Object { b'}' } else { b']' };
                    if !self.eat(close) {
                        open.push(close);
                        self.skip_key(close)?;
                        continue;
                    }
                }
            }
            loop {
                let Some(&close) = open.last() else {
                    return Ok(());
                };
                if self.eat(b',') {
                    self.skip_key(close)?;
                    break;
                }
                self.expect(close, "expected a comma or the end of the object or list")?;
                open.pop();
            }
        }
    }

    fn skip_key(&mut self, close: u8) -> Result<()> {
        if close == b'}' {
            self.peek();
            self.string()?;
            self.expect(b':', "expected a colon")?;
        }
        Ok(())
    }
}
