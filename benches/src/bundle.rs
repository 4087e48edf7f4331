//! Requests written to disk before a run and streamed from there during it, so that the generator's work does not
//! compete with the server's. One file holds one signal: each request as item count and length (u32, little
//! endian) and the bytes. A bundle lives as long as the scratch directory it was written to.

use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::load::spans::{KnownTrace, Spans};
use crate::load::{Plan, Request, Signal};

/// A written load.
#[derive(Debug)]
pub struct Bundle {
    /// The signal of every request in it.
    pub signal: Signal,
    /// Requests.
    pub requests: u64,
    /// Spans, log records or scalar samples.
    pub items: u64,
    /// Bytes of the encoded requests.
    pub bytes: u64,
    /// Traces to ask for; empty for other signals.
    pub known: Vec<KnownTrace>,
    path: PathBuf,
}

impl Bundle {
    /// Generates the load of `plan` into a file below `directory`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(directory: &Path, signal: Signal, plan: Plan) -> Result<Self> {
        if signal == Signal::Traces {
            let spans = Spans::new(plan);
            let known = spans.known();
            let mut bundle = Self::store(directory, signal, spans)?;
            bundle.known = known.lock().map(|known| known.clone()).unwrap_or_default();
            Ok(bundle)
        } else {
            Self::store(directory, signal, signal.requests(plan))
        }
    }

    fn store(directory: &Path, signal: Signal, source: impl Iterator<Item = Request>) -> Result<Self> {
        let path = directory.join(format!("{}.requests", signal.name()));
        let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        let mut file = BufWriter::with_capacity(1 << 20, file);
        let mut bundle = Self {
            signal,
            requests: 0,
            items: 0,
            bytes: 0,
            known: Vec::new(),
            path,
        };
        for request in source {
            let length = u32::try_from(request.bytes.len()).context("a request of 4 GiB")?;
            file.write_all(&request.items.to_le_bytes())?;
            file.write_all(&length.to_le_bytes())?;
            file.write_all(&request.bytes)?;
            bundle.requests += 1;
            bundle.items += u64::from(request.items);
            bundle.bytes += u64::from(length);
        }
        file.flush()?;
        // Or the kernel writes it back during the run, on the disk whose latency is measured.
        file.get_ref().sync_all()?;
        Ok(bundle)
    }

    /// The requests from the first on, in sending order.
    ///
    /// # Errors
    /// When the file cannot be opened; each item fails when it cannot be read.
    pub fn read(&self) -> Result<impl Iterator<Item = Result<Request>> + Send + use<>> {
        let file = File::open(&self.path).with_context(|| format!("opening {}", self.path.display()))?;
        let mut file = BufReader::with_capacity(1 << 20, file);
        Ok(std::iter::from_fn(move || next(&mut file).transpose()))
    }

    /// Deletes the file; what is known about the load stays.
    pub fn discard(&self) {
        // A file that stays behind is removed with the scratch directory.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn next(file: &mut impl Read) -> Result<Option<Request>> {
    let mut word = [0u8; 4];
    match file.read_exact(&mut word) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let items = u32::from_le_bytes(word);
    file.read_exact(&mut word)?;
    let mut bytes = vec![0; u32::from_le_bytes(word) as usize];
    file.read_exact(&mut bytes)?;
    Ok(Some(Request {
        bytes: bytes.into(),
        items,
    }))
}
