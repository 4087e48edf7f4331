//! The whole router over a real, empty lake: paths, methods, tenants, formats, errors.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, TimestampNanosecondArray};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, header};
use catalog::{Catalog, CatalogUrl, ConnectOptions, Expired};
use http_body_util::BodyExt;
use lake::segment::Rows;
use lake::{CacheSizes, Commit, CompactionOptions, CompactionReport, Lake, Observer, Stored};
use object_store::memory::InMemory;
use query::{QueryEngine, QueryOptions};
use schema::sparse::SparseBatch;
use schema::{Dataset, SystemClock, TenantId};
use serde_json::{Value, json};
use telemetry::Telemetry;
use tower::ServiceExt;

struct Silent;

impl Observer for Silent {
    fn compacted(&self, _: Dataset, _: &CompactionReport) {}
    fn failed(&self, _: &'static str) {}
    fn stored(&self, _: Dataset, _: &Stored) {}
    fn expired(&self, _: Dataset, _: &Expired) {}
    fn collected(&self, _: u64, _: u64) {}
}

struct Server {
    router: Router,
    lake: Lake,
    /// Holds the catalog's file.
    _directory: tempfile::TempDir,
    /// Keeps the server ready.
    _ready: tokio::sync::watch::Sender<api::Readiness>,
}

const EVERYTHING: api::Serves = api::Serves {
    query: true,
    compact: true,
};

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn kind(&self) -> Value {
        self.json()["error"]["kind"].clone()
    }
}

impl Server {
    async fn start() -> Self {
        Self::start_with_timeout(Duration::from_secs(30)).await
    }

    async fn start_with_timeout(timeout: Duration) -> Self {
        Self::start_with(timeout, EVERYTHING).await
    }

