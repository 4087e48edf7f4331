//! Whether what listens somewhere is a healthy otlp-rust, asked in the protocol of the port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::Url;

use crate::http;

/// What a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Serving {
    OtlpGrpc,
    OtlpHttp,
    Api,
    Metrics,
    PostgresWire,
}

/// How this machine reaches what listens on `address`.
fn local(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    SocketAddr::new(ip, address.port())
}

/// The address of an HTTP server that listens on `address`, as this machine reaches it.
pub fn local_url(address: SocketAddr) -> Option<Url> {
    Url::parse(&format!("http://{}", local(address))).ok()
}

/// Whether a healthy otlp-rust answers there.
pub(crate) async fn is_ours(serving: Serving, address: SocketAddr, timeout: Duration) -> bool {
    let asked = async {
        match serving {
            Serving::Api => api(address, timeout).await,
            Serving::Metrics => metrics(address, timeout).await,
            Serving::OtlpHttp => otlp_http(address, timeout).await,
            Serving::OtlpGrpc => otlp_grpc(address, timeout).await,
            Serving::PostgresWire => postgres(address).await,
        }
    };
    tokio::time::timeout(timeout, asked)
        .await
        .ok()
        .flatten()
        .unwrap_or(false)
}

async fn api(address: SocketAddr, timeout: Duration) -> Option<bool> {
    let url = local_url(address)?;
    let response = http::client(&url, timeout)
        .ok()?
        .get(http::below(&url, "/health"))
        .send()
        .await
        .ok()?;
    let well = response.status().is_success();
    let body = http::start_of(response, http::MOST_BYTES).await;
    let body: serde_json::Value = serde_json::from_slice(&body).ok()?;
    Some(well && body["status"] == "ok" && body["version"].is_string())
}

async fn metrics(address: SocketAddr, timeout: Duration) -> Option<bool> {
    let url = local_url(address)?;
    let response = http::client(&url, timeout)
        .ok()?
        .get(http::below(&url, "/metrics"))
        .send()
        .await
        .ok()?;
    Some(http::text(response, http::MOST_BYTES).await.contains("\n# TYPE otlp_"))
}

async fn otlp_http(address: SocketAddr, timeout: Duration) -> Option<bool> {
    let url = local_url(address)?;
    let client = http::client(&url, timeout).ok()?;
    let request = http::empty_export(&client, &url);
    Some(request.send().await.ok()?.status().is_success())
}

/// `grpc.health.v1.Health/Check` of the whole server, and `SERVING` (field 1, value 1) as the answer.
async fn otlp_grpc(address: SocketAddr, timeout: Duration) -> Option<bool> {
    const NOTHING: &[u8] = &[0, 0, 0, 0, 0];
    const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];
    let url = local_url(address)?;
    let client = http::builder(&url, timeout).http2_prior_knowledge().build().ok()?;
    let request = client
        .post(http::below(&url, "/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(NOTHING);
    let answer = http::start_of(request.send().await.ok()?, SERVING.len() + 1).await;
    Some(answer == SERVING)
}

/// Whether it answers the question for TLS as a PostgreSQL server does (protocol documentation, SSLRequest).
async fn postgres(address: SocketAddr) -> Option<bool> {
    let mut stream = TcpStream::connect(local(address)).await.ok()?;
    stream.write_all(&http::SSL_REQUEST).await.ok()?;
    Some(matches!(stream.read_u8().await.ok()?, b'N' | b'S'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_listens_everywhere_is_asked_on_this_machine() {
        for (address, expected) in [
            ("0.0.0.0:8080", "http://127.0.0.1:8080/"),
            ("[::]:8080", "http://[::1]:8080/"),
            ("10.1.2.3:80", "http://10.1.2.3/"),
        ] {
            assert_eq!(local_url(address.parse().unwrap()).unwrap().as_str(), expected);
        }
    }
}
