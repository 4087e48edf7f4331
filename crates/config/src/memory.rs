//! How much memory the process may use when nobody said.
//!
//! Inside a container the answer is the control group's limit, not the machine's memory: a process that plans with
//! the latter is killed by the kernel. The limit of a group also binds the groups below it, so the smallest limit on
//! the way up counts. Reading files is passed in, so that tests describe machines that they do not run on.

use std::io;
use std::path::{Path, PathBuf};

/// Reads a whole file as text; injected wherever this crate touches the file system.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

/// Of a limit, this share is planned with. The rest is for what no budget counts: code, stacks, allocator
/// fragmentation, TLS and HTTP buffers.
const USABLE_PERCENT: u64 = 80;

/// That rest is not smaller than this, unless it would be more than half of the limit.
const UNCOUNTED: u64 = 204 << 20;

/// Without a control group limit other programs share the machine, so we do not take more than this by ourselves.
const MACHINE_CAP: u64 = 4 << 30;

/// Planned with when neither a control group nor the machine's memory can be read (not Linux): what the smallest
/// supported pod has.
const FALLBACK: u64 = 512 << 20;

/// Where a memory limit came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemorySource {
    /// `memory.limit` of the configuration.
    Configured,
    /// 80 % of the control group's limit, less if it is small.
    Cgroup,
    /// 80 % of the machine's memory, at most 4 GiB.
    Machine,
    /// Neither could be read: what would be planned with in 512 MiB.
    Fallback,
}

/// A memory limit in bytes and where it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimit {
    /// Bytes the process plans with.
    pub bytes: u64,
    /// Where the number came from.
    pub source: MemorySource,
}

/// The memory this process should plan with, read from the operating system.
pub fn detect_memory_limit() -> MemoryLimit {
    detect_memory_limit_with(&|path| std::fs::read_to_string(path))
}

/// As [`detect_memory_limit`], reading through `read`.
///
/// Understands control groups v2 (`memory.max`) and v1 (`memory.limit_in_bytes`), nested, and both as a container
/// sees them (its own group mounted as the root). A limit at or above the machine's memory is no limit: v1 writes
/// "unlimited" as a huge number.
pub fn detect_memory_limit_with(read: ReadFile<'_>) -> MemoryLimit {
    let machine = read(Path::new("/proc/meminfo"))
        .ok()
        .and_then(|text| machine_memory(&text));
    let group = cgroup_limit(read).filter(|limit| machine.is_none_or(|machine| *limit < machine));
    match (group, machine) {
        (Some(limit), _) if limit > 0 => MemoryLimit {
            bytes: usable(limit),
            source: MemorySource::Cgroup,
        },
        (_, Some(machine)) if machine > 0 => MemoryLimit {
            bytes: usable(machine).min(MACHINE_CAP),
            source: MemorySource::Machine,
        },
        _ => MemoryLimit {
            bytes: usable(FALLBACK),
            source: MemorySource::Fallback,
        },
    }
}

fn usable(bytes: u64) -> u64 {
    (bytes / 100 * USABLE_PERCENT).min(bytes.saturating_sub(UNCOUNTED).max(bytes / 2))
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn machine_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn cgroup_limit(read: ReadFile<'_>) -> Option<u64> {
    let groups = read(Path::new("/proc/self/cgroup")).ok()?;
    let mut smallest: Option<u64> = None;
    // Each line is `hierarchy:controllers:path`; hierarchy 0 without controllers is version 2 (cgroups(7)).
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let (root, file) = if controllers.is_empty() {
            ("/sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|name| name == "memory") {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            continue;
        };
        for group in group_and_parents(root, path) {
            let limit = read(&group.join(file))
                .ok()
                .and_then(|text| text.trim().parse::<u64>().ok());
            smallest = match (smallest, limit) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
    }
    smallest
}

/// The group's directory and each one above it, down to the mount point itself. In a container the path may be the
/// host's while the mount shows only our own group: then just the mount point exists.
pub fn group_and_parents(root: &str, path: &str) -> Vec<PathBuf> {
    let below = Path::new(path.trim_start_matches('/'));
    // A path that leaves the mount point ("/../..", another namespace's view) says nothing about where we are.
    let inside = below
        .components()
        .all(|part| matches!(part, std::path::Component::Normal(_)));
    let below = if inside { below } else { Path::new("") };
    below.ancestors().map(|part| Path::new(root).join(part)).collect()
}

#[cfg(test)]
mod tests;
