//! What may this process use: memory, processors, open files?
//!
//! They are those of the process that runs the check; inside a pod that is the server's.

use std::path::{Path, PathBuf};

use config::{Config, group_and_parents};

use crate::examine::{Found, Subject};
use crate::finding::{Finding, bytes};

/// What code, stacks, TLS and HTTP buffers take beside what is planned.
const UNPLANNED_PERCENT: u64 = 90;

/// Connections, caches' files and compactions take some hundreds.
const FEW_FILES: u64 = 4096;

/// A server that answers nobody because it has no descriptor left.
const TOO_FEW_FILES: u64 = 512;

/// Compaction and queries take turns below this.
const LITTLE_CPU: f64 = 0.25;

/// Of the periods in which it wanted to run.
const THROTTLED_PERCENT: u64 = 25;

pub(crate) async fn check(subject: &Subject, found: &Found) {
    for finding in findings(subject.config.as_ref().ok(), &|path| std::fs::read_to_string(path).ok()) {
        found.add(finding);
    }
}

type Read<'a> = &'a dyn Fn(&Path) -> Option<String>;

fn findings(config: Option<&Config>, read: Read<'_>) -> Vec<Finding> {
    let group = Group::of_this_process(read);
    let mut findings = vec![memory(config, &group, read), cpu(&group)];
    findings.extend(files(read));
    findings
}

/// The control group of version 2, or the two of version 1, that say most.
struct Group<'a> {
    memory: Vec<PathBuf>,
    cpu: Vec<PathBuf>,
    read: Read<'a>,
}

impl<'a> Group<'a> {
    fn of_this_process(read: Read<'a>) -> Self {
        let text = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
        let mut group = Self {
            memory: Vec::new(),
            cpu: Vec::new(),
            read,
        };
        // `hierarchy:controllers:path`; hierarchy 0 without controllers is version 2 (cgroups(7)).
        for line in text.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
                continue;
            };
            let has = |name| controllers.split(',').any(|c| c == name);
            if controllers.is_empty() {
                group.memory.extend(group_and_parents("/sys/fs/cgroup", path));
                group.cpu.extend(group_and_parents("/sys/fs/cgroup", path));
            } else if has("memory") {
                group.memory.extend(group_and_parents("/sys/fs/cgroup/memory", path));
            } else if has("cpu") {
                group.cpu.extend(group_and_parents("/sys/fs/cgroup/cpu", path));
            }
        }
        group
    }

    /// What a file says, of the group that has it first on the way up.
    fn first(&self, of: &[PathBuf], file: &str) -> Option<String> {
        of.iter().find_map(|group| (self.read)(&group.join(file)))
    }

    /// The smallest number in a file of any of them: the limit of a group binds those below it.
    fn memory_limit(&self) -> Option<u64> {
        let files = ["memory.max", "memory.limit_in_bytes"];
        let limits = self
            .memory
            .iter()
            .flat_map(|group| files.map(|file| (self.read)(&group.join(file))));
        let limits = limits.flatten().filter_map(|text| text.trim().parse::<u64>().ok());
        // Version 1 writes "unlimited" as almost 2^63.
        limits.filter(|limit| *limit < 1 << 60).min()
    }

    /// Processors, if they are limited.
    fn processors(&self) -> Option<f64> {
        let quotas = self.cpu.iter().filter_map(|group| {
            let at = |file: &str| (self.read)(&group.join(file));
            let text = at("cpu.max").or_else(|| {
                Some(format!(
                    "{} {}",
                    at("cpu.cfs_quota_us")?.trim(),
                    at("cpu.cfs_period_us")?
                ))
            })?;
            let mut numbers = text.split_whitespace().map(str::parse::<f64>);
            let (quota, period) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
            (quota > 0.0 && period > 0.0).then_some(quota / period)
        });
        quotas.reduce(f64::min)
    }
}

fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn memory(config: Option<&Config>, group: &Group<'_>, read: Read<'_>) -> Finding {
    let machine = read(Path::new("/proc/meminfo"))
        .and_then(|text| number(&text, "MemTotal:"))
        .unwrap_or_default()
        * 1024;
    let limit = group.memory_limit().filter(|limit| machine == 0 || *limit < machine);
    let have = limit.unwrap_or(machine);
    let whose = if limit.is_some() {
        "of the control group"
    } else {
        "of the machine, without a limit"
    };
    let planned = config.map_or(0, |config| config.memory.bytes);
    let killed = group
        .first(&group.memory, "memory.events")
        .and_then(|text| number(&text, "oom_kill "))
        .unwrap_or_default();
    let seen = format!(
        "{} {whose}; memory.limit plans with {}; {killed} processes killed for want of memory",
        bytes(have),
        bytes(planned)
    );
    let name = "cgroup.memory";
    let finding = if planned > have && have > 0 {
        Finding::failed(
            name,
            seen,
            "lower memory.limit below what there is, or leave it out: then it is worked out",
        )
    } else if limit.is_some() && planned > have / 100 * UNPLANNED_PERCENT {
        Finding::warning(
            name,
            seen,
            "leave memory.limit out, or at most 80 % of the control group's: not everything a process takes is planned",
        )
    } else if killed > 0 {
        Finding::warning(name, seen, "raise the limit of the container, or lower memory.limit")
    } else {
        Finding::ok(name, seen)
    };
    finding
        .figure("available_bytes", have)
        .figure("planned_bytes", planned)
        .figure("oom_kills", killed)
}

