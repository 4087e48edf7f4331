//! Random requests through prost and the second mapping, against the same bytes through the decoder.

use std::collections::HashMap;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use schema::Dataset;

use super::expected::{self, Admit, Parents, Point};
use super::messages::Messages;
use super::rows::{Cell, Finish, Row, finish, same_row};
use super::{NOW, context};
use crate::decode::{KnownIds, Outcome, TenantBatch, series_prefix};
use crate::model::Signal;

/// What must come back, with the rows that ids refer to in their place.
#[derive(Debug, Default)]
pub struct Expected {
    pub spans: Vec<Joined>,
    pub logs: Vec<Joined>,
    pub samples: Vec<Joined>,
    pub histograms: Vec<Joined>,
    pub exemplars: Vec<Joined>,
    pub rejected: u64,
}

/// A row and what its id refers to: a resource, or a series and its resource.
#[derive(Debug, Clone)]
pub struct Joined {
    row: Row,
    series: Option<Row>,
    resource: Row,
}

struct Group<'a> {
    parents: Parents<'a>,
    resource: Row,
}

fn group<'a>(
    resource: &'a Resource,
    url: &str,
    scope: &'a InstrumentationScope,
    schema_url: &'a str,
    admit: Admit<'_>,
) -> Group<'a> {
    Group {
        parents: Parents {
            resource,
            scope,
            schema_url,
        },
        resource: expected::resource(resource, url, admit),
    }
}

impl Expected {
    pub fn accepted(&self) -> usize {
        self.spans.len() + self.logs.len() + self.samples.len() + self.histograms.len()
    }

    fn item(&mut self, row: Option<Row>, group: &Group<'_>, to: fn(&mut Self) -> &mut Vec<Joined>) {
        match row {
            Some(row) => to(self).push(Joined {
                row,
                series: None,
                resource: group.resource.clone(),
            }),
            None => self.rejected += 1,
        }
    }

    pub fn traces(&mut self, bytes: &[u8], admit: Admit<'_>) {
        for spans in ExportTraceServiceRequest::decode(bytes).unwrap().resource_spans {
            let resource = spans.resource.unwrap_or_default();
            for scoped in spans.scope_spans {
                let scope = scoped.scope.unwrap_or_default();
                let group = group(&resource, &spans.schema_url, &scope, &scoped.schema_url, admit);
                for span in scoped.spans {
                    self.item(expected::span(&span, &group.parents, admit), &group, |e| &mut e.spans);
                }
            }
        }
    }

    pub fn logs(&mut self, bytes: &[u8], now: i64, admit: Admit<'_>) {
        for logs in ExportLogsServiceRequest::decode(bytes).unwrap().resource_logs {
            let resource = logs.resource.unwrap_or_default();
            for scoped in logs.scope_logs {
                let scope = scoped.scope.unwrap_or_default();
                let group = group(&resource, &logs.schema_url, &scope, &scoped.schema_url, admit);
                for record in scoped.log_records {
                    self.item(expected::log(&record, &group.parents, now, admit), &group, |e| {
                        &mut e.logs
                    });
                }
            }
        }
    }

    pub fn metrics(&mut self, bytes: &[u8], admit: Admit<'_>) {
        for metrics in ExportMetricsServiceRequest::decode(bytes).unwrap().resource_metrics {
            let resource = metrics.resource.unwrap_or_default();
            for scoped in metrics.scope_metrics {
                let scope = scoped.scope.unwrap_or_default();
                let group = group(&resource, &metrics.schema_url, &scope, &scoped.schema_url, admit);
                for metric in scoped.metrics {
                    self.metric(&metric, &group, admit);
                }
            }
        }
    }

    fn metric(&mut self, metric: &Metric, group: &Group<'_>, admit: Admit<'_>) {
        let mut add = |attributes: &[KeyValue], point: Option<Point>, number: bool| {
            let Some((row, exemplars)) = point else {
                self.rejected += 1;
                return;
            };
            let series = Some(expected::series(metric, attributes, &group.parents, admit));
            let joined = |row| Joined {
                row,
                series: series.clone(),
                resource: group.resource.clone(),
            };
            if number {
                &mut self.samples
            } else {
                &mut self.histograms
            }
            .push(joined(row));
            self.exemplars.extend(exemplars.into_iter().map(joined));
        };
        match metric.data.as_ref().unwrap() {
            Data::Gauge(g) => g
                .data_points
                .iter()
                .for_each(|p| add(&p.attributes, expected::number(p), true)),
            Data::Sum(s) => s
                .data_points
                .iter()
                .for_each(|p| add(&p.attributes, expected::number(p), true)),
            Data::Histogram(h) => h
                .data_points
                .iter()
                .for_each(|p| add(&p.attributes, expected::histogram(p), false)),
            Data::ExponentialHistogram(h) => {
                h.data_points
                    .iter()
                    .for_each(|p| add(&p.attributes, expected::exponential(p), false));
            }
            Data::Summary(s) => s
                .data_points
                .iter()
                .for_each(|p| add(&p.attributes, expected::summary(p), false)),
        }
    }
}

/// Resources and series by id, of all batches so far.
#[derive(Debug, Default)]
pub struct Lake {
    resources: HashMap<Vec<u8>, Row>,
    series: HashMap<Vec<u8>, Row>,
    ids: HashMap<String, Vec<u8>>,
}

