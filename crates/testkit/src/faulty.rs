//! An object store in memory whose requests fail or wait when a test says so.
//!
//! For the crates that use a store through `object_store` and must get through its failures; what goes over the network
//! is tested with [`crate::s3`].

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::RwLock;

/// What goes wrong, and what was asked for so far.
#[derive(Debug, Default)]
pub struct Faults {
    /// Every put fails and writes nothing.
    pub fail_puts: AtomicBool,
    /// Puts succeed, but their answer is an error: the reply was lost.
    pub lose_replies: AtomicBool,
    /// Every get fails.
    pub fail_gets: AtomicBool,
    /// Every delete fails.
    pub fail_deletes: AtomicBool,
    /// Puts wait while a test holds this for writing.
    pub gate: RwLock<()>,
    /// Puts that began.
    pub put_count: AtomicUsize,
    /// Gets that began.
    pub get_count: AtomicUsize,
    /// Objects that were asked to be deleted.
    pub delete_count: Arc<AtomicUsize>,
}

/// The store. Clones share objects and faults.
#[derive(Debug, Clone, Default)]
pub struct FaultyStore {
    inner: Arc<InMemory>,
    /// What goes wrong.
    pub faults: Arc<Faults>,
}

impl FaultyStore {
    /// The same objects, seen through faults of its own.
    pub fn beside(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            faults: Arc::default(),
        }
    }

    /// Paths of all objects, sorted.
    pub async fn paths(&self) -> Vec<String> {
        // Listing memory does not fail.
        let objects = self.inner.list(None).filter_map(async |object| object.ok());
        let mut paths = objects
            .map(|object| object.location.to_string())
            .collect::<Vec<_>>()
            .await;
        paths.sort();
        paths
    }
}

fn broken(what: &str) -> object_store::Error {
    object_store::Error::Generic {
        store: "faulty",
        source: format!("the test broke this {what}").into(),
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a store that fails on demand")
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.faults.put_count.fetch_add(1, Ordering::SeqCst);
        let _open = self.faults.gate.read().await;
        if self.faults.fail_puts.load(Ordering::SeqCst) {
            return Err(broken("put"));
        }
        let done = self.inner.put_opts(location, payload, options).await?;
        if self.faults.lose_replies.load(Ordering::SeqCst) {
            return Err(broken("reply"));
        }
        Ok(done)
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.faults.get_count.fetch_add(1, Ordering::SeqCst);
        if self.faults.fail_gets.load(Ordering::SeqCst) {
            return Err(broken("get"));
        }
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.faults.get_count.fetch_add(1, Ordering::SeqCst);
        if self.faults.fail_gets.load(Ordering::SeqCst) {
            return Err(broken("get"));
        }
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        if self.faults.fail_deletes.load(Ordering::SeqCst) {
            return locations.map(|_| Err(broken("delete"))).boxed();
        }
        let count = Arc::clone(&self.faults.delete_count);
        let counted = locations.inspect(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
        });
        self.inner.delete_stream(counted.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
