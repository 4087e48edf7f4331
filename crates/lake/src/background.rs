//! CPU-bound work that may wait: it runs on threads of lower priority.
//!
//! Compaction takes seconds of a core at a time. On a machine whose cores are all wanted, an acknowledgement would wait
//! behind it for a time slice; with a lower priority compaction gets what ingest and queries leave, and a quarter of a
//! core when they leave nothing, so that it never stands still.

use std::io;

use crate::host::Work;

/// A thread of this niceness gets about a third of the time of one of niceness 0 that competes with it (weights 335
/// and 1024, Linux kernel, `sched_prio_to_weight`).
const NICENESS: i32 = 5;

/// Runs `work` on a thread of its own.
///
/// # Errors
/// If the thread cannot be started.
pub(crate) fn start(work: Work) -> io::Result<()> {
    let run = move || {
        lower_priority();
        work();
    };
    std::thread::Builder::new()
        .name("background".to_owned())
        .spawn(run)
        .map(drop)
}

/// Such a thread asks for this much time at once (20 ms). Since Linux 6.12 a thread that wakes and asks for less, as all do by
/// default, runs at once instead of when the other's time is over: an acknowledgement waits for a dozen such wake-ups.
#[cfg(target_os = "linux")]
const SLICE_NANOS: u64 = 20_000_000;

/// Lowers the priority of the calling thread: for work that may wait when ingest wants the processor.
#[cfg(target_os = "linux")]
pub fn lower_priority() {
    // SAFETY: the call takes numbers only. On Linux 0 means the calling thread, not the process (setpriority(2), "C
    // library/kernel differences"). If it fails, the work has the usual priority.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS) };
    let wanted = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: 0,
        sched_nice: NICENESS,
        sched_priority: 0,
        sched_runtime: SLICE_NANOS,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel reads `size` bytes of a structure that lives until the call returns; 0 means the calling thread
    // (sched_setattr(2)). Older kernels ignore the time, and where the call is forbidden only that is lost.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wanted, 0) };
}

/// Only Linux has priorities of threads.
#[cfg(not(target_os = "linux"))]
pub fn lower_priority() {}
