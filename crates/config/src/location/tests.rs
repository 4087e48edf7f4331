use super::*;

#[test]
fn store_addresses_print_back() {
    for text in [
        "file:///var/lib/otlp",
        "file://./data/store",
        "s3://bucket",
        "s3://bucket/a/b",
        "gs://b_1/x",
        "az://c/p",
    ] {
        assert_eq!(StoreUrl::parse(text).unwrap().to_string(), text);
    }
    assert_eq!(
        StoreUrl::parse("s3://b/p/").unwrap(),
        StoreUrl::S3 {
            bucket: "b".into(),
            prefix: "p".into()
        }
    );
}

#[test]
fn store_addresses_that_make_no_sense() {
    for text in [
        "",
        "s3",
        "s3://",
        "s3:///x",
        "file://",
        "ftp://x/y",
        "s3://a//b",
        "s3://a/../b",
        "s3://key:secret@b/p",
        "s3://b/p?x=1",
    ] {
        assert_eq!(StoreUrl::parse(text), None, "{text:?}");
    }
}

#[test]
fn catalog_addresses() {
    assert_eq!(
        CatalogUrl::parse("sqlite:///a/b.db").unwrap(),
        CatalogUrl::Sqlite { path: "/a/b.db".into() }
    );
    assert_eq!(
        CatalogUrl::parse("sqlite:b.db").unwrap(),
        CatalogUrl::Sqlite { path: "b.db".into() }
    );
    assert!(matches!(
        CatalogUrl::parse("postgres://u:p@h:5/db"),
        Some(CatalogUrl::Postgres { .. })
    ));
    assert!(matches!(
        CatalogUrl::parse("postgresql:///db?host=/run/postgresql"),
        Some(CatalogUrl::Postgres { .. })
    ));
    for text in [
        "",
        "sqlite::memory:",
        "sqlite://",
        "sqlite://x?mode=ro",
        "mysql://h/db",
        "postgres:",
        "h:5432/db",
    ] {
        assert_eq!(CatalogUrl::parse(text), None, "{text:?}");
    }
}

#[test]
fn passwords_never_show() {
    for text in [
        "postgres://u:hunter2@h/db",
        "postgres://u@h/db?password=hunter2&x=1",
        "postgres://u:a@hunter2@h/db",
        "x://u:hunter2@",
        "postgres//u:hunter2@h",
        "postgres://u:hunter2?@h/db",
        "postgres://h/db?password=hunter2@x",
    ] {
        let shown = redact_url(text);
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains(HIDDEN), "{shown}");
    }
    assert_eq!(redact_url("postgres://h:5432/db"), "postgres://h:5432/db");
    let url = CatalogUrl::parse("postgres://u:hunter2@h/db").unwrap();
    assert!(!format!("{url} {url:?}").contains("hunter2"));
}
