use config::{Sources, load};

use super::{load_files, load_yaml};

#[test]
fn printed_and_loaded_again_it_is_the_same() {
    for yaml in [
        "",
        "server: {role: [ingest, compact], cors_allowed_origins: ['*']}\nretention: {default: 0, logs: 90s, tenants: {a: {spans: 72h}}}",
        "store: {url: 'gs://b/p', gcs: {endpoint: 'http://127.0.0.1:4443', service_account_path: /x}}\nquery: {max_rows: 5, max_scan_bytes: 512MB}",
        "limits: {items_per_second: 7, burst: 3s, tenants: {a: {series: 9, attribute_keys: 0}}}\nredis: {url: 'rediss://h:6380/2', prefix: x}",
        "catalog: {url: 'postgres://h/db'}\ncommit: {min_interval: 0s}\nlog: {format: json, level: 'warn,lake=debug'}",
    ] {
        let printed = load_yaml(yaml).unwrap().to_yaml();
        let again = load_yaml(&printed).unwrap_or_else(|e| panic!("{e}\n{printed}"));
        assert_eq!(again.to_yaml(), printed);
    }
    let defaults = load_yaml("").unwrap().to_yaml();
    for line in [
        "  role: all",
        "  url: file://./data/store",
        "  min_interval: 5ms",
        "  max_scan_bytes: 100GiB",
        "  default: 30d",
    ] {
        assert!(defaults.lines().any(|l| l == line), "{line}\n{defaults}");
    }
}

#[test]
fn secrets_are_hidden() {
    let yaml = "store: {s3: {access_key_id: id, secret_access_key: hunter2}, azure: {access_key_file: /run/az}}\ncatalog: {url: 'postgres://u:hunter2@h/db'}\nredis: {url: 'redis://:hunter2@h'}";
    let sources = Sources {
        file: Some("c.yaml".into()),
        ..Sources::default()
    };
    let config = load_files(sources, &[("c.yaml", yaml), ("/run/az", "hunter2")]).unwrap();
    let printed = config.to_yaml();
    assert!(
        !printed.contains("hunter2") && !format!("{config:?}").contains("hunter2"),
        "{printed}"
    );
    for line in [
        "    secret_access_key: '***'",
        "    access_key_file: /run/az",
        "  url: postgres://u:***@h/db",
        "  url: redis://:***@h",
    ] {
        assert!(printed.lines().any(|l| l == line), "{line}\n{printed}");
    }
}

#[test]
fn this_machine_has_a_memory_limit() {
    let config = load(Sources::default()).unwrap();
    assert!(config.memory.bytes >= 64 << 20, "{:?}", config.memory);
}
