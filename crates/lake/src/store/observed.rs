//! A store that reports how long its requests take and how they end.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use telemetry::{StoreStatus, Telemetry};

/// Wraps a store.
pub fn observed(inner: Arc<dyn ObjectStore>, telemetry: Telemetry) -> Arc<dyn ObjectStore> {
    Arc::new(Observed { inner, telemetry })
}

struct Observed {
    inner: Arc<dyn ObjectStore>,
    telemetry: Telemetry,
}

impl Observed {
    fn record<T>(&self, operation: &'static str, started: Instant, outcome: Result<T>) -> Result<T> {
        self.telemetry
            .store_operation(operation, status_of(&outcome), started.elapsed());
        outcome
    }
}

const fn status_of<T>(outcome: &Result<T>) -> StoreStatus {
    match outcome {
        Ok(_) => StoreStatus::Ok,
        Err(object_store::Error::NotFound { .. }) => StoreStatus::NotFound,
        Err(_) => StoreStatus::Error,
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Display for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Observed {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let started = Instant::now();
        self.record("put", started, self.inner.put_opts(location, payload, options).await)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let started = Instant::now();
        self.record(
            "put_multipart",
            started,
            self.inner.put_multipart_opts(location, options).await,
        )
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let started = Instant::now();
        self.record("get", started, self.inner.get_opts(location, options).await)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let started = Instant::now();
        self.record("get", started, self.inner.get_ranges(location, ranges).await)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        // One operation per object, though a store may take many in one request.
        let telemetry = self.telemetry.clone();
        let mut started = Instant::now();
        let deleted = self.inner.delete_stream(locations).inspect(move |outcome| {
            telemetry.store_operation("delete", status_of(outcome), started.elapsed());
            started = Instant::now();
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let started = Instant::now();
        self.record("list", started, self.inner.list_with_delimiter(prefix).await)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let started = Instant::now();
        self.record("copy", started, self.inner.copy_opts(from, to, options).await)
    }
}
