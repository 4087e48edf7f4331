//! Is there room on the disks that hold what the platform keeps, and do they write as promised?
//!
//! Only the store and the catalog of a single machine are on disk; processes of a cluster keep nothing there.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use config::{CatalogUrl, Config, StoreUrl};
use rustix::fs::{Access, StatVfs, access, statvfs};

use crate::examine::{Found, Subject};
use crate::finding::{Finding, bytes, shown};
use crate::unique::unique_name;

/// SQLite and compaction stop somewhere below this.
const ALMOST_FULL: u64 = 100 << 20;

/// Compaction writes whole parts beside the ones it replaces.
const LITTLE: u64 = 1 << 30;

/// The same for large disks.
const LITTLE_PERCENT: u64 = 5;

/// Each acknowledgement waits for two or three of them.
const SLOW_FSYNC: Duration = Duration::from_millis(50);

const FSYNCS: usize = 9;

/// A page, as SQLite writes them.
const WRITTEN: [u8; 4096] = [0; 4096];

pub(crate) async fn check(subject: &Subject, found: &Found) {
    let Ok(config) = &subject.config else {
        return found.add(Finding::skipped("disk", "the configuration is not valid"));
    };
    let directories = directories(config);
    if directories.is_empty() {
        let why = "store and catalog are elsewhere: nothing is kept on this machine";
        return found.add(Finding::skipped("disk", why));
    }
    let finding = found.clone();
    let looking = tokio::task::spawn_blocking(move || {
        for directory in directories {
            look(&directory, &finding);
        }
    });
    if let Err(error) = looking.await {
        let seen = format!("the check itself failed: {error}");
        found.add(Finding::failed("disk", seen, "report this as a defect of otlp-rust"));
    }
}

/// The directories that are written, each once.
fn directories(config: &Config) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    if let StoreUrl::Local { path } = &config.store.url {
        directories.push(path.clone());
    }
    if let CatalogUrl::Sqlite { path } = &config.catalog.url {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        directories.push(parent.map_or_else(|| PathBuf::from("."), Path::to_owned));
    }
    // The usual case: both below server.data_dir.
    let data = &config.server.data_dir;
    if !directories.is_empty() && directories.iter().all(|directory| directory.starts_with(data)) {
        return vec![data.clone()];
    }
    directories.dedup();
    directories
}

fn look(wanted: &Path, found: &Found) {
    let subject = wanted.display().to_string();
    // What is missing is made at the start, where there is room and permission above it.
    let absolute = std::path::absolute(wanted).unwrap_or_else(|_| wanted.to_owned());
    let Some(directory) = absolute.ancestors().find(|path| path.is_dir()) else {
        let remedy = "make it, or correct server.data_dir";
        return found.add(Finding::failed("disk", "neither it nor anything above it exists", remedy).of(subject));
    };
    match statvfs(directory) {
        Ok(stat) => {
            found.add(space(&stat).of(&subject));
            found.add(inodes(&stat).of(&subject));
        }
        Err(error) => found.add(
            Finding::failed(
                "disk.space",
                format!("cannot be asked: {error}"),
                "look whether its disk is mounted",
            )
            .of(&subject),
        ),
    }
    let finding = if directory == absolute {
        written(directory)
    } else if let Err(error) = access(directory, Access::WRITE_OK) {
        let seen = format!("does not exist, and cannot be made: {error}");
        Finding::failed(
            "disk.fsync",
            seen,
            "make it and let this user write there, or set server.data_dir to another directory",
        )
    } else {
        Finding::skipped("disk.fsync", "does not exist yet; `otlp-rust serve` makes it")
    };
    found.add(finding.of(subject));
}

