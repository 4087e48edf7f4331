//! Spans through slices, parts and merged parts: SQL and trace lookups give back what was committed. Above all the
//! parents, of which parts hold mostly the place in the block.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryArray, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray,
};
use arrow::datatypes::{Int64Type, TimestampNanosecondType};
use futures::TryStreamExt;
use lake::Lake;
use query::{QueryEngine, QueryError, QueryOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use schema::{Dataset, TenantId};

use crate::fixture::{self, empty_lake, options};

const START: i64 = 1_750_000_000_000_000_000;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    start: i64,
    trace: [u8; 16],
    id: [u8; 8],
    parent: Option<[u8; 8]>,
    service: String,
    duration: i64,
}

/// Spans whose parents are in the same batch, in another, missing, or nobody; ids repeat in a trace and across traces.
fn random_spans(seed: u64, count: i64) -> Vec<Span> {
    let mut random = StdRng::seed_from_u64(seed);
    let id = |number: u64| number.to_be_bytes();
    let span = |n: i64| Span {
        start: START + n * 1000 + random.random_range(0..900),
        // Most traces are short and of one batch, some go on for long.
        trace: match random.random_range(0..4) {
            0 => u128::from(random.random_range(0..20u8)).to_be_bytes(),
            _ => (1000 + n as u128 / 8).to_be_bytes(),
        },
        id: id(random.random_range(0..40)),
        parent: match random.random_range(0..10) {
            0 => None,
            1 => Some(id(u64::MAX)),
            _ => Some(id(random.random_range(0..40))),
        },
        service: format!("service-{}", random.random_range(0..5)),
        duration: random.random_range(0..1_000_000),
    };
    (0..count).map(span).collect()
}

struct World {
    lake: Lake,
    engine: QueryEngine,
}

impl World {
    async fn new() -> Self {
        let lake = empty_lake().await;
        let engine = engine(&lake, 1 << 30);
        Self { lake, engine }
    }

    async fn commit(&self, spans: &[Span]) {
        let text =
            |value: fn(&Span) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(spans.iter().map(value))) };
        let parents = FixedSizeBinaryArray::try_from_sparse_iter_with_size(spans.iter().map(|s| s.parent), 8);
        let start = TimestampNanosecondArray::from_iter_values(spans.iter().map(|s| s.start)).with_timezone("UTC");
        let columns: Vec<(&str, ArrayRef, bool)> = vec![
            ("trace_id", fixed(spans.iter().map(|s| s.trace)), false),
            ("span_id", fixed(spans.iter().map(|s| s.id)), false),
            ("parent_span_id", Arc::new(parents.unwrap()), true),
            ("start_time", Arc::new(start), false),
            (
                "duration",
                Arc::new(Int64Array::from_iter_values(spans.iter().map(|s| s.duration))),
                false,
            ),
            ("name", text(|_| "operation"), false),
            ("kind", text(|_| "server"), false),
            ("status_code", text(|_| "unset"), false),
            ("service_name", text(|s| &s.service), true),
            ("resource_id", fixed(spans.iter().map(|_| [7u8; 16])), false),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        fixture::commit(&self.lake, [(Dataset::Spans, batch)]).await;
    }

    async fn compact(&self) -> u64 {
        fixture::compact(&self.lake, Dataset::Spans).await
    }

    async fn query(&self, sql: &str) -> Vec<RecordBatch> {
        fixture::ask(&self.engine, sql).await
    }

    /// Spans by SQL, sorted.
    async fn spans(&self, condition: &str) -> Vec<Span> {
        let columns = "start_time, trace_id, span_id, parent_span_id, service_name, duration";
        let batches = self
            .query(&format!("select {columns} from spans where {condition}"))
            .await;
        let mut spans = batches.iter().flat_map(spans_of).collect::<Vec<_>>();
        spans.sort();
        spans
    }

    async fn check(&self, expected: &[Span]) {
        let matching = |keep: &dyn Fn(&Span) -> bool| {
            let mut spans = expected.iter().filter(|s| keep(s)).cloned().collect::<Vec<_>>();
            spans.sort();
            spans
        };
        assert_eq!(self.spans("true").await, matching(&|_| true));
        assert_eq!(
            self.spans("parent_span_id is null").await,
            matching(&|s| s.parent.is_none())
        );
        let five = 5u64.to_be_bytes();
        assert_eq!(
            self.spans("parent_span_id = X'0000000000000005'").await,
            matching(&|s| s.parent == Some(five))
        );
        assert_eq!(
            self.spans("service_name = 'service-3' and duration > 900000").await,
            matching(&|s| s.service == "service-3" && s.duration > 900_000)
        );
        let half = START + 6_000_000;
        assert_eq!(
            self.spans(&format!(
                "start_time < to_timestamp_nanos({half}) and parent_span_id is not null"
            ))
            .await,
            matching(&|s| s.start < half && s.parent.is_some())
        );
        assert_eq!(
            self.spans("trace_id = X'00000000000000000000000000000003'").await,
            matching(&|s| s.trace == 3u128.to_be_bytes())
        );
        let counts = self
            .query("select count(*), count(parent_span_id), max(duration) from spans")
            .await;
        let counts = counts[0]
            .columns()
            .iter()
            .map(|c| c.as_primitive::<Int64Type>().value(0))
            .collect::<Vec<_>>();
        let parents = matching(&|s| s.parent.is_some()).len() as i64;
        let longest = expected.iter().map(|s| s.duration).max().unwrap();
        assert_eq!(counts, [expected.len() as i64, parents, longest]);
        assert_eq!(
            self.query("select * from spans limit 7")
                .await
                .iter()
                .map(RecordBatch::num_rows)
                .sum::<usize>(),
            7
        );

        let traces = expected.iter().map(|s| s.trace).collect::<BTreeSet<_>>();
        let (long, short) = (traces.iter().take(20), traces.iter().skip(20).step_by(97));
        for trace in long.chain(short) {
            let found = self
                .engine
                .trace(&TenantId::default(), *trace, None)
                .await
                .unwrap()
                .unwrap();
            let found = found
                .trace
                .resource_spans
                .iter()
                .flat_map(|r| &r.scope_spans)
                .flat_map(|s| &s.spans);
            let mut found = found
                .map(|s| (s.start_time_unix_nano as i64, s.span_id, s.parent_span_id))
                .collect::<Vec<_>>();
            found.sort_unstable();
            let wanted = matching(&|s| s.trace == *trace);
            assert_eq!(
                found,
                wanted.iter().map(|s| (s.start, s.id, s.parent)).collect::<Vec<_>>()
            );
        }
    }
}

