//! Folding SQLite's write-ahead log into its file beside the commits instead of in them.
//!
//! Of itself SQLite does so in every commit that finds 1,000 pages in the log (sqlite.org/wal.html, "Automatic
//! Checkpoint"): that commit, and those that queue behind it, wait while they are written in their places and synced. Here a
//! connection of its own does most of that while commits go on. As the log begins anew only when all of it is folded, the
//! rest, what was committed meanwhile, is folded by the writing connection, when the log has grown long.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::{Row as _, SqlitePool};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Transactions from one look at the log to the next.
const COMMITS: u64 = 32;

/// Pages in the log from which it should begin anew: 4 MB, as SQLite has it.
const LONG: i64 = 1_000;

/// Pages from which a commit folds the log itself, should all this fail to: 64 MB.
pub(crate) const TOO_LONG: &str = "16000";

/// Counts transactions and asks for the log to be folded. Cheap to clone; the folding ends when the last is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoints {
    commits: Arc<AtomicU64>,
    due: Sender<()>,
    /// The connection that folds.
    pub(crate) pool: SqlitePool,
}

impl Checkpoints {
    /// Folds from now on, over a connection of `pool`.
    pub(crate) fn start(pool: SqlitePool, writer: SqlitePool) -> Self {
        let (due, asked) = channel(1);
        tokio::spawn(run(asked, pool.clone(), writer));
        Self {
            commits: Arc::default(),
            due,
            pool,
        }
    }

    /// A transaction was committed.
    pub(crate) fn committed(&self) {
        if (self.commits.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(COMMITS) {
            // If it is full the log is about to be looked at.
            let _ = self.due.try_send(());
        }
    }
}

async fn run(mut asked: Receiver<()>, pool: SqlitePool, writer: SqlitePool) {
    while asked.recv().await.is_some() {
        let folded = async {
            if fold(&pool).await? >= LONG {
                fold(&writer).await?;
            }
            Ok::<_, sqlx::Error>(())
        };
        if let Err(error) = folded.await {
            // Nothing is lost: it is tried again some commits later.
            tracing::debug!(%error, "the catalog's write-ahead log was not folded into its file");
        }
    }
}

/// Folds what nobody reads from the log any more, without waiting for anybody. Returns the pages in the log.
async fn fold(pool: &SqlitePool) -> sqlx::Result<i64> {
    let row = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(pool).await?;
    row.try_get(1)
}

#[cfg(test)]
mod tests {
    use crate::db::{Connections, Value};
    use crate::{Catalog, CatalogUrl, ConnectOptions};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_log_begins_anew_while_commits_go_on() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("catalog.db");
        let url = CatalogUrl::Sqlite(file.clone());
        let catalog = Catalog::connect(&url, ConnectOptions::default()).await.unwrap();
        let write = |sql: &'static str| catalog.pools.write(sql, Vec::<Value>::new());
        write("CREATE TABLE filling (bytes BLOB)").await.unwrap();
        let log = file.with_file_name("catalog.db-wal");
        let mut longest = 0;
        let mut again = 0;
        // 100 kB each: well before a commit would fold 64 MB by itself.
        for _ in 0..500 {
            write("INSERT INTO filling VALUES (randomblob(100000))").await.unwrap();
            let length = std::fs::metadata(&log).unwrap().len();
            again += u32::from(length == longest);
            longest = length;
            if again == 3 {
                break;
            }
        }
        assert_eq!(again, 3, "the log grew with every commit, to {longest} bytes");
        assert!(matches!(
            &catalog.pools.connections,
            Connections::Sqlite {
                checkpoints: Some(_),
                ..
            }
        ));
        catalog.close().await;
        assert!(!log.exists(), "the last connection folds all of it");
    }
}
