//! What a batch remembers from one commit to the next, and what the lake already knows.

use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use schema::Dataset;

use super::differential::{Expected, Lake, append};
use super::messages::Messages;
use super::rows::{Cell, finish};
use super::{NOW, context};
use crate::decode::{KnownIds, TenantBatch};
use crate::encode::protobuf;
use crate::model::{KeyValue, Resource, ResourceSpans, ScopeSpans, Signal, Span};

const HOUR: i64 = 3_600_000_000_000;

/// A request of one span of the service.
fn spans_of(service: &str) -> Vec<u8> {
    let span = Span {
        trace_id: [1; 16],
        span_id: [2; 8],
        ..Span::default()
    };
    protobuf::encode_traces(&[ResourceSpans {
        resource: Resource {
            attributes: vec![KeyValue::new("service.name", service)],
            ..Resource::default()
        },
        scope_spans: vec![ScopeSpans {
            spans: vec![span],
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    }])
}

#[test]
fn ids_refer_to_rows_of_the_last_hour_and_known_rows_are_not_repeated() {
    for seed in 0..12 {
        let mut rng = StdRng::seed_from_u64(seed);
        let known = KnownIds::default();
        // Batches take turns, as those of two shards do, and all meet the same few resources.
        let mut batches = [TenantBatch::default(), TenantBatch::default()];
        let mut lake = Lake::default();
        let mut committed: HashMap<Vec<u8>, i64> = HashMap::new();
        let mut now = NOW;
        for round in 0..30 {
            let mut messages = Messages::new(seed * 7 + round % 3);
            let batch = &mut batches[rng.random_range(0..2)];
            let mut expected = Expected::default();
            for signal in [Signal::Traces, Signal::Logs, Signal::Metrics] {
                append(batch, &mut messages, signal, &known, now, &mut expected);
            }
            let finished = finish(batch);
            lake.add(&finished, now);
            for id in &finished.ids {
                let repeated = committed.get(&id[..]).is_some_and(|at| now - at < HOUR);
                assert!(!repeated, "seed {seed} round {round}: written again within the hour");
            }
            // A commit that fails tells nobody; the rows must come again.
            if rng.random_bool(0.7) {
                lake.compare(&finished, &expected);
                known.insert(&finished.ids, now);
                committed.extend(finished.ids.iter().map(|id| (id.to_vec(), now)));
                for (dataset, name) in [
                    (Dataset::Spans, "resource_id"),
                    (Dataset::Logs, "resource_id"),
                    (Dataset::MetricSeries, "resource_id"),
                    (Dataset::MetricSamples, "series_id"),
                    (Dataset::MetricHistograms, "series_id"),
                    (Dataset::Exemplars, "series_id"),
                ] {
                    for row in finished.of(dataset) {
                        let Some(Cell::Bytes(id)) = row.get(name) else {
                            panic!("{dataset} lacks {name}")
                        };
                        assert!(
                            now - committed[id] < HOUR,
                            "seed {seed} round {round}: {dataset} points at nothing"
                        );
                    }
                }
            }
            now += rng.random_range(0..HOUR / 3);
        }
    }
}

#[test]
fn a_resource_is_written_once_until_an_hour_has_passed() {
    let known = KnownIds::default();
    let mut batch = TenantBatch::default();
    let mut written = |now: i64, commit: bool| {
        for _ in 0..3 {
            let context = super::Context { now, ..context(&known) };
            batch.append(Signal::Traces, &spans_of("shop"), context).unwrap();
        }
        let finished = finish(&mut batch);
        if commit {
            known.insert(&finished.ids, now);
        }
        (finished.of(Dataset::Resources).len(), finished.of(Dataset::Spans).len())
    };
    assert_eq!(written(NOW, false), (1, 3), "not committed: comes again");
    assert_eq!(written(NOW + 1, true), (1, 3));
    assert_eq!(written(NOW + 2, true), (0, 3));
    assert_eq!(written(NOW + HOUR, true), (0, 3), "an hour less one nanosecond");
    assert_eq!(written(NOW + HOUR + 1, true), (1, 3));
    assert_eq!(written(NOW + HOUR + 2, true), (0, 3));
    assert_eq!(written(NOW - HOUR, true), (1, 3), "the clock was set back");
}

#[test]
fn rejected_requests_leave_nothing_behind() {
    let known = KnownIds::default();
    let mut batch = TenantBatch::default();
    let mut request = spans_of("shop");
    let len = request.len();
    // Cut inside the span: the resource before it was already read.
    request.truncate(len - 3);
    assert!(batch.append(Signal::Traces, &request, context(&known)).is_err());
    assert!(batch.is_empty());
    let finished = finish(&mut batch);
    assert!(finished.rows.is_empty() && finished.ids.is_empty());
    batch
        .append(Signal::Traces, &spans_of("shop"), context(&known))
        .unwrap();
    assert_eq!(finish(&mut batch).of(Dataset::Resources).len(), 1);
}
