//! An ingest that runs, requests to send it, and what is stored of them.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use bytes::Bytes;
use catalog::{Access, Catalog, CatalogUrl, ConnectOptions, Fate, Gate, Pass};
use ingest::{Ingest, IngestOptions};
use lake::{CacheSizes, Lake};
use limits::Limits;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use schema::{Dataset, ManualClock, TenantId};
use telemetry::Telemetry;
use tempfile::TempDir;
use testkit::faulty::FaultyStore;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// 2026-03-01, ns.
pub const NOW: i64 = 1_772_366_400_000_000_000;

/// What processes share.
pub struct World {
    pub store: FaultyStore,
    pub clock: Arc<ManualClock>,
    directory: TempDir,
}

/// One process: its ingest, and the task that commits.
pub struct Process {
    pub ingest: Ingest,
    pub lake: Lake,
    pub committer: JoinHandle<()>,
}

impl World {
    pub fn new() -> Self {
        Self {
            store: FaultyStore::default(),
            clock: Arc::new(ManualClock::new(NOW)),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub async fn process(&self, name: &str, options: IngestOptions) -> Process {
        self.process_behind(name, options, None).await
    }

    /// A process whose catalog asks `gate` before each operation.
    pub async fn process_behind(&self, name: &str, options: IngestOptions, gate: Option<Arc<dyn Gate>>) -> Process {
        let path = self.directory.path().join("catalog.db");
        let url = CatalogUrl::parse(&format!("sqlite://{}", path.display())).unwrap();
        let catalog = Catalog::connect(&url, ConnectOptions::default()).await.unwrap();
        catalog.migrate().await.unwrap();
        let catalog = gate.map_or(catalog.clone(), |gate| catalog.gated(gate));
        let telemetry = Telemetry::new("test", "0");
        let lake = Lake::new(
            Arc::new(self.store.clone()),
            catalog,
            self.clock.clone(),
            name.to_owned(),
            CacheSizes::split(16 << 20, false),
            telemetry.clone(),
        );
        let ingest = Ingest::new(lake.clone(), options, telemetry);
        let committing = ingest.clone();
        Process {
            ingest,
            lake,
            committer: tokio::spawn(async move { committing.run().await }),
        }
    }
}

/// A catalog that answers nothing until it is opened.
#[derive(Debug, Default)]
pub struct Shut {
    open: watch::Sender<bool>,
}

impl Shut {
    pub fn open(&self) {
        self.open.send_replace(true);
    }
}

impl Gate for Shut {
    fn enter(&self, _: Access) -> Pin<Box<dyn Future<Output = Pass> + Send + '_>> {
        Box::pin(async {
            self.open.subscribe().wait_for(|open| *open).await.unwrap();
            Pass {
                fate: Fate::Happens,
                under_way: Box::new(()),
            }
        })
    }
}

pub fn options() -> IngestOptions {
    IngestOptions {
        max_request_bytes: 1 << 20,
        max_decompressed_bytes: 4 << 20,
        max_depth: 64,
        max_attribute_columns: 256,
        max_pending_bytes: 8 << 20,
        dedupe_window: Duration::from_secs(600),
        min_interval: Duration::from_millis(1),
        max_commit_bytes: 32 << 20,
        pipeline: 2,
        limits: Limits::default(),
    }
}

pub fn tenant() -> TenantId {
    TenantId::default()
}

impl Process {
    /// Names of the stored spans with their attributes, sorted; attributes without a column are in the map too.
    pub async fn spans(&self) -> Vec<(String, BTreeMap<String, String>)> {
        let mut found = Vec::new();
        let snapshot = self.lake.snapshot(&tenant(), &[Dataset::Spans], None).await.unwrap();
        for slice in self.lake.slices(&snapshot.slices).await.unwrap() {
            let batch = slice.to_dense().unwrap();
            let texts = batch
                .schema()
                .fields()
                .iter()
                .zip(batch.columns())
                .filter(|(field, _)| {
                    let name = field.name();
                    name == "name" || name == "attributes_rest" || name.starts_with("attr.")
                })
                .filter_map(|(field, array)| {
                    let text = arrow::compute::cast(array, &arrow::datatypes::DataType::Utf8).ok()?;
                    Some((field.name().clone(), text))
                })
                .collect::<Vec<_>>();
            for row in 0..batch.num_rows() {
                let mut cells = texts
                    .iter()
                    .map(|(name, text)| (name.clone(), text.as_string::<i32>()))
                    .filter(|(_, text)| arrow::array::Array::is_valid(text, row))
                    .map(|(name, text)| (name, text.value(row).to_owned()))
                    .collect::<BTreeMap<_, _>>();
                found.push((cells.remove("name").unwrap(), cells));
            }
        }
        found.sort();
        found
    }

    pub async fn names(&self) -> Vec<String> {
        self.spans().await.into_iter().map(|(name, _)| name).collect()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.to_owned())),
        }),
        ..Default::default()
    }
}

fn resource() -> Option<Resource> {
    Some(Resource {
        attributes: vec![text("service.name", "shop")],
        ..Default::default()
    })
}

/// A valid span; its ids follow from its name.
pub fn span(name: &str, attributes: &[(&str, &str)]) -> Span {
    let hash = xxhash_rust::xxh3::xxh3_128(name.as_bytes()) | 1 << 64 | 1;
    Span {
        trace_id: hash.to_be_bytes().to_vec(),
        span_id: hash.to_be_bytes()[8..].to_vec(),
        name: name.to_owned(),
        start_time_unix_nano: NOW as u64,
        end_time_unix_nano: NOW as u64 + 1000,
        attributes: attributes.iter().map(|(key, value)| text(key, value)).collect(),
        ..Default::default()
    }
}

pub fn traces(spans: Vec<Span>) -> Bytes {
    let scope_spans = vec![ScopeSpans {
        spans,
        ..Default::default()
    }];
    let resource_spans = vec![ResourceSpans {
        resource: resource(),
        scope_spans,
        ..Default::default()
    }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec().into()
}

/// A request of one span of about so many bytes.
pub fn large(name: &str, bytes: usize) -> Bytes {
    traces(vec![span(name, &[("filler", &"x".repeat(bytes))])])
}

pub fn logs(bodies: &[&str]) -> Bytes {
    let record = |body: &&str| LogRecord {
        time_unix_nano: NOW as u64,
        body: text("", body).value,
        ..Default::default()
    };
    let scope_logs = vec![ScopeLogs {
        log_records: bodies.iter().map(record).collect(),
        ..Default::default()
    }];
    let resource_logs = vec![ResourceLogs {
        resource: resource(),
        scope_logs,
        ..Default::default()
    }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec().into()
}

pub fn metrics(names: &[&str]) -> Bytes {
    let metric = |name: &&str| Metric {
        name: (*name).to_owned(),
        data: Some(Data::Gauge(Gauge {
            data_points: vec![NumberDataPoint {
                time_unix_nano: NOW as u64,
                value: Some(number_data_point::Value::AsDouble(0.5)),
                ..Default::default()
            }],
        })),
        ..Default::default()
    };
    let scope_metrics = vec![ScopeMetrics {
        metrics: names.iter().map(metric).collect(),
        ..Default::default()
    }];
    let resource_metrics = vec![ResourceMetrics {
        resource: resource(),
        scope_metrics,
        ..Default::default()
    }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec().into()
}
