//! The memory allocator, and what a server wants of it.
//!
//! Commits and compactions take and give back hundreds of MiB within seconds. The kernel clears every page that it
//! hands out, and did so for a third of the server's CPU time: first because mimalloc gives memory back after a second, second
//! because a huge page is cleared as a whole for the first byte that is written to it.

use std::ffi::{c_int, c_long, c_ulong};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc 3: after how many ms unused memory goes back to the system.
const PURGE_DELAY: c_int = 15;

/// Longer than the pause between two commits or two compactions under load, short enough that an idle process is small.
const PURGE_DELAY_MS: c_long = 10_000;

/// `PR_SET_THP_DISABLE` of prctl(2).
#[cfg(target_os = "linux")]
const THP_DISABLE: c_int = 41;

unsafe extern "C" {
    fn mi_option_set_default(option: c_int, value: c_long);
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
