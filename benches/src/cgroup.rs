//! A control group that limits the memory of a server as a container's does, version 1 or 2.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A group of its own; removed when dropped, once its processes are gone.
#[derive(Debug)]
pub struct Cgroup {
    directory: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Cgroup {
    /// Makes a group whose processes may hold `bytes` together.
    ///
    /// # Errors
    /// When this process may not make control groups: it takes root, and a writable `/sys/fs/cgroup`.
    pub fn with_memory(bytes: u64) -> Result<Self> {
        let name = format!("otlp-rust-bench-{}", std::process::id());
        let one = Path::new("/sys/fs/cgroup/memory");
        let (parent, version, limit) = match one.join("memory.limit_in_bytes").exists() {
            true => (one, Version::One, "memory.limit_in_bytes"),
            false => (Path::new("/sys/fs/cgroup"), Version::Two, "memory.max"),
        };
        let directory = parent.join(name);
        let group = Self { directory, version };
        std::fs::create_dir_all(&group.directory)
            .with_context(|| format!("making the control group {}", group.directory.display()))?;
        let file = group.directory.join(limit);
        std::fs::write(&file, bytes.to_string()).with_context(|| format!("writing {}", file.display()))?;
        Ok(group)
    }

    /// Where processes are put into it, by writing their id.
    pub fn processes(&self) -> PathBuf {
        self.directory.join("cgroup.procs")
    }

    /// Bytes that its processes hold and the kernel cannot take back: not the page cache.
    pub fn anonymous(&self) -> Option<u64> {
        self.number(
            "memory.stat",
            match self.version {
                Version::One => "rss",
                Version::Two => "anon",
            },
        )
    }

    /// How often the kernel killed one of its processes for lack of memory.
    pub fn killed(&self) -> Option<u64> {
        match self.version {
            Version::One => self.number("memory.oom_control", "oom_kill"),
            Version::Two => self.number("memory.events", "oom_kill"),
        }
    }

    /// The number in a line `NAME NUMBER` of a file.
    fn number(&self, file: &str, name: &str) -> Option<u64> {
        let text = std::fs::read_to_string(self.directory.join(file)).ok()?;
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(key, _)| *key == name)?.1.trim().parse().ok()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Fails while a process is in it; an empty group that stays behind harms nobody.
        let _ = std::fs::remove_dir(&self.directory);
    }
}