fn space(stat: &StatVfs) -> Finding {
    let (free, total) = (stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize);
    let percent = free.saturating_mul(100) / total.max(1);
    let seen = format!("{} of {} free ({percent} %)", bytes(free), bytes(total));
    let remedy = "make room, enlarge the disk, or shorten retention; what was acknowledged stays, new data is refused when it is full";
    let finding = if free < ALMOST_FULL {
        Finding::failed("disk.space", seen, remedy)
    } else if free < LITTLE || (percent < LITTLE_PERCENT && free < LITTLE * 20) {
        Finding::warning("disk.space", seen, remedy)
    } else {
        Finding::ok("disk.space", seen)
    };
    finding.figure("free_bytes", free).figure("total_bytes", total)
}

fn inodes(stat: &StatVfs) -> Finding {
    let (free, total) = (stat.f_favail, stat.f_files);
    if total == 0 {
        return Finding::ok("disk.inodes", "this file system does not count them");
    }
    let seen = format!("{free} of {total} free");
    let percent = free.saturating_mul(100) / total;
    let remedy = "remove small files from this disk, or make its file system with more inodes";
    let finding = if free == 0 {
        Finding::failed("disk.inodes", seen, remedy)
    } else if percent < LITTLE_PERCENT {
        Finding::warning("disk.inodes", seen, remedy)
    } else {
        Finding::ok("disk.inodes", seen)
    };
    finding.figure("free", free).figure("total", total)
}

fn written(directory: &Path) -> Finding {
    match fsyncs(directory) {
        Ok(times) => {
            let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
            let seen = format!("a page is on disk after {}, at worst {}", shown(median), shown(most));
            let finding = if median > SLOW_FSYNC {
                let remedy = "acknowledgements wait for the disk: use a local SSD, and look who else writes to it";
                Finding::warning("disk.fsync", seen, remedy)
            } else {
                Finding::ok("disk.fsync", seen)
            };
            finding
                .took(median)
                .figure("worst_milliseconds", crate::finding::milliseconds(most))
        }
        Err(error) => {
            let remedy = match error.kind() {
                io::ErrorKind::ReadOnlyFilesystem => {
                    "mount it writable; a disk with errors is mounted read-only: see the kernel's log"
                }
                io::ErrorKind::PermissionDenied => {
                    "let this user write there, or set server.data_dir to another directory"
                }
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room, or enlarge the disk",
                _ => "look at the disk and the kernel's log",
            };
            Finding::failed("disk.fsync", format!("cannot be written: {error}"), remedy)
        }
    }
}

/// How long it takes until a page is on disk, ascending.
fn fsyncs(directory: &Path) -> io::Result<Vec<Duration>> {
    let path = directory.join(format!(".doctor-{}", unique_name()));
    let mut file = File::create_new(&path)?;
    let mut measure = || {
        let mut times = Vec::new();
        for _ in 0..FSYNCS {
            let started = Instant::now();
            file.write_all(&WRITTEN)?;
            file.sync_all()?;
            times.push(started.elapsed());
        }
        times.sort_unstable();
        Ok(times)
    };
    let times = measure();
    fs::remove_file(&path)?;
    times
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Status;

    fn stat(free: u64, total: u64) -> StatVfs {
        let mut stat = statvfs("/").unwrap();
        (stat.f_frsize, stat.f_bavail, stat.f_blocks) = (1, free, total);
        (stat.f_favail, stat.f_files) = (free, total);
        stat
    }

    #[test]
    fn room_is_judged_by_what_compaction_needs() {
        let gib = 1 << 30;
        for (free, total, status) in [
            (50 * gib, 100 * gib, Status::Ok),
            (gib / 2, 100 * gib, Status::Warning),
            (4 * gib, 100 * gib, Status::Warning),
            (40 * gib, 1000 * gib, Status::Ok),
            (50 << 20, 100 << 20, Status::Failed),
        ] {
            assert_eq!(space(&stat(free, total)).status, status, "{free} of {total}");
        }
        assert_eq!(inodes(&stat(0, 10)).status, Status::Failed);
        assert_eq!(inodes(&stat(1, 100)).status, Status::Warning);
        assert_eq!(inodes(&stat(0, 0)).status, Status::Ok);
    }

    #[test]
    fn nothing_is_left_on_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(fsyncs(directory.path()).unwrap().len(), FSYNCS);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
