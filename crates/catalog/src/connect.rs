//! Opening the database with the settings that an acknowledgement relies on.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use schema::{Dataset, TenantId, UnixNanos};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, PgPool, SqliteConnection};

use crate::checkpoints::{Checkpoints, TOO_LONG};
use crate::db::{Connections, Pools};
use crate::gate::{Access, Pass};
use crate::{CatalogError, CatalogUrl, Result, create_directories, segments};

/// How to use the database's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectOptions {
    /// Most connections at once, at least 1; on SQLite those for reading, beside the one that writes.
    pub max_connections: u32,
    /// How long a call waits for a free connection or a lock before it fails as unavailable.
    pub acquire_timeout: Duration,
}

impl Default for ConnectOptions {
    /// 8 connections: a pod's commits are pipelined two or three deep and its queries read for a few ms each.
    /// 5 s: below the 10 s after which OTLP exporters give up on a request, so that they see a retryable answer.
    fn default() -> Self {
        Self {
            max_connections: 8,
            acquire_timeout: Duration::from_secs(5),
        }
    }
}

/// The catalog. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Catalog {
    pub(crate) pools: Pools,
    /// Ids of datasets, which never change once committed.
    pub(crate) dataset_ids: Arc<RwLock<HashMap<(TenantId, Dataset), i64>>>,
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Catalog({:?})", self.pools.dialect())
    }
}

/// 256 rows cross from SQLite's thread at a time: a snapshot returns thousands of short rows.
const SQLITE_ROW_BUFFER: usize = 256;

impl Catalog {
    /// Opens the catalog without changing its tables: call [`Catalog::migrate`] next. Makes a missing SQLite file and
    /// its directory.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] or [`CatalogError::Refused`] when the database cannot be opened,
    /// [`CatalogError::NewerSchema`] when a newer program migrated it.
    pub async fn connect(url: &CatalogUrl, options: ConnectOptions) -> Result<Self> {
        let connections = match url {
            CatalogUrl::Sqlite(path) => sqlite_file(path, options).await?,
            CatalogUrl::SqliteMemory => sqlite_memory(options).await?,
            CatalogUrl::Postgres(postgres) => Connections::Postgres(postgres_pool(postgres, options).await?),
        };
        let catalog = Self {
            pools: Pools {
                connections,
                gate: None,
            },
            dataset_ids: Arc::default(),
        };
        catalog.refuse_newer_schema().await?;
        Ok(catalog)
    }

    /// Asks the database for a sign of life.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when it gives none.
    pub async fn ping(&self) -> Result<()> {
        self.pools.fetch("SELECT 1", Vec::new()).await.map(|_| ())
    }

    /// The time by the database's clock (ns), which all its processes share; `None` for SQLite, whose clock is the
    /// machine's.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the database does not answer.
    pub async fn time(&self) -> Result<Option<UnixNanos>> {
        if let Connections::Sqlite { .. } = &self.pools.connections {
            return Ok(None);
        }
        let sql = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000000 AS BIGINT)";
        let rows = self.pools.fetch(sql, Vec::new()).await?;
        Ok(Some(segments::only(&rows)?.int(0)?))
    }

    /// Folds SQLite's write-ahead log into its file and gives the log's space back, unless somebody reads or writes right
    /// now. Of itself SQLite keeps the log at its greatest length, about 4 MB. Nothing to do for PostgreSQL.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the file cannot be opened.
    pub async fn shrink(&self) -> Result<()> {
        let Connections::Sqlite { writer, .. } = &self.pools.connections else {
            return Ok(());
        };
        let pass = self.pools.enter(Access::Read).await?;
        // A connection of its own that waits for nobody, so that commits do not wait for it while it waits for readers.
        let options = writer.connect_options().as_ref().clone().busy_timeout(Duration::ZERO);
        let mut connection = options.connect().await?;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .fetch_all(&mut connection)
            .await?;
        connection.close().await?;
        Pass::reply(pass)
    }

    /// Waits for running transactions and closes the connections; afterwards every call fails as unavailable.
    pub async fn close(&self) {
        match &self.pools.connections {
            Connections::Sqlite {
                writer,
                reader,
                checkpoints,
            } => {
                reader.close().await;
                if let Some(checkpoints) = checkpoints {
                    checkpoints.pool.close().await;
                }
                writer.close().await; // last: the last connection folds the write-ahead log into the file
            }
            Connections::Postgres(pool) => pool.close().await,
        }
    }
}

