//! Attributes that get no column are complete in `attributes_rest`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prost::Message;
use schema::Dataset;
use schema::columns::AttributeType;
use serde_json::Value;

use super::differential::{Expected, Lake};
use super::messages::Messages;
use super::rows::{Cell, finish};
use super::{NOW, context};
use crate::columns::{ColumnAdmission, RestOnly};
use crate::decode::{Admissions, Context, KnownIds, TenantBatch};
use crate::encode::protobuf;
use crate::model::{
    AnyValue, Gauge, KeyValue, LogRecord, Metric, MetricData, Number, NumberDataPoint, ResourceLogs, ResourceMetrics,
    ScopeLogs, ScopeMetrics, Signal,
};

/// Admits what a function says.
struct Rule(fn(&str) -> bool);

impl ColumnAdmission for Rule {
    fn admit(&self, physical_name: &str, kind: AttributeType) -> bool {
        assert!(physical_name.ends_with(kind.suffix()));
        (self.0)(physical_name)
    }
}

impl Admissions for Rule {
    fn for_dataset(&self, _: Dataset) -> &dyn ColumnAdmission {
        self
    }
}

#[test]
fn any_admission_keeps_every_value() {
    let rules: [fn(&str) -> bool; 4] = [
        |_| false,
        |name| name.starts_with("scope."),
        |name| name.ends_with(":int"),
        |name| !name.contains("user"),
    ];
    for (seed, rule) in (0..20).flat_map(|seed| rules.map(|rule| (seed, rule))) {
        let known = KnownIds::default();
        let mut messages = Messages::new(seed + 1000);
        let mut batch = TenantBatch::default();
        let context = Context {
            admissions: &Rule(rule),
            ..context(&known)
        };
        let mut expected = Expected::default();
        let traces = messages.traces().encode_to_vec();
        let logs = messages.logs().encode_to_vec();
        let metrics = messages.metrics().encode_to_vec();
        expected.traces(&traces, &rule);
        expected.logs(&logs, NOW, &rule);
        expected.metrics(&metrics, &rule);
        batch.append(Signal::Traces, &traces, context).unwrap();
        batch.append(Signal::Logs, &logs, context).unwrap();
        batch.append(Signal::Metrics, &metrics, context).unwrap();
        let finished = finish(&mut batch);
        let mut lake = Lake::default();
        lake.add(&finished, NOW);
        lake.compare(&finished, &expected);
    }
}

#[test]
fn ten_thousand_keys_fit_into_the_rest() {
    struct First(AtomicUsize);
    impl ColumnAdmission for First {
        fn admit(&self, _: &str, _: AttributeType) -> bool {
            self.0.fetch_add(1, Ordering::Relaxed) < 100
        }
    }
    impl Admissions for First {
        fn for_dataset(&self, dataset: Dataset) -> &dyn ColumnAdmission {
            if dataset == Dataset::Logs { self } else { &RestOnly }
        }
    }
    let admissions = First(0.into());
    let known = KnownIds::default();
    let mut batch = TenantBatch::default();
    for _ in 0..3 {
        let attributes = (0..10_000)
            .map(|i| KeyValue::new(format!("key.{i}"), AnyValue::Int(i)))
            .collect();
        let log_records = vec![LogRecord {
            attributes,
            ..LogRecord::default()
        }];
        let scope_logs = vec![ScopeLogs {
            log_records,
            ..ScopeLogs::default()
        }];
        let request = protobuf::encode_logs(&[ResourceLogs {
            scope_logs,
            ..ResourceLogs::default()
        }]);
        let outcome = batch.append(
            Signal::Logs,
            &request,
            Context {
                admissions: &admissions,
                ..context(&known)
            },
        );
        assert_eq!(outcome.unwrap().accepted, 1);
        let finished = finish(&mut batch);
        let row = &finished.of(Dataset::Logs)[0];
        let Some(Cell::Json(Value::Object(rest))) = row.get("attributes_rest") else {
            panic!("{row:?}")
        };
        let columns = row.keys().filter(|name| name.starts_with("attr.")).count();
        assert_eq!(columns + rest.len(), 10_000);
        assert!(rest.len() >= 9_900);
        assert!(
            rest.iter()
                .all(|(key, value)| key.strip_prefix("key.") == Some(&value.to_string()))
        );
    }
}

/// What limits on series and keys have not heard of for somewhat more than an hour counts as gone.
#[test]
fn series_and_keys_in_use_are_asked_about_once_an_hour() {
    #[derive(Default)]
    struct Asked {
        keys: AtomicUsize,
        series: AtomicUsize,
    }
    impl ColumnAdmission for Asked {
        fn admit(&self, _: &str, _: AttributeType) -> bool {
            true
        }
        fn admit_key(&self, _: &[u8]) -> Result<(), Arc<str>> {
            self.keys.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }
    impl Admissions for Asked {
        fn for_dataset(&self, _: Dataset) -> &dyn ColumnAdmission {
            self
        }
        fn admit_series(&self, _: &[u8; 16]) -> Result<(), Arc<str>> {
            self.series.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }
    let asked = Asked::default();
    let known = KnownIds::default();
    let data_points = (0..3).map(|n| NumberDataPoint {
        attributes: vec![KeyValue::new("route", AnyValue::Int(n))],
        value: Some(Number::Int(n)),
        ..NumberDataPoint::default()
    });
    let metrics = vec![Metric {
        name: "requests".to_owned(),
        data: Some(MetricData::Gauge(Gauge {
            data_points: data_points.collect(),
        })),
        ..Metric::default()
    }];
    let scope_metrics = vec![ScopeMetrics {
        metrics,
        ..ScopeMetrics::default()
    }];
    let request = protobuf::encode_metrics(&[ResourceMetrics {
        scope_metrics,
        ..ResourceMetrics::default()
    }]);
    let mut batch = TenantBatch::default();
    let mut send = |minutes: i64| {
        let now = NOW + minutes * 60_000_000_000;
        let context = Context {
            admissions: &asked,
            now,
            ..context(&known)
        };
        batch.append(Signal::Metrics, &request, context).unwrap();
        let (_, ids) = batch.finish().unwrap();
        known.insert(&ids, now);
        (
            asked.keys.swap(0, Ordering::Relaxed),
            asked.series.swap(0, Ordering::Relaxed),
        )
    };
    assert_eq!(send(0), (1, 3));
    assert_eq!(send(30), (0, 0));
    assert_eq!(send(61), (1, 3));
}
