use super::*;

const MIB: u64 = 1 << 20;
const MEMINFO_8G: (&str, &str) = ("/proc/meminfo", "MemTotal:        8388608 kB\nMemFree:  1 kB\n");

fn detect(files: &[(&str, &str)]) -> MemoryLimit {
    detect_memory_limit_with(&|path| {
        let path = path.to_str().unwrap().trim_end_matches('/');
        files
            .iter()
            .find(|(name, _)| *name == path)
            .map(|(_, text)| (*text).to_owned())
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    })
}

fn assert_limit(files: &[(&str, &str)], bytes: u64, source: MemorySource) {
    assert_eq!(detect(files), MemoryLimit { bytes, source });
}

#[test]
fn version_2_in_a_container() {
    let files = [
        MEMINFO_8G,
        ("/proc/self/cgroup", "0::/\n"),
        ("/sys/fs/cgroup/memory.max", "536870912\n"),
    ];
    assert_limit(&files, (512 - 204) * MIB, MemorySource::Cgroup);
}

#[test]
fn version_2_takes_the_smallest_on_the_way_up() {
    let files = [
        MEMINFO_8G,
        ("/proc/self/cgroup", "0::/kubepods/pod1/container\n"),
        ("/sys/fs/cgroup/kubepods/pod1/container/memory.max", "max\n"),
        ("/sys/fs/cgroup/kubepods/pod1/memory.max", "1073741824\n"),
        ("/sys/fs/cgroup/kubepods/memory.max", "4294967296\n"),
    ];
    assert_limit(&files, 1_073_741_824 / 100 * 80, MemorySource::Cgroup);
}

#[test]
fn version_1_on_the_host_and_in_a_container() {
    let groups = (
        "/proc/self/cgroup",
        "5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n1:name=systemd:/docker/x\n",
    );
    let limit = 256 * MIB;
    let text = limit.to_string();
    for place in [
        "/sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ] {
        assert_limit(&[MEMINFO_8G, groups, (place, &text)], limit / 2, MemorySource::Cgroup);
    }
}

#[test]
fn version_1_writes_unlimited_as_a_huge_number() {
    let files = [
        MEMINFO_8G,
        ("/proc/self/cgroup", "4:memory:/\n"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
    ];
    assert_limit(&files, 4 << 30, MemorySource::Machine);
}

#[test]
fn without_a_group_the_machine_counts_up_to_4_gib() {
    assert_limit(&[MEMINFO_8G], 4 << 30, MemorySource::Machine);
    assert_limit(
        &[("/proc/meminfo", "MemTotal: 1048576 kB\n")],
        (1 << 30) / 100 * 80,
        MemorySource::Machine,
    );
}

#[test]
fn unreadable_or_odd_files_fall_back() {
    let fallback = (512 - 204) * MIB;
    assert_limit(&[], fallback, MemorySource::Fallback);
    assert_limit(
        &[
            ("/proc/meminfo", "MemTotal: lots\n"),
            ("/proc/self/cgroup", "nonsense\n0::\n"),
        ],
        fallback,
        MemorySource::Fallback,
    );
    assert_limit(
        &[
            MEMINFO_8G,
            ("/proc/self/cgroup", "0::/../..\n"),
            ("/sys/fs/cgroup/memory.max", "0"),
        ],
        4 << 30,
        MemorySource::Machine,
    );
}
