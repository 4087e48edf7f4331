use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;

use super::*;

async fn serving(status: StatusCode, body: &'static str) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/readyz", get(move || async move { (status, body) }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Url::parse(&url).unwrap()
}

const SOON: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_server_is_ready_or_says_why_not() {
    let url = serving(StatusCode::OK, "ok\n").await;
    assert_eq!(ask(&url, SOON).await, Health::Ready);
    assert_eq!(ask(&url.join("/readyz").unwrap(), SOON).await, Health::Ready);
    let url = serving(StatusCode::SERVICE_UNAVAILABLE, "draining\n").await;
    let health = ask(&url, SOON).await;
    assert_eq!(health, Health::NotReady("503 draining".to_owned()));
    assert_eq!(health.exit_code(), 1);
    assert_eq!(
        health.line(&url),
        format!("not ready: {url}readyz answers 503 draining")
    );
}

#[tokio::test]
async fn nobody_and_somebody_who_never_answers_cannot_be_reached() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://user:secret@{}", listener.local_addr().unwrap())).unwrap();
    let health = ask(&url, SOON).await;
    assert_eq!(health, Health::Unreachable("no answer within 300ms".to_owned()));
    drop(listener);
    let health = ask(&url, SOON).await;
    assert_eq!(health.exit_code(), 2);
    let line = health.line(&url);
    assert!(line.contains("refused") && !line.contains("secret"), "{line}");
}

#[test]
fn paths_are_put_below_the_address() {
    for (base, expected) in [
        ("http://a:1", "http://a:1/readyz"),
        ("http://a:1/", "http://a:1/readyz"),
        ("http://a:1/readyz", "http://a:1/readyz"),
        ("https://a/otlp/", "https://a/otlp/readyz"),
    ] {
        assert_eq!(http::below(&Url::parse(base).unwrap(), READY).as_str(), expected);
    }
}
