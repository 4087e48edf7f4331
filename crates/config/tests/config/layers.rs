use std::time::Duration;

use config::{CatalogUrl, CorsOrigins, Roles, Sources, StoreUrl};

use super::{env, load_env, load_files, load_yaml, problems};

#[test]
fn nothing_given_is_a_working_configuration() {
    let config = load_env(&[("PATH", "/bin"), ("OTLP_RUSTY", "x")]).unwrap();
    assert_eq!(config.server.otlp_grpc, "127.0.0.1:4317".parse().unwrap());
    assert_eq!(
        config.server.roles,
        Roles {
            ingest: true,
            query: true,
            compact: true
        }
    );
    assert_eq!(
        config.store.url,
        StoreUrl::Local {
            path: "./data/store".into()
        }
    );
    assert_eq!(
        config.catalog.url,
        CatalogUrl::Sqlite {
            path: "./data/catalog.db".into()
        }
    );
    assert_eq!(config.commit.min_interval, Duration::from_millis(5));
    assert_eq!(config.memory.bytes, (1 << 30) / 100 * 80);
    assert_eq!(config.query.max_memory, config.memory.bytes / 4);
    assert_eq!(config.warnings(), Vec::<String>::new());
    for empty in ["", "---\n", "commit:\nserver:\n"] {
        assert_eq!(load_yaml(empty).unwrap(), config, "{empty:?}");
    }
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let file =
        "server: {http: '127.0.0.1:1', admin: '127.0.0.1:2', otlp_http: '127.0.0.1:3'}\ncommit:\n  min_interval: 1s";
    let sources = |variables: &[(&str, &str)], flags: &[(&str, &str)]| Sources {
        file: Some("c.yaml".into()),
        env: env(variables),
        overrides: flags
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned(), "--flag".to_owned()))
            .collect(),
    };
    let variables = [
        ("OTLP_RUST__SERVER__HTTP", "127.0.0.1:11"),
        ("OTLP_RUST__SERVER__ADMIN", "127.0.0.1:12"),
        ("OTLP_RUST__COMMIT__MIN_INTERVAL", "null"),
    ];
    let config = load_files(
        sources(&variables, &[("server.http", "127.0.0.1:21")]),
        &[("c.yaml", file)],
    )
    .unwrap();
    let ports = [
        config.server.http,
        config.server.admin,
        config.server.otlp_http,
        config.server.otlp_grpc,
    ]
    .map(|a| a.port());
    assert_eq!(ports, [21, 12, 3, 4317]);
    assert_eq!(
        config.commit.min_interval,
        Duration::from_millis(5),
        "the environment unset what the file had set"
    );
}

#[test]
fn every_kind_of_value_can_come_from_the_environment() {
    let config = load_env(&[
        ("OTLP_RUST__COMMIT__MIN_INTERVAL", "250ms"),
        ("OTLP_RUST__COMMIT__PIPELINE", " 4 "),
        ("OTLP_RUST__SERVER__ROLE", "ingest, query"),
        (
            "OTLP_RUST__SERVER__CORS_ALLOWED_ORIGINS",
            "https://a.example,https://b.example",
        ),
        ("OTLP_RUST__STORE__URL", "s3://b/p"),
        ("OTLP_RUST__STORE__S3__ENDPOINT", "http://127.0.0.1:9000"),
        ("OTLP_RUST__STORE__S3__ALLOW_HTTP", "true"),
        ("OTLP_RUST__MEMORY__LIMIT", "536870912"),
        ("OTLP_RUST__QUERY__MAX_ROWS", "10"),
        ("OTLP_RUST__LOG__FORMAT", "json"),
        ("OTLP_RUST__RETENTION__TENANTS__Acme__SPANS", "7d"),
    ])
    .unwrap();
    assert_eq!(config.commit.min_interval, Duration::from_millis(250));
    assert_eq!(config.commit.pipeline, 4);
    assert_eq!(
        config.server.roles,
        Roles {
            ingest: true,
            query: true,
            compact: false
        }
    );
    assert_eq!(
        config.server.cors,
        CorsOrigins::List(vec!["https://a.example".into(), "https://b.example".into()])
    );
    assert_eq!(
        config.store.url,
        StoreUrl::S3 {
            bucket: "b".into(),
            prefix: "p".into()
        }
    );
    assert_eq!(config.memory.bytes, 512 << 20);
    assert_eq!(config.query.max_rows, Some(10));
    assert!(config.retention.tenants.keys().any(|tenant| tenant.as_str() == "Acme"));

    let lists = load_env(&[
        ("OTLP_RUST__SERVER__ROLE", "[compact]"),
        ("OTLP_RUST__RETENTION__TENANTS", "{a: {default: 1d}}"),
    ])
    .unwrap();
    assert_eq!(
        lists.server.roles,
        Roles {
            ingest: false,
            query: false,
            compact: true
        }
    );
    assert_eq!(lists.retention.tenants.len(), 1);
    assert_eq!(
        load_env(&[("OTLP_RUST__SERVER__CORS_ALLOWED_ORIGINS", "*")])
            .unwrap()
            .server
            .cors,
        CorsOrigins::Any
    );
}

