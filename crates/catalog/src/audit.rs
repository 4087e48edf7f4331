//! The catalog as a checker reads it: every row about objects, page by page, and the rows that contradict each other.
//!
//! Each method reads in one transaction, so what it tells was true at one instant, whatever commits and compactions do
//! meanwhile. A page is bounded, so that a catalog of any size is walked in little memory and nobody waits for a long
//! transaction.

use std::collections::BTreeMap;

use schema::{Dataset, UnixNanos};

use crate::db::{Row, Value};
use crate::{Catalog, CatalogError, Part, Quarantined, Result, Slice, datasets, parts, segments, snapshot};

/// A segment and what lies in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSegment {
    /// Never reused.
    pub id: i64,
    /// Where the object is in the store.
    pub path: String,
    /// Size of the object in bytes.
    pub bytes: i64,
    /// Version of the segment format.
    pub format_version: i32,
    /// From when garbage collection may delete the object; none if it is not queued.
    pub due_at: Option<UnixNanos>,
    /// Its live slices, by offset.
    pub slices: Vec<Slice>,
    /// Entries in quarantine of its slices.
    pub quarantined: Vec<Quarantined>,
}

/// A part, live or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPart {
    /// The part.
    pub part: Part,
    /// Its entry, if it is in quarantine.
    pub quarantined: Option<Quarantined>,
    /// The snapshot sequence that ended it; none while it is live.
    pub end_seq: Option<i64>,
    /// From when garbage collection may delete the object; none if it is not queued.
    pub due_at: Option<UnixNanos>,
}

/// How much there is to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoredTotals {
    /// The snapshot sequence.
    pub sequence: i64,
    /// Segments and parts, ended ones too.
    pub objects: i64,
    /// Bytes of what is live.
    pub bytes: i64,
    /// Rows of what is live.
    pub rows: i64,
    /// The largest id of a segment.
    pub last_segment: i64,
    /// The largest id of a part.
    pub last_part: i64,
}

/// What is wrong with a row of the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowRule {
    /// A dataset of a kind that does not exist, or under another kind's name.
    UnknownDataset,
    /// A column of no dataset.
    ColumnWithoutDataset,
    /// A segment that has no slices and is not queued for deletion.
    UnreachableSegment,
    /// A slice of no segment.
    SliceWithoutSegment,
    /// A slice of no dataset.
    SliceWithoutDataset,
    /// A slice that does not lie within its segment.
    SliceOutsideSegment,
    /// A part of no dataset.
    PartWithoutDataset,
    /// A statistic of no part.
    StatisticWithoutPart,
    /// A part that has ended and is not queued for deletion.
    EndedPartNotQueued,
    /// An object that is queued for deletion although rows in it are live.
    LiveObjectQueued,
    /// A queued object that is neither a segment nor a part.
    UnknownObjectQueued,
    /// A part of a snapshot that was not made yet, or that ended before it began.
    WrongSequence,
    /// A commit beyond the head, or a head that no commit made.
    WrongHead,
    /// A part whose rows are numbered beyond those that its dataset has given out.
    WrongRowNumbers,
}

/// A row that contradicts others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowProblem {
    /// What is wrong.
    pub rule: RowRule,
    /// The row, such as `part 17`.
    pub row: String,
    /// The object that it names.
    pub path: Option<String>,
    /// The tenant as it stands there.
    pub tenant: Option<String>,
    /// The dataset, if it is one.
    pub dataset: Option<Dataset>,
    /// Rows that the catalog counts there.
    pub rows: i64,
    /// Their least and greatest time, ns.
    pub times: Option<(UnixNanos, UnixNanos)>,
}

/// Problems told of one rule: a thousand dangling rows have one cause.
const MAX_PROBLEMS: usize = 100;

