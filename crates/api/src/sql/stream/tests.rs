use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeBinaryArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::reader::StreamReader;
use http_body_util::BodyExt;
use telemetry::Telemetry;

use super::*;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::FixedSizeBinary(2), false),
        Field::new("name", DataType::Utf8, true),
        Field::new("n", DataType::Int64, true),
    ]))
}

fn batch(rows: &[([u8; 2], Option<&str>, Option<i64>)]) -> RecordBatch {
    let ids = FixedSizeBinaryArray::try_from_iter(rows.iter().map(|row| row.0)).unwrap();
    let names = rows.iter().map(|row| row.1).collect::<StringArray>();
    let numbers = rows.iter().map(|row| row.2).collect::<Int64Array>();
    RecordBatch::try_new(
        schema(),
        vec![Arc::new(ids) as ArrayRef, Arc::new(names), Arc::new(numbers)],
    )
    .unwrap()
}

fn two_batches() -> Vec<Result<RecordBatch, QueryError>> {
    vec![
        Ok(batch(&[([0, 1], Some("a,\"b\""), Some(1)), ([0, 2], None, None)])),
        Ok(batch(&[([0xff, 0], Some(""), Some(-7))])),
    ]
}

struct Answered {
    status: u16,
    body: Vec<u8>,
    /// Whether the body ended as it should.
    whole: bool,
    metrics: String,
}

async fn answer(format: Format, rows: Vec<Result<RecordBatch, QueryError>>) -> Answered {
    let telemetry = Telemetry::new("test", "0");
    let watch = QueryWatch::new(telemetry.clone(), "sql", std::time::Instant::now());
    let answer = Answer {
        partial: None,
        format,
        schema: schema(),
        rows: stream::iter(rows).boxed(),
    };
    let response = respond(answer, watch).await;
    let status = response.status().as_u16();
    let mut chunks = response.into_body().into_data_stream();
    let (mut body, mut whole) = (Vec::new(), true);
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Ok(chunk) => body.extend_from_slice(&chunk),
            Err(_) => whole = false,
        }
    }
    Answered {
        status,
        body,
        whole,
        metrics: telemetry.render(),
    }
}

async fn text(format: Format, rows: Vec<Result<RecordBatch, QueryError>>) -> String {
    let answered = answer(format, rows).await;
    assert_eq!(answered.status, 200);
    assert!(answered.whole);
    String::from_utf8(answered.body).unwrap()
}

#[tokio::test]
async fn golden_json() {
    let expected = concat!(
        r#"{"columns":[{"name":"id","type":"FixedSizeBinary(2)"},{"name":"name","type":"Utf8"},{"name":"n","type":"Int64"}],"data":["#,
        "\n",
        r#"{"id":"0001","name":"a,\"b\"","n":1},"#,
        "\n",
        r#"{"id":"0002","name":null,"n":null},"#,
        "\n",
        r#"{"id":"ff00","name":"","n":-7}]}"#,
        "\n",
    );
    assert_eq!(text(Format::Json, two_batches()).await, expected);
}

#[tokio::test]
async fn golden_ndjson() {
    let expected = concat!(
        r#"{"id":"0001","name":"a,\"b\"","n":1}"#,
        "\n",
        r#"{"id":"0002","name":null,"n":null}"#,
        "\n",
        r#"{"id":"ff00","name":"","n":-7}"#,
        "\n",
    );
    assert_eq!(text(Format::Ndjson, two_batches()).await, expected);
}

#[tokio::test]
async fn golden_csv() {
    let expected = "id,name,n\n0001,\"a,\"\"b\"\"\",1\n0002,,\nff00,\"\",-7\n";
    assert_eq!(text(Format::Csv, two_batches()).await, expected);
}

#[tokio::test]
async fn golden_table() {
    let expected = "\
+------+-------+----+
| id   | name  | n  |
+------+-------+----+
| 0001 | a,\"b\" |  1 |
| 0002 |       |    |
| ff00 |       | -7 |
+------+-------+----+
(3 rows)
";
    assert_eq!(text(Format::Table, two_batches()).await, expected);
    let wide = text(Format::Table, vec![Ok(batch(&[([0, 0], Some("订单\n"), None)]))]).await;
    assert!(wide.contains("| 0000 | 订单\\n |"), "{wide}");
}