#[test]
fn an_unknown_key_comes_with_a_suggestion() {
    let cases = [
        (
            "commit: {min_intervall: 1s}",
            "unknown key commit.min_intervall; did you mean commit.min_interval? (from file c.yaml)",
        ),
        (
            "comit: {max_bytes: 1MiB}",
            "unknown key comit; did you mean commit? (from file c.yaml)",
        ),
        (
            "store: {s3: {regoin: x}}",
            "unknown key store.s3.regoin; did you mean store.s3.region? (from file c.yaml)",
        ),
        (
            "data_dir: x",
            "unknown key data_dir; did you mean server.data_dir? (from file c.yaml)",
        ),
        (
            "retention: {tenants: {a: {trace: 1d}}}",
            "the keys here are default, logs, metrics, spans",
        ),
        (
            "log: {colour: red}",
            "unknown key log.colour; the keys here are level, format (from file c.yaml)",
        ),
    ];
    for (yaml, expected) in cases {
        let found = problems(load_yaml(yaml));
        assert!(found.len() == 1 && found[0].contains(expected), "{yaml}: {found:?}");
    }
    let cases = [
        (
            "OTLP_RUST__COMMIT__MIN_INTERVALL",
            "unknown key commit.min_intervall; did you mean commit.min_interval? (from environment variable OTLP_RUST__COMMIT__MIN_INTERVALL)",
        ),
        ("OTLP_RUST__", "unknown key ; "),
        (
            "OTLP_RUST__COMMIT__MIN_INTERVAL__X",
            "unknown key commit.min_interval.x; commit.min_interval is a value and has no keys below",
        ),
        (
            "OTLP_RUST__RETENTION__TENANTS__a__LOG",
            "did you mean retention.tenants.a.logs?",
        ),
    ];
    for (name, expected) in cases {
        let found = problems(load_env(&[(name, "1s")]));
        assert!(found.len() == 1 && found[0].contains(expected), "{name}: {found:?}");
    }
    let overrides = vec![("server.htp".to_owned(), "x".to_owned(), "--http".to_owned())];
    let found = problems(load_files(
        Sources {
            overrides,
            ..Sources::default()
        },
        &[],
    ));
    assert_eq!(
        found,
        ["unknown key server.htp; did you mean server.http? (from flag --http)"]
    );
}

