//! Bringing the tables to the version this program knows, and back.
//!
//! Migrations are embedded, numbered, and exist in both directions for both databases. A database that is ahead of the
//! program is refused: an old program could drop what it does not understand.

use std::borrow::Cow;

use sqlx::SqlStr;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use crate::db::{Connections, Dialect};
use crate::{Catalog, CatalogError, Result};

/// What [`Catalog::migrate`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MigrationReport {
    /// The version found, 0 for an empty database.
    pub from: i64,
    /// The version now.
    pub to: i64,
}

macro_rules! migrations {
    ($($version:literal $name:literal;)*) => {
        /// Version and name, then up and down for SQLite, up and down for PostgreSQL.
        const MIGRATIONS: &[(i64, &str, [&str; 4])] = &[$((
            $version,
            $name,
            [
                include_str!(concat!("../migrations/sqlite/", $name, ".up.sql")),
                include_str!(concat!("../migrations/sqlite/", $name, ".down.sql")),
                include_str!(concat!("../migrations/postgres/", $name, ".up.sql")),
                include_str!(concat!("../migrations/postgres/", $name, ".down.sql")),
            ],
        ),)*];
    };
}

migrations! {
    1 "0001_core";
    2 "0002_deletion";
    3 "0003_quarantine";
    4 "0004_ducklake";
    5 "0005_ducklake_quarantine";
    6 "0006_forgotten";
    7 "0007_ducklake_files";
}

/// The newest version of the tables that this program knows.
pub fn newest_version() -> i64 {
    MIGRATIONS.iter().map(|(version, ..)| *version).max().unwrap_or(0)
}

/// The names of all tables on PostgreSQL, without their schema.
pub(crate) fn tables() -> impl Iterator<Item = &'static str> {
    let made = MIGRATIONS.iter().flat_map(|(_, _, [_, _, up, _])| up.lines());
    let made = made.filter_map(|line| line.strip_prefix("CREATE TABLE ")?.split_whitespace().next());
    made.map(|name| name.strip_prefix("lake.").unwrap_or(name))
        .chain(["_sqlx_migrations"])
}

fn migrator(dialect: Dialect) -> Migrator {
    let offset = match dialect {
        Dialect::Sqlite => 0,
        Dialect::Postgres => 2,
    };
    let migrations = MIGRATIONS.iter().flat_map(|(version, name, sql)| {
        [
            (MigrationType::ReversibleUp, sql[offset]),
            (MigrationType::ReversibleDown, sql[offset + 1]),
        ]
        .map(|(direction, sql)| {
            Migration::new(
                *version,
                Cow::Borrowed(name),
                direction,
                SqlStr::from_static(sql),
                false,
            )
        })
    });
    Migrator::with_migrations(migrations.collect())
}

impl Catalog {
    /// Brings the tables to the newest version. Several processes may call it at once.
    ///
    /// # Errors
    /// [`CatalogError::NewerSchema`] when the database is ahead of this program, [`CatalogError::Migration`] when
    /// a migration fails.
    pub async fn migrate(&self) -> Result<MigrationReport> {
        self.migrate_up(newest_version()).await
    }

    /// Brings the tables up to version `target` and no further, so that a program that knows no more can work on them. Does
    /// nothing when they are there already.
    ///
    /// # Errors
    /// As [`Self::migrate`], and [`CatalogError::Invalid`] for a version that this program does not know.
    pub async fn migrate_up(&self, target: i64) -> Result<MigrationReport> {
        if target > newest_version() {
            return Err(CatalogError::Invalid(format!(
                "cannot migrate up to {target}: this program knows versions up to {}",
                newest_version()
            )));
        }
        let from = self.refuse_newer_schema().await?;
        if from > newest_version() {
            // A later program made it, and says that this one may work on it.
            return Ok(MigrationReport { from, to: from });
        }
        let migrator = migrator(self.pools.dialect());
        // A failed migration may leave the session's migration lock behind: that connection is closed, not reused.
        let outcome = match &self.pools.connections {
            Connections::Sqlite { writer, .. } => {
                migrator
                    .run_direct(Some(target), &mut *writer.acquire().await?, false)
                    .await
            }
            Connections::Postgres(pool) => {
                let mut connection = pool.acquire().await?;
                let outcome = migrator.run_direct(Some(target), &mut *connection, false).await;
                if outcome.is_err() {
                    connection.close().await?;
                }
                outcome
            }
        };
        let to = self.schema_version().await?;
        match outcome {
            // On SQLite another process may have done the same work in the meantime, or the first steps of it.
            Err(_) if from < to && to < target => {
                let rest = Box::pin(self.migrate_up(target)).await?;
                Ok(MigrationReport { from, to: rest.to })
            }
            Err(error) if from >= target || to < target => Err(migration_error(error)),
            _ => Ok(MigrationReport { from, to }),
        }
    }