fn cpu(group: &Group<'_>) -> Finding {
    let machine = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let quota = group.processors();
    let stat = group.first(&group.cpu, "cpu.stat").unwrap_or_default();
    let (periods, throttled) = (
        number(&stat, "nr_periods ").unwrap_or(0),
        number(&stat, "nr_throttled ").unwrap_or(0),
    );
    let percent = throttled.saturating_mul(100) / periods.max(1);
    let seen = match quota {
        Some(quota) => format!("{quota:.2} processors, held back in {percent} % of the periods"),
        None => format!("{machine} processors, without a quota"),
    };
    let name = "cgroup.cpu";
    let finding = if quota.is_some_and(|quota| quota < LITTLE_CPU) {
        Finding::warning(name, seen, "give the container at least a quarter of a processor")
    } else if quota.is_some() && percent > THROTTLED_PERCENT {
        Finding::warning(
            name,
            seen,
            "raise or remove the CPU limit of the container: requests wait while it is held back",
        )
    } else {
        Finding::ok(name, seen)
    };
    finding
        .figure("processors", quota.unwrap_or(machine as f64))
        .figure("throttled_percent", percent)
}

fn files(read: Read<'_>) -> Option<Finding> {
    let limits = read(Path::new("/proc/self/limits"))?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let soft = line.split_whitespace().next()?;
    let soft: u64 = soft.parse().unwrap_or(u64::MAX); // "unlimited"
    let name = "cgroup.files";
    let seen = if soft == u64::MAX {
        "no limit of open files".to_owned()
    } else {
        format!("{soft} open files")
    };
    let remedy = "raise the limit (ulimit -n, LimitNOFILE= of systemd): each connection takes one";
    let finding = if soft < TOO_FEW_FILES {
        Finding::failed(name, seen, remedy)
    } else if soft < FEW_FILES {
        Finding::warning(name, seen, remedy)
    } else {
        Finding::ok(name, seen)
    };
    Some(finding.figure("limit", soft))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::finding::Status;

    fn with(files: &[(&str, &str)], memory_limit: &str) -> Vec<Finding> {
        let files: HashMap<_, _> = files
            .iter()
            .map(|(path, text)| (PathBuf::from(path), (*text).to_owned()))
            .collect();
        let config = config::load(config::Sources {
            overrides: vec![("memory.limit".into(), memory_limit.into(), "--x".into())],
            ..config::Sources::default()
        });
        findings(Some(&config.unwrap()), &|path| files.get(path).cloned())
    }

    const MACHINE: (&str, &str) = ("/proc/meminfo", "MemTotal:  16777216 kB\n");
    const GROUP: (&str, &str) = ("/proc/self/cgroup", "0::/pod/x\n");

    #[test]
    fn a_group_of_version_2() {
        let found = with(
            &[
                MACHINE,
                GROUP,
                ("/sys/fs/cgroup/pod/memory.max", "536870912\n"),
                ("/sys/fs/cgroup/pod/x/memory.max", "max\n"),
                ("/sys/fs/cgroup/pod/x/memory.events", "oom 3\noom_kill 2\n"),
                ("/sys/fs/cgroup/pod/x/cpu.max", "20000 100000\n"),
                (
                    "/proc/self/limits",
                    "Max open files            1024                 524288               files\n",
                ),
            ],
            "300MiB",
        );
        let statuses: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.status)).collect();
        let warnings = ["cgroup.memory", "cgroup.cpu", "cgroup.files"].map(|name| (name, Status::Warning));
        assert_eq!(statuses, warnings);
        assert!(
            found[0]
                .seen
                .starts_with("512 MiB of the control group; memory.limit plans with 300 MiB; 2 ")
        );
        assert!(found[1].seen.starts_with("0.20 processors"));
    }

    #[test]
    fn a_group_of_version_1_and_a_plan_above_it() {
        let found = with(
            &[
                MACHINE,
                ("/proc/self/cgroup", "4:memory:/a\n3:cpu,cpuacct:/a\n"),
                ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n"),
                ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
                ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ],
            "1GiB",
        );
        assert_eq!(
            (found[0].status, found[1].status, found.len()),
            (Status::Failed, Status::Ok, 2)
        );
    }

    #[test]
    fn a_machine_without_limits() {
        let found = with(&[MACHINE, GROUP], "4GiB");
        assert!(found.iter().all(|f| f.status == Status::Ok), "{found:?}");
    }
}
