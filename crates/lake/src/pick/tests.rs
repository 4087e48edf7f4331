//! Picked rows against those that Parquet's own reader finds in the same blocks.

use arrow::array::{Array, AsArray};
use arrow::compute::filter_record_batch;
use catalog::{Catalog, CatalogUrl, ConnectOptions};
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use schema::sparse::SparseBatch;
use schema::{Dataset, SystemClock, columns};
use telemetry::Telemetry;

use super::*;
use crate::part::{self, BLOCK_ROWS, ROW_GROUP_ROWS};
use crate::{CacheSizes, Lake, PartFile};

const ROWS: usize = ROW_GROUP_ROWS + BLOCK_ROWS + 500;
const TRACES: u64 = ROWS as u64 / 12;

fn trace_id(number: u64) -> [u8; 16] {
    u128::from(number).to_be_bytes()
}

/// Events of a row: none, an empty list, or some.
fn events(random: &mut StdRng) -> String {
    let event = |n: usize| match n {
        0 => r#"{"time": 17, "name": "retry", "dropped_attributes_count": 3}"#,
        _ => r#"{"time": 18, "name": "exception", "attributes": "{\"a\": 1}"}"#,
    };
    match random.random_range(0..40) {
        0 => r#"{"events": []}"#.to_owned(),
        count @ 1..=2 => {
            let all = (0..count).map(event).collect::<Vec<_>>().join(",");
            format!(r#"{{"events": [{all}]}}"#)
        }
        _ => "{}".to_owned(),
    }
}

/// Spans with columns of every type: with few and many distinct values, with values in all rows, in some, and in rows of
/// early traces only.
fn spans(random: &mut StdRng) -> RecordBatch {
    let traces = (0..ROWS).map(|_| random.random_range(0..TRACES)).collect::<Vec<_>>();
    let start = |row: usize| 1_000_000 * traces[row] as i64 + row as i64;
    let times = TimestampNanosecondArray::from_iter_values((0..ROWS).map(start)).with_timezone("UTC");
    let ids = |ids: Vec<Option<Vec<u8>>>, width| -> ArrayRef {
        Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(ids.into_iter(), width).unwrap())
    };
    let all_ids = |id: &dyn Fn(usize) -> Vec<u8>, width| ids((0..ROWS).map(|row| Some(id(row))).collect(), width);
    let text = |value: &dyn Fn(usize) -> Option<String>| -> ArrayRef {
        Arc::new((0..ROWS).map(value).collect::<StringArray>())
    };
    let some = (0..ROWS).map(|_| random.random_range(0..10)).collect::<Vec<_>>();
    let parents = (0..ROWS).map(|row| (some[row] > 1).then(|| (row as u64 / 2).to_be_bytes().to_vec()));
    let parents = ids(parents.collect(), 8);
    let lists = (0..ROWS).map(|_| events(random)).collect::<Vec<_>>().join("\n");
    let fields = vec![Field::new("events", columns::events_type(), true)];
    let mut json = arrow::json::ReaderBuilder::new(Arc::new(Schema::new(fields)))
        .with_batch_size(ROWS)
        .build(lists.as_bytes())
        .unwrap();
    let lists = Arc::clone(json.next().unwrap().unwrap().column(0));
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("trace_id", all_ids(&|row| trace_id(traces[row]).to_vec(), 16), false),
        ("span_id", all_ids(&|row| (row as u64).to_be_bytes().to_vec(), 8), false),
        ("parent_span_id", parents, true),
        ("start_time", Arc::new(times), false),
        (
            "duration",
            Arc::new(Int64Array::from_iter_values(
                (0..ROWS).map(|row| row as i64 * 7 % 1_001),
            )),
            false,
        ),
        ("name", text(&|row| Some(format!("operation {}", row % 50))), false),
        ("kind", text(&|_| Some("server".to_owned())), false),
        ("status_code", text(&|_| Some("unset".to_owned())), false),
        (
            "flags",
            Arc::new(
                (0..ROWS)
                    .map(|row| (some[row] > 5).then_some(u32::MAX - row as u32))
                    .collect::<UInt32Array>(),
            ),
            true,
        ),
        (
            "resource_id",
            all_ids(&|row| trace_id(row as u64 % 9).to_vec(), 16),
            false,
        ),
        ("events", lists, true),
        (
            "attr.few",
            text(&|row| (some[row] == 0).then(|| format!("väl-{}", row % 3))),
            true,
        ),
        (
            "attr.many",
            text(&|row| (some[row] > 0).then(|| format!("/path/to/{row}"))),
            true,
        ),
        (
            "attr.early",
            text(&|row| (traces[row] < 9).then(|| row.to_string())),
            true,
        ),
        (
            "attr.n:int",
            Arc::new(
                (0..ROWS)
                    .map(|row| (some[row] % 3 == 0).then_some(row as i64))
                    .collect::<Int64Array>(),
            ),
            true,
        ),
        (
            "attr.x:double",
            Arc::new(
                (0..ROWS)
                    .map(|row| (some[row] > 8).then_some(row as f64 / 3.0))
                    .collect::<Float64Array>(),
            ),
            true,
        ),
        (
            "attr.b:bool",
            Arc::new(
                (0..ROWS)
                    .map(|row| (some[row] < 4).then_some(row % 2 == 0))
                    .collect::<BooleanArray>(),
            ),
            true,
        ),
        (
            columns::ATTRIBUTES_REST,
            text(&|row| (some[row] == 5).then(|| format!("{{\"k\": {row}}}"))),
            true,
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

struct World {
    lake: Lake,
    file: PartFile,
    bytes: Bytes,
}

impl World {
    async fn new(batch: &RecordBatch) -> Self {
        let merged = part::merge(Dataset::Spans, &[Arc::new(SparseBatch::from_dense(batch).unwrap())]).unwrap();
        let written = part::write(Dataset::Spans, merged).unwrap();
        let catalog = Catalog::connect(&CatalogUrl::SqliteMemory, ConnectOptions::default())
            .await
            .unwrap();
        let (sizes, telemetry) = (CacheSizes::split(64 << 20, true), Telemetry::new("test", "0"));
        let (store, clock) = (Arc::new(InMemory::new()), Arc::new(SystemClock));
        let world = Self {
            lake: Lake::new(store, catalog, clock, "test".to_owned(), sizes, telemetry),
            file: PartFile {
                path: "part.parquet".into(),
                bytes: written.bytes.len() as u64,
                footer_bytes: written.footer_bytes as u64,
            },
            bytes: written.bytes,
        };
        world.put(world.bytes.clone()).await;
        world
    }

    async fn put(&self, bytes: Bytes) {
        let path = Path::from(self.file.path.as_ref());
        self.lake.store().put(&path, bytes.into()).await.unwrap();
    }

    async fn pick(&self, block: Range<usize>, trace: u64) -> Result<Option<RecordBatch>, LakeError> {
        let reader = self.lake.part_reader(self.file.clone());
        rows_with(
            &reader,
            block,
            ("trace_id", &trace_id(trace)),
            &["parent_ordinal", "parent_span_id"],
        )
        .await
    }

    fn blocks() -> impl Iterator<Item = Range<usize>> {
        (0..ROWS)
            .step_by(BLOCK_ROWS)
            .map(|start| start..(start + BLOCK_ROWS).min(ROWS))
    }
}

/// The rows of a block, all columns, as Parquet's reader reads them.
async fn block_of(world: &World, block: Range<usize>) -> RecordBatch {
    let reader = world.lake.part_reader(world.file.clone());
    let footer = reader.footer().await.unwrap();
    RowReader::new(reader, footer)
        .read(block, |_| true, None)
        .await
        .unwrap()
}

fn of_trace(block: &RecordBatch, trace: u64) -> RecordBatch {
    let ids = block.column_by_name("trace_id").unwrap().as_binary::<i32>();
    let wanted = ids.iter().map(|id| Some(id == Some(&trace_id(trace)[..])));
    filter_record_batch(block, &wanted.collect()).unwrap()
}

fn has_value(column: &ArrayRef) -> bool {
    match column.as_list_opt::<i32>() {
        Some(lists) => lists.iter().flatten().any(|list| !list.is_empty()),
        None => column.null_count() < column.len(),
    }
}

#[tokio::test]
async fn picked_rows_are_those_of_parquets_reader() {
    let mut random = StdRng::seed_from_u64(1);
    let world = World::new(&spans(&mut random)).await;
    let (mut found, mut left_out, mut with_events) = (0, 0, 0);
    for block in World::blocks() {
        let rows = block_of(&world, block.clone()).await;
        let ids = rows.column_by_name("trace_id").unwrap().as_binary::<i32>();
        let there = |row: usize| u64::from_be_bytes(ids.value(row)[8..].try_into().unwrap());
        let mut traces = (0..8)
            .map(|_| there(random.random_range(0..rows.num_rows())))
            .collect::<Vec<_>>();
        traces.extend([there(0), there(rows.num_rows() - 1), TRACES + 1]);
        for trace in traces {
            let expected = of_trace(&rows, trace);
            let Some(picked) = world.pick(block.clone(), trace).await.unwrap() else {
                assert_eq!(expected.num_rows(), 0);
                continue;
            };
            for (field, column) in expected.schema().fields().iter().zip(expected.columns()) {
                match picked.column_by_name(field.name()) {
                    Some(picked) => assert_eq!(picked, column, "{}", field.name()),
                    None => {
                        assert!(!has_value(column), "{} is missing", field.name());
                        left_out += 1;
                    }
                }
            }
            let known = |field: &Arc<Field>| expected.column_by_name(field.name()).is_some();
            assert!(picked.schema().fields().iter().all(known));
            with_events += usize::from(picked.column_by_name("events").is_some());
            found += 1;
        }
    }
    // All of it happened.
    assert!(
        found > 50 && left_out > 20 && with_events > 10,
        "{found} {left_out} {with_events}"
    );
}

#[tokio::test]
async fn damaged_pages_are_errors() {
    let mut random = StdRng::seed_from_u64(2);
    let world = World::new(&spans(&mut random)).await;
    let data = world.bytes.len() - world.file.footer_bytes as usize;
    let rows = block_of(&world, 0..BLOCK_ROWS).await;
    let first = rows.column_by_name("trace_id").unwrap().as_binary::<i32>().value(0);
    let trace = u64::from_be_bytes(first[8..].try_into().unwrap());
    let mut refused = 0;
    for _ in 0..40 {
        let mut bytes = world.bytes.to_vec();
        for _ in 0..200 {
            let at = random.random_range(0..data);
            bytes[at] = random.random();
        }
        world.put(bytes.into()).await;
        // Values may be others; nothing may panic.
        refused += usize::from(world.pick(0..BLOCK_ROWS, trace).await.is_err());
    }
    assert!(refused > 10, "{refused}");
}
