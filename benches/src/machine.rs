//! The machine a run took place on, as far as it explains the figures.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use crate::process::kib_field;
use crate::send::quantile;

/// A description that goes with every result.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Model name of the first CPU.
    pub cpu: String,
    /// CPUs that this process may use.
    pub cores: usize,
    /// Bytes of memory.
    pub memory: u64,
    /// Kernel release.
    pub kernel: String,
    /// Median time of writing 4 KiB and fdatasync in the scratch directory.
    pub fsync_p50: Duration,
    /// The 99th percentile of the same.
    pub fsync_p99: Duration,
}

impl Machine {
    /// Describes this machine; the disk is the one that holds `scratch`.
    ///
    /// # Errors
    /// When `scratch` cannot be written.
    pub fn describe(scratch: &Path) -> Result<Self> {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpuinfo
            .lines()
            .find(|line| line.starts_with("model name"))
            .and_then(|line| line.split_once(':'));
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let mut times = fsync_times(scratch)?;
        Ok(Self {
            cpu: cpu.map_or("unknown", |(_, name)| name.trim()).to_owned(),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory: kib_field("/proc/meminfo", "MemTotal:").unwrap_or(0),
            kernel: kernel.trim().to_owned(),
            fsync_p50: quantile(&mut times, 0.5),
            fsync_p99: quantile(&mut times, 0.99),
        })
    }
}

fn fsync_times(scratch: &Path) -> Result<Vec<Duration>> {
    let path = scratch.join("fsync.probe");
    let mut file = File::create(&path)?;
    let mut times = Vec::with_capacity(200);
    for _ in 0..200 {
        let begun = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    std::fs::remove_file(&path)?;
    Ok(times)
}
