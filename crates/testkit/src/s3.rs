//! An S3 endpoint over a local folder that counts the requests it gets.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use axum::Router;
use axum::error_handling::HandleError;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Access key id that the endpoint accepts.
pub const ACCESS_KEY_ID: &str = "test-access-key";
/// Secret access key that belongs to [`ACCESS_KEY_ID`].
pub const SECRET_ACCESS_KEY: &str = "test-secret-key";
/// Path that answers the request counts as JSON instead of speaking S3. No bucket can have this name (a bucket name starts with a letter or a digit).
pub const COUNTS_PATH: &str = "/-/counts";

/// Requests since the start, by kind, and the bytes of bodies as announced by `Content-Length`.
#[derive(Debug, Default)]
pub struct Counts {
    /// GET of an object.
    pub gets: AtomicU64,
    /// PUT of an object or of a part of one.
    pub puts: AtomicU64,
    /// HEAD requests.
    pub heads: AtomicU64,
    /// GET of a bucket (a listing).
    pub lists: AtomicU64,
    /// DELETE requests.
    pub deletes: AtomicU64,
    /// POST requests (multi-part uploads, bulk deletes).
    pub posts: AtomicU64,
    /// Bytes of GET answers.
    pub bytes_out: AtomicU64,
    /// Bytes of PUT bodies.
    pub bytes_in: AtomicU64,
}

impl Counts {
    fn request(&self, request: &Request) {
        let is_bucket = request.uri().path().trim_matches('/').split('/').count() == 1;
        let counter = match *request.method() {
            Method::GET if is_bucket => &self.lists,
            Method::GET => &self.gets,
            Method::PUT => {
                self.bytes_in
                    .fetch_add(content_length(request.headers()), Ordering::Relaxed);
                &self.puts
            }
            Method::HEAD => &self.heads,
            Method::DELETE => &self.deletes,
            _ => &self.posts,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts as one JSON object, keys named as the fields.
    pub fn to_json(&self) -> serde_json::Value {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        serde_json::json!({
            "gets": read(&self.gets),
            "puts": read(&self.puts),
            "heads": read(&self.heads),
            "lists": read(&self.lists),
            "deletes": read(&self.deletes),
            "posts": read(&self.posts),
            "bytes_out": read(&self.bytes_out),
            "bytes_in": read(&self.bytes_in),
        })
    }
}

fn content_length(headers: &header::HeaderMap) -> u64 {
    headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse().ok())
        .unwrap_or(0)
}

async fn count(State(counts): State<Arc<Counts>>, request: Request, next: Next) -> Response {
    if request.uri().path() == COUNTS_PATH {
        return next.run(request).await;
    }
    let is_get = request.method() == Method::GET;
    counts.request(&request);
    let response = next.run(request).await;
    if is_get {
        counts
            .bytes_out
            .fetch_add(content_length(response.headers()), Ordering::Relaxed);
    }
    response
}

/// Whose requests are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Those signed with [`ACCESS_KEY_ID`]'s key.
    Signed,
    /// All.
    Anyone,
}

/// A running endpoint; dropping it stops it.
#[derive(Debug)]
pub struct S3Endpoint {
    address: SocketAddr,
    counts: Arc<Counts>,
    task: JoinHandle<std::io::Result<()>>,
}

impl S3Endpoint {
    /// Serves the folder `root` on `listen` (port 0 picks a free port) and makes sure that each of `buckets` exists.
    ///
    /// # Errors
    /// When the folder cannot be used or the port cannot be bound.
    pub async fn start(root: &Path, listen: SocketAddr, buckets: &[String], access: Access) -> anyhow::Result<Self> {
        for bucket in buckets {
            // In s3s-fs a bucket is a folder directly below the root.
            let folder = root.join(bucket);
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("create the bucket folder {}", folder.display()))?;
        }
        let files =
            FileSystem::new(root).map_err(|error| anyhow::anyhow!("serve the folder {}: {error:?}", root.display()))?;
        let mut builder = S3ServiceBuilder::new(files);
        if access == Access::Signed {
            builder.set_auth(SimpleAuth::from_single(ACCESS_KEY_ID, SECRET_ACCESS_KEY));
        }
        let service = HandleError::new(builder.build(), |error: s3s::HttpError| async move {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:?}"))
        });

        // A bearer token, as Google's clients send it, is nothing that S3 knows.
        let unsigned = move |mut request: Request| async move {
            if access == Access::Anyone {
                request.headers_mut().remove(header::AUTHORIZATION);
            }
            request
        };

        let counts = Arc::new(Counts::default());
        let shown = Arc::clone(&counts);
        let app = Router::new()
            .route(COUNTS_PATH, get(move || async move { axum::Json(shown.to_json()) }))
            .fallback_service(service)
            .layer(middleware::map_request(unsigned))
            .layer(middleware::from_fn_with_state(Arc::clone(&counts), count));

        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("listen on {listen}"))?;
        let address = listener.local_addr().context("read the bound address")?;
        let task = tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { address, counts, task })
    }

    /// Base URL to give to an S3 client as its endpoint, without a trailing slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Requests so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}

impl Drop for S3Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}
