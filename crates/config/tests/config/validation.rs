use std::time::Duration;

use config::{CatalogUrl, Sources};
use schema::{Dataset, TenantId};

use super::{load_files, load_yaml, problems};

#[test]
fn values_that_are_refused() {
    let cases = [
        ("server: {role: []}", "server.role: expected all, or"),
        (
            "server: {shutdown_timeout: 0s}",
            "server.shutdown_timeout: expected a duration such as 10ms, 5s, 15m, 72h or 30d, above zero, got 0s",
        ),
        ("server: {data_dir: ''}", "server.data_dir: expected a directory"),
        (
            "server: {http: '127.0.0.1:4318'}",
            "server.otlp_http (127.0.0.1:4318) and server.http (127.0.0.1:4318) take the same port: change one (server.otlp_http from the default, server.http from file c.yaml)",
        ),
        ("server: {http: '0.0.0.0:9090'}", "take the same port"),
        (
            "postgres_wire: {enabled: true, listen: '127.0.0.1:8080'}",
            "server.http (127.0.0.1:8080) and postgres_wire.listen",
        ),
        (
            "server: {cors_allowed_origins: ['https://a.example/']}",
            "expected origins such as https://shop.example",
        ),
        (
            "store: {url: 'ftp://x'}",
            "store.url: expected file:///path, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix, got \"ftp://x\"",
        ),
        ("store: {s3: {access_key_id: x}}", "go together: give both or neither"),
        (
            "store: {s3: {endpoint: 'minio:9000'}}",
            "store.s3.endpoint: expected an http or https URL",
        ),
        (
            "store: {s3: {endpoint: 'http://minio:9000'}}",
            "set store.s3.allow_http to true",
        ),
        ("store: {url: 'az://c'}", "an az:// store needs store.azure.account"),
        (
            "catalog: {url: 'mysql://x'}",
            "catalog.url: expected sqlite:///path/catalog.db or postgres://user:password@host:5432/database",
        ),
        ("catalog: {url: 'sqlite::memory:'}", "catalog.url: expected"),
        (
            "catalog: {max_connections: 0}",
            "catalog.max_connections: expected a whole number from 1 to 1000",
        ),
        (
            "ingest: {max_depth: 300}",
            "ingest.max_depth: expected a whole number from 1 to 256",
        ),
        (
            "ingest: {max_request_bytes: 100MiB}",
            "ingest.max_request_bytes (100MiB) is larger than ingest.max_decompressed_bytes (53687090): lower it or raise",
        ),
        (
            "ingest: {max_pending_bytes: 10MiB, max_decompressed_bytes: 20MiB}",
            "ingest.max_decompressed_bytes (20MiB) is larger than 1/4 of ingest.max_pending_bytes (10MiB)",
        ),
        (
            "ingest: {max_pending_bytes: 8GiB}",
            "ingest.max_pending_bytes (8GiB) is larger than memory.limit",
        ),
        ("commit: {min_interval: 1m}", "and at most 10s, got 1m"),
        (
            "memory: {limit: 1MiB}",
            "memory.limit: expected a byte size such as 64MiB, 512MB or 1048576, of at least 64MiB, got 1MiB",
        ),
        ("compaction: {lease_ttl: 1ms}", "compaction.lease_ttl: expected"),
        ("retention: {tenants: {'a/b': {spans: 1d}}}", "invalid tenant \"a/b\""),
        ("retention: {tenants: {'': {spans: 1d}}}", "invalid tenant \"\""),
        ("limits: {tenants: {'a/b': {series: 1}}}", "invalid tenant \"a/b\""),
        ("limits: {burst: 0s}", "limits.burst: expected a duration"),
        ("limits: {series: -1}", "limits.series: expected a whole number"),
        ("redis: {url: 'http://h:6379'}", "redis.url: expected redis://"),
        ("redis: {url: 'redis://h:6379/zero'}", "redis.url: expected redis://"),
        ("redis: {prefix: 'a{b}'}", "redis.prefix: expected a text"),
        (
            "log: {level: 'info,=debug'}",
            "log.level: expected off, error, warn, info, debug or trace",
        ),
    ];
    for (yaml, expected) in cases {
        let found = problems(load_yaml(yaml));
        assert!(found.len() == 1 && found[0].contains(expected), "{yaml}: {found:#?}");
    }
}

#[test]
fn defaults_follow_what_was_given() {
    assert_eq!(
        load_yaml("store: {url: 's3://b'}").unwrap().commit.min_interval,
        Duration::from_millis(250)
    );
    assert_eq!(
        load_yaml("server: {data_dir: /d}").unwrap().catalog.url,
        CatalogUrl::Sqlite {
            path: "/d/catalog.db".into()
        }
    );
    let small = load_yaml("memory: {limit: 64MiB}").unwrap();
    assert_eq!(small.ingest.max_pending_bytes, 16 << 20);
    assert_eq!(small.ingest.max_decompressed_bytes, 4 << 20);
    assert_eq!(small.commit.max_bytes, 2 << 20);
    assert_eq!(
        load_yaml("server: {http: '127.0.0.1:0', admin: '127.0.0.1:0'}")
            .unwrap()
            .server
            .http
            .port(),
        0
    );
    assert_eq!(
        load_yaml("log: {level: 'warn,lake::scan=TRACE'}").unwrap().log.level,
        "warn,lake::scan=TRACE"
    );
}

