//! What can go wrong in the catalog, told by what the caller should do about it.
//!
//! Every error of the driver passes through [`CatalogError::from`]; nothing else in the crate looks at
//! SQLite result codes or PostgreSQL SQLSTATEs.

use sqlx::error::ErrorKind;

/// The result of every catalog method.
pub type Result<T, E = CatalogError> = std::result::Result<T, E>;

/// Why the catalog did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// The database cannot be reached, is busy or ended the transaction. Nothing was changed, unless the
    /// connection broke during a commit: then the outcome is unknown and a retry tells.
    #[error("the catalog is unavailable, retry: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// The database is full or refuses the login: an operator must act before a retry helps.
    #[error("the catalog database refuses to work ({0}): check its credentials, permissions and free space")]
    Refused(#[source] sqlx::Error),
    /// The lease is no longer ours: stop the work it protected and throw its results away.
    #[error("the lease {name:?} with token {token} has been taken over or released: stop this work")]
    Fenced {
        /// The name of the lease.
        name: String,
        /// The fencing token that was presented.
        token: i64,
    },
    /// The commit comes later than it may: its senders have given up and send again.
    #[error("the commit took too long: send the requests again")]
    Late,
    /// Something the change was planned on is gone or exists already: plan again from a fresh snapshot.
    #[error("the change conflicts with another one ({0}): plan it again from a fresh snapshot")]
    Conflict(String),
    /// The database was migrated by a newer version of the program.
    #[error(
        "the catalog has schema version {found}, this program knows versions up to {known}: run a program at least \
         as new as the one that migrated it, or let that one migrate down first"
    )]
    NewerSchema {
        /// The version in the database.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
    /// The tables are missing: `migrate` has not run.
    #[error("the catalog has no tables yet: migrate it first")]
    NotMigrated,
    /// A migration failed or what was applied is not what this program would apply.
    #[error("the catalog cannot be migrated ({0}): restore it from a backup or repair the named migration")]
    Migration(String),
    /// The database holds what this program never writes, or is damaged.
    #[error("the catalog is corrupt ({0}): restore it from a backup")]
    Corrupt(String),
    /// The caller broke a rule of the method; a retry cannot help.
    #[error("invalid catalog request: {0}")]
    Invalid(String),
    /// An error that no rule above explains: a defect to report.
    #[error("unexpected catalog error, please report it: {0}")]
    Unexpected(#[source] sqlx::Error),
}

impl CatalogError {
    /// Whether the same call may succeed later without anybody acting.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Late)
    }
}

impl From<sqlx::Error> for CatalogError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        let class = match &error {
            E::Io(_)
            | E::Tls(_)
            | E::Protocol(_)
            | E::PoolTimedOut
            | E::PoolClosed
            | E::WorkerCrashed
            | E::BeginFailed => Class::Unavailable,
            E::Configuration(_) => Class::Refused, // a certificate that cannot be read, for example
            E::ColumnDecode { .. } | E::Decode(_) => Class::Corrupt,
            E::Database(database) if database.kind() == ErrorKind::UniqueViolation => Class::Conflict,
            E::Database(database) => {
                let code = database.code().unwrap_or_default();
                match code.parse::<i64>() {
                    // SQLSTATEs have five characters, SQLite's result codes have at most four digits.
                    Ok(number) if code.len() < 5 => sqlite_class(number, database.message()),
                    _ => sqlstate_class(&code),
                }
            }
            _ => Class::Unexpected,
        };
        match class {
            Class::Unavailable => Self::Unavailable(error),
            Class::Refused => Self::Refused(error),
            Class::Corrupt => Self::Corrupt(error.to_string()),
            Class::Conflict => Self::Conflict(error.to_string()),
            Class::NotMigrated => Self::NotMigrated,
            Class::Unexpected => Self::Unexpected(error),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Class {
    Unavailable,
    Refused,
    Corrupt,
    Conflict,
    NotMigrated,
    Unexpected,
}

/// The class of an extended result code (<https://www.sqlite.org/rescode.html>); its low byte is the primary code.
fn sqlite_class(code: i64, message: &str) -> Class {
    match code & 0xff {
        1 if message.starts_with("no such table") => Class::NotMigrated,
        5 | 6 | 9 | 10 => Class::Unavailable,   // BUSY, LOCKED, INTERRUPT, IOERR
        3 | 8 | 13 | 14 | 23 => Class::Refused, // PERM, READONLY, FULL, CANTOPEN, AUTH
        11 | 26 => Class::Corrupt,              // CORRUPT, NOTADB
        _ => Class::Unexpected,
    }
}

/// The class of a SQLSTATE (PostgreSQL 15, appendix A).
fn sqlstate_class(code: &str) -> Class {
    match code {
        "42P01" => Class::NotMigrated,                 // undefined_table
        "53100" | "42501" | "3D000" => Class::Refused, // disk_full, insufficient_privilege, invalid_catalog_name
        "XX001" | "XX002" => Class::Corrupt,           // data_corrupted, index_corrupted
        // lock_not_available, idle_in_transaction_session_timeout, in_failed_sql_transaction (of somebody else's making: ours end
        // with their first error), read_only_sql_transaction (a standby, in a fail-over)
        "55P03" | "25P03" | "25P02" | "25006" => Class::Unavailable,
        _ => match code.get(..2) {
            // connection, serialization and deadlock, resources, operator intervention, system error
            Some("08" | "40" | "53" | "57" | "58") => Class::Unavailable,
            Some("28") => Class::Refused, // invalid authorization
            _ => Class::Unexpected,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_tell_what_to_do() {
        assert_eq!(sqlite_class(517, ""), Class::Unavailable); // SQLITE_BUSY_SNAPSHOT
        assert_eq!(sqlite_class(13, ""), Class::Refused);
        assert_eq!(sqlite_class(267, ""), Class::Corrupt); // SQLITE_CORRUPT_VTAB
        assert_eq!(sqlite_class(1, "no such table: part"), Class::NotMigrated);
        assert_eq!(sqlite_class(1, "near \"X\": syntax error"), Class::Unexpected);
        assert_eq!(sqlstate_class("40P01"), Class::Unavailable);
        assert_eq!(sqlstate_class("57P01"), Class::Unavailable);
        assert_eq!(sqlstate_class("28P01"), Class::Refused);
        assert_eq!(sqlstate_class("42P01"), Class::NotMigrated);
        assert_eq!(sqlstate_class("42601"), Class::Unexpected);
        assert_eq!(sqlstate_class(""), Class::Unexpected);
    }
}