fn engine(lake: &Lake, max_scan_bytes: u64) -> QueryEngine {
    let options = QueryOptions {
        max_scan_bytes,
        ..options()
    };
    QueryEngine::new(lake.clone(), options).unwrap()
}

fn fixed<const N: usize>(ids: impl Iterator<Item = [u8; N]>) -> ArrayRef {
    Arc::new(FixedSizeBinaryArray::try_from_iter(ids).unwrap())
}

fn spans_of(batch: &RecordBatch) -> Vec<Span> {
    let start = batch.column(0).as_primitive::<TimestampNanosecondType>();
    let ids = |column: usize| batch.column(column).as_fixed_size_binary();
    let (service, duration) = (
        batch.column(4).as_string::<i32>(),
        batch.column(5).as_primitive::<Int64Type>(),
    );
    let span = |row| Span {
        start: start.value(row),
        trace: ids(1).value(row).try_into().unwrap(),
        id: ids(2).value(row).try_into().unwrap(),
        parent: ids(3).is_valid(row).then(|| ids(3).value(row).try_into().unwrap()),
        service: service.value(row).to_owned(),
        duration: duration.value(row),
    };
    (0..batch.num_rows()).map(span).collect()
}

#[tokio::test]
async fn spans_come_back_as_they_were_committed() {
    let world = World::new().await;
    let spans = random_spans(1, 24_000);
    let mut committed = Vec::new();
    // Eight parts, which the last compaction merges into one of three blocks.
    for (wave, batch) in spans.chunks(3000).enumerate() {
        world.commit(batch).await;
        committed.extend_from_slice(batch);
        if wave == 0 {
            world.check(&committed).await;
        }
        let runs = world.compact().await;
        assert_eq!(runs, if wave == 7 { 2 } else { 1 });
        if wave % 3 == 0 {
            world.check(&committed).await;
        }
    }
    world.check(&committed).await;
    // Slices beside parts.
    let more = random_spans(2, 500);
    world.commit(&more).await;
    committed.extend(more);
    world.check(&committed).await;
}

#[tokio::test]
async fn scans_of_parents_are_limited() {
    let world = World::new().await;
    world.commit(&random_spans(3, 20_000)).await;
    world.compact().await;
    let engine = engine(&world.lake, 1000);
    let tenant = TenantId::default();
    let result = engine
        .sql(&tenant, "select count(parent_span_id) from spans")
        .await
        .unwrap();
    let error = result.stream.try_collect::<Vec<_>>().await.unwrap_err();
    assert!(matches!(
        query::stream_error(error),
        QueryError::LimitExceeded { what: "bytes read", .. }
    ));
}

/// A trace may be as large as a table: it is held to what any query is held to, in slices and in parts.
#[tokio::test]
async fn a_trace_has_the_limits_of_a_query() {
    let world = World::new().await;
    let trace = [9; 16];
    let mut spans = random_spans(4, 30_000);
    spans.iter_mut().for_each(|span| span.trace = trace);
    let tenant = TenantId::default();
    let limited = |options: QueryOptions| QueryEngine::new(world.lake.clone(), options).unwrap();
    let refused = async |key: &str, options: QueryOptions| {
        let engine = limited(options);
        let error = engine.trace(&tenant, trace, None).await.unwrap_err();
        let used = engine.memory_used();
        assert_eq!(used, 0, "{error}");
        match error {
            QueryError::LimitExceeded { key: named, .. } if named == key => {}
            other => panic!("not {key}: {other}"),
        }
    };
    for compacted in [false, true] {
        if compacted {
            world.compact().await;
        } else {
            world.commit(&spans).await;
        }
        let max_memory = 8 << 20;
        refused(
            "query.max_memory",
            QueryOptions {
                max_memory,
                ..options()
            },
        )
        .await;
        let max_rows = Some(29_999);
        refused("query.max_rows", QueryOptions { max_rows, ..options() }).await;
        if compacted {
            let max_scan_bytes = 1000;
            refused(
                "query.max_scan_bytes",
                QueryOptions {
                    max_scan_bytes,
                    ..options()
                },
            )
            .await;
        }
        let engine = limited(QueryOptions {
            max_rows: Some(30_000),
            ..options()
        });
        let found = engine.trace(&tenant, trace, None).await.unwrap().unwrap();
        assert!(engine.memory_used() > 30_000 * 100);
        let body = found.into_body(vec![0; 1000]);
        assert_eq!(engine.memory_used(), 1000);
        drop(body);
        assert_eq!(engine.memory_used(), 0);
    }
}
