//! Does the object store keep what it is given, give it back, list it and let go of it?
//!
//! One small object below a prefix that no tenant can have is written, read, written under a condition, listed and
//! deleted.

use std::time::{Duration, Instant};

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use crate::endpoints;
use crate::examine::{Found, Subject};
use crate::finding::{Finding, shown};
use crate::reach;
use crate::unique::unique_name;

/// Tenants do not begin with a dot, and garbage collection leaves these objects alone.
const PREFIX: &str = ".doctor";

/// An acknowledgement waits for one put.
const SLOW: Duration = Duration::from_secs(1);

pub(crate) async fn check(subject: &Subject, found: &Found) {
    let Ok(config) = &subject.config else {
        return found.add(Finding::skipped("store", "the configuration is not valid"));
    };
    if let config::StoreUrl::Local { path } = &config.store.url
        && !path.exists()
    {
        let why = format!(
            "{} does not exist yet; the first `otlp-rust serve` makes it",
            path.display()
        );
        return found.add(Finding::skipped("store", why));
    }
    if let Some(endpoint) = endpoints::store(config) {
        match reach::connect(&endpoint).await {
            Ok(_) => {}
            Err(finding) => return found.add(*finding),
        }
    }
    match &subject.store {
        Some(Ok(store)) => {
            probe(store.as_ref(), &config.store.url.to_string(), found).await;
            if let config::StoreUrl::Local { path } = &config.store.url {
                // Directories stay when their last file goes; if it is not empty it stays, too.
                let _ = std::fs::remove_dir(path.join(PREFIX));
            }
        }
        Some(Err(error)) => found.add(Finding::failed(
            "store",
            format!("cannot be opened: {error}"),
            "correct store.url and the keys below store.s3, store.gcs or store.azure",
        )),
        None => found.add(Finding::skipped("store", "there is none")),
    }
}

async fn probe(store: &dyn ObjectStore, url: &str, found: &Found) {
    let path = Path::from(format!("{PREFIX}/{}", unique_name()));
    // First, because some stores make a bucket that is missing when something is put there.
    match listed(store, &path).await {
        Ok(_) => found.add(Finding::ok("store.access", "the bucket is there and admits us").of(url)),
        Err(error) => return found.add(failed("access", &error, "list").of(url)),
    }
    let started = Instant::now();
    let wrote = store.put(&path, path.as_ref().to_owned().into()).await;
    let took = started.elapsed();
    if let Err(error) = wrote {
        return found.add(failed("put", &error, "write"));
    }
    found.add(timed("put", "written", took));
    read(store, &path, found).await;
    condition(store, &path, found).await;
    list(store, &path, found).await;
    delete(store, &path, found).await;
}

async fn read(store: &dyn ObjectStore, path: &Path, found: &Found) {
    let started = Instant::now();
    let whole = async { store.get(path).await?.bytes().await };
    let read = async { Ok::<_, Error>((whole.await?, store.get_range(path, 1..4).await?)) };
    match read.await {
        Ok((whole, range)) if whole == path.as_ref() && range == path.as_ref()[1..4] => {
            found.add(timed(
                "get",
                "read whole and in part, equal to what was written",
                started.elapsed(),
            ));
        }
        Ok((whole, range)) => found.add(Finding::failed(
            "store.get",
            format!(
                "{} and {} bytes came back, and are not what was written",
                whole.len(),
                range.len()
            ),
            "do not use this store: look for a cache or proxy in front of it, or an endpoint that ignores Range",
        )),
        Err(error) => found.add(failed("get", &error, "read")),
    }
}

async fn condition(store: &dyn ObjectStore, path: &Path, found: &Found) {
    let create = PutOptions {
        mode: PutMode::Create,
        ..PutOptions::default()
    };
    let name = "store.conditional_put";
    found.add(match store.put_opts(path, "twice".into(), create).await {
        Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
            Finding::ok(name, "refused to overwrite, as asked")
        }
        Err(Error::NotImplemented { .. } | Error::NotSupported { .. }) => {
            Finding::skipped(name, "this store has none; the platform does not need it")
        }
        Ok(_) => Finding::warning(
            name,
            "If-None-Match: * was ignored and the object overwritten",
            "nothing of the platform relies on it (names are never used twice), but other programs may: update the store",
        ),
        Err(error) => Finding::warning(
            name,
            format!("failed: {}", text(&error)),
            "nothing of the platform relies on it; look into the store's log if other programs do",
        ),
    });
}

