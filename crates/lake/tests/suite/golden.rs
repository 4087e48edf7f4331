//! Files of every format version that was ever released are read for ever: `tests/data` has a small lake of each, and the
//! rows that it must give. See the README there for how one is added; existing ones are never written again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use catalog::{Catalog, CatalogUrl, ConnectOptions, DeletionState, DeletionTarget};
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
    has_the_rows_of(version, &lake).await;
}

async fn has_the_rows_of(version: &str, lake: &Lake) {
    let owner = tenant(OWNER);
    let snapshot = lake.snapshot(&owner, &Dataset::ALL, None).await.unwrap();
    for dataset in Dataset::ALL {
        let parts = snapshot.parts.iter().filter(|p| p.dataset == dataset).count();
        let slices = snapshot.slices.iter().filter(|s| s.dataset == dataset).count();
        assert_eq!((parts, slices), (1, 1), "{dataset}");
        let expected = fs::read_to_string(golden(version).join(format!("rows/{dataset}.txt"))).unwrap();
        assert_eq!(told(&visible(lake, &owner, dataset).await), expected, "{dataset}");
        // What this program makes of them holds the same rows.
        lake.compact(&owner, dataset, &fixture::options(), fixture::ALL)
            .await
            .unwrap();
        let after = lake.snapshot(&owner, &[dataset], None).await.unwrap();
        assert!(after.slices.is_empty());
        assert_eq!(told(&visible(lake, &owner, dataset).await), expected, "{dataset}");
    }
}

#[tokio::test]
async fn version_1_is_read() {
    reads_every_row("lake-v1").await;
}

/// What programs of later schema versions kept in the catalog beside what `lake-v1` has, by the first version that had it.
const KEPT: [(i64, &[&str]); 3] = [
    (
        2,
        &[
            "INSERT INTO deletion (tenant, target, argument, state, requested_at, done_at, verified_at, last_segment, last_sequence) \
             VALUES ('golden', 'trace', '000000000000000000000000000000ab', 'verified', 100, 200, 300, 1, 2)",
            "INSERT INTO deletion_dataset (deletion_id, kind, rows_deleted, bytes_read, bytes_written, scanned_at) \
             SELECT 1, kind, 5, 60, 70, 150 FROM dataset WHERE name = 'spans'",
            "INSERT INTO deletion_object (deletion_id, path, byte_size, removed) VALUES (1, 'golden/gone.parquet', 80, 1)",
            "INSERT INTO retention_state (dataset_id, rows_deleted, bytes_deleted, proven_at) \
             SELECT id, 7, 900, 400 FROM dataset WHERE name = 'logs'",
        ],
    ),
    (
        3,
        &["INSERT INTO quarantine (part_id, reason, quarantined_at) \
           SELECT p.id, 'its checksum differs', 500 FROM part p JOIN dataset d ON d.id = p.dataset_id WHERE d.name = 'spans'"],
    ),
    (6, &["UPDATE dataset SET forgotten = 3 WHERE name = 'resources'"]),
];

/// The first version that shows the lake to DuckDB.
const PUBLISHES: i64 = 4;

fn golden_catalog(version: i64) -> PathBuf {
    golden("catalogs").join(format!("{version}.db.zst"))
}

