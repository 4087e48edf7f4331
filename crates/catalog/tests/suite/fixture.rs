//! Catalogs and records to test with.

use std::path::Path;
use std::time::Duration;

use catalog::*;
use schema::{Dataset, TenantId};

/// The instant at which cases begin, ns.
pub const NOW: i64 = 1_700_000_000_000_000_000;
pub const SECOND: i64 = 1_000_000_000;
pub const MINUTE: Duration = Duration::from_secs(60);

/// An address of an empty database.
pub struct Database(CatalogUrl);

impl Database {
    pub fn new(url: &str) -> Self {
        Self(CatalogUrl::parse(url).unwrap())
    }

    pub fn sqlite(path: &Path) -> Self {
        Self::new(&format!("sqlite://{}", path.display()))
    }

    pub fn is_postgres(&self) -> bool {
        matches!(self.0, CatalogUrl::Postgres(_))
    }

    fn options() -> ConnectOptions {
        ConnectOptions {
            max_connections: 8,
            acquire_timeout: Duration::from_secs(10),
        }
    }

    /// Opens it as one more process would.
    pub async fn connect(&self) -> Catalog {
        Catalog::connect(&self.0, Self::options()).await.unwrap()
    }

    pub async fn connect_error(&self) -> CatalogError {
        let options = ConnectOptions {
            acquire_timeout: Duration::from_secs(1),
            ..Self::options()
        };
        Catalog::connect(&self.0, options).await.unwrap_err()
    }

    pub async fn migrated(&self) -> Catalog {
        let catalog = self.connect().await;
        catalog.migrate().await.unwrap();
        catalog
    }

    /// Bytes of SQLite's write-ahead log.
    pub fn log_bytes(&self) -> Option<u64> {
        let CatalogUrl::Sqlite(path) = &self.0 else {
            return None;
        };
        let mut log = path.clone().into_os_string();
        log.push("-wal");
        Some(std::fs::metadata(log).unwrap().len())
    }

    /// Runs SQL behind the catalog's back.
    pub async fn sql(&self, sql: &'static str) {
        use sqlx::ConnectOptions as _;
        match &self.0 {
            CatalogUrl::Sqlite(path) => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
                sqlx::query(sql)
                    .execute(&mut options.connect().await.unwrap())
                    .await
                    .unwrap();
            }
            CatalogUrl::Postgres(options) => {
                sqlx::query(sql)
                    .execute(&mut options.connect().await.unwrap())
                    .await
                    .unwrap();
            }
            CatalogUrl::SqliteMemory => panic!("nobody else reaches a database in memory"),
        }
    }

    /// The texts that a query behind the catalog's back gives.
    pub async fn texts(&self, sql: &'static str) -> Vec<String> {
        use sqlx::ConnectOptions as _;
        match &self.0 {
            CatalogUrl::Sqlite(path) => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
                let query = sqlx::query_scalar(sql);
                query.fetch_all(&mut options.connect().await.unwrap()).await.unwrap()
            }
            CatalogUrl::Postgres(options) => {
                let query = sqlx::query_scalar(sql);
                query.fetch_all(&mut options.connect().await.unwrap()).await.unwrap()
            }
            CatalogUrl::SqliteMemory => panic!("nobody else reaches a database in memory"),
        }
    }
}

pub fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

pub fn key(n: u8) -> RequestKey {
    RequestKey {
        tenant: tenant("a"),
        hash: [n; 16],
    }
}

pub fn column(name: &str) -> NewColumn {
    NewColumn {
        tenant: tenant("a"),
        dataset: Dataset::Spans,
        name: name.into(),
        data_type: "utf8".into(),
    }
}

/// A segment of tenant `a`: one slice of spans per time range, 10 rows and 100 bytes each.
pub fn segment(path: &str, ranges: &[(i64, i64)], requests: &[RequestKey]) -> NewSegment {
    let slices = (0..).zip(ranges).map(|(i, (min_ts, max_ts))| NewSlice {
        tenant: tenant("a"),
        dataset: Dataset::Spans,
        offset: i * 100,
        length: 100,
        rows: 10,
        min_ts: *min_ts,
        max_ts: *max_ts,
        checksum: -7 - i,
    });
    NewSegment {
        commit_by: i64::MAX,
        commit_by_ticks: i64::MAX,
        forgotten: Vec::new(),
        path: path.into(),
        bytes: ranges.len() as i64 * 100,
        created_at: NOW,
        writer: "test".into(),
        format_version: 1,
        slices: slices.collect(),
        requests: requests.to_vec(),
        columns: Vec::new(),
    }
}

/// Commits and returns the ids of the slices.
pub async fn commit(catalog: &Catalog, segment: &NewSegment) -> Vec<i64> {
    match catalog.commit_segment(segment, NOW).await.unwrap() {
        CommitOutcome::Committed { slice_ids, .. } => slice_ids,
        other => panic!("unexpected {other:?}"),
    }
}

/// A part of tenant `a`'s spans: 100 rows, 1,000 bytes.
pub fn part(path: &str, level: i32, range: (i64, i64)) -> NewPart {
    NewPart {
        tenant: tenant("a"),
        dataset: Dataset::Spans,
        level,
        path: path.into(),
        rows: 100,
        file_rows: 100,
        bytes: 1_000,
        footer_bytes: 50,
        min_ts: range.0,
        max_ts: range.1,
        index_offset: 900,
        index_bytes: 40,
        index_entries: 3,
        format_version: 2,
        checksum: i64::MIN,
        stats: ["service.name", "name"]
            .map(|column| PartStat {
                column: column.into(),
                min: "a".into(),
                max: "ü\"'\\".into(),
            })
            .to_vec(),
    }
}

pub fn replacement(slices: Vec<i64>, parts: Vec<i64>, add: Vec<NewPart>) -> Replacement {
    Replacement {
        tenant: tenant("a"),
        dataset: Dataset::Spans,
        slices,
        parts,
        add,
    }
}

pub async fn lease(catalog: &Catalog) -> Lease {
    catalog
        .acquire_lease("compaction", "p1", MINUTE, NOW)
        .await
        .unwrap()
        .unwrap()
}

/// Everything of tenant `a`'s spans.
pub async fn snapshot(catalog: &Catalog) -> Snapshot {
    catalog.snapshot(&tenant("a"), &[Dataset::Spans], None).await.unwrap()
}
