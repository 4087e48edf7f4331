//! Log records through slices, parts and merged parts: SQL gives back what was committed, byte by byte.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, FixedSizeBinaryArray, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow::datatypes::TimestampNanosecondType;
use futures::TryStreamExt;
use lake::Lake;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use query::{QueryEngine, QueryError};
use schema::{Dataset, TenantId};

use crate::fixture::{self, empty_lake, options};

/// A row: time and observed time (ns), body.
type Record = (i64, Option<i64>, Option<String>);

const START: i64 = 1_750_000_000_000_000_000;

struct World {
    lake: Lake,
    engine: QueryEngine,
}

impl World {
    async fn new() -> Self {
        let lake = empty_lake().await;
        let engine = QueryEngine::new(lake.clone(), options()).unwrap();
        Self { lake, engine }
    }

    async fn commit(&self, records: &[Record]) {
        let time = |times: Vec<Option<i64>>| -> ArrayRef {
            Arc::new(TimestampNanosecondArray::from(times).with_timezone("UTC"))
        };
        let id: ArrayRef = Arc::new(FixedSizeBinaryArray::try_from_iter(records.iter().map(|_| [7u8; 16])).unwrap());
        let body: ArrayRef = Arc::new(StringArray::from_iter(records.iter().map(|r| r.2.as_deref())));
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("timestamp", time(records.iter().map(|r| Some(r.0)).collect()), false),
            ("observed_time", time(records.iter().map(|r| r.1).collect()), true),
            ("body", body, true),
            ("resource_id", id, false),
        ])
        .unwrap();
        fixture::commit(&self.lake, [(Dataset::Logs, batch)]).await;
    }

    async fn compact(&self) -> u64 {
        fixture::compact(&self.lake, Dataset::Logs).await
    }

    async fn sql(&self, sql: &str) -> Vec<RecordBatch> {
        fixture::ask(&self.engine, sql).await
    }

    /// All rows that match, sorted.
    async fn records(&self, condition: &str) -> Vec<Record> {
        let mut records = Vec::new();
        let sql = format!("SELECT timestamp, observed_time, body FROM logs WHERE {condition}");
        for batch in self.sql(&sql).await {
            let time = |column: usize| batch.column(column).as_primitive::<TimestampNanosecondType>().iter();
            let body = batch.column(2).as_string::<i32>().iter();
            let rows = time(0).zip(time(1)).zip(body);
            records.extend(rows.map(|((at, observed), body)| (at.unwrap(), observed, body.map(str::to_owned))));
        }
        records.sort();
        records
    }
}

/// Free text, texts full of digits, and messages that share a template, with times near and far.
fn record() -> impl Strategy<Value = Record> {
    let message = (0..6usize, any::<u64>(), any::<i16>(), 0..100u8);
    let message = message.prop_map(|(template, a, b, c)| match template {
        0 => format!("request {a:x} took {b}.{c:02} ms"),
        1 => format!("user-{b} saw /api/v1/items/{c:03}"),
        2 => format!("{a:016X} at 0x{a:x} on 2026-01-{c:02}T{c:02}:00:00Z"),
        3 => format!("{a:032x}{b}"),
        4 => format!("zoë sent {c} \u{1f600}\n\tat line {b}"),
        _ => (0..u64::from(c))
            .map(|n| format!("{} ", a.wrapping_mul(n) % 1000))
            .collect(),
    });
    let body = prop_oneof![
        6 => message.prop_map(Some),
        2 => any::<String>().prop_map(Some),
        2 => "[0-9a-f\u{1}\u{2} x]{0,40}".prop_map(Some),
        1 => Just(Some(String::new())),
        1 => (1..30_000usize).prop_map(|n| Some("0a ".repeat(n))),
        1 => Just(None),
    ];
    let observed = prop_oneof![
        6 => (0..100_000i64).prop_map(|delay| Some(START + delay)),
        1 => any::<i64>().prop_map(Some),
        1 => Just(None),
    ];
    (0..1000i64, observed, body).prop_map(|(at, observed, body)| (START + at, observed, body))
}

