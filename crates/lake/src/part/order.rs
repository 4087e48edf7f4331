//! Where each row goes in a part.
//!
//! Spans and logs are ordered twice. First by what a reader looks for as a whole: spans by trace (traces by their
//! start), logs by time. That order is cut into blocks; inside a block rows are sorted by what makes columns
//! compress: service and name (or severity and message template), then time. A reader of one trace or one
//! minute still reads one block, and the columns inside it are runs instead of noise.

use std::hash::BuildHasher;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, TimestampNanosecondType};
use hashbrown::{DefaultHashBuilder, HashMap};
use schema::sparse::SparseArray;
use schema::{Dataset, columns};

use super::duplicates::{Copies, Repeats};
use super::index::TraceEntry;
use super::merge::Merged;
use crate::LakeError;

/// Rows of a page, and of a block of spans: a trace lookup reads one page of each column.
pub const BLOCK_ROWS: usize = 8192;

/// Rows of a row group. Of spans, four blocks: small enough that one ranged read of about 1 MiB brings all columns of
/// a trace, large enough that dictionaries and footers cost 0.3 B/span.
pub const ROW_GROUP_ROWS: usize = 4 * BLOCK_ROWS;

/// Rows of a row group where no lookup by id needs small ones: dictionaries are repeated less often.
const LARGE_ROW_GROUP_ROWS: usize = 131_072;

/// Rows per row group of a dataset.
pub(super) const fn row_group_rows(dataset: Dataset) -> usize {
    match dataset {
        Dataset::Spans => ROW_GROUP_ROWS,
        Dataset::Logs => LARGE_ROW_GROUP_ROWS,
        _ => 8 * LARGE_ROW_GROUP_ROWS,
    }
}

/// The order of a part's rows and, for spans, where each trace lies.
pub(super) struct Order {
    /// Row numbers of the input in output order; not all of them if a row makes others superfluous.
    pub rows: Vec<u32>,
    /// Which blocks a trace is in; empty for other datasets.
    pub traces: Vec<TraceEntry>,
    /// How many rows were left out because an equal one is there.
    pub duplicates: usize,
}

/// Decides the order of a dataset's rows.
pub(super) fn order(dataset: Dataset, merged: &Merged) -> Result<Order, LakeError> {
    let newest = |id| Order {
        rows: newest_by_id(merged, id, "seen_at"),
        traces: Vec::new(),
        duplicates: 0,
    };
    match dataset {
        Dataset::Spans => spans(merged),
        Dataset::Logs => logs(merged),
        Dataset::Resources => Ok(newest("resource_id")),
        Dataset::MetricSeries => Ok(newest("series_id")),
        Dataset::MetricSamples | Dataset::MetricHistograms | Dataset::Exemplars => {
            points(merged, columns::time_column(dataset))
        }
    }
}

fn times<'a>(merged: &'a Merged, name: &str) -> &'a [i64] {
    let column = merged
        .column(name)
        .and_then(|c| c.values().as_primitive_opt::<TimestampNanosecondType>());
    column.map_or(&[], |c| c.values())
}

fn ids<'a>(merged: &'a Merged, name: &str) -> &'a [u8] {
    merged
        .column(name)
        .and_then(|c| c.values().as_fixed_size_binary_opt())
        .map_or(&[], |c| c.value_data())
}

/// A number for each row so that equal texts have equal numbers; 0 for null. Numbers follow first appearance.
fn codes(column: Option<&SparseArray>, rows: usize) -> Result<Vec<u32>, LakeError> {
    let Some(column) = column.map(SparseArray::dense) else {
        return Ok(vec![0; rows]);
    };
    if let Some(dictionary) = column.as_dictionary_opt::<Int32Type>() {
        let values = cast(dictionary.values(), &DataType::Utf8)?;
        let values = values.as_string::<i32>();
        // One look per distinct value, not per row.
        let mut known: HashMap<&str, u32> = HashMap::new();
        let mut by_key = Vec::with_capacity(values.len());
        for value in values {
            let next = known.len() as u32 + 1;
            by_key.push(value.map_or(0, |v| *known.entry(v).or_insert(next)));
        }
        let keys = dictionary.keys();
        return Ok((0..rows)
            .map(|r| {
                if keys.is_valid(r) {
                    by_key[keys.value(r) as usize]
                } else {
                    0
                }
            })
            .collect());
    }
    let plain = cast(&column, &DataType::Utf8)?;
    let mut known: HashMap<&str, u32> = HashMap::new();
    let mut out = Vec::with_capacity(rows);
    for value in plain.as_string::<i32>() {
        let next = known.len() as u32 + 1;
        out.push(value.map_or(0, |v| *known.entry(v).or_insert(next)));
    }
    Ok(out)
}

