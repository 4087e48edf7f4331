use axum::http::HeaderValue;

use super::*;

fn with_kind(kind: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))])
}

#[test]
fn reads_queries() {
    for kind in ["text/plain", "application/x-www-form-urlencoded", ""] {
        assert_eq!(query_text(&with_kind(kind), b"SELECT 1").unwrap(), "SELECT 1");
    }
    let json = with_kind("Application/JSON; charset=utf-8");
    assert_eq!(
        query_text(&json, br#"{"query": "SELECT 1", "more": 2}"#).unwrap(),
        "SELECT 1"
    );
    assert!(query_text(&json, b"SELECT 1").is_err());
    assert!(query_text(&HeaderMap::new(), b"\xff").is_err());
}

#[test]
fn format_parameter_beats_accept() {
    let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static("text/csv"))]);
    let named = |name: &str| BTreeMap::from([("format".to_owned(), name.to_owned())]);
    assert_eq!(format_of(&BTreeMap::new(), &headers).unwrap(), Format::Csv);
    assert_eq!(format_of(&named("arrow"), &headers).unwrap(), Format::Arrow);
    let error = format_of(&named("xml"), &headers).unwrap_err().to_string();
    assert!(error.contains("ndjson"), "{error}");
}