#[test]
fn a_wrong_value_names_key_value_origin_and_what_is_expected() {
    let cases = [
        (
            "commit: {min_interval: fast}",
            "commit.min_interval: expected a duration such as 10ms, 5s, 15m, 72h or 30d, got \"fast\" (from file c.yaml)",
        ),
        (
            "query: {timeout: 30}",
            "query.timeout: expected a duration such as 10ms, 5s, 15m, 72h or 30d, got 30",
        ),
        ("query: {timeout: null}", "query.timeout: expected a duration"),
        (
            "commit: {max_bytes: -1}",
            "commit.max_bytes: expected a byte size such as 64MiB, 512MB or 1048576, got -1",
        ),
        (
            "commit: {pipeline: 0}",
            "commit.pipeline: expected a whole number from 1 to 64, got 0",
        ),
        (
            "commit: {pipeline: 1.5}",
            "expected a whole number from 1 to 64, got 1.5",
        ),
        ("commit: {pipeline: '2'}", "got \"2\""),
        (
            "commit: {pipeline: .nan}",
            "expected a whole number from 1 to 64, got .nan",
        ),
        (
            "compaction: {target_rows: 0}",
            "expected a whole number of at least 1, got 0",
        ),
        (
            "postgres_wire: {enabled: maybe}",
            "postgres_wire.enabled: expected true or false, got \"maybe\"",
        ),
        (
            "server: {http: localhost}",
            "server.http: expected an address such as 127.0.0.1:4317 or 0.0.0.0:4317, got \"localhost\"",
        ),
        (
            "server: {role: ingester}",
            "server.role: expected all, or one or several of ingest, query and compact, got \"ingester\"",
        ),
        ("log: {format: xml}", "log.format: expected text or json, got \"xml\""),
        (
            "commit: 5",
            "commit: expected a section, that is, keys with values below, got 5",
        ),
        ("[a, b]", "the configuration: expected a section"),
        (
            "{[a]: b}",
            "expected a section, that is, keys with values below, got the key [\"a\"]",
        ),
        (
            "server: {data_dir: !path x}",
            "server.data_dir: expected a directory, got !path x",
        ),
        (
            "commit: {pipeline: 1, pipeline: 2}",
            "c.yaml is not valid YAML: commit: duplicate entry with key \"pipeline\"",
        ),
        ("a: [", "c.yaml is not valid YAML"),
    ];
    for (yaml, expected) in cases {
        let found = problems(load_yaml(yaml));
        assert!(found.len() == 1 && found[0].contains(expected), "{yaml}: {found:?}");
    }
    let found = problems(load_env(&[("OTLP_RUST__GC__GRACE", "soon")]));
    assert_eq!(
        found,
        [
            "gc.grace: expected a duration such as 10ms, 5s, 15m, 72h or 30d, got \"soon\" (from environment variable OTLP_RUST__GC__GRACE)"
        ]
    );
}

#[test]
fn all_problems_are_listed_at_once() {
    let sources = Sources {
        file: Some("c.yaml".into()),
        env: env(&[("OTLP_RUST__GC__GRACE", "soon"), ("OTLP_RUST__LOG__LEVEL", "loud")]),
        overrides: vec![("server.http".into(), "nowhere".into(), "--http".into())],
    };
    let errors = load_files(
        sources,
        &[("c.yaml", "comit: {}\nquery: {timeout: 0}\nstore: {url: 'ftp://x'}")],
    )
    .unwrap_err();
    let text = errors.to_string();
    assert_eq!(errors.0.len(), 6, "{text}");
    assert!(
        text.starts_with("the configuration has 6 problems:\n  - unknown key comit"),
        "{text}"
    );
    for part in ["gc.grace", "log.level", "flag --http", "query.timeout", "store.url"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_missing_file_is_a_problem_beside_the_others() {
    let sources = Sources {
        file: Some("none.yaml".into()),
        env: env(&[("OTLP_RUST__X", "1")]),
        overrides: vec![],
    };
    let found = problems(load_files(sources, &[]));
    assert_eq!(found.len(), 2);
    assert!(
        found[0].starts_with("cannot read none.yaml (the configuration file): "),
        "{found:?}"
    );
}

#[test]
fn hostile_files_are_refused_without_panic() {
    let deep = "[".repeat(5_000);
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\nlog: [*d,*d,*d,*d,*d,*d,*d]";
    for text in [
        deep.as_str(),
        bomb,
        "\u{0}",
        "? ",
        "%YAML 9\n---",
        "- - - -",
        "!!binary x",
        "a: b: c",
        "*x",
    ] {
        assert!(load_yaml(text).is_err(), "{:?}", &text[..text.len().min(20)]);
    }
}