fn spans(merged: &Merged) -> Result<Order, LakeError> {
    let rows = merged.rows;
    let (trace_ids, start) = (ids(merged, "trace_id"), times(merged, "start_time"));
    // Traces by first appearance, with the start of their first span.
    let hasher = DefaultHashBuilder::default();
    let mut numbers: hashbrown::HashTable<u32> = hashbrown::HashTable::with_capacity(rows / 8);
    let mut first: Vec<(i64, u32)> = Vec::new(); // (start, a row of the trace)
    let mut trace_of = Vec::with_capacity(rows);
    let id = |row: usize| &trace_ids[row * 16..row * 16 + 16];
    for (row, &began) in start.iter().enumerate() {
        let hash = hasher.hash_one(id(row));
        let found = numbers
            .find(hash, |&t| id(first[t as usize].1 as usize) == id(row))
            .copied();
        let number = found.unwrap_or_else(|| {
            let number = first.len() as u32;
            numbers.insert_unique(hash, number, |&t| hasher.hash_one(id(first[t as usize].1 as usize)));
            first.push((began, row as u32));
            number
        });
        let entry = &mut first[number as usize];
        entry.0 = entry.0.min(began);
        trace_of.push(number);
    }
    let mut by_start = (0..first.len() as u32).collect::<Vec<_>>();
    by_start.sort_unstable_by_key(|&t| (first[t as usize].0, t));
    let mut rank = vec![0u32; first.len()];
    for (position, &trace) in by_start.iter().enumerate() {
        rank[trace as usize] = position as u32;
    }
    // Counting sort of rows by the rank of their trace.
    let mut offsets = vec![0u32; first.len() + 1];
    for &trace in &trace_of {
        offsets[rank[trace as usize] as usize + 1] += 1;
    }
    for i in 1..offsets.len() {
        offsets[i] += offsets[i - 1];
    }
    let mut clustered = vec![0u32; rows];
    for (row, &trace) in trace_of.iter().enumerate() {
        let slot = &mut offsets[rank[trace as usize] as usize];
        clustered[*slot as usize] = row as u32;
        *slot += 1;
    }
    let mut ends = offsets; // each has moved from the beginning of its trace to the end
    ends.truncate(first.len());
    let mut copies = Copies::new(merged, Repeats::Once);
    drop_copied_spans(merged, &mut clustered, &mut ends, &mut copies)?;
    let mut traces = Vec::with_capacity(first.len() + first.len() / 64);
    let mut from = 0;
    for (&trace, &to) in by_start.iter().zip(&ends) {
        let (row, to) = (first[trace as usize].1 as usize, to as usize);
        for block in from / BLOCK_ROWS..=(to - 1) / BLOCK_ROWS {
            traces.push(TraceEntry::new(id(row), block as u32));
        }
        from = to;
    }
    let service = codes(merged.column("service_name"), rows)?;
    let name = codes(merged.column("name"), rows)?;
    let mut keys: Vec<(u64, i64, u32)> = Vec::with_capacity(BLOCK_ROWS);
    for block in clustered.chunks_mut(BLOCK_ROWS) {
        keys.clear();
        keys.extend(block.iter().map(|&row| {
            let r = row as usize;
            (u64::from(service[r]) << 32 | u64::from(name[r]), start[r], row)
        }));
        keys.sort_unstable();
        for (slot, key) in block.iter_mut().zip(&keys) {
            *slot = key.2;
        }
    }
    Ok(Order {
        rows: clustered,
        traces,
        duplicates: copies.dropped,
    })
}

/// Drops copies of spans from rows that are clustered by trace; `ends` says where each trace ends, before and after.
fn drop_copied_spans(
    merged: &Merged,
    clustered: &mut Vec<u32>,
    ends: &mut [u32],
    copies: &mut Copies<'_>,
) -> Result<(), LakeError> {
    let (span_ids, _) = ids(merged, "span_id").as_chunks::<8>();
    // Spans of one trace and id, in the order of their rows, as numbers: those of a trace are sorted in a moment.
    let mut keys: Vec<(u64, u32)> = Vec::new();
    let mut rows = Vec::new();
    let (mut from, mut kept) = (0, 0);
    for end in ends {
        let to = *end as usize;
        keys.clear();
        keys.extend(clustered[from..to].iter().map(|&row| {
            let id = span_ids.get(row as usize).copied().unwrap_or_default();
            (u64::from_ne_bytes(id), row)
        }));
        keys.sort_unstable();
        if keys.windows(2).all(|pair| pair[0].0 != pair[1].0) {
            clustered.copy_within(from..to, kept);
            kept += to - from;
        } else {
            rows.clear();
            for run in keys.chunk_by(|a, b| a.0 == b.0) {
                let start = rows.len();
                rows.extend(run.iter().map(|key| key.1));
                if run.len() > 1 {
                    let left = copies.keep(&mut rows[start..])?;
                    rows.truncate(start + left);
                }
            }
            rows.sort_unstable();
            clustered[kept..kept + rows.len()].copy_from_slice(&rows);
            kept += rows.len();
        }
        from = to;
        *end = kept as u32;
    }
    clustered.truncate(kept);
    Ok(())
}

