//! Where the catalog is: the text that configuration and logs carry.

use std::fmt;
use std::path::PathBuf;

use sqlx::postgres::PgConnectOptions;

use crate::{CatalogError, Result};

/// The address of a catalog. `Display` and `Debug` never show a password.
#[derive(Clone)]
pub enum CatalogUrl {
    /// A SQLite file, made with its directory when missing.
    Sqlite(PathBuf),
    /// A SQLite database that lives as long as the [`Catalog`](crate::Catalog): for tests and trials.
    SqliteMemory,
    /// A PostgreSQL database.
    Postgres(Box<PgConnectOptions>),
}

impl CatalogUrl {
    /// Parses `sqlite:///absolute/file.db`, `sqlite://relative/file.db`, `sqlite::memory:` or
    /// `postgres://user:password@host:port/database?sslmode=...`.
    ///
    /// # Errors
    /// [`CatalogError::Invalid`] for any other text; the message does not repeat it, because it may hold a password.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |why: &str| {
            CatalogError::Invalid(format!(
                "{why}; use sqlite:///path/file.db, sqlite::memory: or postgres://user@host:5432/database"
            ))
        };
        if text == "sqlite::memory:" || text == "sqlite://:memory:" {
            return Ok(Self::SqliteMemory);
        }
        if let Some(rest) = text.strip_prefix("sqlite:") {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            if path.is_empty() || path.contains(['?', '\0']) {
                return Err(invalid("a SQLite catalog is a plain file path without options"));
            }
            return Ok(Self::Sqlite(PathBuf::from(path)));
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            let options: PgConnectOptions = text
                .parse()
                .map_err(|_| invalid("the PostgreSQL address cannot be parsed"))?;
            return Ok(Self::Postgres(Box::new(options)));
        }
        Err(invalid(
            "the catalog address starts neither with sqlite: nor with postgres:",
        ))
    }
}

impl fmt::Display for CatalogUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Self::SqliteMemory => f.write_str("sqlite::memory:"),
            Self::Postgres(options) => write!(
                f,
                "postgres://{}@{}:{}/{}",
                options.get_username(),
                options.get_host(),
                options.get_port(),
                options.get_database().unwrap_or(options.get_username()),
            ),
        }
    }
}

impl fmt::Debug for CatalogUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CatalogUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_hides_passwords() {
        for (text, shown) in [
            ("sqlite:///var/lib/x.db", "sqlite:///var/lib/x.db"),
            ("sqlite:x.db", "sqlite://x.db"),
            ("sqlite::memory:", "sqlite::memory:"),
            ("postgres://u:secret@db:5433/otel", "postgres://u@db:5433/otel"),
            ("postgresql://u@db/otel?password=secret", "postgres://u@db:5432/otel"),
        ] {
            let url = CatalogUrl::parse(text).unwrap();
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}").contains("secret"));
        }
    }

    #[test]
    fn refuses_without_repeating_the_text() {
        for text in [
            "",
            "sqlite:",
            "sqlite://",
            "sqlite://a?mode=ro",
            "mysql://u:secret@h/d",
            "postgres://u:secret@[/",
        ] {
            let error = CatalogUrl::parse(text).unwrap_err().to_string();
            assert!(
                error.contains("sqlite:///path/file.db") && !error.contains("secret"),
                "{error}"
            );
        }
    }
}
