//! HTTP as a caller next to the platform speaks it.

use std::time::Duration;

use reqwest::{Client, ClientBuilder, RequestBuilder, Response};
use url::Url;

/// A client for `url`.
///
/// No proxy: it is about this server, and a proxy from the environment would hide it. Certificates of authorities are read
/// only if they are needed, because reading them takes longer than the question itself.
///
/// # Errors
/// If the certificates of authorities cannot be read.
pub(crate) fn client(url: &Url, timeout: Duration) -> reqwest::Result<Client> {
    builder(url, timeout).build()
}

/// As [`client`], to be adjusted.
pub(crate) fn builder(url: &Url, timeout: Duration) -> ClientBuilder {
    Client::builder()
        .no_proxy()
        .timeout(timeout)
        .connect_timeout(timeout)
        .tls_built_in_root_certs(url.scheme() == "https")
        .user_agent(concat!("otlp-rust/", env!("CARGO_PKG_VERSION")))
}

/// Asks a PostgreSQL server whether it speaks TLS; it answers with `S` or `N`.
pub(crate) const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// An export of nothing, which a receiver of OTLP accepts: an empty message is an empty body.
pub(crate) fn empty_export(client: &Client, url: &Url) -> RequestBuilder {
    let request = client.post(below(url, "/v1/traces"));
    request.header("content-type", "application/x-protobuf").body("")
}

/// `path` below what `base` names; a base that ends with the path is taken as it is.
pub(crate) fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    let stem = base.path().trim_end_matches('/');
    if !stem.ends_with(path) {
        url.set_path(&format!("{stem}{path}"));
    }
    url
}

/// More of an answer is never read, whoever gives it: metrics of a thousand tenants fit.
pub(crate) const MOST_BYTES: usize = 16 << 20;

/// The first `most` bytes of an answer's body, or as much as came before an error.
pub(crate) async fn start_of(mut response: Response, most: usize) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < most
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk[..chunk.len().min(most - body.len())]);
    }
    body
}

/// As [`start_of`], as text; what is no UTF-8 becomes U+FFFD.
pub(crate) async fn text(response: Response, most: usize) -> String {
    String::from_utf8_lossy(&start_of(response, most).await).into_owned()
}

/// An address without what must not be shown.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Neither fails for an address with a host.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url.set_query(None);
    url.to_string()
}

/// The innermost cause: the outer ones only repeat the address.
pub(crate) fn cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
