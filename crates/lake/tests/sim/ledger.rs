//! What was sent and what was promised: the oracle.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, AsArray, FixedSizeBinaryArray, Int64Array, RecordBatch, TimestampNanosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimestampNanosecondType};
use schema::columns::{fixed, time_column};
use schema::{Dataset, TenantId, UnixNanos};

/// Clients give up after so long, ns.
const PATIENCE: i64 = 200_000_000_000;

/// Where a row belongs.
pub type Table = (TenantId, Dataset);

/// A row: a number of its own, and its time.
pub type Row = (i64, UnixNanos);

/// A client's request: rows of one table that are sent, perhaps several times, as the same bytes.
#[derive(Debug, Clone)]
pub struct Sent {
    pub table: Table,
    pub rows: Vec<Row>,
    pub first_sent: UnixNanos,
    /// Its client was told that it is stored, or a query showed it.
    pub promised: bool,
}

/// Everything that clients did.
#[derive(Debug, Default)]
pub struct Ledger {
    pub sent: Vec<Sent>,
    rows: HashMap<i64, usize>,
}

impl Ledger {
    /// A new request; its number is its hash, too.
    pub fn send(&mut self, table: Table, times: Vec<UnixNanos>, now: UnixNanos) -> usize {
        let number = self.sent.len();
        let first = self.rows.len() as i64;
        let rows: Vec<Row> = times
            .into_iter()
            .enumerate()
            .map(|(i, time)| (first + i as i64, time))
            .collect();
        self.rows.extend(rows.iter().map(|(row, _)| (*row, number)));
        self.sent.push(Sent {
            table,
            rows,
            first_sent: now,
            promised: false,
        });
        number
    }

    /// Whether the client of a request may still send it again.
    pub fn is_open(&self, number: usize, now: UnixNanos) -> bool {
        now - self.sent[number].first_sent < PATIENCE
    }

    /// Number of rows that were promised.
    pub fn promised_rows(&self) -> usize {
        let promised = self.sent.iter().filter(|sent| sent.promised);
        promised.map(|sent| sent.rows.len()).sum()
    }

    /// The rows of a table that every later query must show.
    pub fn promised(&self, table: &Table) -> BTreeMap<i64, UnixNanos> {
        let promised = self.sent.iter().filter(|sent| sent.promised && sent.table == *table);
        promised.flat_map(|sent| sent.rows.iter().copied()).collect()
    }

    /// Compares what a query of a table showed with what it had to show (`promised`, taken before the query began).
    /// Rows before `cutoff` may be gone. What was shown is promised from now on.
    pub fn check(
        &mut self,
        table: &Table,
        shown: &[Row],
        promised: &BTreeMap<i64, UnixNanos>,
        cutoff: Option<UnixNanos>,
    ) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for &(row, time) in shown {
            let Some(&number) = self.rows.get(&row) else {
                return Err(format!("a row {row} that nobody sent is shown"));
            };
            let sent = &mut self.sent[number];
            if sent.table != *table || !sent.rows.contains(&(row, time)) {
                return Err(format!("row {row} is shown in {table:?} at {time}, sent was {sent:?}"));
            }
            sent.promised = true;
            if !seen.insert(row) {
                return Err(format!("row {row} of request {number} is shown twice"));
            }
        }
        let due = |time: UnixNanos| cutoff.is_some_and(|cutoff| time < cutoff);
        match promised.iter().find(|(row, time)| !seen.contains(row) && !due(**time)) {
            Some((row, time)) => Err(format!(
                "row {row} of request {} in {table:?} at {time} was promised and is not shown",
                self.rows[row]
            )),
            None => Ok(()),
        }
    }
}

/// The name of the column that tells rows apart.
fn id_column(dataset: Dataset) -> &'static str {
    match dataset {
        Dataset::Exemplars => "value_int",
        _ => "span_id",
    }
}

/// Rows as the decoder would make them, with as few columns as a dataset must have.
pub fn batch(dataset: Dataset, rows: &[Row]) -> RecordBatch {
    let id = id_column(dataset);
    let mut fields = Vec::new();
    let mut arrays: Vec<arrow::array::ArrayRef> = Vec::new();
    for field in fixed(dataset) {
        let array: arrow::array::ArrayRef = match field.data_type() {
            DataType::Timestamp(..) if field.name() == time_column(dataset) => {
                let times = rows.iter().map(|(_, time)| *time).collect::<Vec<_>>();
                Arc::new(TimestampNanosecondArray::from(times).with_timezone("UTC"))
            }
            DataType::Int64 if field.name() == id => Arc::new(rows.iter().map(|(row, _)| *row).collect::<Int64Array>()),
            DataType::FixedSizeBinary(width) if field.name() == id || !field.is_nullable() => {
                let mut bytes = Vec::new();
                for (row, _) in rows {
                    let value = if field.name() == "resource_id" { *row % 3 } else { *row };
                    let mut padded = vec![0; *width as usize - 8];
                    padded.extend(value.to_be_bytes());
                    bytes.extend(padded);
                }
                Arc::new(FixedSizeBinaryArray::new(*width, bytes.into(), None))
            }
            _ if field.is_nullable() => continue,
            other => panic!("no row is made for a column of type {other}"),
        };
        fields.push(Field::new(field.name(), array.data_type().clone(), field.is_nullable()));
        arrays.push(array);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

/// The rows of a batch made by [`batch`] and read back.
pub fn rows_of(dataset: Dataset, batch: &RecordBatch) -> Vec<Row> {
    let times = batch.column_by_name(time_column(dataset)).unwrap();
    let times = times.as_primitive::<TimestampNanosecondType>();
    let ids = batch.column_by_name(id_column(dataset)).unwrap();
    let id = |row: usize| match ids.as_fixed_size_binary_opt() {
        Some(ids) => i64::from_be_bytes(ids.value(row).try_into().unwrap()),
        None => ids.as_primitive::<Int64Type>().value(row),
    };
    (0..batch.num_rows()).map(|row| (id(row), times.value(row))).collect()
}