/// Where a rule looks, and what it tells of what it finds.
struct Search {
    rule: RowRule,
    /// `kind || id` of the row, and the object's path.
    row: (&'static str, &'static str),
    /// Rows, least and greatest time.
    counts: [&'static str; 3],
    /// The alias of the dataset, if `from` joins one.
    dataset: Option<&'static str>,
    from: &'static str,
}

const NONE: &str = "NULL";
const NO_COUNTS: [&str; 3] = ["0", NONE, NONE];
const OF_SLICE: [&str; 3] = ["s.row_count", "s.min_ts", "s.max_ts"];
const OF_PART: [&str; 3] = ["p.row_count", "p.min_ts", "p.max_ts"];

const SEARCHES: &[Search] = &[
    Search {
        rule: RowRule::ColumnWithoutDataset,
        row: ("'column ' || c.id", NONE),
        counts: NO_COUNTS,
        dataset: None,
        from: "dataset_column c WHERE NOT EXISTS (SELECT 1 FROM dataset d WHERE d.id = c.dataset_id)",
    },
    Search {
        rule: RowRule::UnreachableSegment,
        row: ("'segment ' || g.id", "g.path"),
        counts: NO_COUNTS,
        dataset: None,
        from: "segment g WHERE NOT EXISTS (SELECT 1 FROM segment_slice s WHERE s.segment_id = g.id) \
               AND NOT EXISTS (SELECT 1 FROM gc_queue q WHERE q.path = g.path)",
    },
    Search {
        rule: RowRule::SliceWithoutSegment,
        row: ("'slice ' || s.id", NONE),
        counts: OF_SLICE,
        dataset: Some("d"),
        from: "segment_slice s LEFT JOIN dataset d ON d.id = s.dataset_id \
               WHERE NOT EXISTS (SELECT 1 FROM segment g WHERE g.id = s.segment_id)",
    },
    Search {
        rule: RowRule::SliceWithoutDataset,
        row: ("'slice ' || s.id", "g.path"),
        counts: OF_SLICE,
        dataset: None,
        from: "segment_slice s LEFT JOIN segment g ON g.id = s.segment_id \
               WHERE NOT EXISTS (SELECT 1 FROM dataset d WHERE d.id = s.dataset_id)",
    },
    Search {
        rule: RowRule::SliceOutsideSegment,
        row: ("'slice ' || s.id", "g.path"),
        counts: OF_SLICE,
        dataset: Some("d"),
        from: "segment_slice s JOIN segment g ON g.id = s.segment_id LEFT JOIN dataset d ON d.id = s.dataset_id \
               WHERE s.byte_offset < 0 OR s.byte_length < 0 OR s.byte_offset + s.byte_length > g.byte_size",
    },
    Search {
        rule: RowRule::PartWithoutDataset,
        row: ("'part ' || p.id", "p.path"),
        counts: OF_PART,
        dataset: None,
        from: "part p WHERE NOT EXISTS (SELECT 1 FROM dataset d WHERE d.id = p.dataset_id)",
    },
    Search {
        rule: RowRule::StatisticWithoutPart,
        row: (
            "'statistic of part ' || t.part_id || ', column ' || t.column_name",
            NONE,
        ),
        counts: NO_COUNTS,
        dataset: None,
        from: "part_stat t WHERE NOT EXISTS (SELECT 1 FROM part p WHERE p.id = t.part_id)",
    },
    Search {
        rule: RowRule::EndedPartNotQueued,
        row: ("'part ' || p.id", "p.path"),
        counts: OF_PART,
        dataset: Some("d"),
        from: "part p LEFT JOIN dataset d ON d.id = p.dataset_id WHERE p.end_seq IS NOT NULL \
               AND NOT EXISTS (SELECT 1 FROM gc_queue q WHERE q.path = p.path)",
    },
    Search {
        rule: RowRule::LiveObjectQueued,
        row: ("'queue entry ' || q.id", "q.path"),
        counts: OF_PART,
        dataset: Some("d"),
        from: "gc_queue q JOIN part p ON p.path = q.path LEFT JOIN dataset d ON d.id = p.dataset_id \
               WHERE p.end_seq IS NULL",
    },
    Search {
        rule: RowRule::LiveObjectQueued,
        row: ("'queue entry ' || q.id", "q.path"),
        counts: OF_SLICE,
        dataset: Some("d"),
        from: "gc_queue q JOIN segment g ON g.path = q.path JOIN segment_slice s ON s.segment_id = g.id \
               LEFT JOIN dataset d ON d.id = s.dataset_id WHERE TRUE",
    },
    Search {
        rule: RowRule::UnknownObjectQueued,
        row: ("'queue entry ' || q.id", "q.path"),
        counts: NO_COUNTS,
        dataset: None,
        // What is condemned has no bytes, and parts of it no row.
        from: "gc_queue q WHERE q.byte_size > 0 AND NOT EXISTS (SELECT 1 FROM segment g WHERE g.path = q.path) \
               AND NOT EXISTS (SELECT 1 FROM part p WHERE p.path = q.path)",
    },
    Search {
        rule: RowRule::WrongSequence,
        row: ("'part ' || p.id", "p.path"),
        counts: OF_PART,
        dataset: Some("d"),
        from: "part p LEFT JOIN dataset d ON d.id = p.dataset_id WHERE p.end_seq <= p.begin_seq \
               OR p.begin_seq > (SELECT MAX(sequence) FROM lake_head) \
               OR p.end_seq > (SELECT MAX(sequence) FROM lake_head)",
    },
    Search {
        rule: RowRule::WrongHead,
        row: ("'commit ' || c.seq", NONE),
        counts: NO_COUNTS,
        dataset: None,
        from: "lake_commit c WHERE NOT EXISTS (SELECT 1 FROM lake_head h WHERE h.sequence >= c.seq)",
    },
    Search {
        rule: RowRule::WrongHead,
        row: ("'head ' || h.sequence", NONE),
        counts: NO_COUNTS,
        dataset: None,
        from: "lake_head h WHERE NOT EXISTS (SELECT 1 FROM lake_commit c WHERE c.seq = h.sequence)",
    },
    Search {
        rule: RowRule::WrongRowNumbers,
        row: ("'part ' || p.id", "p.path"),
        counts: OF_PART,
        dataset: Some("d"),
        from: "part p JOIN dataset d ON d.id = p.dataset_id \
               WHERE p.row_id_start < 0 OR p.row_id_start + p.row_count > d.next_row_id",
    },
];

impl Search {
    fn sql(&self) -> String {
        let (tenant, kind) = match self.dataset {
            Some(alias) => (format!("{alias}.tenant"), format!("{alias}.kind")),
            None => (NONE.to_owned(), NONE.to_owned()),
        };
        let [rows, min, max] = self.counts;
        format!(
            "SELECT {}, CAST({} AS TEXT), CAST({tenant} AS TEXT), CAST({kind} AS BIGINT), CAST({rows} AS BIGINT), \
             CAST({min} AS BIGINT), CAST({max} AS BIGINT) FROM {} LIMIT {MAX_PROBLEMS}",
            self.row.0, self.row.1, self.from
        )
    }

