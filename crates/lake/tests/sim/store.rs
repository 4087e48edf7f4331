//! The object store: exact, in memory, dated by the simulated time, and behind the gate.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, stream};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use rand::Rng;
use schema::UnixNanos;

use crate::schedule::{ProcessId, Request, Schedule, Verdict};

#[derive(Debug, Clone)]
struct Object {
    bytes: Bytes,
    modified: UnixNanos,
}

/// The objects and what happened to them.
#[derive(Debug, Default)]
pub struct Objects {
    here: BTreeMap<Path, Object>,
    /// Every change so far, for stale listings: the object put, or none for a deletion.
    changes: Vec<(Path, Option<Object>)>,
    /// Puts that were answered with an error and land at a time.
    late: Vec<(UnixNanos, Path, Bytes)>,
    /// Paths deleted since somebody looked.
    pub deleted: Vec<String>,
}

impl Objects {
    fn put(&mut self, path: Path, bytes: Bytes, modified: UnixNanos) {
        let object = Object { bytes, modified };
        self.changes.push((path.clone(), Some(object.clone())));
        self.here.insert(path, object);
    }

    /// Lets late puts land whose time has come.
    pub fn land(&mut self, now: UnixNanos) {
        let (due, late) = std::mem::take(&mut self.late)
            .into_iter()
            .partition(|(at, ..)| *at <= now);
        self.late = late;
        let due: Vec<(UnixNanos, Path, Bytes)> = due;
        for (at, path, bytes) in due {
            self.put(path, bytes, at);
        }
    }

    /// The paths of all objects, in order.
    pub fn paths(&self) -> Vec<String> {
        self.here.keys().map(Path::to_string).collect()
    }

    fn as_of(&self, changes: usize) -> BTreeMap<Path, Object> {
        let mut here = BTreeMap::new();
        for (path, object) in &self.changes[..changes] {
            match object {
                Some(object) => drop(here.insert(path.clone(), object.clone())),
                None => drop(here.remove(path)),
            }
        }
        here
    }
}

/// One process's access to the objects.
#[derive(Clone)]
pub struct Store {
    pub schedule: Arc<Schedule>,
    pub process: ProcessId,
    pub objects: Arc<Mutex<Objects>>,
}

impl Store {
    async fn enter(&self, request: Request, path: &str) -> Result<Verdict> {
        let verdict = self.schedule.enter(self.process, request).await;
        self.schedule.log(format_args!("{request:?} {path}: {verdict:?}"));
        if verdict == Verdict::Fails {
            return Err(broken());
        }
        Ok(verdict)
    }

    async fn delete_one(&self, path: Path) -> Result<Path> {
        let verdict = self.enter(Request::Delete, path.as_ref()).await?;
        {
            let mut objects = self.objects.lock();
            if objects.here.remove(&path).is_some() {
                objects.changes.push((path.clone(), None));
                objects.deleted.push(path.to_string());
            }
        }
        match verdict {
            Verdict::ReplyLost => Err(broken()),
            _ => Ok(path),
        }
    }

    async fn list_all(&self) -> Result<Vec<ObjectMeta>> {
        let verdict = self.enter(Request::List, "").await?;
        let mut state = self.schedule.state();
        let objects = self.objects.lock();
        let here = if verdict == Verdict::Stale {
            let from = state.random.random_range(0..=objects.changes.len());
            objects.as_of(from)
        } else {
            objects.here.clone()
        };
        Ok(here.iter().map(|(path, object)| meta(path, object)).collect())
    }
}

fn meta(path: &Path, object: &Object) -> ObjectMeta {
    let mut meta = ObjectMeta {
        location: path.clone(),
        last_modified: Default::default(), // the epoch
        size: object.bytes.len() as u64,
        e_tag: None,
        version: None,
    };
    meta.last_modified += Duration::from_nanos(object.modified as u64);
    meta
}

fn broken() -> object_store::Error {
    object_store::Error::Generic {
        store: "simulated",
        source: "the simulation broke this request".into(),
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the simulated store")
    }
}

fn unused<T>(operation: &str) -> Result<T> {
    Err(object_store::Error::NotImplemented {
        operation: operation.to_owned(),
        implementer: "the simulation".to_owned(),
    })
}

#[async_trait]
impl ObjectStore for Store {
    async fn put_opts(&self, path: &Path, payload: PutPayload, _: PutOptions) -> Result<PutResult> {
        let verdict = self.enter(Request::Put, path.as_ref()).await?;
        let bytes = Bytes::from(payload);
        let mut state = self.schedule.state();
        let now = state.now;
        let mut objects = self.objects.lock();
        match verdict {
            Verdict::Late => {
                let after = state.random.random_range(0..400_000_000_000);
                objects.late.push((now + after, path.clone(), bytes));
                Err(broken())
            }
            _ => {
                objects.put(path.clone(), bytes, now);
                match verdict {
                    Verdict::ReplyLost => Err(broken()),
                    _ => Ok(PutResult {
                        e_tag: None,
                        version: None,
                    }),
                }
            }
        }
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unused("put_multipart")
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.enter(Request::Get, path.as_ref()).await?;
        let object = self.objects.lock().here.get(path).cloned();
        let Some(object) = object else {
            return Err(object_store::Error::NotFound {
                path: path.to_string(),
                source: "no such object".into(),
            });
        };
        let meta = meta(path, &object);
        let range = match &options.range {
            Some(range) => range
                .as_range(meta.size)
                .map_err(|error| object_store::Error::Generic {
                    store: "simulated",
                    source: error.into(),
                })?,
            None => 0..meta.size,
        };
        let bytes = object.bytes.slice(range.start as usize..range.end as usize);
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream::once(async { Ok(bytes) }).boxed()),
            meta,
            range,
            attributes: Default::default(),
        })
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let whole = self.get_opts(path, GetOptions::default()).await?.bytes().await?;
        let cut = |range: &Range<u64>| whole.slice(range.start as usize..range.end as usize);
        Ok(ranges.iter().map(cut).collect())
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let delete = move |path: Result<Path>| {
            let store = store.clone();
            async move { store.delete_one(path?).await }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned().unwrap_or_default());
        let listing = async move {
            let below = |object: &ObjectMeta| object.location.prefix_matches(&prefix);
            match store.list_all().await {
                Ok(objects) => objects.into_iter().filter(below).map(Ok).collect(),
                Err(error) => vec![Err(error)],
            }
        };
        listing.map(stream::iter).flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        unused("list_with_delimiter")
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unused("copy")
    }
}
