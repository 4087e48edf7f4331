//! What goes into the catalog and comes out of it. Plain records: the rules are in the methods that take them.

use schema::{Dataset, TenantId, UnixNanos};

/// A segment to commit: one object with slices back to back, and what makes its acknowledgement safe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSegment {
    /// Where the object is in the store; never used before.
    pub path: String,
    /// Size of the object in bytes.
    pub bytes: i64,
    /// When the segment was cut, by the writer's clock.
    pub created_at: UnixNanos,
    /// When it is too late to commit it, by the writer's clock: its senders have given up, and their retry may have been
    /// committed elsewhere and forgotten.
    pub commit_by: UnixNanos,
    /// The same by the writer's [ticks](schema::Clock::ticks): a clock that was set back meanwhile hides how long it took.
    pub commit_by_ticks: i64,
    /// The process that wrote it, for people.
    pub writer: String,
    /// Version of the segment format.
    pub format_version: i32,
    /// At least one, at distinct offsets.
    pub slices: Vec<NewSlice>,
    /// The requests whose items are in this segment.
    pub requests: Vec<RequestKey>,
    /// How often descriptions of the tenants were deleted, as the writer knows it ([`Catalog::forgotten`](crate::Catalog::forgotten)).
    /// Tenants that are not named are not asked about.
    pub forgotten: Vec<(TenantId, i64)>,
    /// Columns that the slices have and the writer has not seen in the catalog; those known already are ignored.
    pub columns: Vec<NewColumn>,
}

/// A byte range of a segment with rows of one tenant and dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSlice {
    /// The owner of the rows.
    pub tenant: TenantId,
    /// The kind of the rows.
    pub dataset: Dataset,
    /// First byte within the object.
    pub offset: i64,
    /// Length in bytes.
    pub length: i64,
    /// Number of rows.
    pub rows: i64,
    /// Smallest time of a row, ns.
    pub min_ts: UnixNanos,
    /// Largest time of a row, ns.
    pub max_ts: UnixNanos,
    /// xxh3-64 of the bytes, its bits as a signed number.
    pub checksum: i64,
}

/// The identity of an ingest request: the hash of its decompressed payload, unique within a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestKey {
    /// The tenant that sent it.
    pub tenant: TenantId,
    /// 128-bit hash.
    pub hash: [u8; 16],
}

/// A physical column seen in rows of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NewColumn {
    /// The owner of the rows.
    pub tenant: TenantId,
    /// The kind of the rows.
    pub dataset: Dataset,
    /// Physical name, such as `attr.http.status:int`.
    pub name: String,
    /// `utf8`, `int64`, `float64` or `bool`.
    pub data_type: String,
}

/// A known column of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Column {
    /// Stable number, growing in the order of first appearance.
    pub id: i64,
    /// The owner of the rows.
    pub tenant: TenantId,
    /// The kind of the rows.
    pub dataset: Dataset,
    /// Physical name.
    pub name: String,
    /// `utf8`, `int64`, `float64` or `bool`.
    pub data_type: String,
}

/// What became of [`Catalog::commit_segment`](crate::Catalog::commit_segment).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Everything is durable and visible to the next snapshot.
    Committed {
        /// The segment's number.
        segment_id: i64,
        /// The slices' numbers, in the order they were given.
        slice_ids: Vec<i64>,
    },
    /// Nothing was written: these requests (indexes into `requests`, ascending) were committed before, or
    /// repeat an earlier one of the same segment.
    Duplicates(Vec<usize>),
    /// Nothing was written: resources or series of these tenants were deleted since their writer learnt of them. With each
    /// how often that is now.
    Forgotten(Vec<(TenantId, i64)>),
}

/// A live slice.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Slice {
    /// Never reused.
    pub id: i64,
    /// The segment it lies in.
    pub segment_id: i64,
    /// The segment's object.
    pub path: String,
    /// The owner of the rows.
    pub tenant: TenantId,
    /// The kind of the rows.
    pub dataset: Dataset,
    /// First byte within the object.
    pub offset: i64,
    /// Length in bytes.
    pub length: i64,
    /// Number of rows.
    pub rows: i64,
    /// Smallest time of a row, ns.
    pub min_ts: UnixNanos,
    /// Largest time of a row, ns.
    pub max_ts: UnixNanos,
    /// xxh3-64 of the bytes, its bits as a signed number.
    pub checksum: i64,
    /// When the segment was cut.
    pub created_at: UnixNanos,
    /// Version of the segment's format.
    pub format_version: i32,
}