    async fn start_with(timeout: Duration, serves: api::Serves) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = CatalogUrl::parse(&format!("sqlite://{}", directory.path().join("catalog.db").display())).unwrap();
        let catalog = Catalog::connect(&url, ConnectOptions::default()).await.unwrap();
        catalog.migrate().await.unwrap();
        let sizes = CacheSizes::split(1 << 20, true);
        let lake = Lake::new(
            Arc::new(InMemory::new()),
            catalog,
            Arc::new(SystemClock),
            "test".to_owned(),
            sizes,
            Telemetry::new("test", "0"),
        );
        let options = QueryOptions {
            max_rows: None,
            max_memory: 64 << 20,
            timeout,
            max_scan_bytes: 1 << 30,
            concurrency: 2,
        };
        let compaction = CompactionOptions {
            target_rows: 1000,
            max_rows: 10_000,
            max_slice_age: Duration::from_secs(60),
            lease_ttl: Duration::from_secs(10),
            grace: Duration::from_secs(60),
        };
        let (state, ready) = tokio::sync::watch::channel(api::Readiness::Ready);
        let router = api::router(api::ApiState {
            serves,
            query: QueryEngine::new(lake.clone(), options).unwrap(),
            lake: lake.clone(),
            compaction,
            retention: Arc::new(|_, _| None),
            observer: Arc::new(Silent),
            telemetry: Telemetry::new("test", "1.0"),
            ready,
            version: "1.0".to_owned(),
        });
        Self {
            router,
            lake,
            _directory: directory,
            _ready: state,
        }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.into_body().collect().await.unwrap().to_bytes().to_vec();
        Answer { status, headers, body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn sql(&self, format: &str, query: &str) -> Answer {
        let path = format!("/api/v1/sql?format={format}");
        self.send(Request::post(path).body(Body::from(query.to_owned())).unwrap())
            .await
    }
}

#[tokio::test]
async fn sql_in_every_format() {
    let server = Server::start().await;
    let query = "SELECT 1 AS n, 'a' AS s, CAST('NaN' AS DOUBLE) AS d, TIMESTAMP '2026-01-02T03:04:05Z' AS t";
    let row = r#"{"n":1,"s":"a","d":"NaN","t":"2026-01-02T03:04:05.000000000Z"}"#;
    assert_eq!(server.sql("ndjson", query).await.text(), format!("{row}\n"));
    let answer = server.sql("json", query).await;
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
    assert_eq!(
        answer.json()["data"],
        json!([serde_json::from_str::<Value>(row).unwrap()])
    );
    assert_eq!(answer.json()["columns"][0], json!({ "name": "n", "type": "Int64" }));
    assert_eq!(
        server.sql("csv", query).await.text(),
        "n,s,d,t\n1,a,NaN,2026-01-02T03:04:05.000000000Z\n"
    );
    assert!(server.sql("table", query).await.text().contains("| 1 | a | NaN |"));
    assert_eq!(
        server.sql("arrow", query).await.headers[header::CONTENT_TYPE],
        "application/vnd.apache.arrow.stream"
    );
}

#[tokio::test]
async fn sql_however_it_is_sent() {
    let server = Server::start().await;
    let accept = |request: axum::http::request::Builder| request.header(header::ACCEPT, "text/csv");
    let requests = [
        accept(Request::get("/api/v1/sql?query=SELECT%201%20AS%20n")).body(Body::empty()),
        accept(Request::post("/api/v1/sql")).body(Body::from("SELECT 1 AS n")),
        accept(Request::post("/api/v1/sql"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(r#"{"query": "SELECT 1 AS n"}"#)),
    ];
    for request in requests {
        let answer = server.send(request.unwrap()).await;
        assert_eq!((answer.status, answer.text()), (200, "n\n1\n"));
    }
}

#[tokio::test]
async fn sql_that_is_refused() {
    let server = Server::start().await;
    for query in [
        "",
        "  ",
        "SELEC 1",
        "SELECT nonsense FROM spans",
        "DROP TABLE spans",
        "SELECT 1; SELECT 2",
    ] {
        let answer = server.sql("ndjson", query).await;
        assert_eq!(
            (answer.status, answer.kind()),
            (400, "invalid".into()),
            "{query}: {}",
            answer.text()
        );
    }
    assert_eq!(server.sql("xml", "SELECT 1").await.status, 400);
    assert_eq!(server.sql("json", &" ".repeat((1 << 20) + 1)).await.status, 413);
    let request = Request::post("/api/v1/sql")
        .header("X-Scope-OrgID", "a/b")
        .body(Body::from("SELECT 1"));
    assert_eq!(server.send(request.unwrap()).await.kind(), "invalid");
}

#[tokio::test]
async fn metrics_count_queries() {
    let server = Server::start().await;
    server.sql("json", "SELECT 1").await;
    server.sql("json", "SELEC 1").await;
    let metrics = server.get("/metrics").await;
    for status in ["ok", "invalid"] {
        let counted = |line: &&str| {
            line.contains("api=\"sql\"") && line.contains(&format!("status=\"{status}\"")) && line.ends_with(" 1")
        };
        assert!(
            metrics.text().lines().any(|line| counted(&line)),
            "{status}: {}",
            metrics.text()
        );
    }
}

#[tokio::test]
async fn traces_that_are_not_there() {
    let server = Server::start().await;
    for version in ["", "v2/"] {
        let missing = server.get(&format!("/tempo/api/{version}traces/1")).await;
        assert_eq!((missing.status, missing.text()), (404, "trace not found\n"));
        for bad in ["xyz", "%20", "1?start=x", "1?start=2&end=1", &"0".repeat(33)] {
            assert_eq!(
                server.get(&format!("/tempo/api/{version}traces/{bad}")).await.status,
                400,
                "{bad}"
            );
        }
    }
    assert_eq!(server.get("/tempo/api/echo").await.text(), "echo");
}

#[tokio::test]
async fn administration_of_nothing() {
    let server = Server::start().await;
    let status = server.get("/api/v1/admin/status").await;
    let expected =
        json!({ "version": "1.0", "datasets": [], "gc_pending": { "objects": 0, "bytes": 0 }, "quarantined": [] });
    assert_eq!(status.json(), expected);
    let compact = |query: &str| {
        Request::post(format!("/api/v1/admin/compact{query}"))
            .body(Body::empty())
            .unwrap()
    };
    let done = server.send(compact("?wait=true")).await;
    assert_eq!(
        (done.status, &done.json()["runs"], &done.json()["rows"]),
        (200, &json!(0), &json!(0))
    );
    assert_eq!(server.send(compact("")).await.status, 202);
    assert_eq!(server.send(compact("?wait=maybe")).await.status, 400);
}

#[tokio::test]
async fn wrong_paths_and_methods_say_what_is_right() {
    let server = Server::start().await;
    let lost = server.get("/api/v1/nothing").await;
    assert_eq!((lost.status, lost.kind()), (404, "not_found".into()));
    assert!(lost.text().contains("POST /api/v1/sql"));
    let wrong = server.get("/api/v1/admin/compact").await;
    assert_eq!((wrong.status, wrong.kind()), (405, "method_not_allowed".into()));
    assert_eq!(wrong.headers[header::ALLOW], "POST");
    assert_eq!(
        server.get("/health").await.json(),
        json!({ "status": "ok", "version": "1.0" })
    );
}

#[tokio::test]
async fn a_process_without_a_role_says_where_to_ask() {
    let nothing = api::Serves {
        query: false,
        compact: false,
    };
    let server = Server::start_with(Duration::from_secs(30), nothing).await;
    let trace = format!("/tempo/api/traces/{}", "01".repeat(16));
    let compacting = Request::post("/api/v1/admin/compact").body(Body::empty()).unwrap();
    for (answer, role) in [
        (server.sql("json", "SELECT 1").await, "role query"),
        (server.get(&trace).await, "role query"),
        (server.send(compacting).await, "role compact"),
    ] {
        assert_eq!((answer.status, answer.kind()), (404, "wrong_role".into()));
        assert!(answer.text().contains(role), "{}", answer.text());
    }
    for path in ["/health", "/livez", "/readyz", "/metrics", "/api/v1/admin/status"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
}

/// A join makes 10^12 rows of a few batches; the limit must be noticed in between, and `max` must not hide it.
#[tokio::test]
async fn a_query_that_multiplies_rows_is_stopped_in_time() {
    let server = Server::start_with_timeout(Duration::from_secs(1)).await;
    let tables = "FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b";
    for query in [
        format!("SELECT max(a.value * b.value) {tables}"),
        format!("SELECT count(*) {tables} WHERE a.value < b.value"),
        format!("SELECT count(*) {tables} WHERE a.value % 2 = b.value % 2"),
    ] {
        let answer = tokio::time::timeout(Duration::from_secs(20), server.sql("json", &query))
            .await
            .unwrap();
        assert_eq!((answer.status, answer.kind()), (504, "timeout".into()), "{query}");
    }
}

/// Targets of requests that no client sends: refused or answered, never a failure of the server.
#[test]
fn mutated_requests_are_answered_or_refused() {
    use testkit::fuzz;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Server::start());
    fuzz::run(&fuzz::lines("http"), 500, |input| {
        let (method, target) = input.split_at(input.iter().position(|&b| b == b' ').unwrap_or(input.len()));
        let target = target.trim_ascii();
        for header in ["default", "x y", "..", "a/b"] {
            let request = Request::builder()
                .method(method)
                .uri(target)
                .header("X-Scope-OrgID", header);
            // What is no HTTP at all does not reach the router.
            let Ok(request) = request.body(Body::from("SELECT 1")) else {
                return;
            };
            let answer = runtime.block_on(server.send(request));
            assert!(
                answer.status < 500 || answer.status == 501,
                "{}: {}",
                answer.status,
                answer.text()
            );
        }
    });
}

/// Bodies of deletions that no client sends: refused, or recorded as what they say.
#[test]
fn mutated_deletions_are_recorded_or_refused() {
    use testkit::fuzz;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Server::start());
    // A tenant is known once it stored something.
    let time = TimestampNanosecondArray::from(vec![1; 2]).with_timezone("UTC");
    let batch = RecordBatch::try_from_iter([("timestamp", Arc::new(time) as ArrayRef)]).unwrap();
    let rows = Rows {
        tenant: TenantId::default(),
        dataset: Dataset::Logs,
        batch: SparseBatch::from_dense(&batch).unwrap(),
    };
    let commit = Commit {
        rows: vec![rows],
        ..Commit::default()
    };
    runtime.block_on(server.lake.commit(commit)).unwrap();
    let recorded = std::cell::Cell::new(0);
    fuzz::run(&fuzz::lines("deletions"), 400, |input| {
        let request = Request::post("/api/v1/admin/deletions").body(Body::from(input.to_vec()));
        let answer = runtime.block_on(server.send(request.unwrap()));
        match answer.status {
            202 => {
                recorded.set(recorded.get() + 1);
                let location = answer.headers["location"].to_str().unwrap();
                let found = runtime.block_on(server.get(location));
                assert_eq!((found.status, found.json()), (200, answer.json()));
                assert_eq!(found.json()["tenant"], "default");
            }
            400 => assert_eq!(answer.kind(), "invalid", "{}", answer.text()),
            status => panic!("{status}: {}", answer.text()),
        }
    });
    assert!(recorded.get() > 5, "{} were recorded", recorded.get());
    assert_eq!(runtime.block_on(server.get("/api/v1/admin/deletions")).status, 200);
}
