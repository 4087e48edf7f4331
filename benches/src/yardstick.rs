//! The yardsticks of a run: what `zstd -1` over each raw request and a bare prost decode cost on this machine, on the
//! very bytes that the server gets. One thread, its own CPU time, mimalloc as the allocator: so the server's figures
//! can be compared between machines as ratios.

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Context as _, Result};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use serde::Serialize;

use crate::bundle::Bundle;
use crate::load::{Request, Signal};
use crate::process::thread_cpu;
use crate::send::quantile;

/// Enough for some CPU-seconds of work; more would not change the averages.
const SAMPLE_BYTES: usize = 256 << 20;
/// Passes over the sample, of which the median counts: neighbours on the machine disturb single ones.
const PASSES: usize = 3;

/// Figures of one signal's load.
#[derive(Debug, Clone, Serialize)]
pub struct Yardstick {
    /// Items that were looked at.
    pub items: u64,
    /// Items a request.
    pub items_per_request: f64,
    /// Bytes an item, encoded.
    pub raw_bytes: f64,
    /// Bytes an item after `zstd -1` of each request.
    pub zstd_bytes: f64,
    /// Items that `zstd -1` compresses in a CPU-second.
    pub zstd_rate: f64,
    /// Items that prost decodes in a CPU-second.
    pub prost_rate: f64,
}

/// Measures the yardsticks on the first 256 MiB of a bundle.
///
/// # Errors
/// When the bundle cannot be read.
pub fn measure(bundle: &Bundle) -> Result<Yardstick> {
    let mut requests = Vec::new();
    let (mut raw, mut items) = (0usize, 0u64);
    for request in bundle.read()? {
        let request = request?;
        raw += request.bytes.len();
        items += u64::from(request.items);
        requests.push(request);
        if raw >= SAMPLE_BYTES {
            break;
        }
    }
    let (mut packed, mut zstd_times, mut prost_times) = (0, Vec::new(), Vec::new());
    for _ in 0..PASSES {
        let (bytes, time) = compress(&requests)?;
        packed = bytes;
        zstd_times.push(time);
        prost_times.push(decode(&requests, bundle.signal)?);
    }
    let (zstd_time, prost_time) = (quantile(&mut zstd_times, 0.5), quantile(&mut prost_times, 0.5));
    let per_second = |time: Duration| items as f64 / time.as_secs_f64().max(1e-9);
    Ok(Yardstick {
        items,
        items_per_request: items as f64 / requests.len().max(1) as f64,
        raw_bytes: raw as f64 / items as f64,
        zstd_bytes: packed as f64 / items as f64,
        zstd_rate: per_second(zstd_time),
        prost_rate: per_second(prost_time),
    })
}

fn compress(requests: &[Request]) -> Result<(usize, Duration)> {
    let mut compressor = zstd::bulk::Compressor::new(1)?;
    let mut buffer = Vec::new();
    let begun = thread_cpu()?;
    let mut packed = 0;
    for request in requests {
        buffer.clear();
        buffer.reserve(zstd::zstd_safe::compress_bound(request.bytes.len()));
        packed += compressor.compress_to_buffer(&request.bytes, &mut buffer)?;
    }
    Ok((packed, thread_cpu()?.saturating_sub(begun)))
}

fn decode(requests: &[Request], signal: Signal) -> Result<Duration> {
    let begun = thread_cpu()?;
    for request in requests {
        let bytes = request.bytes.as_ref();
        match signal {
            Signal::Traces => drop(black_box(
                ExportTraceServiceRequest::decode(bytes).context("own request")?,
            )),
            Signal::Logs => drop(black_box(
                ExportLogsServiceRequest::decode(bytes).context("own request")?,
            )),
            Signal::Metrics => drop(black_box(
                ExportMetricsServiceRequest::decode(bytes).context("own request")?,
            )),
        }
    }
    Ok(thread_cpu()?.saturating_sub(begun))
}