/// How much of a message decides what it is similar to; what follows rarely tells messages apart.
const SIMILAR_BYTES: usize = 48;

/// A number that messages without a template share if they begin alike: a hash of their first words, without those
/// that hold a digit.
fn similar(hasher: &DefaultHashBuilder, message: &[u8]) -> u64 {
    let mut hash = 0u64;
    let head = &message[..message.len().min(SIMILAR_BYTES)];
    for word in head.split(|b| matches!(b, b' ' | b'=' | b':' | b'/' | b'"' | b',')) {
        if !word.iter().any(u8::is_ascii_digit) {
            hash = hash.rotate_left(5) ^ hasher.hash_one(word);
        }
    }
    hash
}

fn logs(merged: &Merged) -> Result<Order, LakeError> {
    let alike = alike(merged)?;
    let at = times(merged, "timestamp");
    let mut by_time = (0u32..)
        .zip(at)
        .map(|(row, &at)| (at, alike[row as usize], row))
        .collect::<Vec<_>>();
    by_time.sort_unstable();
    let mut rows = by_time.into_iter().map(|key| key.2).collect::<Vec<_>>();
    let mut copies = Copies::new(merged, Repeats::AsInOneInput);
    let key = |row: u32| (at[row as usize], alike[row as usize]);
    copies.drop_neighbours(&mut rows, |a, b| key(a) == key(b))?;
    let mut order = Vec::with_capacity(rows.len());
    let mut keys: Vec<u64> = Vec::with_capacity(LARGE_ROW_GROUP_ROWS);
    for group in rows.chunks(LARGE_ROW_GROUP_ROWS) {
        // What is alike comes together, and stays in the order of time.
        keys.clear();
        keys.extend(
            (0u64..)
                .zip(group)
                .map(|(place, &row)| u64::from(alike[row as usize]) << 32 | place),
        );
        keys.sort_unstable();
        order.extend(keys.iter().map(|key| group[(key & u64::from(u32::MAX)) as usize]));
    }
    Ok(Order {
        rows: order,
        traces: Vec::new(),
        duplicates: copies.dropped,
    })
}

/// A number for each row, by which rows are ordered: first by service, then template, then resource.
fn alike(merged: &Merged) -> Result<Vec<u32>, LakeError> {
    let rows = merged.rows;
    let service = codes(merged.column("service_name"), rows)?;
    let stored = codes(merged.column(columns::BODY_TEMPLATE), rows)?;
    let mut templates = stored.into_iter().map(u64::from).collect::<Vec<_>>();
    if let Some(column) = merged.column("body") {
        let hasher = DefaultHashBuilder::default();
        let body = cast(&column.dense(), &DataType::Utf8)?;
        let body = body.as_string::<i32>();
        for (row, template) in templates.iter_mut().enumerate() {
            if body.is_valid(row) {
                *template = similar(&hasher, body.value(row).as_bytes());
            }
        }
    }
    let resources = ids(merged, "resource_id");
    let resource = |row: usize| resources.get(row * 16..row * 16 + 16);
    let mut known: HashMap<(u32, u64, Option<&[u8]>), u32> = HashMap::new();
    let mut numbers = (0..rows)
        .map(|row| {
            let next = known.len() as u32;
            *known
                .entry((service[row], templates[row], resource(row)))
                .or_insert(next)
        })
        .collect::<Vec<_>>();
    let mut keys = known.into_iter().collect::<Vec<_>>();
    keys.sort_unstable();
    let mut ranks = vec![0u32; keys.len()];
    for (rank, (_, number)) in (0u32..).zip(keys) {
        ranks[number as usize] = rank;
    }
    for number in &mut numbers {
        *number = ranks[*number as usize];
    }
    Ok(numbers)
}