/// A Parquet object to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPart {
    /// The owner of the rows.
    pub tenant: TenantId,
    /// The kind of the rows.
    pub dataset: Dataset,
    /// Compaction level; larger is more compacted.
    pub level: i32,
    /// Where the object is in the store; never used before.
    pub path: String,
    /// Number of rows.
    pub rows: i64,
    /// Number of rows of the Parquet file, which of points are chunks.
    pub file_rows: i64,
    /// Size of the object in bytes.
    pub bytes: i64,
    /// Size of the Parquet footer in bytes, so that one ranged read fetches it.
    pub footer_bytes: i64,
    /// Smallest time of a row, ns.
    pub min_ts: UnixNanos,
    /// Largest time of a row, ns.
    pub max_ts: UnixNanos,
    /// First byte of the embedded index, 0 when there is none.
    pub index_offset: i64,
    /// Size of the embedded index in bytes, 0 when there is none.
    pub index_bytes: i64,
    /// Number of entries of the embedded index.
    pub index_entries: i64,
    /// Version of the part format.
    pub format_version: i32,
    /// xxh3-64 of the bytes, its bits as a signed number.
    pub checksum: i64,
    /// Pruning statistics, one per column. One with a NUL character is not stored (PostgreSQL's text cannot hold
    /// it); a missing statistic only means that the part is not pruned by that column.
    pub stats: Vec<PartStat>,
}

/// The range of a column in a part, as text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PartStat {
    /// Physical column name.
    pub column: String,
    /// Lower bound, inclusive.
    pub min: String,
    /// Upper bound, inclusive.
    pub max: String,
}

/// A published part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Never reused.
    pub id: i64,
    /// The snapshot sequence that published it.
    pub begin_seq: i64,
    /// When it was published.
    pub created_at: UnixNanos,
    /// Number of its first row among all rows ever published in its dataset.
    pub row_id_start: i64,
    /// The owner of the rows.
    pub tenant: TenantId,
    /// The kind of the rows.
    pub dataset: Dataset,
    /// Compaction level.
    pub level: i32,
    /// Where the object is in the store.
    pub path: String,
    /// Number of rows.
    pub rows: i64,
    /// Size of the object in bytes.
    pub bytes: i64,
    /// Size of the Parquet footer in bytes.
    pub footer_bytes: i64,
    /// Smallest time of a row, ns.
    pub min_ts: UnixNanos,
    /// Largest time of a row, ns.
    pub max_ts: UnixNanos,
    /// First byte of the embedded index.
    pub index_offset: i64,
    /// Size of the embedded index in bytes.
    pub index_bytes: i64,
    /// Number of entries of the embedded index.
    pub index_entries: i64,
    /// Version of the part format.
    pub format_version: i32,
    /// xxh3-64 of the bytes, its bits as a signed number.
    pub checksum: i64,
    /// Pruning statistics, ordered by column name.
    pub stats: Vec<PartStat>,
}

/// Everything a query needs to know, as of one instant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// The sequence of the parts; it grows with every change of them, not with commits of segments.
    pub sequence: i64,
    /// Live slices, in commit order.
    pub slices: Vec<Slice>,
    /// Live parts, in the order of their ids.
    pub parts: Vec<Part>,
    /// Live slices and parts that are in quarantine: they are not among the others.
    pub quarantined: Vec<Quarantined>,
    /// All columns of the datasets asked for, whatever the time range, in the order of their ids.
    pub columns: Vec<Column>,
}

/// Live slices and parts of a tenant and dataset, for the compaction planner and for metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlog {
    /// The owner of the rows.
    pub tenant: TenantId,
    /// The kind of the rows.
    pub dataset: Dataset,
    /// Live slices.
    pub slices: i64,
    /// Their rows.
    pub rows: i64,
    /// Their bytes.
    pub bytes: i64,
    /// When the oldest of them was cut; none without slices.
    pub oldest_created_at: Option<UnixNanos>,
    /// Live parts by level, ascending.
    pub levels: Vec<LevelSize>,
}

/// Live parts of one level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelSize {
    /// Compaction level.
    pub level: i32,
    /// Number of parts.
    pub parts: i64,
    /// Their rows.
    pub rows: i64,
    /// Their bytes.
    pub bytes: i64,
}

/// A compaction: what goes and what comes, in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// The owner of all rows involved.
    pub tenant: TenantId,
    /// The kind of all rows involved.
    pub dataset: Dataset,
    /// Ids of the slices that go.
    pub slices: Vec<i64>,
    /// Ids of the parts that go.
    pub parts: Vec<i64>,
    /// The parts that come.
    pub add: Vec<NewPart>,
}

/// What holds rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Holder {
    /// A slice, by its id.
    Slice(i64),
    /// A part, by its id.
    Part(i64),
}

/// A slice or part that queries do without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// The entry's number.
    pub id: i64,
    /// What is in quarantine.
    pub holder: Holder,
    /// Its object.
    pub path: String,
    /// The owner of the rows.
    pub tenant: TenantId,
    /// The kind of the rows.
    pub dataset: Dataset,
    /// Number of rows.
    pub rows: i64,
    /// Smallest time of a row, ns.
    pub min_ts: UnixNanos,
    /// Largest time of a row, ns.
    pub max_ts: UnixNanos,
    /// What is wrong with it.
    pub reason: String,
    /// Since when, ns.
    pub quarantined_at: UnixNanos,
}

