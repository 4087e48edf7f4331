//! What the operating system says about processes and disks: CPU time, memory, bytes below a directory.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Ticks of utime and stime in /proc/PID/stat: USER_HZ, which Linux fixes at 100 on x86-64 and aarch64.
const TICK: Duration = Duration::from_millis(10);

/// CPU time of a process so far, user and system, all threads.
///
/// # Errors
/// When the process is gone.
pub fn cpu(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("the server (process {pid}) is gone; see its log"))?;
    // The command name is in parentheses and may hold anything; fields 14 and 15 count from before it (proc(5)).
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = rest.split_whitespace().skip(11);
    let mut field = || {
        fields
            .next()
            .and_then(|field| field.parse::<u32>().ok())
            .context("malformed /proc/PID/stat")
    };
    Ok(TICK * (field()? + field()?))
}

/// Peak resident memory of a process in bytes.
///
/// # Errors
/// When the process is gone.
pub fn peak_memory(pid: u32) -> Result<u64> {
    kib_field(&format!("/proc/{pid}/status"), "VmHWM:")
}

/// A `Name:   123 kB` line of a file in /proc, in bytes.
pub(crate) fn kib_field(file: &str, name: &str) -> Result<u64> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {file}"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .with_context(|| format!("no {name} in {file}"))?;
    let kib: u64 = line
        .trim()
        .trim_end_matches("kB")
        .trim()
        .parse()
        .with_context(|| format!("{name} in {file}"))?;
    Ok(kib * 1024)
}

/// CPU time of the calling thread so far.
///
/// # Errors
/// When the kernel keeps no scheduling statistics.
pub fn thread_cpu() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").context("reading /proc/thread-self/schedstat")?;
    let nanos = text
        .split_whitespace()
        .next()
        .and_then(|field| field.parse().ok())
        .context("malformed schedstat")?;
    Ok(Duration::from_nanos(nanos))
}

/// Apparent bytes of all files below `directory`. Files that vanish meanwhile do not count.
pub fn bytes_below(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
