//! The local disk as an object store whose puts are durable.
//!
//! `object_store`'s own `LocalFileSystem` never calls fsync, so a power cut may lose an object that was acknowledged.
//! Here a put writes a temporary file, syncs it, renames it and syncs every directory whose entries changed; only
//! then it returns. Reads, lists and deletes are those of `LocalFileSystem`.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

/// Directory of unfinished puts, inside the root; emptied at start.
const TEMPORARY: &str = ".tmp";

/// Directories remembered as durable; more than a lake uses in a day.
const MOST_KNOWN: usize = 10_000;

/// A directory that holds objects as files.
#[derive(Debug)]
pub struct LocalStore {
    inner: Arc<LocalFileSystem>,
    root: PathBuf,
    durable: Arc<Durable>,
    next: AtomicU64,
}

impl LocalStore {
    /// Opens `root`, creating it if it is missing and dropping what unfinished puts of earlier processes left.
    ///
    /// # Errors
    /// When the directory cannot be created or written.
    pub fn open(root: &FsPath) -> Result<Self> {
        catalog::create_directories(root).map_err(generic)?;
        let temporary = root.join(TEMPORARY);
        match fs::remove_dir_all(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(generic(error)),
            _ => {}
        }
        catalog::create_directories(&temporary).map_err(generic)?;
        Self::beside(root)
    }

    /// Opens `root`, which exists, beside a process that may be writing there: its unfinished puts stay.
    ///
    /// # Errors
    /// When the directory does not exist or cannot be read.
    pub fn beside(root: &FsPath) -> Result<Self> {
        let root = root.canonicalize().map_err(generic)?;
        let inner = Arc::new(LocalFileSystem::new_with_prefix(&root)?);
        Ok(Self {
            inner,
            root,
            durable: Arc::default(),
            next: AtomicU64::new(0),
        })
    }
}

fn generic(source: io::Error) -> object_store::Error {
    object_store::Error::Generic {
        store: "local",
        source: Box::new(source),
    }
}

impl fmt::Display for LocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "local disk {}", self.root.display())
    }
}

/// Directories whose own entries are known to be on disk.
#[derive(Debug, Default)]
struct Durable(Mutex<HashSet<PathBuf>>);

impl Durable {
    /// Creates the directories between `root` and `target` and syncs the parent of each. That one is there already says nothing: who
    /// made it may not have come to syncing yet. So only what this process synced itself is taken for durable.
    fn create_parents(&self, root: &FsPath, target: &FsPath) -> io::Result<()> {
        let Some(parent) = target.parent() else { return Ok(()) };
        if self.0.lock().contains(parent) {
            return Ok(());
        }
        let chain = parent.ancestors().take_while(|directory| *directory != root);
        let chain = chain.collect::<Vec<_>>();
        for directory in chain.iter().rev() {
            match fs::create_dir(directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            if let Some(up) = directory.parent() {
                File::open(up)?.sync_all()?;
            }
        }
        let mut known = self.0.lock();
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.extend(chain.into_iter().map(FsPath::to_path_buf));
        Ok(())
    }

    /// Nothing below a directory that vanished is there any more.
    fn forget(&self) {
        self.0.lock().clear();
    }
}

fn durable_write(
    durable: &Durable,
    root: &FsPath,
    temporary: &FsPath,
    target: &FsPath,
    payload: &PutPayload,
) -> io::Result<()> {
    let written = (|| {
        let mut file = File::create_new(temporary)?;
        for chunk in payload.iter() {
            file.write_all(chunk)?;
        }
        file.sync_all()?;
        durable.create_parents(root, target)?;
        match fs::rename(temporary, target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Somebody tidied up empty directories.
                durable.forget();
                durable.create_parents(root, target)?;
                fs::rename(temporary, target)?;
            }
            renamed => renamed?,
        }
        match target.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    })();
    if written.is_err() {
        // Best effort: what stays is dropped when the store is opened again.
        let _ = fs::remove_file(temporary);
    }
    written
}

#[async_trait]
impl ObjectStore for LocalStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if !matches!(options.mode, PutMode::Overwrite | PutMode::Create) {
            return self.inner.put_opts(location, payload, options).await;
        }
        let target = self.inner.path_to_filesystem(location)?;
        if matches!(options.mode, PutMode::Create) && target.exists() {
            let source = io::Error::from(io::ErrorKind::AlreadyExists).into();
            return Err(object_store::Error::AlreadyExists {
                path: location.to_string(),
                source,
            });
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let temporary = self
            .root
            .join(TEMPORARY)
            .join(format!("{}-{number}", std::process::id()));
        let (root, durable) = (self.root.clone(), Arc::clone(&self.durable));
        let writing = move || durable_write(&durable, &root, &temporary, &target, &payload);
        let written = tokio::task::spawn_blocking(writing).await;
        match written {
            Ok(Ok(())) => Ok(PutResult {
                e_tag: None,
                version: None,
            }),
            Ok(Err(source)) => Err(object_store::Error::Generic {
                store: "local",
                source: Box::new(source),
            }),
            Err(source) => Err(object_store::Error::JoinError { source }),
        }
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        // Nothing here needs it, and the inner one would not be durable.
        Err(object_store::Error::NotImplemented {
            operation: "put_multipart".to_owned(),
            implementer: "LocalStore".to_owned(),
        })
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[std::ops::Range<u64>]) -> Result<Vec<bytes::Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
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

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;

    use super::*;

    #[tokio::test]
    async fn puts_are_read_back_and_leftovers_vanish() {
        let directory = tempfile::tempdir().unwrap();
        let store = LocalStore::open(directory.path()).unwrap();
        let path = Path::from("a/b/c");
        store.put(&path, "one".into()).await.unwrap();
        store.put(&path, "two".into()).await.unwrap();
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "two");
        let create = PutOptions {
            mode: PutMode::Create,
            ..PutOptions::default()
        };
        let refused = store.put_opts(&path, "three".into(), create).await.unwrap_err();
        assert!(
            matches!(refused, object_store::Error::AlreadyExists { .. }),
            "{refused}"
        );
        // Directories that somebody removed are made again.
        store.delete(&path).await.unwrap();
        fs::remove_dir_all(directory.path().join("a")).unwrap();
        store.put(&path, "four".into()).await.unwrap();
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "four");
        fs::write(directory.path().join(TEMPORARY).join("left"), "x").unwrap();
        LocalStore::open(directory.path()).unwrap();
        assert_eq!(fs::read_dir(directory.path().join(TEMPORARY)).unwrap().count(), 0);
    }
}
