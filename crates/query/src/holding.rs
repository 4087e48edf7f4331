//! What a trace that is looked up by its id holds and reads: the limits of queries, without a plan that keeps them.

use arrow::array::RecordBatch;
use bytes::Bytes;
use memory::{Account, Reservation};
use parking_lot::Mutex;

use crate::pool;
use crate::reader::ScanBudget;
use crate::trace::Trace;
use crate::{QueryError, QueryOptions};

/// Spans and then the text or the message of an answer take so many times the memory of their columns.
const ANSWER_PER_COLUMNS: u64 = 4;

/// A trace, and the memory that it holds until its answer is sent.
#[derive(Debug)]
pub struct FoundTrace {
    /// The trace.
    pub trace: Trace,
    memory: Reservation,
}

impl FoundTrace {
    /// A trace that was found and what is reserved for it.
    pub const fn new(trace: Trace, memory: Reservation) -> Self {
        Self { trace, memory }
    }

    /// The body of an answer made of the trace: its bytes are held until the last of them is dropped.
    pub fn into_body(self, body: Vec<u8>) -> Bytes {
        let Self { trace, mut memory } = self;
        drop(trace);
        memory.shrink(memory.bytes().saturating_sub(body.len() as u64));
        Bytes::from_owner(Body { body, _memory: memory })
    }
}

struct Body {
    body: Vec<u8>,
    _memory: Reservation,
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// The limits of one lookup.
pub(crate) struct Holding<'a> {
    account: &'a Account,
    max_rows: Option<u64>,
    scan: ScanBudget,
    held: Mutex<(Reservation, u64)>,
}

impl<'a> Holding<'a> {
    pub fn new(account: &'a Account, options: &QueryOptions) -> Self {
        Self {
            account,
            max_rows: options.max_rows,
            scan: ScanBudget::new(options.max_scan_bytes),
            held: Mutex::new((account.empty(), 0)),
        }
    }

    /// Before bytes are read from the store.
    pub fn reads(&self, bytes: u64) -> Result<(), QueryError> {
        self.scan.take(bytes).map_err(|limit| QueryError::LimitExceeded {
            what: "bytes read",
            key: "query.max_scan_bytes",
            detail: limit.to_string(),
        })
    }

    /// As soon as spans have been read; what their answer takes is held with them.
    pub fn holds(&self, spans: &RecordBatch) -> Result<(), QueryError> {
        let bytes = spans.get_array_memory_size() as u64;
        let bytes = bytes.saturating_add(bytes.saturating_mul(ANSWER_PER_COLUMNS));
        let (memory, rows) = &mut *self.held.lock();
        *rows += spans.num_rows() as u64;
        if let Some(most) = self.max_rows.filter(|most| *rows > *most) {
            return Err(QueryError::LimitExceeded {
                what: "rows",
                key: "query.max_rows",
                detail: format!("the trace has more than {most} spans"),
            });
        }
        let wanted = memory.bytes().saturating_add(bytes);
        let grown = memory.try_grow(bytes);
        grown.map_err(|refused| pool::refusal(self.account, refused, wanted, "the spans of a trace"))
    }

    pub fn into_memory(self) -> Reservation {
        self.held.into_inner().0
    }
}
