//! The load is what it claims to be.

use std::collections::{BTreeMap, HashMap, HashSet};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use super::metrics::{HISTOGRAM_SAMPLES, PROCESSES, SAMPLES_PER_PROCESS};
use super::spans::Spans;
use super::{Plan, Signal};

fn plan(items: u64) -> Plan {
    Plan {
        seed: 7,
        items,
        start: 1_750_000_000_000_000_000,
        rate: 20_000.0,
    }
}

fn spans(items: u64) -> Vec<Span> {
    Signal::Traces
        .requests(plan(items))
        .flat_map(|request| {
            ExportTraceServiceRequest::decode(request.bytes)
                .expect("own bytes decode")
                .resource_spans
        })
        .flat_map(|resource| resource.scope_spans)
        .flat_map(|scope| scope.spans)
        .collect()
}

#[test]
fn equal_seeds_give_equal_loads() {
    for signal in Signal::ALL {
        let once: Vec<_> = signal.requests(plan(5_000)).map(|request| request.bytes).collect();
        let again: Vec<_> = signal.requests(plan(5_000)).map(|request| request.bytes).collect();
        let other: Vec<_> = signal
            .requests(Plan { seed: 8, ..plan(5_000) })
            .map(|request| request.bytes)
            .collect();
        assert_eq!(once, again, "{signal:?}");
        assert_ne!(once, other, "{signal:?}");
    }
}