/// Points by series and time, without copies.
fn points(merged: &Merged, time: &str) -> Result<Order, LakeError> {
    let (series, _) = ids(merged, "series_id").as_chunks::<16>();
    let at = times(merged, time);
    let mut rows = by_id(merged, "series_id", time);
    let mut copies = Copies::new(merged, Repeats::Once);
    // Times first: they stand closer together, and mostly differ.
    let alike = |a: usize, b: usize| at[a] == at[b] && series[a] == series[b];
    copies.drop_neighbours(&mut rows, |a, b| alike(a as usize, b as usize))?;
    Ok(Order {
        rows,
        traces: Vec::new(),
        duplicates: copies.dropped,
    })
}

/// Rows by a 16-byte id, then time. A part has far fewer ids than rows, and an id's rows mostly come in order of time:
/// only the ids are sorted, and times where it turns out that they are not.
fn by_id(merged: &Merged, id: &str, time: &str) -> Vec<u32> {
    let (ids, _) = ids(merged, id).as_chunks::<16>();
    let at = times(merged, time);
    // Ids by first appearance, with their number of rows.
    let mut numbers: HashMap<[u8; 16], u32> = HashMap::new();
    let mut distinct: Vec<([u8; 16], u32)> = Vec::new();
    let mut number_of = Vec::with_capacity(ids.len());
    for id in ids {
        let number = *numbers.entry(*id).or_insert_with(|| {
            distinct.push((*id, 0));
            distinct.len() as u32 - 1
        });
        distinct[number as usize].1 += 1;
        number_of.push(number);
    }
    let mut sorted = (0..distinct.len()).collect::<Vec<_>>();
    sorted.sort_unstable_by_key(|&number| distinct[number].0);
    let mut next = vec![0u32; distinct.len()];
    let mut from = 0;
    for &number in &sorted {
        next[number] = from;
        from += distinct[number].1;
    }
    let mut rows = vec![0u32; ids.len()];
    for (row, &number) in number_of.iter().enumerate() {
        let slot = &mut next[number as usize];
        rows[*slot as usize] = row as u32;
        *slot += 1;
    }
    let mut rest = rows.as_mut_slice();
    for &number in &sorted {
        let (run, behind) = rest.split_at_mut(distinct[number].1 as usize);
        if !run.is_sorted_by_key(|&row| at[row as usize]) {
            run.sort_unstable_by_key(|&row| (at[row as usize], row));
        }
        rest = behind;
    }
    rows
}

/// As [`by_id`], but of each id only the newest row, which says all: what describes ids is written again every hour.
fn newest_by_id(merged: &Merged, id: &str, time: &str) -> Vec<u32> {
    let (ids, _) = ids(merged, id).as_chunks::<16>();
    let rows = by_id(merged, id, time);
    let ends = rows.chunk_by(|&a, &b| ids[a as usize] == ids[b as usize]);
    ends.filter_map(<[u32]>::last).copied().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, FixedSizeBinaryArray, TimestampNanosecondArray};
    use arrow::datatypes::{Field, Schema};

    use super::*;

    fn merged(rows: &[(u8, i64)]) -> Merged {
        let ids = FixedSizeBinaryArray::try_from_iter(rows.iter().map(|r| [r.0; 16])).unwrap();
        let times = TimestampNanosecondArray::from_iter_values(rows.iter().map(|r| r.1)).with_timezone("UTC");
        let fields = vec![
            Field::new("series_id", DataType::FixedSizeBinary(16), false),
            Field::new("seen_at", columns::timestamp(), false),
        ];
        Merged {
            schema: Arc::new(Schema::new(fields)),
            columns: [Arc::new(ids) as ArrayRef, Arc::new(times)]
                .iter()
                .map(|column| SparseArray::from_dense(column).unwrap())
                .collect(),
            rows: rows.len(),
            inputs: Vec::new(),
        }
    }

    #[test]
    fn rows_are_ordered_by_id_and_time() {
        let rows = [(9, 5), (1, 7), (9, 4), (200, 1), (1, 7), (9, 6), (1, 2)];
        assert_eq!(by_id(&merged(&rows), "series_id", "seen_at"), [6, 1, 4, 2, 0, 5, 3]);
    }

    #[test]
    fn of_what_describes_an_id_the_newest_row_is_kept() {
        let rows = [(9, 5), (1, 7), (9, 4), (200, 1), (1, 7), (9, 6), (1, 2)];
        let order = order(Dataset::MetricSeries, &merged(&rows)).unwrap();
        assert_eq!(order.rows, [4, 5, 3]);
    }
}