    /// Takes the tables back to version `target`, 0 for none. **Data in tables that go is lost.**
    ///
    /// # Errors
    /// [`CatalogError::NewerSchema`] when the database is ahead of this program, [`CatalogError::Invalid`] for a
    /// target above its version, [`CatalogError::Migration`] when a migration fails.
    pub async fn migrate_down(&self, target: i64) -> Result<()> {
        let (found, known) = (self.refuse_newer_schema().await?, newest_version());
        if found > known {
            // The way down is known only to who knew the way up.
            return Err(CatalogError::NewerSchema { found, known });
        }
        if target < 0 || target > found {
            return Err(CatalogError::Invalid(format!(
                "cannot migrate down to {target}: the catalog is at {found}"
            )));
        }
        let migrator = migrator(self.pools.dialect());
        let outcome = match &self.pools.connections {
            Connections::Sqlite { writer, .. } => migrator.undo(writer, target).await,
            Connections::Postgres(pool) => migrator.undo(pool, target).await,
        };
        self.dataset_ids.write().clear();
        outcome.map_err(migration_error)
    }

    /// The version of the tables, 0 when there are none.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the database does not answer.
    pub async fn schema_version(&self) -> Result<i64> {
        let found = self
            .pools
            .fetch("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations", Vec::new())
            .await;
        match found {
            Ok(rows) => rows.first().map_or(Ok(0), |row| row.int(0)),
            Err(CatalogError::NotMigrated) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// The oldest version that a program must know to work on these tables.
    async fn min_version(&self) -> Result<i64> {
        let rows = self
            .pools
            .fetch("SELECT min_version FROM catalog_reader WHERE id = 1", Vec::new())
            .await;
        match rows {
            Ok(rows) => rows.first().map_or(Ok(i64::MAX), |row| row.int(0)),
            // Not said: only those that know the tables as they are.
            Err(CatalogError::NotMigrated) => Ok(i64::MAX),
            Err(error) => Err(error),
        }
    }

    /// Refuses tables that a later program has changed in a way that this one must not meet. Migrations that only add tables,
    /// columns and indexes leave `catalog_reader` as it is.
    pub(crate) async fn refuse_newer_schema(&self) -> Result<i64> {
        let (found, known) = (self.schema_version().await?, newest_version());
        if found > known && self.min_version().await? > known {
            return Err(CatalogError::NewerSchema { found, known });
        }
        Ok(found)
    }
}

fn migration_error(error: MigrateError) -> CatalogError {
    match error {
        MigrateError::Execute(error) => error.into(),
        MigrateError::ExecuteMigration(error, version) => match CatalogError::from(error) {
            CatalogError::Unavailable(error) => CatalogError::Unavailable(error),
            error => CatalogError::Migration(format!("version {version}: {error}")),
        },
        error => CatalogError::Migration(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The beginning of each line: the tables, columns, constraints and indexes, without their types.
    fn outline(sql: &'static str) -> Vec<Vec<String>> {
        let mut in_view = false;
        // A view is replaced by PostgreSQL in one statement, by SQLite in two.
        let replaces = |line: &str| {
            let dropped = line.strip_prefix("DROP VIEW ").and_then(|line| line.strip_suffix(';'));
            dropped.is_some_and(|view| sql.contains(&format!("CREATE VIEW {view} AS")))
        };
        let lines = sql
            .lines()
            .map(|line| line.trim().replace("CREATE OR REPLACE VIEW", "CREATE VIEW"))
            .filter(|line| !replaces(line))
            // What views select is said in each database's own way.
            .filter(move |line| {
                let begins = line.starts_with("CREATE VIEW");
                let inside = in_view && !begins;
                in_view = (begins || in_view) && !line.ends_with(';');
                !inside
            })
            // On PostgreSQL the views of DuckLake are in a schema of their own.
            .filter(|line| !line.starts_with("--") && !line.starts_with(')') && !line.ends_with("SCHEMA lake;"))
            .filter(|line| !line.is_empty());
        lines
            .map(|line| {
                let words = if line.starts_with(|c: char| c.is_ascii_uppercase()) {
                    3
                } else {
                    1
                };
                let words = line.split_whitespace().take(words);
                words.map(|word| word.replace("lake.", "")).collect()
            })
            .collect()
    }

    #[test]
    fn both_databases_are_migrated_in_step() {
        let mut last = 0;
        for (version, name, [sqlite_up, sqlite_down, postgres_up, postgres_down]) in MIGRATIONS {
            assert_eq!(*version, last + 1, "{name}");
            assert!(name.starts_with(&format!("{version:04}_")), "{name}");
            assert_eq!(outline(sqlite_up), outline(postgres_up), "{name}");
            assert_eq!(outline(sqlite_down), outline(postgres_down), "{name}");
            last = *version;
        }
    }
}
