use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::routing::post;

use super::*;

#[test]
fn finds_the_error_at_the_end() {
    let error = r#"{"kind":"timeout","message":"too long"}"#;
    let found = |format, tail: &str| error_in(format, tail);
    let expected = Some("too long".to_owned());
    assert_eq!(
        found(Format::Json, &format!("{{\"a\":1}}],\"error\":{error}}}\n")),
        expected
    );
    assert_eq!(
        found(Format::Ndjson, &format!("{{\"a\":1}}\n{{\"error\":{error}}}\n")),
        expected
    );
    assert_eq!(found(Format::Csv, "a\n1\n# error: too long\n"), expected);
    assert_eq!(found(Format::Json, "{\"error\":{\"kind\":1}}]}\n"), None);
    assert_eq!(found(Format::Ndjson, "{\"error\":\"x\"}\n"), None);
    assert_eq!(found(Format::Csv, "a\n1\n"), None);
}

async fn serve(router: Router) -> (String, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    (
        url,
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }),
    )
}

#[tokio::test]
async fn sends_and_writes() {
    let echo = post(async |request: Request| {
        let tenant = request.headers()[TENANT_HEADER].to_str().unwrap().to_owned();
        let query = request.uri().query().unwrap().to_owned();
        format!("{tenant} {query}\n")
    });
    let (url, server) = serve(Router::new().route("/api/v1/sql", echo)).await;
    let mut out = Vec::new();
    let tenant = TenantId::parse("shop").unwrap();
    run_sql(&url, &tenant, "SELECT 1", Format::Table, &mut out)
        .await
        .unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "shop format=table\n");
    server.abort();
}

#[tokio::test]
async fn tells_what_the_server_says() {
    let refuse = post(async || {
        (
            StatusCode::BAD_REQUEST,
            r#"{"error":{"kind":"invalid","message":"no column x"}}"#,
        )
    });
    let (url, server) = serve(Router::new().route("/api/v1/sql", refuse)).await;
    let error = run_sql(&url, &TenantId::default(), "SELECT x", Format::Csv, &mut Vec::new())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "no column x");
    server.abort();
}

#[tokio::test]
async fn a_server_that_is_not_there() {
    // Bound and closed again: nobody listens there now.
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{address}");
    let error = run_sql(&url, &TenantId::default(), "SELECT 1", Format::Csv, &mut Vec::new())
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&url) && text.contains("otlp-rust serve"), "{text}");
}