#[test]
fn sizes_are_at_least_those_of_the_neutral_load() {
    let mut wrong = Vec::new();
    for signal in Signal::ALL {
        let (mut raw, mut packed, mut items) = (0usize, 0usize, 0u64);
        for request in signal.requests(plan(200_000)) {
            raw += request.bytes.len();
            packed += zstd::bulk::compress(&request.bytes, 1).expect("zstd compresses").len();
            items += u64::from(request.items);
        }
        let expected = signal.expected();
        let (raw, packed) = (raw as f64 / items as f64, packed as f64 / items as f64);
        let close = (raw / expected.raw - 1.0).abs() < 0.04;
        if !close || packed < expected.zstd_least || packed > expected.zstd_least * 1.3 {
            wrong.push(format!(
                "{signal:?}: {raw:.1} B raw, {packed:.2} B zstd; neutral load: {expected:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn traces_are_whole_and_nested() {
    let generator = Spans::new(plan(40_000));
    let known = generator.known();
    assert!(generator.count() > 40, "requests hold 200 to 1,000 spans");
    let mut traces: HashMap<Vec<u8>, BTreeMap<Vec<u8>, Span>> = HashMap::new();
    let all = spans(40_000);
    let total = all.len();
    let (mut failed, mut attributes) = (0, 0);
    for span in all {
        assert!(span.end_time_unix_nano > span.start_time_unix_nano);
        assert!(
            (6..=14).contains(&span.attributes.len()),
            "{} has {}",
            span.name,
            span.attributes.len()
        );
        let keys: HashSet<_> = span.attributes.iter().map(|attribute| &attribute.key).collect();
        assert_eq!(keys.len(), span.attributes.len(), "attribute keys are unique");
        failed += usize::from(span.status.is_some());
        attributes += span.attributes.len();
        let trace = traces.entry(span.trace_id.clone()).or_default();
        assert!(
            trace.insert(span.span_id.clone(), span).is_none(),
            "span ids are unique"
        );
    }
    let share = failed as f64 / total as f64;
    assert!((0.01..0.035).contains(&share), "{share} of the spans failed");
    assert!((8.0..12.0).contains(&(attributes as f64 / total as f64)));
    for trace in traces.values() {
        assert!((3..=60).contains(&trace.len()), "{} spans", trace.len());
        assert_eq!(trace.values().filter(|span| span.parent_span_id.is_empty()).count(), 1);
        for span in trace.values().filter(|span| !span.parent_span_id.is_empty()) {
            let parent = &trace[&span.parent_span_id];
            assert!(span.start_time_unix_nano >= parent.start_time_unix_nano);
        }
    }
    for trace in known.lock().expect("not poisoned").iter() {
        assert_eq!(traces[&trace.id.to_vec()].len(), trace.spans as usize);
    }
}

#[test]
fn a_trace_comes_in_several_requests_of_a_few_resources() {
    let mut seen: HashMap<Vec<u8>, HashSet<usize>> = HashMap::new();
    let mut spans_of: HashMap<Vec<u8>, usize> = HashMap::new();
    for (number, request) in Signal::Traces.requests(plan(100_000)).enumerate() {
        let decoded = ExportTraceServiceRequest::decode(request.bytes).expect("own bytes decode");
        assert!((1..=4).contains(&decoded.resource_spans.len()));
        assert!(request.items <= 1000);
        for span in decoded
            .resource_spans
            .into_iter()
            .flat_map(|r| r.scope_spans)
            .flat_map(|s| s.spans)
        {
            *spans_of.entry(span.trace_id.clone()).or_default() += 1;
            seen.entry(span.trace_id).or_default().insert(number);
        }
    }
    let scattered = seen
        .iter()
        .filter(|(id, requests)| spans_of[*id] > 10 && requests.len() > 2)
        .count();
    let large = spans_of.values().filter(|count| **count > 10).count();
    assert!(scattered * 10 > large * 8, "{scattered} of {large}");
}

#[test]
fn log_records_are_counted_and_partly_traced() {
    let (mut records, mut traced, mut body) = (0u64, 0u64, 0usize);
    for request in Signal::Logs.requests(plan(30_000)) {
        let decoded = ExportLogsServiceRequest::decode(request.bytes).expect("own bytes decode");
        let mut inside = 0;
        for record in decoded
            .resource_logs
            .into_iter()
            .flat_map(|r| r.scope_logs)
            .flat_map(|s| s.log_records)
        {
            inside += 1;
            traced += u64::from(record.trace_id.len() == 16);
            body += format!("{:?}", record.body).len() - "Some(AnyValue { value: Some(StringValue(\"\")) })".len();
        }
        assert_eq!(inside, request.items);
        records += u64::from(inside);
    }
    assert!(records >= 30_000);
    assert!((0.5..0.7).contains(&(traced as f64 / records as f64)));
    assert!(
        (85.0..115.0).contains(&(body as f64 / records as f64)),
        "{} B a body",
        body as f64 / records as f64
    );
}

#[test]
fn metrics_have_19440_series_at_shared_instants() {
    let ticks = 3;
    let per_tick = PROCESSES as u64 * u64::from(SAMPLES_PER_PROCESS);
    assert_eq!(per_tick, 19_440);
    let mut samples = 0u64;
    let mut last: HashMap<String, u64> = HashMap::new();
    for request in Signal::Metrics.requests(plan(ticks * per_tick)) {
        let decoded = ExportMetricsServiceRequest::decode(request.bytes).expect("own bytes decode");
        let mut inside = 0;
        for resource in decoded.resource_metrics {
            let process = format!("{:?}", resource.resource);
            let mut times = HashSet::new();
            for metric in resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
                match metric.data.expect("every metric has data") {
                    Data::Histogram(data) => {
                        for point in data.data_points {
                            assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
                            assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
                            times.insert(point.time_unix_nano);
                            inside += HISTOGRAM_SAMPLES;
                        }
                    }
                    Data::Sum(data) => {
                        inside += data.data_points.len() as u32;
                        times.extend(data.data_points.iter().map(|point| point.time_unix_nano));
                    }
                    Data::Gauge(data) => {
                        inside += data.data_points.len() as u32;
                        times.extend(data.data_points.iter().map(|point| point.time_unix_nano));
                    }
                    other => panic!("the load has no {other:?}"),
                }
            }
            assert_eq!(times.len(), 1, "a process exports at one instant");
            let time = times.into_iter().next().expect("one");
            let before = last.insert(process, time);
            assert!(before.is_none_or(|before| time > before + 14_900_000_000));
        }
        assert_eq!(inside, request.items);
        samples += u64::from(inside);
    }
    assert_eq!(samples, ticks * per_tick);
    assert_eq!(last.len(), PROCESSES);
}
