//! The two databases behind one small face: statements with values in, rows out.
//!
//! Both accept `$1` placeholders, `ON CONFLICT` and `RETURNING`, so the rest of the crate writes each statement
//! once. What differs stays here: how a list or a table of values is passed ([`Dialect::list`], [`Rows`]), how a
//! transaction begins and how values are read. A statement that returns an error ends its transaction.

use std::borrow::Cow;
use std::sync::Arc;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, PgPool, Postgres, Row as _, Sqlite, SqlitePool, Transaction};

use crate::checkpoints::Checkpoints;
use crate::gate::{Access, Gate, Pass};
use crate::{CatalogError, Result};

/// SQL text. Always made of this crate's constants: values travel as [`Value`]s.
pub(crate) type Sql = Cow<'static, str>;

/// Which SQL to speak where the two differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// A condition that a column is one of the values in placeholder `n`, bound as [`Value::Ints`] or
    /// [`Value::Texts`]. The text does not depend on the length of the list, so the prepared statement is reused.
    pub(crate) fn list(self, n: usize) -> String {
        match self {
            Self::Sqlite => format!("IN (SELECT value FROM json_each(${n}))"),
            Self::Postgres => format!("= ANY(${n})"),
        }
    }
}

/// A value bound to a placeholder.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
    Ints(Vec<i64>),
    Texts(Vec<String>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<&schema::TenantId> for Value {
    fn from(value: &schema::TenantId) -> Self {
        Self::Text(value.as_str().to_owned())
    }
}

/// The type of a column of [`Rows`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Int,
    Text,
    Bytes,
}

/// A table of values for one statement: several `VALUES` on SQLite, one array per column through `UNNEST` on
/// PostgreSQL, where the text then never changes and one round trip carries any number of rows.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) kinds: &'static [Kind],
    pub(crate) rows: Vec<Vec<Value>>,
}

/// SQLite binds at most 32,766 values in a statement (SQLITE_MAX_VARIABLE_NUMBER, sqlite.org/limits.html).
const SQLITE_MAX_VALUES: usize = 32_766;

impl Rows {
    fn sqlite_values(columns: usize, rows: usize) -> String {
        let tuple = format!("({})", vec!["?"; columns].join(","));
        format!("VALUES {}", vec![tuple; rows].join(","))
    }

    fn postgres_source(&self) -> String {
        let arrays: Vec<_> = self
            .kinds
            .iter()
            .enumerate()
            .map(|(i, kind)| {
                let kind = match kind {
                    Kind::Int => "bigint",
                    Kind::Text => "text",
                    Kind::Bytes => "bytea",
                };
                format!("${}::{kind}[]", i + 1)
            })
            .collect();
        format!("SELECT * FROM UNNEST({})", arrays.join(","))
    }

    fn postgres_arguments(self) -> Result<PgArguments> {
        let mut arguments = PgArguments::default();
        let mut columns: Vec<_> = self.rows.into_iter().map(Vec::into_iter).collect();
        for kind in self.kinds {
            let column = columns.iter_mut().filter_map(Iterator::next);
            let added = match kind {
                Kind::Int => arguments.add(column.filter_map(Value::into_int).collect::<Vec<_>>()),
                Kind::Text => arguments.add(column.filter_map(Value::into_text).collect::<Vec<_>>()),
                Kind::Bytes => arguments.add(column.filter_map(Value::into_bytes).collect::<Vec<_>>()),
            };
            added.map_err(sqlx::Error::Encode)?;
        }
        Ok(arguments)
    }
}

impl Value {
    fn into_int(self) -> Option<i64> {
        if let Self::Int(value) = self { Some(value) } else { None }
    }

    fn into_text(self) -> Option<String> {
        if let Self::Text(value) = self {
            Some(value)
        } else {
            None
        }
    }

    fn into_bytes(self) -> Option<Vec<u8>> {
        if let Self::Bytes(value) = self {
            Some(value)
        } else {
            None
        }
    }
}

