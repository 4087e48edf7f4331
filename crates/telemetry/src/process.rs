//! The process as the operating system sees it, read from `/proc` on each scrape, under the names that every
//! Prometheus client uses. Where there is no `/proc`, or it reads differently, the metrics are left out.

use std::fmt;
use std::io;
use std::path::Path;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Clock ticks a second in `/proc` (USER_HZ): 100 on every architecture that we build for; proc(5).
const TICKS_PER_SECOND: f64 = 100.0;

type Read = Box<dyn Fn(&Path) -> io::Result<String> + Send + Sync>;

pub(crate) struct ProcessCollector {
    read: Read,
}

impl ProcessCollector {
    pub fn new(read: impl Fn(&Path) -> io::Result<String> + Send + Sync + 'static) -> Self {
        Self { read: Box::new(read) }
    }

    fn file(&self, path: &str) -> Option<String> {
        (self.read)(Path::new(path)).ok()
    }
}

impl fmt::Debug for ProcessCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProcessCollector")
    }
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let mut gauge = |name, help, value: f64| {
            let metric = ConstGauge::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        if let Some(bytes) = self.file("/proc/self/status").as_deref().and_then(resident_bytes) {
            gauge("process_resident_memory_bytes", "Resident memory.", bytes)?;
        }
        let Some(stat) = self.file("/proc/self/stat").as_deref().and_then(Stat::parse) else {
            return Ok(());
        };
        if let Some(boot) = self.file("/proc/stat").as_deref().and_then(boot_time) {
            gauge(
                "process_start_time_seconds",
                "Start of the process, in Unix time.",
                boot + stat.start_seconds,
            )?;
        }
        let cpu = ConstCounter::new(stat.cpu_seconds);
        cpu.encode(encoder.encode_descriptor(
            "process_cpu_seconds",
            "User and system time.",
            None,
            cpu.metric_type(),
        )?)
    }
}

/// `VmRSS` of `/proc/self/status`, in bytes.
fn resident_bytes(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0)
}

/// `btime` of `/proc/stat`: when the machine started, in seconds of Unix time.
fn boot_time(stat: &str) -> Option<f64> {
    stat.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()
}

#[derive(Debug, PartialEq)]
struct Stat {
    /// User and system time.
    cpu_seconds: f64,
    /// From the machine's start to the process's.
    start_seconds: f64,
}

impl Stat {
    /// Of `/proc/self/stat`. The second field is the program's name in parentheses and may hold anything, so fields
    /// are counted from the last closing one: state is field 3, utime 14, stime 15, starttime 22 (proc(5)).
    fn parse(stat: &str) -> Option<Self> {
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let ticks = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_seconds: (ticks(14)? + ticks(15)?) / TICKS_PER_SECOND,
            start_seconds: ticks(22)? / TICKS_PER_SECOND,
        })
    }
}

#[cfg(test)]
mod tests;