#[tokio::test]
async fn what_was_committed_comes_back_from_slices_parts_and_merged_parts() {
    let mut runner = TestRunner::deterministic();
    let world = World::new().await;
    let mut expected: Vec<Record> = vec![(i64::MIN, Some(i64::MAX), Some("the ends of time 1".to_owned()))];
    world.commit(&expected).await;
    for round in 0..9 {
        for _ in 0..2 {
            let strategy = prop::collection::vec(record(), 40);
            let records = strategy.new_tree(&mut runner).unwrap().current();
            world.commit(&records).await;
            expected.extend(records);
        }
        expected.sort();
        assert_eq!(world.records("true").await, expected, "slices of round {round}");
        world.compact().await;
        assert_eq!(world.records("true").await, expected, "parts of round {round}");
    }
    // Eight parts of a level were merged on the way.
    let parts = world
        .lake
        .catalog()
        .live_parts(&TenantId::default(), Dataset::Logs)
        .await
        .unwrap();
    assert!(parts.iter().any(|p| p.level > 1), "{parts:?}");

    let matching = |f: &dyn Fn(&Record) -> bool| expected.iter().filter(|r| f(r)).cloned().collect::<Vec<_>>();
    let with = |r: &Record, text: &str| r.2.as_ref().is_some_and(|b| b.contains(text));
    assert_eq!(
        world.records("body LIKE '%items/00%'").await,
        matching(&|r| with(r, "items/00"))
    );
    assert_eq!(
        world.records("body LIKE '% took %'").await,
        matching(&|r| with(r, " took "))
    );
    assert_eq!(
        world.records("body = ''").await,
        matching(&|r| r.2.as_deref() == Some(""))
    );
    assert_eq!(world.records("body IS NULL").await, matching(&|r| r.2.is_none()));
    assert_eq!(
        world.records("observed_time IS NULL").await,
        matching(&|r| r.1.is_none())
    );
    let late = "observed_time > timestamp '2025-06-15T15:06:40.00005Z'";
    assert_eq!(
        world.records(late).await,
        matching(&|r| r.1.is_some_and(|t| t > START + 50_000))
    );
}

#[tokio::test]
async fn filters_on_rebuilt_columns_are_evaluated_in_the_scan() {
    let world = World::new().await;
    let records = (0..100).map(|n| (START + n, Some(START + 2 * n), Some(format!("item {n} sold"))));
    world.commit(&records.collect::<Vec<_>>()).await;
    world.compact().await;
    let sql = "EXPLAIN SELECT timestamp FROM logs WHERE body LIKE '%item 7 %' AND observed_time IS NOT NULL";
    let plan = arrow::util::pretty::pretty_format_batches(&world.sql(sql).await)
        .unwrap()
        .to_string();
    let scan = plan.lines().find(|line| line.contains("DataSourceExec")).unwrap();
    let predicate = scan.split("predicate=").nth(1).unwrap();
    assert!(
        predicate.contains("log_body(") && predicate.contains("observed_delay"),
        "{plan}"
    );
    // The names under which parts store these columns are nobody's business.
    let columns = world.sql("SELECT * FROM logs LIMIT 1").await;
    let schema = columns[0].schema();
    let hidden = schema
        .fields()
        .iter()
        .find(|f| f.name().starts_with("body_number") || f.name() == "body_template");
    assert_eq!(hidden, None);
}

/// Parquet's reader evaluates conditions, and what fails there is no damage of the part; nor is a bad pattern a fault of ours.
#[tokio::test]
async fn a_condition_that_fails_is_a_mistake_of_the_query() {
    let world = World::new().await;
    world.commit(&[(START, None, Some("three".to_owned()))]).await;
    for stored in ["slice", "part"] {
        for condition in [
            "CAST(body AS BIGINT) = 3",
            "body ~ '[z-a]' OR body IS NULL",
            "regexp_replace(body, '(', '') = ''",
            "substr(body, 1, 0.5) = ''",
        ] {
            let sql = format!("SELECT timestamp FROM logs WHERE {condition}");
            let error = match world.engine.sql(&TenantId::default(), &sql).await {
                Ok(result) => query::stream_error(result.stream.try_collect::<Vec<_>>().await.unwrap_err()),
                Err(error) => error,
            };
            assert!(
                matches!(error, QueryError::Invalid(_)),
                "{condition} in a {stored}: {error:?}"
            );
        }
        world.compact().await;
    }
}