    fn read(&self, row: &Row) -> Result<RowProblem> {
        let kind = row.optional_int(3)?;
        Ok(RowProblem {
            rule: self.rule,
            row: row.text(0)?,
            path: row.optional_text(1)?,
            tenant: row.optional_text(2)?,
            dataset: kind.and_then(Dataset::from_id),
            rows: row.int(4)?,
            times: row.optional_int(5)?.zip(row.optional_int(6)?),
        })
    }
}

impl Catalog {
    /// Rows that contradict each other, at most a hundred of each kind.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the database does not answer.
    pub async fn row_problems(&self) -> Result<Vec<RowProblem>> {
        let mut tx = self.pools.begin_read().await?;
        let mut problems = Vec::new();
        for row in tx
            .fetch("SELECT id, tenant, kind, name FROM dataset ORDER BY id", Vec::new())
            .await?
        {
            let (tenant, kind, name) = (row.text(1)?, row.int(2)?, row.text(3)?);
            let dataset = Dataset::from_id(kind);
            if datasets::tenant(&row, 1).is_err() || dataset.is_none_or(|d| d.name() != name) {
                problems.push(RowProblem {
                    rule: RowRule::UnknownDataset,
                    row: format!("dataset {} (kind {kind}, name {name:?})", row.int(0)?),
                    path: None,
                    tenant: Some(tenant),
                    dataset,
                    rows: 0,
                    times: None,
                });
            }
        }
        for search in SEARCHES {
            for row in tx.fetch(search.sql(), Vec::new()).await? {
                problems.push(search.read(&row)?);
            }
        }
        tx.rollback().await?;
        Ok(problems)
    }

    /// How much there is to check.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the database does not answer, [`CatalogError::Corrupt`] when it has no head.
    pub async fn stored_totals(&self) -> Result<StoredTotals> {
        let mut tx = self.pools.begin_read().await?;
        let sequence = snapshot::sequence(&mut tx).await?;
        let sums = [
            "SELECT COUNT(*), CAST(0 AS BIGINT), CAST(0 AS BIGINT), COALESCE(MAX(id), 0) FROM segment",
            "SELECT CAST(0 AS BIGINT), CAST(COALESCE(SUM(byte_length), 0) AS BIGINT), \
             CAST(COALESCE(SUM(row_count), 0) AS BIGINT), CAST(0 AS BIGINT) FROM segment_slice",
            "SELECT COUNT(*), CAST(COALESCE(SUM(CASE WHEN end_seq IS NULL THEN byte_size ELSE 0 END), 0) AS BIGINT), \
             CAST(COALESCE(SUM(CASE WHEN end_seq IS NULL THEN row_count ELSE 0 END), 0) AS BIGINT), \
             COALESCE(MAX(id), 0) FROM part",
        ];
        let mut found = [[0; 4]; 3];
        for (sql, found) in sums.into_iter().zip(&mut found) {
            let rows = tx.fetch(sql, Vec::new()).await?;
            let row = segments::only(&rows)?;
            *found = [row.int(0)?, row.int(1)?, row.int(2)?, row.int(3)?];
        }
        tx.rollback().await?;
        let [segments, slices, parts] = found;
        Ok(StoredTotals {
            sequence,
            objects: segments[0] + parts[0],
            bytes: slices[1] + parts[1],
            rows: slices[2] + parts[2],
            last_segment: segments[3],
            last_part: parts[3],
        })
    }