async fn sqlite_file(path: &Path, options: ConnectOptions) -> Result<Connections> {
    if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        create_directories(directory).map_err(|error| CatalogError::Refused(error.into()))?;
    }
    let common = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(options.acquire_timeout)
        .synchronous(SqliteSynchronous::Full) // in WAL mode only FULL syncs at every commit
        .row_buffer_size(SQLITE_ROW_BUFFER);
    let pool = |connections: u32| {
        SqlitePoolOptions::new()
            .max_connections(connections.max(1))
            .acquire_timeout(options.acquire_timeout)
            .max_lifetime(None)
            .idle_timeout(None)
            .test_before_acquire(false) // a file does not hang up
            .before_acquire(|connection, _| Box::pin(usable(connection)))
    };
    let writer = common
        .clone()
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .pragma("wal_autocheckpoint", TOO_LONG);
    let writer = pool(1).connect_with(writer).await?;
    let checkpoints = Checkpoints::start(pool(1).connect_lazy_with(common.clone()), writer.clone());
    let reader = pool(options.max_connections)
        .connect_with(common.pragma("query_only", "ON"))
        .await?;
    Ok(Connections::Sqlite {
        writer,
        reader,
        checkpoints: Some(checkpoints),
    })
}

/// Whether a connection can begin a transaction; another one takes its place if not.
///
/// When a statement or a commit fails for want of space, SQLite ends the transaction by itself. The rollback that follows
/// then fails, and sqlx takes the connection to be inside a transaction from then on, space or not.
async fn usable(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if connection.is_in_transaction() {
        // A rollback may still be on its way; the ping is answered after it.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

/// One connection that is never closed, because the database dies with it.
async fn sqlite_memory(options: ConnectOptions) -> Result<Connections> {
    let writer: SqlitePool = SqlitePoolOptions::new()
        .max_connections(1)
        .min_connections(1)
        .acquire_timeout(options.acquire_timeout)
        .max_lifetime(None)
        .idle_timeout(None)
        .test_before_acquire(false)
        .connect_with(
            SqliteConnectOptions::new()
                .filename(":memory:")
                .row_buffer_size(SQLITE_ROW_BUFFER),
        )
        .await?;
    Ok(Connections::Sqlite {
        reader: writer.clone(),
        writer,
        checkpoints: None,
    })
}

/// Sets what an acknowledgement relies on, for each new connection: commits wait for the disk even where the
/// server's default says otherwise (stricter settings stay), nobody waits for a lock for ever, and a client that vanished
/// inside a transaction does not keep its locks for longer than 60 s.
const POSTGRES_SESSION: &str = "
SELECT set_config('lock_timeout', $1, false),
       set_config('idle_in_transaction_session_timeout', '60s', false),
       CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', false) END";

async fn postgres_pool(postgres: &PgConnectOptions, options: ConnectOptions) -> Result<PgPool> {
    let lock_timeout = format!("{}ms", options.acquire_timeout.as_millis().clamp(1, i32::MAX as u128));
    Ok(PgPoolOptions::new()
        .max_connections(options.max_connections.max(1))
        .acquire_timeout(options.acquire_timeout)
        .after_connect(move |connection, _| {
            let lock_timeout = lock_timeout.clone();
            Box::pin(async move {
                sqlx::query(POSTGRES_SESSION)
                    .bind(lock_timeout)
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .connect_with(postgres.clone().application_name("otlp-rust"))
        .await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_disk_does_not_spoil_the_connection() {
        let directory = tempfile::tempdir().unwrap();
        let url = CatalogUrl::Sqlite(directory.path().join("catalog.db"));
        let catalog = Catalog::connect(&url, ConnectOptions::default()).await.unwrap();
        let write = |sql: &'static str| catalog.pools.write(sql, Vec::new());
        write("CREATE TABLE filling (bytes BLOB)").await.unwrap();
        let Connections::Sqlite { writer, .. } = &catalog.pools.connections else {
            panic!("not SQLite")
        };
        // As many pages as there are now: the same error that a full disk gives.
        sqlx::query("PRAGMA max_page_count = 1").execute(writer).await.unwrap();
        let insert = "INSERT INTO filling VALUES (zeroblob(100000))";
        let full = write(insert).await.unwrap_err();
        assert!(matches!(full, CatalogError::Refused(_)), "{full:?}");
        // A new connection knows nothing of the limit, as if there were space again.
        write(insert).await.unwrap();
        catalog.close().await;
    }
}
