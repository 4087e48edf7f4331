//! How bodies are compressed.

use std::io::{self, Read};

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Zstd,
    /// HTTP's `deflate`: a zlib stream, or, as some clients send it, a bare deflate stream.
    Deflate,
}

impl Encoding {
    /// The encoding of a `Content-Encoding` or `grpc-encoding` header.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Some(Self::Identity),
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "zstd" => Some(Self::Zstd),
            "deflate" => Some(Self::Deflate),
            _ => None,
        }
    }

    /// Its name in those headers.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Deflate => "deflate",
        }
    }
}

/// The largest window of a zstd stream, as a power of two: 8 MiB, as RFC 8878 recommends for content encodings.
const ZSTD_WINDOW_LOG: u32 = 23;

/// A reader of what is compressed in `body`.
pub(crate) fn decoder(encoding: Encoding, body: &[u8]) -> io::Result<Box<dyn Read + '_>> {
    Ok(match encoding {
        Encoding::Identity => Box::new(body),
        Encoding::Gzip => Box::new(flate2::read::MultiGzDecoder::new(body)),
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(body)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        Encoding::Deflate => {
            let zlib =
                body.len() >= 2 && body[0] & 0x0f == 8 && u16::from_be_bytes([body[0], body[1]]).is_multiple_of(31);
            if zlib {
                Box::new(flate2::read::ZlibDecoder::new(body))
            } else {
                Box::new(flate2::read::DeflateDecoder::new(body))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever a body says of itself, it is read to its end, to an error or to the limit.
    #[test]
    fn mutated_bodies_end() {
        const LIMIT: u64 = 1 << 16;
        testkit::fuzz::run(&testkit::fuzz::corpus("compressed"), 5_000, |input| {
            for encoding in [Encoding::Gzip, Encoding::Zstd, Encoding::Deflate] {
                if let Ok(reader) = decoder(encoding, input) {
                    let mut body = Vec::new();
                    let _ = reader.take(LIMIT).read_to_end(&mut body);
                    assert!(body.len() as u64 <= LIMIT);
                }
            }
        });
    }
}