fn sqlite_arguments(values: impl IntoIterator<Item = Value>) -> Result<SqliteArguments> {
    let mut arguments = SqliteArguments::default();
    for value in values {
        match value {
            Value::Int(value) => Arguments::add(&mut arguments, value),
            Value::Text(value) => Arguments::add(&mut arguments, value),
            Value::Bytes(value) => Arguments::add(&mut arguments, value),
            Value::Ints(values) => Arguments::add(&mut arguments, json(&values)?),
            Value::Texts(values) => Arguments::add(&mut arguments, json(&values)?),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

fn json<T>(values: &[T]) -> Result<String>
where
    for<'a> &'a [T]: Into<serde_json::Value>,
    T: Clone,
{
    Ok(Into::<serde_json::Value>::into(values).to_string())
}

fn postgres_arguments(values: Vec<Value>) -> Result<PgArguments> {
    let mut arguments = PgArguments::default();
    for value in values {
        match value {
            Value::Int(value) => arguments.add(value),
            Value::Text(value) => arguments.add(value),
            Value::Bytes(value) => arguments.add(value),
            Value::Ints(values) => arguments.add(values),
            Value::Texts(values) => arguments.add(values),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// A row of a result, read by position.
#[derive(Debug)]
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    pub(crate) fn int(&self, index: usize) -> Result<i64> {
        Ok(match self {
            Self::Sqlite(row) => row.try_get(index)?,
            Self::Postgres(row) => row.try_get(index)?,
        })
    }

    pub(crate) fn int32(&self, index: usize) -> Result<i32> {
        let value = self.int(index)?;
        i32::try_from(value).map_err(|_| CatalogError::Corrupt(format!("column {index} holds {value}, beyond 32 bits")))
    }

    pub(crate) fn optional_int(&self, index: usize) -> Result<Option<i64>> {
        Ok(match self {
            Self::Sqlite(row) => row.try_get(index)?,
            Self::Postgres(row) => row.try_get(index)?,
        })
    }

    pub(crate) fn text(&self, index: usize) -> Result<String> {
        Ok(match self {
            Self::Sqlite(row) => row.try_get(index)?,
            Self::Postgres(row) => row.try_get(index)?,
        })
    }

    pub(crate) fn optional_text(&self, index: usize) -> Result<Option<String>> {
        Ok(match self {
            Self::Sqlite(row) => row.try_get(index)?,
            Self::Postgres(row) => row.try_get(index)?,
        })
    }

    pub(crate) fn bytes(&self, index: usize) -> Result<Vec<u8>> {
        Ok(match self {
            Self::Sqlite(row) => row.try_get(index)?,
            Self::Postgres(row) => row.try_get(index)?,
        })
    }
}

/// A transaction; dropped without a commit it rolls back.
pub(crate) struct Tx {
    open: Open,
    pass: Option<Pass>,
}

enum Open {
    Sqlite(Transaction<'static, Sqlite>, Option<Checkpoints>),
    Postgres(Transaction<'static, Postgres>),
}

impl Tx {
    pub(crate) fn dialect(&self) -> Dialect {
        match &self.open {
            Open::Sqlite(..) => Dialect::Sqlite,
            Open::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Runs a statement and returns its rows.
    pub(crate) async fn fetch(&mut self, sql: impl Into<Sql>, values: Vec<Value>) -> Result<Vec<Row>> {
        let sql = AssertSqlSafe(sql.into());
        Ok(match &mut self.open {
            Open::Sqlite(tx, _) => {
                let query = sqlx::query_with(sql, sqlite_arguments(values)?);
                query.fetch_all(&mut **tx).await?.into_iter().map(Row::Sqlite).collect()
            }
            Open::Postgres(tx) => {
                let query = sqlx::query_with(sql, postgres_arguments(values)?);
                query
                    .fetch_all(&mut **tx)
                    .await?
                    .into_iter()
                    .map(Row::Postgres)
                    .collect()
            }
        })
    }

    /// Runs a statement and returns the number of rows it changed.
    pub(crate) async fn execute(&mut self, sql: impl Into<Sql>, values: Vec<Value>) -> Result<u64> {
        let sql = AssertSqlSafe(sql.into());
        Ok(match &mut self.open {
            Open::Sqlite(tx, _) => {
                let query = sqlx::query_with(sql, sqlite_arguments(values)?);
                query.execute(&mut **tx).await?.rows_affected()
            }
            Open::Postgres(tx) => {
                let query = sqlx::query_with(sql, postgres_arguments(values)?);
                query.execute(&mut **tx).await?.rows_affected()
            }
        })
    }

    /// Runs `prefix`, the rows as a table and `suffix` as one statement (several when the rows exceed SQLite's
    /// limit) and returns what it returned. No rows: nothing runs.
    pub(crate) async fn with_rows(&mut self, prefix: &str, mut rows: Rows, suffix: &str) -> Result<Vec<Row>> {
        let columns = rows.kinds.len();
        debug_assert!(rows.rows.iter().all(|row| row.len() == columns));
        let mut found = Vec::new();
        if rows.rows.is_empty() {
            return Ok(found);
        }
        match &mut self.open {
            Open::Sqlite(tx, _) => {
                let chunk = SQLITE_MAX_VALUES / columns;
                while !rows.rows.is_empty() {
                    let rest = rows.rows.split_off(chunk.min(rows.rows.len()));
                    let part = std::mem::replace(&mut rows.rows, rest);
                    let sql = format!("{prefix} {} {suffix}", Rows::sqlite_values(columns, part.len()));
                    let query = sqlx::query_with(AssertSqlSafe(sql), sqlite_arguments(part.into_iter().flatten())?);
                    found.extend(query.fetch_all(&mut **tx).await?.into_iter().map(Row::Sqlite));
                }
            }
            Open::Postgres(tx) => {
                let sql = format!("{prefix} {} {suffix}", rows.postgres_source());
                let query = sqlx::query_with(AssertSqlSafe(sql), rows.postgres_arguments()?);
                found.extend(query.fetch_all(&mut **tx).await?.into_iter().map(Row::Postgres));
            }
        }
        Ok(found)
    }

    /// Makes the changes durable.
    pub(crate) async fn commit(self) -> Result<()> {
        match self.open {
            Open::Sqlite(tx, checkpoints) => {
                tx.commit().await?;
                checkpoints.iter().for_each(Checkpoints::committed);
            }
            Open::Postgres(tx) => tx.commit().await?,
        }
        Pass::reply(self.pass)
    }

    /// Drops the changes.
    pub(crate) async fn rollback(self) -> Result<()> {
        match self.open {
            Open::Sqlite(tx, _) => tx.rollback().await?,
            Open::Postgres(tx) => tx.rollback().await?,
        }
        Pass::reply(self.pass)
    }
}

/// The connections, and who decides when they are used.
#[derive(Debug, Clone)]
pub(crate) struct Pools {
    pub(crate) connections: Connections,
    pub(crate) gate: Option<Arc<dyn Gate>>,
}

#[derive(Debug, Clone)]
pub(crate) enum Connections {
    /// SQLite has one writer at a time: one connection queues fairly instead of polling a busy lock.
    Sqlite {
        writer: SqlitePool,
        reader: SqlitePool,
        /// None for a database in memory.
        checkpoints: Option<Checkpoints>,
    },
    Postgres(PgPool),
}

/// Begins a transaction, to its end even if nobody waits for it any more: then it is rolled back. sqlx 0.9 gives a connection whose
/// BEGIN was given up half-way back to the pool inside the transaction, and whoever gets it next fails
/// (transact-rs/sqlx#4393).
async fn begin(pool: &PgPool, statement: &'static str) -> Result<Transaction<'static, Postgres>> {
    let pool = pool.clone();
    let begun = tokio::spawn(async move { pool.begin_with(statement).await }).await;
    // It does not panic, so it ends otherwise only with its runtime.
    begun
        .unwrap_or_else(|_| Err(sqlx::Error::WorkerCrashed))
        .map_err(Into::into)
}

impl Pools {
    pub(crate) fn dialect(&self) -> Dialect {
        match &self.connections {
            Connections::Sqlite { .. } => Dialect::Sqlite,
            Connections::Postgres(_) => Dialect::Postgres,
        }
    }

    /// A transaction that will write. On SQLite it takes the write lock at once, so that it never has to be
    /// upgraded and fail half-way.
    pub(crate) async fn begin_write(&self) -> Result<Tx> {
        let pass = self.enter(Access::Write).await?;
        let open = match &self.connections {
            Connections::Sqlite {
                writer, checkpoints, ..
            } => Open::Sqlite(writer.begin_with("BEGIN IMMEDIATE").await?, checkpoints.clone()),
            Connections::Postgres(pool) => Open::Postgres(begin(pool, "BEGIN").await?),
        };
        Ok(Tx { open, pass })
    }

    /// A transaction whose statements all see the same state.
    pub(crate) async fn begin_read(&self) -> Result<Tx> {
        let pass = self.enter(Access::Read).await?;
        let open = match &self.connections {
            Connections::Sqlite { reader, .. } => Open::Sqlite(reader.begin().await?, None),
            Connections::Postgres(pool) => {
                Open::Postgres(begin(pool, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?)
            }
        };
        Ok(Tx { open, pass })
    }

    /// One reading statement.
    pub(crate) async fn fetch(&self, sql: impl Into<Sql>, values: Vec<Value>) -> Result<Vec<Row>> {
        let sql = AssertSqlSafe(sql.into());
        let pass = self.enter(Access::Read).await?;
        let rows = match &self.connections {
            Connections::Sqlite { reader, .. } => {
                let query = sqlx::query_with(sql, sqlite_arguments(values)?);
                query.fetch_all(reader).await?.into_iter().map(Row::Sqlite).collect()
            }
            Connections::Postgres(pool) => {
                let query = sqlx::query_with(sql, postgres_arguments(values)?);
                query.fetch_all(pool).await?.into_iter().map(Row::Postgres).collect()
            }
        };
        Pass::reply(pass)?;
        Ok(rows)
    }

    /// One writing statement, a transaction of its own; returns the rows of its `RETURNING`, if it has one.
    pub(crate) async fn write(&self, sql: impl Into<Sql>, values: Vec<Value>) -> Result<Vec<Row>> {
        let mut tx = self.begin_write().await?;
        let rows = tx.fetch(sql, values).await?;
        tx.commit().await?;
        Ok(rows)
    }
}
