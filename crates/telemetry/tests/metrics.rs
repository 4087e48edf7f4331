//! What a scrape shows after things have happened.

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use schema::Dataset;
use telemetry::{
    CONTENT_TYPE, CommitPhase, CompactionRun, LogFormat, LoggingError, QueryStatus, RequestStatus, Signal, StoreStatus,
    Stored, Telemetry, Transport, init_logging,
};

const MS: Duration = Duration::from_millis(1);

fn telemetry() -> Telemetry {
    Telemetry::with_reader("otlp-rust", "1.2.3", |path| match path.to_str() {
        Some("/proc/self/status") => Ok("VmRSS:\t2048 kB\n".to_owned()),
        Some("/proc/self/stat") => {
            Ok("1 (x) S 1 1 1 0 -1 0 0 0 0 0 250 150 0 0 20 0 8 0 12345 1000000 200 1844".to_owned())
        }
        Some("/proc/stat") => Ok("btime 1700000000\n".to_owned()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    })
}

fn everything() -> Telemetry {
    let t = telemetry();
    t.request(Signal::Traces, Transport::Grpc, RequestStatus::Ok, 7 * MS, 100);
    t.request(
        Signal::Traces,
        Transport::Grpc,
        RequestStatus::PartialSuccess,
        7 * MS,
        50,
    );
    t.rows(Dataset::Spans, 5);
    t.rejected(Signal::Logs, "too_deep", 3);
    t.set_pending_bytes(1234);
    t.set_memory(4000, 5000, true);
    t.set_memory_use("ingest", 321);
    t.commit(9 * MS);
    for phase in CommitPhase::ALL {
        t.commit_phase(*phase, 3 * MS);
    }
    let stored = Stored {
        slices: 2,
        slice_rows: 10,
        slice_bytes: 400,
        oldest_slice: Some(1_700_000_000),
        parts: 3,
        part_rows: 1000,
        part_bytes: 9000,
    };
    t.set_stored(Dataset::Logs, &stored);
    t.set_catalog_up(true);
    t.compaction(CompactionRun {
        duration: 40 * MS,
        rows: 100,
        input_bytes: 900,
        output_bytes: 300,
    });
    t.duplicates_dropped(Dataset::Spans, 7);
    t.compaction_failed(MS);
    t.retention_rows_deleted(Dataset::Spans, 11);
    t.retention_bytes_deleted(Dataset::Spans, 22);
    t.set_retention(Dataset::Logs, 44, 1_700_000_000);
    t.deletion_rows(Dataset::Logs, 5);
    t.gc_deleted(3, 33);
    t.cache_hit("slices");
    t.cache_miss("slices");
    t.set_cache_bytes("slices", 77);
    t.catalog_operation("commit_segment", 4 * MS);
    t.store_operation("put", StoreStatus::Ok, 2 * MS);
    t.store_operation("get", StoreStatus::NotFound, 2 * MS);
    t.query("sql", QueryStatus::Ok, 12 * MS);
    t
}

#[test]
fn every_event_shows_in_the_scrape() {
    let text = everything().render();
    for line in [
        r#"otlp_requests_total{service="otlp-rust",signal="traces",transport="grpc",status="ok"} 1"#,
        r#"otlp_requests_total{service="otlp-rust",signal="traces",transport="grpc",status="partial_success"} 1"#,
        r#"otlp_requests_total{service="otlp-rust",signal="logs",transport="http",status="unavailable"} 0"#,
        r#"otlp_request_duration_seconds_count{signal="traces",transport="grpc"} 2"#,
        r#"otlp_request_duration_seconds_bucket{le="0.005",signal="traces",transport="grpc"} 0"#,
        r#"otlp_request_duration_seconds_bucket{le="0.01",signal="traces",transport="grpc"} 2"#,
        r#"otlp_received_bytes_total{signal="traces",transport="grpc"} 150"#,
        r#"otlp_rows_total{dataset="spans"} 5"#,
        r#"otlp_rejected_items_total{signal="logs",reason="too_deep"} 3"#,
        "otlp_pending_bytes 1234",
        "otlp_commit_duration_seconds_count 1",
        r#"otlp_commit_phase_seconds_count{phase="encode"} 1"#,
        r#"otlp_commit_phase_seconds_count{phase="put"} 1"#,
        r#"otlp_commit_phase_seconds_count{phase="catalog"} 1"#,
        r#"otlp_backlog_rows{dataset="logs"} 10"#,
        r#"otlp_backlog_slices{dataset="logs"} 2"#,
        r#"otlp_backlog_bytes{dataset="logs"} 400"#,
        r#"otlp_backlog_oldest_timestamp_seconds{dataset="logs"} 1700000000"#,
        r#"otlp_parts{dataset="logs"} 3"#,
        r#"otlp_part_rows{dataset="logs"} 1000"#,
        r#"otlp_part_bytes{dataset="logs"} 9000"#,
        "otlp_catalog_up{} 1",
        "otlp_compaction_runs_total 1",
        "otlp_memory_resident_bytes 4000",
        "otlp_memory_limit_bytes 5000",
        "otlp_memory_pressed 1",
        r#"otlp_memory_reserved_bytes{of="ingest"} 321"#,
        "otlp_compaction_failures_total 1",
        "otlp_compaction_duration_seconds_count 2",
        "otlp_compaction_rows_total 100",
        "otlp_compaction_duplicates_total{dataset=\"spans\"} 7",
        "otlp_compaction_input_bytes_total 900",
        "otlp_compaction_output_bytes_total 300",
        r#"otlp_retention_rows_deleted_total{dataset="spans"} 11"#,
        r#"otlp_retention_bytes_deleted_total{dataset="spans"} 22"#,
        r#"otlp_retention_bytes_due{dataset="logs"} 44"#,
        r#"otlp_retention_proof_timestamp_seconds{dataset="logs"} 1700000000"#,
        r#"otlp_deletion_rows_total{dataset="logs"} 5"#,
        "otlp_gc_objects_deleted_total 3",
        "otlp_gc_bytes_deleted_total 33",
        r#"otlp_cache_hits_total{cache="slices"} 1"#,
        r#"otlp_cache_misses_total{cache="slices"} 1"#,
        r#"otlp_cache_bytes{cache="slices"} 77"#,
        r#"otlp_catalog_operation_seconds_count{operation="commit_segment"} 1"#,
        r#"otlp_store_operation_seconds_count{operation="put"} 1"#,
        r#"otlp_store_operations_total{operation="get",status="not_found"} 1"#,
        r#"otlp_store_operations_total{operation="put",status="error"} 0"#,
        r#"otlp_query_duration_seconds_count{api="sql"} 1"#,
        r#"otlp_queries_total{api="sql",status="ok"} 1"#,
        r#"otlp_queries_total{api="sql",status="error"} 0"#,
        r#"otlp_build_info{version="1.2.3"} 1"#,
        "process_resident_memory_bytes 2097152.0",
        "process_cpu_seconds_total 4.0",
        "process_start_time_seconds 1700000123.45",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
    }
}

/// The rules of OpenMetrics 1.0 that Prometheus stumbles over: one TYPE and HELP a family, before its samples, no
/// sample twice, `# EOF` at the end.
#[test]
fn the_text_is_well_formed() {
    let text = everything().render();
    assert!(text.ends_with("# EOF\n"));
    assert!(CONTENT_TYPE.starts_with("application/openmetrics-text; version=1.0.0"));
    let (mut families, mut samples, mut family) = (HashSet::new(), HashSet::new(), "");
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            family = rest.split(' ').next().unwrap();
            assert!(families.insert(family), "{family} stands twice");
            assert!(rest.ends_with('.'), "{line}");
        } else if line.starts_with('#') {
            assert!(line.starts_with(&format!("# TYPE {family} ")), "{line}");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(series.starts_with(family), "{line} under {family}");
            assert!(samples.insert(series), "{series} stands twice");
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
    assert_eq!(families.len(), 46);
}

#[test]
fn without_a_backlog_there_is_no_oldest_slice() {
    let t = telemetry();
    let some = Stored {
        slices: 1,
        oldest_slice: Some(5),
        ..Stored::default()
    };
    t.set_stored(Dataset::Spans, &some);
    t.set_stored(Dataset::Spans, &Stored::default());
    let text = t.render();
    assert!(text.contains("otlp_backlog_slices{dataset=\"spans\"} 0\n"), "{text}");
    assert!(!text.contains("otlp_backlog_oldest_timestamp_seconds{"), "{text}");
}

#[test]
fn clones_record_into_one_registry() {
    let (a, b) = (telemetry(), telemetry());
    a.clone().rows(Dataset::Logs, 1);
    a.rows(Dataset::Logs, 1);
    assert!(a.render().contains("otlp_rows_total{dataset=\"logs\"} 2\n"));
    assert!(b.render().contains("otlp_rows_total{dataset=\"logs\"} 0\n"));
}

#[test]
fn without_proc_the_rest_is_still_there() {
    let t = Telemetry::with_reader(&"ü\"\n".repeat(100), "x", |_| {
        Err(io::Error::from(io::ErrorKind::NotFound))
    });
    let text = t.render();
    assert!(!text.contains("process_") && text.ends_with("# EOF\n"), "{text}");
    assert!(text.contains("otlp_build_info"));
}

#[test]
fn this_machine_can_be_read() {
    let text = Telemetry::new("otlp-rust", "0").render();
    if cfg!(target_os = "linux") {
        for name in [
            "\nprocess_resident_memory_bytes ",
            "\nprocess_cpu_seconds_total ",
            "\nprocess_start_time_seconds ",
        ] {
            assert!(text.contains(name), "{name} is missing in\n{text}");
        }
    }
}

#[test]
fn the_log_is_set_up_once_and_says_why_not() {
    let error = init_logging("info,lake=loud", LogFormat::Text).unwrap_err();
    assert!(error.to_string().contains("info,lake=debug"), "{error}");
    init_logging("warn,telemetry=debug", LogFormat::Json).unwrap();
    tracing::warn!(answer = 42, "a line");
    assert!(matches!(
        init_logging("info", LogFormat::Text),
        Err(LoggingError::AlreadySetUp(_))
    ));
}

#[test]
fn a_gauge_beyond_i64_does_not_break_the_scrape() {
    let t = telemetry();
    t.set_pending_bytes(u64::MAX);
    t.set_cache_bytes("slices", u64::MAX);
    let text = t.render();
    assert!(
        text.contains("otlp_pending_bytes 9223372036854775807\n") && text.ends_with("# EOF\n"),
        "{text}"
    );
}
