use super::*;

fn parse(text: &str) -> Result<NewDeletion, String> {
    Request::parse(text.as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn a_request_names_what_is_to_go() {
    let everything = parse(r#"{"tenant": "a", "everything": true}"#).unwrap();
    assert_eq!(
        (everything.target, everything.datasets.len()),
        (DeletionTarget::Everything, 7)
    );
    let trace = parse(r#"{"tenant": "a", "trace_id": "0000000000000000000000000000abcd"}"#).unwrap();
    assert_eq!(trace.target, DeletionTarget::Trace(0xabcd_u128.to_be_bytes()));
    assert_eq!(trace.datasets, [Dataset::Spans, Dataset::Logs, Dataset::Exemplars]);
    let condition = parse(r#"{"tenant": "a", "dataset": "metrics", "where": "value > 1"}"#).unwrap();
    assert_eq!(condition.target, DeletionTarget::Where("value > 1".into()));
    assert_eq!(condition.datasets, [Dataset::MetricSamples]);
}

#[test]
fn a_request_that_is_wrong_says_how_to_put_it_right() {
    for (text, hint) in [
        ("", "send JSON"),
        (r#"{"everything": true}"#, "tenant"),
        (r#"{"tenant": "a b", "everything": true}"#, "tenant"),
        (r#"{"tenant": "a"}"#, "one of trace_id, where and everything"),
        (r#"{"tenant": "a", "everything": false}"#, "one of"),
        (
            r#"{"tenant": "a", "everything": true, "where": "true", "dataset": "spans"}"#,
            "one of",
        ),
        (r#"{"tenant": "a", "all": true}"#, "unknown field"),
        (r#"{"tenant": "a", "where": "true"}"#, "needs a dataset"),
        (
            r#"{"tenant": "a", "where": "true", "dataset": "span"}"#,
            "there are spans, logs",
        ),
        (r#"{"tenant": "a", "trace_id": "xyz"}"#, "32 hexadecimal"),
        (
            r#"{"tenant": "a", "trace_id": "+0000000000000000000000000000001"}"#,
            "32 hexadecimal",
        ),
        (
            r#"{"tenant": "a", "dataset": "metrics", "trace_id": "0000000000000000000000000000abcd"}"#,
            "have no trace_id",
        ),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(hint), "{text}: {error}");
    }
}
