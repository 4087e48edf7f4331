use std::time::Duration;

use arrow::array::{FixedSizeBinaryArray, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow::datatypes::Int64Type;
use catalog::{Catalog, CatalogUrl, ConnectOptions, DeletionState, Expired, NewColumn, NewDeletion};
use futures::TryStreamExt;
use lake::segment::Rows;
use lake::{CacheSizes, Commit, CompactionOptions, CompactionReport, Lake, Observer, Stored, Wanted};
use object_store::memory::InMemory;
use schema::SystemClock;
use telemetry::Telemetry;

use super::*;
use crate::QueryOptions;

struct Silent;

impl Observer for Silent {
    fn compacted(&self, _: Dataset, _: &CompactionReport) {}
    fn failed(&self, _: &'static str) {}
    fn stored(&self, _: Dataset, _: &Stored) {}
    fn expired(&self, _: Dataset, _: &Expired) {}
    fn collected(&self, _: u64, _: u64) {}
}

const COMPACTION: CompactionOptions = CompactionOptions {
    target_rows: 1_000,
    max_rows: 100,
    max_slice_age: Duration::from_secs(60),
    lease_ttl: Duration::from_secs(60),
    grace: Duration::from_secs(60),
};

/// Log records number 0 to 299 of five users on three hosts, 30 a slice; the first 150 in parts.
struct World {
    lake: Lake,
    engine: QueryEngine,
}

const RECORDS: i64 = 300;
const START: i64 = 1_750_000_000_000_000_000;

fn id(number: i64) -> [u8; 16] {
    i128::from(number).to_be_bytes()
}

impl World {
    async fn new() -> Self {
        let options = ConnectOptions::default();
        let catalog = Catalog::connect(&CatalogUrl::SqliteMemory, options).await.unwrap();
        catalog.migrate().await.unwrap();
        let (sizes, telemetry) = (CacheSizes::split(1 << 20, true), Telemetry::new("test", "0"));
        let (store, clock) = (Arc::new(InMemory::new()), Arc::new(SystemClock));
        let lake = Lake::new(store, catalog, clock, "test".to_owned(), sizes, telemetry);
        let options = QueryOptions {
            max_memory: 64 << 20,
            timeout: Duration::from_secs(60),
            max_scan_bytes: 1 << 30,
            max_rows: None,
            concurrency: 2,
        };
        let engine = QueryEngine::new(lake.clone(), options).unwrap();
        let world = Self { lake, engine };
        let tenant = TenantId::default();
        for from in (0..RECORDS).step_by(30) {
            world.commit(from..from + 30).await;
            if from < 150 {
                let compacted = world
                    .lake
                    .compact(&tenant, Dataset::Logs, &COMPACTION, Wanted::UpTo(i64::MAX));
                compacted.await.unwrap().unwrap();
            }
        }
        world
    }

    async fn commit(&self, numbers: std::ops::Range<i64>) {
        let records = numbers.collect::<Vec<_>>();
        let time = |of: Vec<i64>| Arc::new(TimestampNanosecondArray::from(of).with_timezone("UTC")) as ArrayRef;
        let ids =
            |of: Vec<[u8; 16]>| Arc::new(FixedSizeBinaryArray::try_from_iter(of.into_iter()).unwrap()) as ArrayRef;
        let text = |of: Vec<String>| Arc::new(StringArray::from(of)) as ArrayRef;
        let of = |value: fn(i64) -> String| text(records.iter().map(|&n| value(n)).collect());
        let numbers: ArrayRef = Arc::new(Int64Array::from(records.clone()));
        let logs = RecordBatch::try_from_iter([
            (
                "timestamp",
                time(records.iter().map(|n| START + n * 1_000_000_000).collect()),
            ),
            (
                "body",
                of(|n| format!("order {n} of user-{} took {} ms", n % 5, n * 7 % 100)),
            ),
            ("resource_id", ids(records.iter().map(|n| id(n % 3)).collect())),
            ("trace_id", ids(records.iter().map(|n| id(1_000 + n % 10)).collect())),
            ("attr.user.name", of(|n| format!("user-{}", n % 5))),
            ("attr.order:int", numbers),
        ]);
        let hosts = RecordBatch::try_from_iter([
            ("resource_id", ids((0..3).map(id).collect())),
            ("seen_at", time(vec![START; 3])),
            ("attr.host", text((0..3).map(|n| format!("host-{n}")).collect())),
        ]);
        let rows = |dataset, batch: RecordBatch| Rows {
            tenant: TenantId::default(),
            dataset,
            batch: SparseBatch::from_dense(&batch).unwrap(),
        };
        let column = |dataset, name: &str, data_type: &str| NewColumn {
            tenant: TenantId::default(),
            dataset,
            name: name.to_owned(),
            data_type: data_type.to_owned(),
        };
        let commit = Commit {
            rows: vec![
                rows(Dataset::Resources, hosts.unwrap()),
                rows(Dataset::Logs, logs.unwrap()),
            ],
            requests: Vec::new(),
            columns: vec![
                column(Dataset::Logs, "attr.user.name", "utf8"),
                column(Dataset::Logs, "attr.order:int", "int64"),
                column(Dataset::Resources, "attr.host", "utf8"),
            ],
            ..Commit::default()
        };
        self.lake.commit(commit).await.unwrap();
    }

    async fn check(&self, text: &str) -> Result<(), QueryError> {
        let target = DeletionTarget::Where(text.to_owned());
        self.engine
            .check_condition(&TenantId::default(), Dataset::Logs, &target)
            .await
    }

    /// Deletes what matches and returns the number of rows that the deletion counted.
    async fn delete(&self, dataset: Dataset, target: DeletionTarget) -> i64 {
        let (tenant, now) = (TenantId::default(), self.lake.clock().now());
        self.engine.check_condition(&tenant, dataset, &target).await.unwrap();
        let new = NewDeletion {
            tenant,
            datasets: vec![dataset],
            target,
        };
        let id = self.lake.catalog().request_deletion(&new, now).await.unwrap();
        self.lake
            .advance_deletions(&COMPACTION, &self.engine, &Silent)
            .await
            .unwrap();
        let deletion = self.lake.catalog().deletion(id).await.unwrap().unwrap();
        assert_eq!(deletion.state, DeletionState::Done, "{deletion:?}");
        deletion.progress[0].rows
    }

    /// Orders that are left, ascending.
    async fn orders(&self) -> Vec<i64> {
        let sql = "SELECT \"attr.order\" AS n FROM logs ORDER BY n";
        let result = self.engine.sql(&TenantId::default(), sql).await.unwrap();
        let batches: Vec<RecordBatch> = result.stream.try_collect().await.unwrap();
        let values = batches
            .iter()
            .flat_map(|b| b.column(0).as_primitive::<Int64Type>().values());
        values.copied().collect()
    }
}

#[tokio::test]
async fn rows_that_meet_a_condition_go_and_no_others() {
    type OfNumber = fn(i64) -> bool;
    let cases: [(&str, OfNumber); 8] = [
        ("\"attr.user.name\" = 'user-3'", |n| n % 5 == 3),
        ("\"user.name\" = 'user-3' AND attr.order < 100", |n| {
            n % 5 == 3 && n < 100
        }),
        ("body LIKE '%user-1 took%'", |n| n % 5 == 1),
        ("body = 'order 200 of user-0 took 0 ms'", |n| n == 200),
        ("resource.host = 'host-2'", |n| n % 3 == 2),
        ("timestamp < to_timestamp_nanos(1750000100000000000)", |n| n < 100),
        ("logs.body IS NULL", |_| false),
        ("TRUE", |_| true),
    ];
    for (condition, matches) in cases {
        let world = World::new().await;
        let deleted = world
            .delete(Dataset::Logs, DeletionTarget::Where(condition.to_owned()))
            .await;
        let expected = (0..RECORDS).filter(|&n| !matches(n)).collect::<Vec<_>>();
        assert_eq!(deleted, RECORDS - expected.len() as i64, "{condition}");
        assert_eq!(world.orders().await, expected, "{condition}");
    }
}

#[tokio::test]
async fn the_rows_of_a_trace_go() {
    let world = World::new().await;
    assert_eq!(world.delete(Dataset::Logs, DeletionTarget::Trace(id(1_004))).await, 30);
    assert!(world.orders().await.iter().all(|n| n % 10 != 4));
    assert_eq!(world.delete(Dataset::Logs, DeletionTarget::Trace(id(1_004))).await, 0);
    assert_eq!(world.orders().await.len(), 270);
}

/// What describes rows can be deleted by the columns it has; the rows stay.
#[tokio::test]
async fn rows_of_resources_go_in_all_their_copies() {
    let world = World::new().await;
    let target = DeletionTarget::Where("attr.host = 'host-1'".to_owned());
    assert_eq!(world.delete(Dataset::Resources, target).await, 10);
    assert_eq!(world.orders().await.len(), RECORDS as usize);
}

/// A deletion is evaluated again and again: its condition must not depend on when and where.
#[tokio::test]
async fn conditions_that_are_not_of_the_row_are_refused() {
    let world = World::new().await;
    for (condition, reason) in [
        ("", "Expected"),
        ("body", "not true or false"),
        ("1", "not true or false"),
        ("no.such.attribute = 'x'", "no.such"),
        ("random() > 0.5", "random"),
        ("timestamp < now()", "now"),
        ("count(*) > 1", "count"),
        ("body IN (SELECT 'x')", "subquery"),
        ("EXISTS (SELECT 1)", "subquery"),
        ("TRUE) OR (TRUE", "end of expression"),
        ("TRUE; DROP TABLE logs", "end of expression"),
        ("TRUE everything", "everything"),
        ("body = $1", ""),
    ] {
        let error = world.check(condition).await.unwrap_err();
        assert!(matches!(error, QueryError::Invalid(_)), "{condition}: {error:?}");
        assert!(error.to_string().contains(reason), "{condition}: {error}");
    }
    world.check("TRUE -- everything").await.unwrap();
    assert_eq!(world.orders().await.len(), RECORDS as usize);
}

/// Conditions that nobody writes are refused, or the rows that a deletion takes are those that its proof looks for: they are
/// found in two ways, and a deletion whose proof finds more never ends.
#[test]
fn mutated_conditions_are_refused_or_mean_the_same_rows() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = runtime.block_on(World::new());
    let (slices, parts, batches, question) = runtime.block_on(async {
        let (tenant, datasets) = (TenantId::default(), [Dataset::Logs, Dataset::Resources]);
        let snapshot = world.lake.snapshot(&tenant, &datasets, None).await.unwrap();
        let slices = snapshot.slices.iter().filter(|slice| slice.dataset == Dataset::Logs);
        let slices = slices.cloned().collect::<Vec<_>>();
        let parts = snapshot.parts.iter().filter(|part| part.dataset == Dataset::Logs);
        let parts = parts.cloned().collect::<Vec<_>>();
        let mut batches = world.lake.slices(&slices).await.unwrap();
        for part in &parts {
            let rows = world.lake.part_batches(part).await.unwrap();
            batches.extend(rows.iter().map(|rows| Arc::new(SparseBatch::from_dense(rows).unwrap())));
        }
        let question = Question {
            tenant,
            dataset: Dataset::Logs,
            target: DeletionTarget::Everything,
            snapshot: Arc::new(snapshot),
        };
        (slices, parts, batches, question)
    });
    let total = batches.iter().map(|batch| batch.num_rows() as i64).sum::<i64>();
    assert_eq!(total, RECORDS);
    let (refused, meant) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let mut conditions = testkit::fuzz::lines("conditions");
    // Most of what is mutated is refused. Two that are right make one that is.
    let texts = conditions.iter().map(|text| String::from_utf8_lossy(text).into_owned());
    let texts = texts.filter(|text| !text.contains("--")).collect::<Vec<_>>();
    for (at, one) in texts.iter().enumerate() {
        for (distance, join) in [(1, "AND NOT"), (2, "OR"), (5, "IS DISTINCT FROM"), (7, "OR NOT")] {
            let other = &texts[(at + distance) % texts.len()];
            conditions.push(format!("({one}) {join} ({other})").into_bytes());
        }
    }
    testkit::fuzz::run(&conditions, 400, |input| {
        let text = String::from_utf8_lossy(input).into_owned();
        runtime.block_on(async {
            if let Err(error) = world.check(&text).await {
                refused.set(refused.get() + 1);
                // What DataFusion takes for a fault of its own is refused as well.
                let refusal = matches!(error, QueryError::Invalid(_) | QueryError::Internal(_));
                assert!(refusal, "{text}: {error:?}");
                return;
            }
            meant.set(meant.get() + 1);
            let question = Question {
                target: DeletionTarget::Where(text.clone()),
                ..question.clone()
            };
            let selected = world.engine.select(&question, &batches).await;
            let counted = world.engine.count(&question, slices.clone(), parts.clone()).await;
            match (selected, counted) {
                (Ok(selected), Ok(counted)) => {
                    let selected = selected.iter().map(|rows| rows.true_count() as u64).sum::<u64>();
                    assert_eq!(selected, counted, "{text}");
                }
                // What fails because of a row ends the deletion; it is not tried for ever.
                (selected, counted) => {
                    for error in [selected.err(), counted.err()].into_iter().flatten() {
                        assert!(matches!(error, MatchError::Invalid(_)), "{text}: {error:?}");
                    }
                }
            }
        });
    });
    println!("{} refused, {} meant rows", refused.get(), meant.get());
    assert!(testkit::fuzz::number("OTLP_FUZZ_ROUNDS").is_some() || (refused.get() > 50 && meant.get() > 50));
}