#[tokio::test]
async fn arrow_reads_back() {
    let answered = answer(Format::Arrow, two_batches()).await;
    let batches = StreamReader::try_new(answered.body.as_slice(), None)
        .unwrap()
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    let sent = two_batches().into_iter().map(Result::unwrap).collect::<Vec<_>>();
    assert_eq!(batches, sent);
}

#[tokio::test]
async fn nothing_found_is_a_whole_answer() {
    assert!(text(Format::Json, vec![]).await.ends_with("\"data\":[]}\n"));
    assert_eq!(text(Format::Ndjson, vec![]).await, "");
    assert_eq!(text(Format::Csv, vec![]).await, "id,name,n\n");
    assert!(text(Format::Table, vec![]).await.ends_with("(0 rows)\n"));
    assert_eq!(
        StreamReader::try_new(answer(Format::Arrow, vec![]).await.body.as_slice(), None)
            .unwrap()
            .count(),
        0
    );
}

#[tokio::test]
async fn large_batches_are_written_in_pieces() {
    let rows = (0..5000).map(|n| ([0, 0], None, Some(n))).collect::<Vec<_>>();
    let body = text(Format::Ndjson, vec![Ok(batch(&rows))]).await;
    let numbers = body
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["n"].as_i64());
    assert!(numbers.eq((0..5000).map(Some)));
    let table = text(
        Format::Table,
        vec![Ok(batch(&rows)), Ok(batch(&rows)), Ok(batch(&rows))],
    )
    .await;
    assert!(
        table.contains("the first 10000 rows; there are more"),
        "{}",
        &table[table.len() - 200..]
    );
}

fn failing() -> Vec<Result<RecordBatch, QueryError>> {
    vec![
        Ok(batch(&[([0, 1], Some("a"), Some(1))])),
        Err(QueryError::Invalid("bad\ncast".into())),
    ]
}

#[tokio::test]
async fn an_error_at_once_has_a_status_code() {
    for name in Format::NAMES {
        let answered = answer(
            Format::from_name(name).unwrap(),
            vec![Err(QueryError::Invalid("bad".into()))],
        )
        .await;
        assert_eq!(answered.status, 400, "{name}");
        let body: serde_json::Value = serde_json::from_slice(&answered.body).unwrap();
        assert_eq!(body["error"]["kind"], "invalid");
        assert_eq!(body["error"]["message"], "bad");
        assert!(answered.metrics.contains("status=\"invalid\""), "{}", answered.metrics);
    }
    // A table is complete or not shown at all.
    assert_eq!(answer(Format::Table, failing()).await.status, 400);
}

#[tokio::test]
async fn a_late_error_is_told_in_the_body() {
    let error = r#"{"kind":"invalid","message":"bad\ncast"}"#;
    let json = text(Format::Json, failing()).await;
    assert!(json.ends_with(&format!("],\"error\":{error}}}\n")), "{json}");
    assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
    assert!(
        text(Format::Ndjson, failing())
            .await
            .ends_with(&format!("\n{{\"error\":{error}}}\n"))
    );
    assert!(text(Format::Csv, failing()).await.ends_with("\n# error: bad cast\n"));
    assert!(!answer(Format::Arrow, failing()).await.whole);
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_query() {
    struct Dropped(Arc<std::sync::atomic::AtomicBool>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    }
    let dropped = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let guard = Dropped(Arc::clone(&dropped));
    let rows = stream::repeat_with(move || {
        let _held = &guard;
        Ok(batch(&[([0, 1], None, None)]))
    });
    let telemetry = Telemetry::new("test", "0");
    let watch = QueryWatch::new(telemetry.clone(), "sql", std::time::Instant::now());
    let answer = Answer {
        partial: None,
        format: Format::Ndjson,
        schema: schema(),
        rows: rows.boxed(),
    };
    let mut body = respond(answer, watch).await.into_body();
    assert!(body.frame().await.unwrap().is_ok());
    drop(body);
    assert!(dropped.load(std::sync::atomic::Ordering::SeqCst));
    assert!(telemetry.render().contains("status=\"cancelled\""));
}
