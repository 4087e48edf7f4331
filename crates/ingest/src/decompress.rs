//! Request bodies, decompressed with a limit.

use std::io::{self, Read};

use crate::IngestError;

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
}

/// Decompresses `body` to at most `limit` bytes; a bomb costs no more than that.
pub(crate) fn decompress(encoding: Encoding, body: &[u8], limit: usize) -> Result<Vec<u8>, IngestError> {
    let invalid = |name: &str, error: io::Error| {
        IngestError::Invalid(format!("the body is not valid {name}, as its encoding says: {error}"))
    };
    // Telemetry compresses about eightfold; start there and grow only if needed.
    let guess = (body.len().saturating_mul(8)).clamp(4096, limit.max(4096));
    let read = |reader: &mut dyn Read| -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(guess);
        reader.take(limit as u64 + 1).read_to_end(&mut out)?;
        Ok(out)
    };
    let out = match encoding {
        Encoding::Identity => Ok(body.to_vec()),
        Encoding::Gzip => read(&mut flate2::read::MultiGzDecoder::new(body)).map_err(|e| invalid("gzip", e)),
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(|e| invalid("zstd", e))?;
            // 8 MiB window at most, as RFC 8878 recommends for content encodings.
            decoder.window_log_max(23).map_err(|e| invalid("zstd", e))?;
            read(&mut decoder).map_err(|e| invalid("zstd", e))
        }
        Encoding::Deflate => {
            let zlib =
                body.len() >= 2 && body[0] & 0x0f == 8 && u16::from_be_bytes([body[0], body[1]]).is_multiple_of(31);
            let out = if zlib {
                read(&mut flate2::read::ZlibDecoder::new(body))
            } else {
                read(&mut flate2::read::DeflateDecoder::new(body))
            };
            out.map_err(|e| invalid("deflate", e))
        }
    }?;
    if out.len() > limit {
        return Err(IngestError::TooLarge {
            limit,
            what: "when decompressed",
            key: "ingest.max_decompressed_bytes",
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_encoding_gives_back_the_body() {
        let data = b"hello hello hello".repeat(100);
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(&data).unwrap();
        let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        raw.write_all(&data).unwrap();
        for (encoding, body) in [
            (Encoding::Identity, data.clone()),
            (Encoding::Gzip, gzip(&data)),
            (Encoding::Zstd, zstd::encode_all(&data[..], 1).unwrap()),
            (Encoding::Deflate, zlib.finish().unwrap()),
            (Encoding::Deflate, raw.finish().unwrap()),
        ] {
            assert_eq!(decompress(encoding, &body, data.len()).unwrap(), data, "{encoding:?}");
        }
    }

    #[test]
    fn bombs_and_garbage_are_refused() {
        let bomb = vec![0u8; 10 << 20];
        for (encoding, body) in [
            (Encoding::Gzip, gzip(&bomb)),
            (Encoding::Zstd, zstd::encode_all(&bomb[..], 1).unwrap()),
        ] {
            let refused = decompress(encoding, &body, 1 << 20).unwrap_err();
            assert!(matches!(refused, IngestError::TooLarge { .. }), "{refused}");
        }
        for encoding in [Encoding::Gzip, Encoding::Zstd, Encoding::Deflate] {
            let refused = decompress(encoding, b"not compressed at all", 1 << 20).unwrap_err();
            assert!(matches!(refused, IngestError::Invalid(_)), "{encoding:?}: {refused}");
        }
    }
}