async fn list(store: &dyn ObjectStore, path: &Path, found: &Found) {
    let started = Instant::now();
    match listed(store, path).await {
        Ok(true) => found.add(timed("list", "listed", started.elapsed())),
        Ok(false) => found.add(Finding::failed(
            "store.list",
            "the object just written is not listed",
            "garbage collection and `otlp-rust verify` need complete lists: use a store that lists what it holds",
        )),
        Err(error) => found.add(failed("list", &error, "list")),
    }
}

async fn listed(store: &dyn ObjectStore, path: &Path) -> object_store::Result<bool> {
    let prefix = Path::from(PREFIX);
    let mut objects = store.list(Some(&prefix));
    while let Some(object) = objects.try_next().await? {
        if object.location == *path {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn delete(store: &dyn ObjectStore, path: &Path, found: &Found) {
    let started = Instant::now();
    if let Err(error) = store.delete(path).await {
        return found.add(failed("delete", &error, "delete").of(path.to_string()));
    }
    let took = started.elapsed();
    let gone = match store.get(path).await {
        Err(Error::NotFound { .. }) => !listed(store, path).await.unwrap_or(false),
        _ => false,
    };
    found.add(if gone {
        timed("delete", "deleted, and gone", took)
    } else {
        Finding::failed(
            "store.delete",
            "deleted without an error, and still there",
            "retention and deletion would prove nothing: turn off what keeps old versions in answers (a cache, a proxy)",
        )
        .of(path.to_string())
    });
}

fn timed(what: &str, seen: &str, took: Duration) -> Finding {
    let (name, seen) = (format!("store.{what}"), format!("{seen}, {}", shown(took)));
    let finding = if took > SLOW {
        Finding::warning(
            name,
            seen,
            "acknowledgements wait for the store: use a bucket in this region, or look at its load and the network",
        )
    } else {
        Finding::ok(name, seen)
    };
    finding.took(took)
}

fn failed(what: &str, error: &Error, right: &str) -> Finding {
    let error_text = text(error);
    Finding::failed(
        format!("store.{what}"),
        error_text.clone(),
        remedy(error, &error_text, right),
    )
}

/// The innermost cause, in one line: the outer ones repeat each other.
fn text(error: &Error) -> String {
    let text = error.to_string();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.chars().take(400).collect()
}

fn remedy(error: &Error, text: &str, right: &str) -> String {
    let has = |word: &str| text.contains(word);
    if has("NoSuchBucket") || has("ContainerNotFound") || matches!(error, Error::NotFound { .. }) {
        "make the bucket, or correct its name in store.url".to_owned()
    } else if has("RequestTimeTooSkewed") {
        "set this machine's clock (see the check clock)".to_owned()
    } else if has("InvalidAccessKeyId")
        || has("SignatureDoesNotMatch")
        || matches!(error, Error::Unauthenticated { .. })
    {
        "correct the credentials (store.s3.access_key_id and secret_access_key, store.azure.access_key, or those of the environment)"
            .to_owned()
    } else if matches!(error, Error::PermissionDenied { .. }) || has("AccessDenied") {
        format!("correct the credentials, or allow them to {right} objects of this bucket and prefix")
    } else if has("certificate") {
        "see the check certificates".to_owned()
    } else if has("Read-only file system") || has("Permission denied") {
        "let this user write there, or set store.url to a directory where it can".to_owned()
    } else if has("No space left") {
        "make room on this disk".to_owned()
    } else {
        "look into the store's log; `otlp-rust config print` shows how it is addressed".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Status;
    use object_store::memory::InMemory;

    #[tokio::test]
    async fn a_store_that_works_is_left_as_it_was() {
        let store = InMemory::new();
        let found = Found::default();
        probe(&store, "memory", &found).await;
        let findings = found.take();
        let names: Vec<_> = findings.iter().map(|f| f.name.as_str()).collect();
        let expected =
            ["access", "put", "get", "conditional_put", "list", "delete"].map(|name| format!("store.{name}"));
        assert_eq!(names, expected);
        assert!(findings.iter().all(|f| f.status == Status::Ok), "{findings:?}");
        assert!(store.list(None).try_next().await.unwrap().is_none());
    }
}