    /// Up to `limit` segments whose ids follow `after`, up to `last`, with their live slices.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the database does not answer.
    pub async fn stored_segments(&self, after: i64, last: i64, limit: i64) -> Result<Vec<StoredSegment>> {
        let mut tx = self.pools.begin_read().await?;
        let sql = "SELECT g.id, g.path, g.byte_size, g.format_version, q.due_at \
                   FROM segment g LEFT JOIN gc_queue q ON q.path = g.path \
                   WHERE g.id > $1 AND g.id <= $2 ORDER BY g.id LIMIT $3";
        let mut found = BTreeMap::new();
        for row in tx.fetch(sql, vec![after.into(), last.into(), limit.into()]).await? {
            let segment = StoredSegment {
                id: row.int(0)?,
                path: row.text(1)?,
                bytes: row.int(2)?,
                format_version: row.int32(3)?,
                due_at: row.optional_int(4)?,
                slices: Vec::new(),
                quarantined: Vec::new(),
            };
            found.insert(segment.id, segment);
        }
        let ids = Value::Ints(found.keys().copied().collect());
        let sql = format!(
            "{} WHERE s.segment_id {} ORDER BY s.byte_offset, s.id",
            segments::SELECT,
            tx.dialect().list(1)
        );
        for row in tx.fetch(sql, vec![ids]).await? {
            let (slice, entry) = segments::read_marked(&row)?;
            if let Some(segment) = found.get_mut(&slice.segment_id) {
                segment.slices.push(slice);
                segment.quarantined.extend(entry);
            }
        }
        tx.rollback().await?;
        Ok(found.into_values().collect())
    }

    /// Up to `limit` parts whose ids follow `after`, up to `last`. Those of no known dataset are left out:
    /// [`Self::row_problems`] tells them.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the database does not answer.
    pub async fn stored_parts(&self, after: i64, last: i64, limit: i64) -> Result<Vec<StoredPart>> {
        let mut tx = self.pools.begin_read().await?;
        let sql = "SELECT p.id, p.end_seq, q.due_at FROM part p JOIN dataset d ON d.id = p.dataset_id \
                   LEFT JOIN gc_queue q ON q.path = p.path WHERE p.id > $1 AND p.id <= $2 ORDER BY p.id LIMIT $3";
        let states = tx.fetch(sql, vec![after.into(), last.into(), limit.into()]).await?;
        let Some(end) = states.last() else {
            tx.rollback().await?;
            return Ok(Vec::new());
        };
        let range = vec![after.into(), end.int(0)?.into()];
        let found = parts::select(&mut tx, "p.id > $1 AND p.id <= $2", range).await?;
        tx.rollback().await?;
        if found.len() != states.len() {
            return Err(CatalogError::Corrupt("parts changed within a transaction".into()));
        }
        let joined = found.into_iter().zip(&states).map(|((part, quarantined), state)| {
            Ok(StoredPart {
                part,
                quarantined,
                end_seq: state.optional_int(1)?,
                due_at: state.optional_int(2)?,
            })
        });
        joined.collect()
    }

    /// Paths of parts whose whole content has this checksum.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the database does not answer.
    pub async fn parts_with_checksum(&self, checksum: i64) -> Result<Vec<String>> {
        let sql = "SELECT path FROM part WHERE checksum = $1 ORDER BY id LIMIT 10";
        let rows = self.pools.fetch(sql, vec![checksum.into()]).await?;
        rows.iter().map(|row| row.text(0)).collect()
    }

    /// Queued objects that were due before `time`, and not deleted: their number and bytes.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the database does not answer.
    pub async fn overdue_garbage(&self, time: UnixNanos) -> Result<(i64, i64)> {
        let sql = "SELECT COUNT(*), CAST(COALESCE(SUM(byte_size), 0) AS BIGINT) FROM gc_queue \
                   WHERE due_at < $1 AND byte_size > 0";
        let rows = self.pools.fetch(sql, vec![time.into()]).await?;
        let row = segments::only(&rows)?;
        Ok((row.int(0)?, row.int(1)?))
    }
}