/// A catalog that any released program left is opened, told from and written to.
#[tokio::test]
async fn catalogs_of_every_schema_version_are_read_and_written() {
    for version in 2..=catalog::newest_version() {
        let directory = tempfile::tempdir().unwrap();
        copy(&golden("lake-v1"), directory.path());
        let packed = fs::read(golden_catalog(version)).unwrap_or_else(|error| {
            panic!("{error}: tests/data/README.md says how the catalog of schema version {version} is added")
        });
        fs::write(directory.path().join("catalog.db"), zstd::decode_all(&*packed).unwrap()).unwrap();
        let lake = open(directory.path()).await;
        let (catalog, owner) = (lake.catalog(), tenant(OWNER));
        assert_eq!(catalog.schema_version().await.unwrap(), catalog::newest_version());

        let deletions = catalog.deletions(10).await.unwrap();
        let [deletion] = &deletions[..] else {
            panic!("version {version}: {deletions:?}")
        };
        assert_eq!(deletion.target, DeletionTarget::Trace(0xab_u128.to_be_bytes()));
        assert_eq!(
            (deletion.state, deletion.verified_at),
            (DeletionState::Verified, Some(300))
        );
        assert_eq!((deletion.progress[0].rows, deletion.objects.removed_bytes), (5, 80));
        let retained = catalog.retention_states().await.unwrap();
        let logs = retained.iter().find(|state| state.dataset == Dataset::Logs).unwrap();
        assert_eq!(
            (logs.rows_deleted, logs.bytes_deleted, logs.proven_at),
            (7, 900, Some(400))
        );
        let hidden = catalog.quarantined().await.unwrap();
        assert_eq!(hidden.len(), usize::from(version >= 3), "version {version}");
        for entry in hidden {
            assert_eq!(
                (entry.dataset, &*entry.reason),
                (Dataset::Spans, "its checksum differs")
            );
            assert!(catalog.release(entry.id).await.unwrap());
        }
        let forgotten = if version >= 6 { 3 } else { 0 };
        assert_eq!(catalog.forgotten(&owner).await.unwrap(), forgotten, "version {version}");
        assert_eq!(catalog.row_problems().await.unwrap(), [], "version {version}");

        has_the_rows_of("lake-v1", &lake).await;
        let before = visible(&lake, &owner, Dataset::Logs).await.len();
        let batch = random_batch(Dataset::Logs, 300, 4, NOON, NOON + SECOND);
        fixture::put(&lake, &owner, 900, Dataset::Logs, batch).await;
        assert_eq!(visible(&lake, &owner, Dataset::Logs).await.len(), before + 4);
        catalog
            .publish_lake(&lake::ducklake::definition(), "/store/", NOON)
            .await
            .unwrap();
        assert_eq!(catalog.row_problems().await.unwrap(), [], "version {version}");
    }
}

/// Writes the catalogs of all schema versions that have none yet.
#[tokio::test]
#[ignore = "writes files: run it only to add the catalog of a new schema version"]
async fn write_golden_catalogs() {
    fs::create_dir_all(golden("catalogs")).unwrap();
    for version in (2..=catalog::newest_version()).filter(|version| !golden_catalog(*version).exists()) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("catalog.db");
        fs::copy(golden("lake-v1").join("catalog.db"), &path).unwrap();
        let url = CatalogUrl::parse(&format!("sqlite://{}", path.display())).unwrap();
        let catalog = Catalog::connect(&url, ConnectOptions::default()).await.unwrap();
        catalog.migrate_up(version).await.unwrap();
        if version >= PUBLISHES {
            let definition = lake::ducklake::definition();
            catalog.publish_lake(&definition, "/store/", NOON).await.unwrap();
        }
        catalog.close().await;
        let kept = KEPT.iter().filter(|(first, _)| *first <= version);
        run(&path, kept.flat_map(|(_, statements)| *statements).chain(&SMALL)).await;
        let packed = zstd::encode_all(&*fs::read(&path).unwrap(), 19).unwrap();
        fs::write(golden_catalog(version), packed).unwrap();
    }
}

/// Makes a database small: most tables have a row or two.
const SMALL: [&str; 3] = ["PRAGMA journal_mode = DELETE", "PRAGMA page_size = 512", "VACUUM"];

/// Runs SQL on a database that nobody else has open.
async fn run(database: &Path, statements: impl Iterator<Item = &&'static str>) {
    use sqlx::ConnectOptions as _;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database);
    let mut database = options.connect().await.unwrap();
    for sql in statements {
        sqlx::query(*sql).fetch_all(&mut database).await.unwrap();
    }
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
    run(&directory.join("catalog.db"), SMALL.iter()).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    fs::remove_dir_all(directory.join("store/.tmp")).unwrap();
}
