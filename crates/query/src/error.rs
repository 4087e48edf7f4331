use std::time::Duration;

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use lake::LakeError;
use parquet::errors::ParquetError;

/// Why a query gave no answer, by what the caller can do about it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueryError {
    /// The query is wrong: correct it.
    #[error("{0}")]
    Invalid(String),
    /// The query needs more than it may: narrow it or raise the limit.
    #[error(
        "the query needs more {what} than {key} allows: {detail}; narrow the time range or the filter, or raise {key}"
    )]
    LimitExceeded {
        /// `memory` or `bytes read`.
        what: &'static str,
        /// The configuration key of the limit.
        key: &'static str,
        /// More about it.
        detail: String,
    },
    /// The query took too long: narrow it or raise the limit.
    #[error(
        "the query ran longer than query.timeout ({0:?}); narrow the time range or the filter, or raise query.timeout"
    )]
    Timeout(Duration),
    /// Too many queries run: retry after a while.
    #[error("too many queries are running (query.concurrency) or memory is short (memory.limit); retry in a moment")]
    Busy,
    /// The store or the catalog failed: retry.
    #[error("not available: {0}; retry")]
    Unavailable(String),
    /// Stored bytes are not what was written.
    #[error("{0}")]
    Corrupt(String),
    /// A defect here.
    #[error("internal error: {0}")]
    Internal(String),
}

/// The scan read more bytes than allowed.
#[derive(Debug, thiserror::Error)]
#[error("{0} bytes")]
pub(crate) struct ScanLimit(pub u64);

/// The query returned more rows than allowed.
#[derive(Debug, thiserror::Error)]
#[error("too many rows")]
pub(crate) struct TooManyRows;

/// Others hold the memory that a query needs.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct MemoryShort(pub memory::Refused);

/// The query ran too long.
#[derive(Debug, thiserror::Error)]
#[error("timeout after {0:?}")]
pub(crate) struct TimedOut(pub Duration);

impl From<LakeError> for QueryError {
    fn from(error: LakeError) -> Self {
        lake_error(&error)
    }
}

impl From<DataFusionError> for QueryError {
    fn from(error: DataFusionError) -> Self {
        stream_error(error)
    }
}

/// An object of unknown name cannot be decoded: DataFusion's reader of many parts does not say which one it was.
fn undecodable(reason: &str) -> QueryError {
    QueryError::Corrupt(format!(
        "a stored object cannot be decoded ({reason}); `otlp-rust verify` tells which one, and with --quarantine lets \
         queries go on without it"
    ))
}

fn lake_error(error: &LakeError) -> QueryError {
    match error {
        LakeError::Damaged { .. } | LakeError::NewerFormat { .. } => QueryError::Corrupt(error.to_string()),
        LakeError::Arrow(_) | LakeError::Parquet(_) | LakeError::Compression(_) => undecodable(&error.to_string()),
        error if error.is_retryable() => QueryError::Unavailable(error.to_string()),
        error => QueryError::Internal(error.to_string()),
    }
}

/// How DataFusion says that a condition failed which Parquet's reader evaluates for it (`row_filter.rs` of
/// datafusion-datasource-parquet): a mistake of the query, that comes out of the reader as if the object were damaged.
const OF_PREDICATE: &str = "Error evaluating filter predicate: ";

/// What Parquet's reader says, however it is wrapped.
fn parquet_error(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(ArrowError::ParquetError(reason)) = error.downcast_ref::<ArrowError>() {
        return Some(reason.clone());
    }
    error.downcast_ref::<ParquetError>().map(ToString::to_string)
}

/// The kind of an error that DataFusion reported while planning or running.
pub fn stream_error(error: DataFusionError) -> QueryError {
    // What we raised ourselves lies at the bottom of a chain of wrappers.
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    let mut of_lake = None;
    let mut of_parquet = None;
    while let Some(current) = cause {
        if let Some(error) = current.downcast_ref::<QueryError>() {
            return error.clone();
        }
        if let Some(limit) = current.downcast_ref::<ScanLimit>() {
            let detail = limit.to_string();
            return QueryError::LimitExceeded {
                what: "bytes read",
                key: "query.max_scan_bytes",
                detail,
            };
        }
        if current.is::<TooManyRows>() {
            let detail = "add a LIMIT or aggregate".to_owned();
            return QueryError::LimitExceeded {
                what: "rows",
                key: "query.max_rows",
                detail,
            };
        }
        if current.is::<MemoryShort>() {
            return QueryError::Busy;
        }
        if let Some(TimedOut(limit)) = current.downcast_ref::<TimedOut>() {
            return QueryError::Timeout(*limit);
        }
        // The lake wraps limits, too, if its readers meet them.
        of_lake = of_lake.or(current.downcast_ref::<LakeError>());
        of_parquet = of_parquet.or_else(|| parquet_error(current));
        if let Some(error) = current.downcast_ref::<object_store::Error>() {
            return QueryError::Unavailable(error.to_string());
        }
        cause = current.source();
    }
    if let Some(error) = of_lake {
        return lake_error(error);
    }
    if let Some(reason) = of_parquet {
        return match reason.split_once(OF_PREDICATE) {
            Some((_, why)) => QueryError::Invalid(format!("a condition cannot be evaluated for a row: {why}")),
            None => undecodable(&reason),
        };
    }
    let text = || error.strip_backtrace();
    match error.find_root() {
        DataFusionError::ResourcesExhausted(detail) => QueryError::LimitExceeded {
            what: "memory",
            key: "query.max_memory",
            detail: detail.lines().next().unwrap_or_default().to_owned(),
        },
        DataFusionError::SQL(..)
        | DataFusionError::Plan(_)
        | DataFusionError::SchemaError(..)
        | DataFusionError::NotImplemented(_)
        | DataFusionError::Configuration(_)
        | DataFusionError::Execution(_)
        | DataFusionError::ArrowError(..)
        | DataFusionError::Collection(_)
        // What we raise ourselves was found above; what is left is an argument that a function cannot use: a pattern.
        | DataFusionError::External(_)
        | DataFusionError::Diagnostic(..) => QueryError::Invalid(text()),
        // A call with arguments of other types, which DataFusion calls a fault of its own.
        DataFusionError::Internal(reason) if reason.contains("failed to match any signature") => {
            QueryError::Invalid(reason.clone())
        }
        _ => QueryError::Internal(text()),
    }
}
