//! Requests on their way in: every byte is reserved before it is held.
//!
//! A request that finds no room is answered at once over HTTP/2, where the rest of it need not be sent (RFC 9113, section 8.1).
//! Over HTTP/1.1 it is read to its end and dropped piece by piece: an answer to a sender that is still sending
//! would reach it as a broken connection, and it would repeat what can never succeed.

use std::io::{self, Read};
use std::time::Duration;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{Version, header};
use bytes::{BufMut, Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt;
use memory::{Account, Reservation};

use crate::IngestError;
use crate::accept::busy;
use crate::decompress::{Encoding, decoder};

/// The bytes of a request and the memory reserved for them.
#[derive(Debug)]
pub(crate) struct Received {
    pub body: Bytes,
    pub memory: Reservation,
}

/// Of a request that is refused, the most that is read away: so many times the limit of a body, for so long.
const READ_AWAY_LIMITS: usize = 4;
const READ_AWAY_TIME: Duration = Duration::from_secs(10);

/// Whether a sender hears an answer only once it has sent everything.
fn hears_at_the_end(parts: &Parts) -> bool {
    // Who asks whether to go on at all (RFC 9110, section 10.1.1) has not begun to send.
    parts.version < Version::HTTP_2 && !parts.headers.contains_key(header::EXPECT)
}

/// Reads what a refused request still sends and drops it, where its sender would not hear the answer otherwise. A body that goes far
/// beyond the `limit` of bodies, or comes too slowly, ends with its connection.
pub(crate) async fn read_away(parts: &Parts, body: &mut Body, limit: usize) {
    let most = limit.saturating_mul(READ_AWAY_LIMITS) as u64;
    if !hears_at_the_end(parts) || body.size_hint().lower() > most {
        return;
    }
    let reading = async {
        let mut read = 0;
        while read <= most {
            // Whether it ends or breaks off: the answer is the same.
            let Some(Ok(frame)) = body.frame().await else { break };
            read += frame.data_ref().map_or(0, Bytes::len) as u64;
        }
    };
    // Whoever needs longer is told nothing more.
    let _ = tokio::time::timeout(READ_AWAY_TIME, reading).await;
}

/// Reads the body of a request, of at most `limit` bytes, that was `admitted` or not. What it was admitted with is given back in the
/// end.
pub(crate) async fn read_body(
    parts: &Parts,
    mut body: Body,
    limit: usize,
    admitted: Result<Reservation, IngestError>,
    account: &Account,
) -> Result<Received, IngestError> {
    let too_large = || IngestError::TooLarge {
        limit,
        what: "as sent",
        key: "ingest.max_request_bytes",
    };
    let mut memory = account.empty();
    // What the sender announces is reserved at once, so that many who send slowly do not share what is left.
    let announced = body.size_hint().exact();
    if announced.is_some_and(|bytes| bytes > limit as u64) {
        read_away(parts, &mut body, limit).await;
        return Err(too_large());
    }
    let announced = announced.unwrap_or(0);
    let (_ahead, mut refused) = match admitted {
        Ok(ahead) => (Some(ahead), memory.try_grow(announced).map_err(busy).err()),
        Err(refused) => (None, Some(refused)),
    };
    let mut pieces = Vec::new();
    let mut length = 0;
    while refused.is_none() || hears_at_the_end(parts) {
        let Some(frame) = body.frame().await else { break };
        let frame = frame.map_err(|error| IngestError::Invalid(format!("the body could not be read: {error}")))?;
        let Ok(piece) = frame.into_data() else { continue };
        length += piece.len();
        if length > limit {
            pieces.clear();
            memory.shrink(u64::MAX);
            read_away(parts, &mut body, limit).await;
            return Err(too_large());
        }
        if refused.is_none() {
            let more = (length as u64).saturating_sub(memory.bytes());
            refused = memory.try_grow(more).map_err(busy).err();
        }
        match &refused {
            None => pieces.push(piece),
            Some(_) => {
                pieces.clear();
                memory.shrink(u64::MAX);
            }
        }
    }
    if let Some(refused) = refused {
        return Err(refused);
    }
    let body = match pieces.len() {
        0 | 1 => pieces.pop().unwrap_or_default(),
        _ => {
            // For a moment there are two copies.
            memory.grow(length as u64);
            let mut joined = BytesMut::with_capacity(length);
            pieces.drain(..).for_each(|piece| joined.put(piece));
            memory.shrink(length as u64);
            joined.freeze()
        }
    };
    Ok(Received { body, memory })
}

/// Decompresses a body to at most `limit` bytes; a bomb costs no more than that.
pub(crate) fn decompress(encoding: Encoding, received: Received, limit: usize) -> Result<Received, IngestError> {
    let Received { body, mut memory } = received;
    let sent = body.len() as u64;
    let invalid = |error: io::Error| {
        let name = encoding.name();
        IngestError::Invalid(format!("the body is not valid {name}, as its encoding says: {error}"))
    };
    let mut reader = decoder(encoding, &body).map_err(invalid)?;
    let most = limit.saturating_add(1);
    // Telemetry compresses about eightfold; begin there and grow only if needed.
    let guess = body.len().saturating_mul(8).clamp(4096, most.max(4096));
    memory.try_grow(guess as u64).map_err(busy)?;
    let mut out = Vec::with_capacity(guess);
    loop {
        let room = (out.capacity() - out.len()).min(most - out.len());
        let read = reader
            .by_ref()
            .take(room as u64)
            .read_to_end(&mut out)
            .map_err(invalid)?;
        if out.len() >= most {
            return Err(IngestError::TooLarge {
                limit,
                what: "when decompressed",
                key: "ingest.max_decompressed_bytes",
            });
        }
        if read < room {
            break;
        }
        let more = out.capacity().min(most - out.len());
        memory.try_grow(more as u64).map_err(busy)?;
        out.reserve_exact(more);
    }
    drop(reader);
    drop(body);
    memory.shrink(sent);
    Ok(Received {
        body: out.into(),
        memory,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use axum::body::Body;
    use futures::stream;
    use memory::{Budget, Use};

    use super::*;

    fn account(share: u64) -> Account {
        Budget::unlimited().account(Use::Ingest, share)
    }

    fn received(body: Vec<u8>, account: &Account) -> Received {
        let memory = account.try_reserve(body.len() as u64).unwrap();
        Received {
            body: body.into(),
            memory,
        }
    }

    fn parts(version: Version) -> Parts {
        let request = axum::http::Request::post("/v1/traces").version(version);
        request.body(()).unwrap().into_parts().0
    }

    /// Reads a body of at most 80 bytes.
    async fn read(body: Body, account: &Account) -> Result<Received, IngestError> {
        read_body(&parts(Version::HTTP_11), body, 80, Ok(account.empty()), account).await
    }

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    /// Pieces of 10 bytes each, and how many of them nobody has read.
    fn counted(number: usize) -> (Body, Arc<AtomicUsize>) {
        let left = Arc::new(AtomicUsize::new(number));
        let counting = Arc::clone(&left);
        let pieces = std::iter::repeat_with(move || {
            counting.fetch_sub(1, Ordering::Relaxed);
            Ok::<_, io::Error>(Bytes::from_static(&[1; 10]))
        });
        (Body::from_stream(stream::iter(pieces.take(number))), left)
    }

    fn pieces(sizes: &[usize]) -> Body {
        let pieces = sizes
            .iter()
            .enumerate()
            .map(|(i, &n)| Ok::<_, io::Error>(Bytes::from(vec![i as u8; n])));
        Body::from_stream(stream::iter(pieces.collect::<Vec<_>>()))
    }

    #[tokio::test]
    async fn a_body_is_reserved_as_it_comes() {
        let account = account(100);
        let whole = read(Body::from(vec![7; 60]), &account).await.unwrap();
        assert_eq!((whole.body.len(), account.used()), (60, 60));
        let refused = read(Body::from(vec![7; 60]), &account).await.unwrap_err();
        assert!(matches!(refused, IngestError::Busy(_)), "{refused}");
        let refused = read(pieces(&[30, 30]), &account).await.unwrap_err();
        assert!(matches!(refused, IngestError::Busy(_)), "{refused}");
        assert_eq!(account.used(), 60);
        drop(whole);
        let joined = read(pieces(&[10, 20, 5]), &account).await.unwrap();
        assert_eq!((joined.body.len(), account.used()), (35, 35));
        assert_eq!((joined.body[9], joined.body[10], joined.body[34]), (0, 1, 2));
        for body in [Body::from(vec![7; 81]), pieces(&[40, 41])] {
            let refused = read(body, &account).await.unwrap_err();
            assert!(matches!(refused, IngestError::TooLarge { .. }), "{refused}");
        }
        drop(joined);
        assert_eq!(account.used(), 0);
    }

    #[tokio::test]
    async fn a_refused_body_is_read_to_its_end_only_where_it_must_be() {
        for (version, rest) in [(Version::HTTP_11, 0), (Version::HTTP_2, 2)] {
            let account = account(100);
            let (body, left) = counted(2);
            let refused = Err(IngestError::Busy(Duration::from_secs(1)));
            let refused = read_body(&parts(version), body, 80, refused, &account)
                .await
                .unwrap_err();
            assert!(matches!(refused, IngestError::Busy(_)), "{refused}");
            assert_eq!((left.load(Ordering::Relaxed), account.used()), (rest, 0), "{version:?}");
        }
    }

    #[tokio::test]
    async fn a_body_beyond_the_limit_is_read_away_within_bounds() {
        let mut asks_first = parts(Version::HTTP_11);
        asks_first
            .headers
            .insert(header::EXPECT, "100-continue".parse().unwrap());
        // Of 20 pieces (200 bytes) all are read, of 100 (1,000 bytes) what four limits allow, the one that breaks them included.
        let cases = [
            (parts(Version::HTTP_11), 20, 0),
            (parts(Version::HTTP_11), 100, 58),
            (parts(Version::HTTP_2), 20, 11),
            (asks_first, 20, 11),
        ];
        for (parts, pieces, unread) in cases {
            let account = account(1000);
            let (body, left) = counted(pieces);
            let admitted = Ok(account.empty());
            let refused = read_body(&parts, body, 80, admitted, &account).await.unwrap_err();
            assert!(matches!(refused, IngestError::TooLarge { .. }), "{refused}");
            assert_eq!(
                (left.load(Ordering::Relaxed), account.used()),
                (unread, 0),
                "{parts:?}, {pieces}"
            );
        }
    }

    #[test]
    fn every_encoding_gives_back_the_body() {
        let account = account(1 << 20);
        // Compresses far better than guessed, as guessed, and worse.
        let mut noise = 1u32;
        let noise = std::iter::repeat_with(|| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 24) as u8
        });
        for data in [b"hello ".repeat(9000), noise.take(30_000).collect(), Vec::new()] {
            let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            zlib.write_all(&data).unwrap();
            let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
            raw.write_all(&data).unwrap();
            for (encoding, body) in [
                (Encoding::Gzip, gzip(&data)),
                (Encoding::Zstd, zstd::encode_all(&data[..], 1).unwrap()),
                (Encoding::Deflate, zlib.finish().unwrap()),
                (Encoding::Deflate, raw.finish().unwrap()),
            ] {
                let out = decompress(encoding, received(body, &account), data.len()).unwrap();
                assert_eq!(out.body, data, "{encoding:?}");
                assert!(out.memory.bytes() >= data.len() as u64);
            }
            assert_eq!(account.used(), 0);
        }
    }

    #[test]
    fn bombs_and_garbage_are_refused() {
        let bomb = vec![0u8; 10 << 20];
        let bombs = [
            (Encoding::Gzip, gzip(&bomb)),
            (Encoding::Zstd, zstd::encode_all(&bomb[..], 1).unwrap()),
        ];
        for (encoding, body) in bombs {
            let roomy = account(4 << 20);
            let refused = decompress(encoding, received(body.clone(), &roomy), 1 << 20).unwrap_err();
            assert!(matches!(refused, IngestError::TooLarge { .. }), "{refused}");
            // Where less is left than the limit allows, the sender may try again.
            let tight = account(500 << 10);
            let refused = decompress(encoding, received(body, &tight), 1 << 20).unwrap_err();
            assert!(matches!(refused, IngestError::Busy(_)), "{refused}");
            assert_eq!((roomy.used(), tight.used()), (0, 0));
        }
        let account = account(1 << 20);
        for encoding in [Encoding::Gzip, Encoding::Zstd, Encoding::Deflate] {
            let garbage = received(b"not compressed at all".to_vec(), &account);
            let refused = decompress(encoding, garbage, 1 << 20).unwrap_err();
            assert!(matches!(refused, IngestError::Invalid(_)), "{encoding:?}: {refused}");
        }
    }
}
