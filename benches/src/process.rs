//! What the operating system says about processes and disks: CPU time, memory, bytes below a directory.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::task::JoinHandle;

/// Ticks of utime and stime in /proc/PID/stat: USER_HZ, which Linux fixes at 100 on x86-64 and aarch64.
const TICK: Duration = Duration::from_millis(10);

/// CPU time of a process so far, user and system, all threads.
///
/// # Errors
/// When the process is gone.
pub fn cpu(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("the server (process {pid}) is gone; see its log"))?;
    Ok(Stat::parse(&stat).context("malformed /proc/PID/stat")?.cpu)
}

/// What is used here of a stat file in /proc, of a process or of a thread.
struct Stat<'a> {
    name: &'a str,
    cpu: Duration,
    /// Ticks from the machine's start to that of the thread: tells threads apart that had the same id.
    started: u64,
}

impl<'a> Stat<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        // The name is in parentheses and may hold anything. Behind it comes field 3 (proc(5)): user and system time
        // are fields 14 and 15, the start is field 22.
        let (before, rest) = text.rsplit_once(')')?;
        let fields = rest.split_whitespace().collect::<Vec<_>>();
        let ticks = |field: usize| fields.get(field - 3)?.parse::<u32>().ok();
        Some(Self {
            name: before.split_once('(')?.1,
            cpu: TICK * (ticks(14)? + ticks(15)?),
            started: fields.get(22 - 3)?.parse().ok()?,
        })
    }
}

/// How often [`ThreadCpu`] looks: what a thread does between the last look and its end is missed, which is little
/// beside the seconds that a compaction takes, and a look at forty threads costs half a millisecond.
const LOOK: Duration = Duration::from_millis(50);

/// Adds up the CPU time of a process's threads of one name, also of those that end meanwhile: as a thread's time is gone
/// with it, all are looked at again and again. Dropping it ends that.
#[derive(Debug)]
pub struct ThreadCpu {
    pid: u32,
    name: &'static str,
    seen: Arc<Mutex<Seen>>,
    looking: JoinHandle<()>,
}

/// CPU time by id and start of the thread.
type Seen = HashMap<(u32, u64), Duration>;

impl ThreadCpu {
    /// Begins to watch the threads called `name` of a process.
    pub fn watch(pid: u32, name: &'static str) -> Self {
        let seen = Arc::new(Mutex::new(Seen::new()));
        look(pid, name, &seen);
        let also = Arc::clone(&seen);
        let looking = tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                look(pid, name, &also);
            }
        });
        Self {
            pid,
            name,
            seen,
            looking,
        }
    }

    /// CPU time of all those threads so far, counted from the start of each.
    pub fn total(&self) -> Duration {
        look(self.pid, self.name, &self.seen);
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }
}

impl Drop for ThreadCpu {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

fn look(pid: u32, name: &str, seen: &Mutex<Seen>) {
    // A process or a thread that is gone has nothing to add.
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return;
    };
    for thread in threads.flatten() {
        let Ok(text) = std::fs::read_to_string(thread.path().join("stat")) else {
            continue;
        };
        let id = thread.file_name().to_str().and_then(|id| id.parse().ok());
        if let (Some(id), Some(stat)) = (id, Stat::parse(&text).filter(|stat| stat.name == name)) {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.insert((id, stat.started), stat.cpu);
        }
    }
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn names_may_hold_anything() {
        let fields = (3..=30).map(|field| field.to_string()).collect::<Vec<_>>().join(" ");
        let text = format!("17 (a) b) {fields}");
        let stat = Stat::parse(&text).unwrap();
        assert_eq!((stat.name, stat.cpu, stat.started), ("a) b", TICK * 29, 22));
        assert!(Stat::parse("17 (a) S 1 2").is_none());
    }

    #[tokio::test]
    async fn threads_that_ended_count() {
        const BURNT: Duration = Duration::from_millis(60);
        let watch = ThreadCpu::watch(std::process::id(), "burns-cpu");
        let ((burnt, is_burnt), (go, gone)) = (channel(), channel::<()>());
        let burn = move || {
            while thread_cpu().unwrap() < BURNT {}
            burnt.send(()).unwrap();
            // Ends when the other side is dropped.
            let _ = gone.recv();
        };
        let thread = std::thread::Builder::new()
            .name("burns-cpu".to_owned())
            .spawn(burn)
            .unwrap();
        is_burnt.recv().unwrap();
        let while_there = watch.total();
        assert!(while_there + TICK >= BURNT, "{while_there:?}");
        drop(go);
        thread.join().unwrap();
        assert!(watch.total() >= while_there);
    }
}
