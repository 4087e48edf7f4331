//! Files of every format version that was ever released are read for ever: `tests/data` has a small lake of each, and the
//! rows that it must give. See the README there for how one is added; existing ones are never written again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use catalog::{Catalog, CatalogUrl, ConnectOptions};
use lake::store::LocalStore;
use lake::{CacheSizes, Lake};
use schema::{Dataset, ManualClock};

use crate::fixture::{self, DAY, NOON, SECOND, commit_of, tenant, visible};
use crate::rows::{Row, random_batch};

/// The tenant of every golden lake.
const OWNER: &str = "golden";

fn golden(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/data")
        .join(version)
}

async fn open(directory: &Path) -> Lake {
    let url = format!("sqlite://{}", directory.join("catalog.db").display());
    let catalog = Catalog::connect(&CatalogUrl::parse(&url).unwrap(), ConnectOptions::default())
        .await
        .unwrap();
    catalog.migrate().await.unwrap();
    let store = Arc::new(LocalStore::open(&directory.join("store")).unwrap());
    Lake::new(
        store,
        catalog,
        Arc::new(ManualClock::new(NOON + DAY)),
        "golden".to_owned(),
        CacheSizes::split(16 << 20, true),
        telemetry::Telemetry::new("test", "0"),
    )
}

/// Rows as a text that differs if any value does.
fn told(rows: &[Row]) -> String {
    rows.iter().map(|row| format!("{row:?}\n")).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

async fn reads_every_row(version: &str) {
    let directory = tempfile::tempdir().unwrap();
    copy(&golden(version), directory.path());
    let lake = open(directory.path()).await;
    let owner = tenant(OWNER);
    let snapshot = lake.snapshot(&owner, &Dataset::ALL, None).await.unwrap();
    for dataset in Dataset::ALL {
        let parts = snapshot.parts.iter().filter(|p| p.dataset == dataset).count();
        let slices = snapshot.slices.iter().filter(|s| s.dataset == dataset).count();
        assert_eq!((parts, slices), (1, 1), "{dataset}");
        let expected = fs::read_to_string(golden(version).join(format!("rows/{dataset}.txt"))).unwrap();
        assert_eq!(told(&visible(&lake, &owner, dataset).await), expected, "{dataset}");
        // What this program makes of them holds the same rows.
        lake.compact(&owner, dataset, &fixture::options(), fixture::ALL)
            .await
            .unwrap();
        let after = lake.snapshot(&owner, &[dataset], None).await.unwrap();
        assert!(after.slices.is_empty());
        assert_eq!(told(&visible(&lake, &owner, dataset).await), expected, "{dataset}");
    }
}

#[tokio::test]
async fn version_1_is_read() {
    reads_every_row("lake-v1").await;
}

/// Writes the golden lake of today's formats into `GOLDEN_LAKE`, a directory that must not exist.
#[tokio::test]
#[ignore = "writes files: run it only to add the lake of a new format version"]
async fn write_a_golden_lake() {
    let directory = PathBuf::from(std::env::var("GOLDEN_LAKE").unwrap());
    fs::create_dir(&directory).unwrap();
    let lake = open(&directory).await;
    let owner = tenant(OWNER);
    let batches = |seed: u64, from: i64| {
        let numbered = (seed..).zip(Dataset::ALL);
        let batches = numbered.map(|(seed, d)| (d, random_batch(d, seed, 4, from, from + 60 * SECOND)));
        batches.collect::<Vec<_>>()
    };
    // One segment with a slice of each dataset becomes a part of each; one more stays.
    lake.commit(commit_of(&owner, 1, &batches(100, NOON))).await.unwrap();
    for dataset in Dataset::ALL {
        lake.compact(&owner, dataset, &fixture::options(), fixture::ALL)
            .await
            .unwrap();
    }
    lake.commit(commit_of(&owner, 101, &batches(200, NOON + 3600 * SECOND)))
        .await
        .unwrap();
    // What was replaced is not part of the lake any more.
    let due = lake.catalog().gc_due(NOON + 2 * DAY, 100).await.unwrap();
    for entry in &due {
        fs::remove_file(directory.join("store").join(&entry.path)).unwrap();
    }
    let due = due.iter().map(|entry| entry.id).collect::<Vec<_>>();
    lake.catalog().gc_done(&due).await.unwrap();
    fs::create_dir(directory.join("rows")).unwrap();
    for dataset in Dataset::ALL {
        let rows = visible(&lake, &owner, dataset).await;
        fs::write(directory.join(format!("rows/{dataset}.txt")), told(&rows)).unwrap();
    }
    lake.catalog().close().await;
    // Small pages: most tables have a row or two.
    use sqlx::ConnectOptions as _;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(directory.join("catalog.db"));
    let mut database = options.connect().await.unwrap();
    for sql in ["PRAGMA journal_mode = DELETE", "PRAGMA page_size = 512", "VACUUM"] {
        sqlx::query(sql).fetch_all(&mut database).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    fs::remove_dir_all(directory.join("store/.tmp")).unwrap();
}
