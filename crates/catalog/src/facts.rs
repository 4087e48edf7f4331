//! What an operator asks of the database: whether this program may do there what it needs, and how much room there is.

use crate::db::{Connections, Dialect, Value};
use crate::migrate::tables;
use crate::{Catalog, Result, segments};

/// What the database says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseFacts {
    /// Its name and version.
    pub engine: String,
    /// Bytes that it takes on its disk.
    pub bytes: i64,
    /// Whether it refuses to be written: a standby, or set so.
    pub read_only: bool,
    /// What the login may not do and needs to, such as `INSERT on segment`.
    pub missing: Vec<String>,
    /// Connections, where they are limited.
    pub connections: Option<ConnectionFacts>,
}

/// How many connections there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionFacts {
    /// That logins without special rights may have together.
    pub limit: i64,
    /// In use, by whomever.
    pub used: i64,
    /// Of them those of this program's processes.
    pub ours: i64,
    /// Whether this one is encrypted.
    pub encrypted: bool,
}

/// Each table that is there, and each right that the login lacks.
const MISSING_ON_TABLES: &str = "
SELECT needed.right_ || ' on ' || c.relname
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
     (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE')) AS needed (right_)
WHERE n.nspname IN (current_schema(), 'lake') AND c.relname = ANY($1) AND c.relkind = 'r'
  AND NOT has_table_privilege(c.oid, needed.right_)
ORDER BY c.relname, needed.right_";

const MISSING_ON_SCHEMAS: &str = "
SELECT 'CREATE on schema ' || COALESCE(current_schema(), '(none of search_path exists)')
WHERE NOT COALESCE(has_schema_privilege(current_schema(), 'CREATE'), false)
UNION ALL
SELECT 'CREATE on database ' || current_database()
WHERE NOT has_database_privilege(current_database(), 'CREATE')";

/// Whose session it is everybody may see, what kind of process only some.
const CONNECTIONS: &str = "
SELECT current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint,
       (SELECT count(*) FROM pg_stat_activity WHERE datid IS NOT NULL),
       (SELECT count(*) FROM pg_stat_activity WHERE application_name = 'otlp-rust' AND pid <> pg_backend_pid()),
       (SELECT CASE WHEN ssl THEN 1 ELSE 0 END::bigint FROM pg_stat_ssl WHERE pid = pg_backend_pid())";

const POSTGRES: &str = "
SELECT current_setting('server_version'), pg_database_size(current_database()),
       CASE WHEN pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on' THEN 1 ELSE 0 END::bigint";

const SQLITE: &str = "
SELECT sqlite_version(), page_count * page_size, 0 FROM pragma_page_count(), pragma_page_size()";

impl Catalog {
    /// What the database says of itself. Rights to make tables count as missing only while tables have to be made.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`](crate::CatalogError::Unavailable) when it does not answer.
    pub async fn facts(&self) -> Result<DatabaseFacts> {
        let (name, sql) = match self.pools.dialect() {
            Dialect::Sqlite => ("SQLite", SQLITE),
            Dialect::Postgres => ("PostgreSQL", POSTGRES),
        };
        let rows = self.pools.fetch(sql, Vec::new()).await?;
        let row = segments::only(&rows)?;
        let mut facts = DatabaseFacts {
            engine: format!("{name} {}", row.text(0)?),
            bytes: row.int(1)?,
            read_only: row.int(2)? != 0,
            missing: Vec::new(),
            connections: None,
        };
        if let Connections::Postgres(_) = &self.pools.connections {
            self.postgres_facts(&mut facts).await?;
        }
        Ok(facts)
    }

    async fn postgres_facts(&self, facts: &mut DatabaseFacts) -> Result<()> {
        let names = tables().map(str::to_owned).collect();
        let mut missing = self.pools.fetch(MISSING_ON_TABLES, vec![Value::Texts(names)]).await?;
        if self.schema_version().await? < crate::newest_version() {
            missing.extend(self.pools.fetch(MISSING_ON_SCHEMAS, Vec::new()).await?);
        }
        facts.missing = missing.iter().map(|row| row.text(0)).collect::<Result<_>>()?;
        let rows = self.pools.fetch(CONNECTIONS, Vec::new()).await?;
        let row = segments::only(&rows)?;
        facts.connections = Some(ConnectionFacts {
            limit: row.int(0)?,
            used: row.int(1)?,
            ours: row.int(2)?,
            encrypted: row.optional_int(3)?.unwrap_or_default() != 0,
        });
        Ok(())
    }
}