/// What retention removed, or would remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expired {
    /// Rows of the slices and parts.
    pub rows: i64,
    /// Bytes of the slices and parts.
    pub bytes: i64,
    /// Number of slices.
    pub slices: i64,
    /// Number of parts.
    pub parts: i64,
}

/// An object that may be deleted from the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcEntry {
    /// To hand back to [`Catalog::gc_done`](crate::Catalog::gc_done).
    pub id: i64,
    /// Where the object is in the store.
    pub path: String,
    /// Its size in bytes.
    pub bytes: i64,
    /// From when it may be deleted.
    pub due_at: UnixNanos,
}

/// The right to do, alone, the work that `name` stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What the lease is for.
    pub name: String,
    /// The process that holds it.
    pub holder: String,
    /// The fencing token: grows with every change of holder.
    pub token: i64,
    /// When somebody else may take it.
    pub expires_at: UnixNanos,
}

/// Which rows of a tenant's datasets a deletion takes away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeletionTarget {
    /// All of them.
    Everything,
    /// Those of a trace.
    Trace([u8; 16]),
    /// Those that meet a condition, in a language that the catalog does not know.
    Where(String),
}

/// A deletion to record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDeletion {
    /// The owner of the rows.
    pub tenant: TenantId,
    /// The kinds of the rows; at least one.
    pub datasets: Vec<Dataset>,
    /// Which of them.
    pub target: DeletionTarget,
}

/// How far a deletion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletionState {
    /// Matching rows may still be there.
    Pending,
    /// No query finds a matching row that was there when it was asked for. Objects that hold such rows may still exist.
    Done,
    /// Those objects are gone from the store.
    Verified,
    /// It was given up; its error says why.
    Failed,
}

impl DeletionState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Done, Self::Verified, Self::Failed];

    /// The name that is stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Verified => "verified",
            Self::Failed => "failed",
        }
    }
}

/// A recorded deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// Its number.
    pub id: i64,
    /// The owner of the rows.
    pub tenant: TenantId,
    /// Which rows go.
    pub target: DeletionTarget,
    /// How far it is.
    pub state: DeletionState,
    /// Why it was given up.
    pub error: Option<String>,
    /// When it was recorded.
    pub requested_at: UnixNanos,
    /// When the last dataset was scanned and nothing found.
    pub done_at: Option<UnixNanos>,
    /// When the store was seen to have none of the objects.
    pub verified_at: Option<UnixNanos>,
    /// How far it is in each dataset, in the order of their numbers.
    pub progress: Vec<DeletionProgress>,
    /// The objects that held deleted rows.
    pub objects: DeletionObjects,
}

/// What a deletion did in a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeletionProgress {
    /// The kind of the rows.
    pub dataset: Dataset,
    /// Rows deleted.
    pub rows: i64,
    /// Bytes of the slices and parts that were replaced.
    pub bytes_read: i64,
    /// Bytes of the parts that replace them.
    pub bytes_written: i64,
    /// When a scan found no matching row left.
    pub scanned_at: Option<UnixNanos>,
}

/// Objects that held rows which a deletion took away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeletionObjects {
    /// Number of objects.
    pub queued: i64,
    /// Their bytes.
    pub queued_bytes: i64,
    /// Those of them that garbage collection has deleted from the store.
    pub removed: i64,
    /// Their bytes.
    pub removed_bytes: i64,
}

/// A piece of a deletion's work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletionStep {
    /// The number of the deletion.
    pub deletion: i64,
    /// What goes and, without the deleted rows, comes.
    pub change: Replacement,
    /// Rows deleted.
    pub rows: i64,
    /// Bytes of what goes.
    pub bytes_read: i64,
    /// Bytes of what comes.
    pub bytes_written: i64,
}

/// What retention has done for a dataset and what it owes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionState {
    /// The owner of the rows.
    pub tenant: TenantId,
    /// The kind of the rows.
    pub dataset: Dataset,
    /// Rows that retention removed from every query, ever.
    pub rows_deleted: i64,
    /// Bytes of them whose objects are gone from the store.
    pub bytes_deleted: i64,
    /// Bytes of them that are still in the store.
    pub bytes_waiting: i64,
    /// When the oldest of the bytes that wait were removed from queries.
    pub waiting_since: Option<UnixNanos>,
    /// When the last scan found nothing that is older than its period.
    pub proven_at: Option<UnixNanos>,
}

/// Objects that left the queue of those that wait for deletion.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// How many.
    pub objects: u64,
    /// Their bytes as stored.
    pub bytes: i64,
    /// What of them retention owed, and now has done.
    pub freed: Vec<Freed>,
}

/// Bytes of expired rows that are gone from the store with their object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freed {
    /// The owner of the rows.
    pub tenant: TenantId,
    /// The kind of the rows.
    pub dataset: Dataset,
    /// Bytes as stored.
    pub bytes: i64,
}
