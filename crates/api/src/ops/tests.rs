use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;

async fn fetch(router: &Router, path: &str) -> (u16, String, String) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let kind = response
        .headers()
        .get(header::CONTENT_TYPE)
        .map(|v| v.to_str().unwrap().to_owned());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (
        status,
        kind.unwrap_or_default(),
        String::from_utf8(body.to_vec()).unwrap(),
    )
}

#[tokio::test]
async fn health_follows_the_life_of_the_process() {
    let (state, ready) = watch::channel(Readiness::Starting);
    let router = routes(Telemetry::new("test", "1.2.3"), ready, "1.2.3");
    for (now, status, name) in [
        (Readiness::Starting, 503, "starting"),
        (Readiness::Ready, 200, "ok"),
        (Readiness::Draining, 503, "draining"),
    ] {
        state.send(now).unwrap();
        let (code, kind, body) = fetch(&router, "/health").await;
        assert_eq!((code, kind.as_str()), (status, "application/json"));
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body, json!({ "status": name, "version": "1.2.3" }));
        assert_eq!(fetch(&router, "/readyz").await.0, status);
        assert_eq!(fetch(&router, "/livez").await.0, 200);
    }
}

#[tokio::test]
async fn both_ports_serve_metrics() {
    let telemetry = Telemetry::new("test", "1.2.3");
    let (_state, ready) = watch::channel(Readiness::Ready);
    for router in [
        routes(telemetry.clone(), ready, "1.2.3"),
        admin_router(telemetry.clone()),
    ] {
        let (code, kind, body) = fetch(&router, "/metrics").await;
        assert_eq!((code, kind.as_str()), (200, telemetry::CONTENT_TYPE));
        assert!(body.contains("otlp_requests_total{"), "{body}");
    }
    assert_eq!(fetch(&admin_router(telemetry), "/other").await.0, 404);
}
