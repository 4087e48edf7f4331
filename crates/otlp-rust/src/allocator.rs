//! The memory allocator, and what a server wants of it.
//!
//! Commits and compactions take and give back hundreds of MiB within seconds. The kernel clears every page that it
//! hands out, and did so for a third of the server's CPU time: first because mimalloc gives memory back after a second, second
//! because a huge page is cleared as a whole for the first byte that is written to it.

use std::cell::Cell;
use std::ffi::{c_int, c_long, c_ulong};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc 3: after how many ms unused memory goes back to the system.
const PURGE_DELAY: c_int = 15;

/// Longer than the pause between two commits or two compactions under load, short enough that an idle process is small.
const PURGE_DELAY_MS: c_long = 10_000;

/// With less memory than this to use, memory that is kept would be missed.
const PLENTY: u64 = 2 << 30;

/// As [`PURGE_DELAY_MS`] for a process that must make do with less than [`PLENTY`].
const SHORT_PURGE_DELAY_MS: c_long = 50;

/// `PR_SET_THP_DISABLE` of prctl(2).
#[cfg(target_os = "linux")]
const THP_DISABLE: c_int = 41;

/// `_SC_PAGESIZE` of sysconf(3).
#[cfg(target_os = "linux")]
const PAGESIZE: c_int = 30;
#[cfg(not(target_os = "linux"))]
const PAGESIZE: c_int = 29;

unsafe extern "C" {
    fn mi_option_set_default(option: c_int, value: c_long);
    fn mi_option_set(option: c_int, value: c_long);
    fn mi_collect(force: bool);
    fn sysconf(name: c_int) -> c_long;
    #[cfg(target_os = "linux")]
    fn prctl(option: c_int, ...) -> c_int;
}

/// Sets the allocator up, before much is allocated. `MIMALLOC_PURGE_DELAY` and `MIMALLOC_ALLOW_THP` in the environment
/// win.
pub fn configure() {
    // SAFETY: sets a number in a table of the allocator, which checks the index.
    unsafe { mi_option_set_default(PURGE_DELAY, PURGE_DELAY_MS) };
    #[cfg(target_os = "linux")]
    if std::env::var_os("MIMALLOC_ALLOW_THP").is_none() {
        let [on, unused]: [c_ulong; 2] = [1, 0];
        // SAFETY: takes four numbers and touches no memory. Where the kernel refuses, huge pages stay: only slower.
        unsafe { prctl(THP_DISABLE, on, unused, unused, unused) };
    }
}

/// Keeps unused memory only as long as a process that may use `limit` bytes can afford.
pub fn keep_for(limit: u64) {
    if limit < PLENTY && std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
        // SAFETY: as above.
        unsafe { mi_option_set(PURGE_DELAY, SHORT_PURGE_DELAY_MS) };
    }
}

/// Gives unused memory back to the system.
pub fn reclaim() {
    // SAFETY: may be called by any thread at any time.
    unsafe { mi_collect(true) };
}

/// Whether the process holds more than it may.
static SHORT: AtomicBool = AtomicBool::new(false);

/// An idle thread gives back what it holds unused at most this often.
const PAUSE: Duration = Duration::from_millis(20);

/// Says whether the process holds more than it may.
pub fn set_short(short: bool) {
    SHORT.store(short, Ordering::Relaxed);
}

/// To be called by a thread that goes idle. What others freed of its memory only the thread itself can give back, and an
/// idle one would not: while memory is short it does so before it sleeps.
pub fn idle() {
    thread_local! {
        static LAST: Cell<Option<Instant>> = const { Cell::new(None) };
    }
    if !SHORT.load(Ordering::Relaxed) {
        return;
    }
    let now = Instant::now();
    if LAST.get().is_none_or(|last| now.duration_since(last) >= PAUSE) {
        LAST.set(Some(now));
        reclaim();
    }
}

/// The size of a page of memory.
pub fn page_bytes() -> u64 {
    // SAFETY: asks for a number.
    let bytes = unsafe { sysconf(PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096)
}
