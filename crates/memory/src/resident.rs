//! What the process really holds.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::Budget;

/// Reads a whole file as text.
type ReadFile = dyn Fn(&Path) -> io::Result<String> + Send + Sync;

/// Reads the memory that only this process accounts for.
pub struct Resident {
    read: Box<ReadFile>,
    page_bytes: u64,
}

impl Resident {
    /// Of this process; `page_bytes` is the size of a page.
    pub fn of_this_process(page_bytes: u64) -> Self {
        Self::with_reader(page_bytes, |path| std::fs::read_to_string(path))
    }

    /// As [`Self::of_this_process`], reading files through `read`.
    pub fn with_reader(page_bytes: u64, read: impl Fn(&Path) -> io::Result<String> + Send + Sync + 'static) -> Self {
        Self {
            read: Box::new(read),
            page_bytes,
        }
    }

    /// Anonymous resident bytes: what the kernel cannot take back. Pages of files (the program itself, the page cache)
    /// are not among them. `None` where the system does not say.
    pub fn bytes(&self) -> Option<u64> {
        // "size resident shared text lib data dt", in pages (proc(5)); shared are the pages of files.
        let text = (self.read)(Path::new("/proc/self/statm")).ok()?;
        let mut fields = text.split_ascii_whitespace().skip(1).map(str::parse::<u64>);
        let (resident, shared) = (fields.next()?.ok()?, fields.next()?.ok()?);
        resident.saturating_sub(shared).checked_mul(self.page_bytes)
    }
}

/// Measured this often: growing by a tenth of a small limit takes longer.
const INTERVAL: Duration = Duration::from_millis(20);

/// Measures for ever, on the thread of the caller, and tells the budget. `most` is what the process may hold; above it `reclaim` is called to give
/// unused memory back to the system before anybody is refused anything. `report` gets every measurement.
pub fn watch(budget: &Budget, resident: &Resident, most: u64, reclaim: impl Fn(), report: impl Fn(u64, bool)) {
    while let Some(bytes) = measure(budget, resident, most, &reclaim) {
        report(bytes, bytes > most);
        std::thread::sleep(INTERVAL);
    }
}

/// One measurement; `None` where there is nothing to measure.
pub(crate) fn measure(budget: &Budget, resident: &Resident, most: u64, reclaim: &impl Fn()) -> Option<u64> {
    let mut bytes = resident.bytes()?;
    if bytes > most {
        reclaim();
        bytes = resident.bytes().unwrap_or(bytes);
    }
    budget.measured(bytes > most);
    Some(bytes)
}