fn take_id(row: &mut Row, name: &str) -> Vec<u8> {
    match row.remove(name) {
        Some(Cell::Bytes(id)) => id,
        other => panic!("{name} is {other:?}"),
    }
}

impl Lake {
    /// Takes in the rows of resources and series; one identity has one id, whenever it comes.
    pub fn add(&mut self, finished: &Finish, now: i64) {
        let mut ids = Vec::new();
        for (dataset, name) in [
            (Dataset::Resources, "resource_id"),
            (Dataset::MetricSeries, "series_id"),
        ] {
            for row in finished.of(dataset) {
                let mut row = row.clone();
                assert_eq!(row.remove("seen_at"), Some(Cell::Int(now)));
                let id = take_id(&mut row, name);
                if let Some(Cell::Text(metric)) = row.get("name") {
                    assert_eq!(id[..4], series_prefix(metric));
                }
                let first = self.ids.entry(format!("{row:?}")).or_insert_with(|| id.clone());
                assert_eq!(*first, id, "two ids for {row:?}");
                ids.push(<[u8; 16]>::try_from(&id[..]).unwrap());
                let rows = if dataset == Dataset::Resources {
                    &mut self.resources
                } else {
                    &mut self.series
                };
                if let Some(before) = rows.insert(id, row.clone()) {
                    assert_eq!(before, row, "one id for two identities");
                }
            }
        }
        let mut told = finished.ids.clone();
        told.sort_unstable();
        ids.sort_unstable();
        assert_eq!(told, ids, "finish tells the ids whose rows it gave");
        ids.dedup();
        assert_eq!(told.len(), ids.len(), "no row twice");
    }

    fn join(&self, row: &Row, of_series: bool) -> Joined {
        let mut row = row.clone();
        let mut series = of_series.then(|| self.series[&take_id(&mut row, "series_id")].clone());
        let id = take_id(series.as_mut().unwrap_or(&mut row), "resource_id");
        Joined {
            row,
            series,
            resource: self.resources[&id].clone(),
        }
    }

    /// Compares all rows of a batch, in order.
    pub fn compare(&self, finished: &Finish, expected: &Expected) {
        for (dataset, rows) in [
            (Dataset::Spans, &expected.spans),
            (Dataset::Logs, &expected.logs),
            (Dataset::MetricSamples, &expected.samples),
            (Dataset::MetricHistograms, &expected.histograms),
            (Dataset::Exemplars, &expected.exemplars),
        ] {
            let found = finished.of(dataset);
            assert_eq!(found.len(), rows.len(), "{dataset}");
            for (found, expected) in found.iter().zip(rows) {
                let found = self.join(found, expected.series.is_some());
                assert_rows(&found.row, &expected.row);
                assert_rows(&found.resource, &expected.resource);
                if let (Some(found), Some(expected)) = (&found.series, &expected.series) {
                    assert_rows(found, expected);
                }
            }
        }
    }
}

fn assert_rows(found: &Row, expected: &Row) {
    if !same_row(found, expected) {
        assert_eq!(found, expected);
        panic!("unequal JSON");
    }
}

/// Appends a random request and what it must become.
pub fn append(
    batch: &mut TenantBatch,
    messages: &mut Messages,
    signal: Signal,
    known: &KnownIds,
    now: i64,
    expected: &mut Expected,
) {
    let admit: Admit<'_> = &|_| true;
    let rejected = expected.rejected;
    let accepted = expected.accepted();
    let bytes = match signal {
        Signal::Traces => messages.traces().encode_to_vec(),
        Signal::Logs => messages.logs().encode_to_vec(),
        Signal::Metrics => messages.metrics().encode_to_vec(),
    };
    match signal {
        Signal::Traces => expected.traces(&bytes, admit),
        Signal::Logs => expected.logs(&bytes, now, admit),
        Signal::Metrics => expected.metrics(&bytes, admit),
    }
    let Outcome {
        accepted: got,
        rejected: refused,
        limited,
        reasons,
    } = batch
        .append(signal, &bytes, super::Context { now, ..context(known) })
        .unwrap();
    assert_eq!(got, (expected.accepted() - accepted) as u64, "{reasons:?}");
    assert_eq!(refused, expected.rejected - rejected, "{reasons:?}");
    assert_eq!((reasons.is_empty(), limited), (refused == 0, 0));
}

#[test]
fn every_value_comes_back_as_prost_reads_it() {
    let known = KnownIds::default();
    let (mut accepted, mut rejected) = (0, 0);
    for seed in 0..60 {
        let mut messages = Messages::new(seed);
        let mut batch = TenantBatch::default();
        let mut lake = Lake::default();
        // Several rounds of one batch, so that remembered keys, texts and series meet new ones.
        for round in 0..3 {
            let mut expected = Expected::default();
            for request in 0..(seed + round) % 5 {
                let signal = [Signal::Traces, Signal::Logs, Signal::Metrics][(seed + request) as usize % 3];
                append(&mut batch, &mut messages, signal, &known, NOW, &mut expected);
            }
            assert_eq!(batch.is_empty(), expected.accepted() == 0, "seed {seed}");
            let finished = finish(&mut batch);
            lake.add(&finished, NOW);
            lake.compare(&finished, &expected);
            accepted += expected.accepted();
            rejected += expected.rejected;
        }
    }
    assert!(
        accepted > 1_500 && rejected > 50,
        "a hollow test: {accepted} accepted, {rejected} rejected"
    );
}