#[test]
fn retention_falls_back_from_tenant_and_signal_to_the_default() {
    let yaml = "retention: {default: 10d, logs: 3d, tenants: {a: {default: 20d, spans: 0}, b: {metrics: 1d}, c: {}}}";
    let retention = load_yaml(yaml).unwrap().retention;
    let days = |tenant: &str, dataset| {
        retention
            .period(&TenantId::parse(tenant).unwrap(), dataset)
            .map(|p| p.as_secs() / 86_400)
    };
    assert_eq!(days("other", Dataset::Spans), Some(10));
    assert_eq!(days("other", Dataset::Logs), Some(3));
    assert_eq!(days("a", Dataset::Spans), None);
    assert_eq!(days("a", Dataset::Logs), Some(20));
    assert_eq!(
        days("a", Dataset::Resources),
        None,
        "kept with the spans that refer to them"
    );
    assert_eq!(days("b", Dataset::Logs), Some(3));
    for dataset in [
        Dataset::MetricSeries,
        Dataset::MetricSamples,
        Dataset::MetricHistograms,
        Dataset::Exemplars,
    ] {
        assert_eq!(days("b", dataset), Some(1));
    }
    assert_eq!(days("b", Dataset::Resources), Some(10));
}

#[test]
fn limits_fall_back_from_tenant_to_all_tenants_and_zero_lifts_them() {
    let yaml = "limits: {bytes_per_second: 10MiB, series: 1000, tenants: {a: {bytes_per_second: 1GiB, items_per_second: 5}, b: {series: 0}}}";
    let limits = load_yaml(yaml).unwrap().limits;
    let of = |tenant: &str| {
        let all = [
            limits.tenants.get(&TenantId::parse(tenant).unwrap()),
            Some(&limits.default),
        ];
        let allowance = all.into_iter().flatten().next().unwrap();
        (
            allowance.bytes_per_second,
            allowance.items_per_second,
            allowance.attribute_keys,
            allowance.series,
        )
    };
    assert_eq!(of("other"), (Some(10 << 20), None, None, Some(1000)));
    assert_eq!(of("a"), (Some(1 << 30), Some(5), None, Some(1000)));
    assert_eq!(of("b"), (Some(10 << 20), None, None, None));
    assert_eq!(limits.burst, Duration::from_secs(10));
    let unlimited = load_yaml("").unwrap().limits.default;
    assert_eq!((unlimited.bytes_per_second, unlimited.series), (None, None));
}

#[test]
fn secrets_come_from_files_too() {
    let yaml = "store: {s3: {access_key_id: id, secret_access_key_file: /run/s3}}\ncatalog: {url_file: /run/catalog}";
    let files = [
        ("c.yaml", yaml),
        ("/run/s3", "hunter2\n"),
        ("/run/catalog", "postgres://u:hunter2@h/db\r\n"),
    ];
    let sources = || Sources {
        file: Some("c.yaml".into()),
        ..Sources::default()
    };
    let config = load_files(sources(), &files).unwrap();
    assert_eq!(config.store.s3.secret_access_key.as_ref().unwrap().expose(), "hunter2");
    assert!(matches!(&config.catalog.url, CatalogUrl::Postgres { url, .. } if url.password() == Some("hunter2")));

    let found = problems(load_files(sources(), &files[..1]));
    assert!(
        found
            .iter()
            .any(|p| p.starts_with("cannot read /run/s3 (store.s3.secret_access_key_file)")),
        "{found:?}"
    );
    let both = problems(load_yaml("store: {azure: {access_key: x, access_key_file: y}}"));
    assert!(both[0].contains("are both given: keep one"), "{both:?}");
}

#[test]
fn no_error_shows_a_secret() {
    for yaml in [
        "store: {s3: {secret_access_key: 20240817}}",
        "store: {s3: {secret_access_key: !x 20240817}}",
        "store: {s3: {secret_access_key: [20240817]}}",
        "store: {azure: {access_key: {a: 20240817}}}",
        "catalog: {url: 'postgres//u:20240817@h'}",
        "catalog: {url: 'postgre://u:20240817@h/db?password=20240817'}",
        "catalog: {url: ['postgres://u:20240817@h']}",
        "catalog: 'postgres://u:20240817@h/db'",
        "store: {s3: {endpoint: 'http://u:20240817@h'}}",
        "store: {s3: {access_key_id: a, secret_access_key: '***'}}",
        "catalog: {url: 'postgres://u:***@h/db'}",
        "redis: {url: 'redis//u:20240817@h'}",
        "redis: {url: ['redis://:20240817@h']}",
        "redis: {url: 'redis://:***@h'}",
    ] {
        let found = problems(load_yaml(yaml)).join("\n");
        assert!(!found.contains("20240817"), "{yaml}: {found}");
    }
}

#[test]
fn what_is_probably_not_meant_gives_a_warning() {
    let cases = [
        ("gc: {grace: 1s}", "gc.grace (1s) is shorter than query.timeout (1m)"),
        ("gc: {orphan_grace: 1m}", "gc.orphan_grace (1m) is below 10m"),
        (
            "memory: {limit: 1GiB}\ncache: {max_bytes: 600MiB}",
            "are 1112MiB together, above memory.limit (1GiB)",
        ),
        ("store: {url: 's3://b'}", "SQLite file of this machine"),
    ];
    for (yaml, expected) in cases {
        let warnings = load_yaml(yaml).unwrap().warnings();
        assert!(
            warnings.len() == 1 && warnings[0].contains(expected),
            "{yaml}: {warnings:?}"
        );
    }
}
