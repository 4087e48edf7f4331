use catalog::CatalogError;
use parquet::errors::ParquetError;

use crate::MatchError;

/// What can go wrong in the lake.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// The object store failed; nothing was acknowledged.
    #[error("object store: {0}")]
    Store(#[from] object_store::Error),
    /// The catalog failed; nothing was acknowledged.
    #[error("catalog: {0}")]
    Catalog(#[from] CatalogError),
    /// An object is not what the catalog says.
    #[error(
        "damaged object {path}: {what}; `otlp-rust verify` tells what is affected, and with --quarantine lets queries go \
         on without it"
    )]
    Damaged {
        /// The object.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// An object was written by a later program.
    #[error(
        "the object {path} has version {found} of its format, this program reads versions up to {known}: run a program \
         at least as new as the one that wrote it"
    )]
    NewerFormat {
        /// The object.
        path: String,
        /// Its version.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// Arrow refused.
    #[error("arrow: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// Parquet refused.
    #[error("parquet: {0}")]
    Parquet(#[from] ParquetError),
    /// ZSTD refused.
    #[error("compression: {0}")]
    Compression(std::io::Error),
    /// It cannot be said which rows a deletion is about.
    #[error("condition of a deletion: {0}")]
    Condition(#[from] MatchError),
    /// There was no thread for a piece of work, or it panicked.
    #[error("work on another thread: {0}")]
    Work(String),
}

impl LakeError {
    /// What went wrong in decoding an object, as damage of that object.
    #[must_use]
    pub fn of_object(self, path: &str) -> Self {
        let what = match self {
            // Of whoever reads for the decoder.
            Self::Parquet(ParquetError::External(cause)) => {
                return match cause.downcast::<Self>() {
                    Ok(error) => *error,
                    Err(cause) => Self::Parquet(ParquetError::External(cause)),
                };
            }
            Self::Parquet(error) => error.to_string(),
            Self::Arrow(error) => error.to_string(),
            Self::Compression(error) => error.to_string(),
            other => return other,
        };
        Self::Damaged {
            path: path.to_owned(),
            what: format!("it cannot be decoded ({what})"),
        }
    }

    /// Whether the same call may succeed later: after a pause, or when an operator has made room on the disk or mended the
    /// database's login. Whoever sends data must keep it until then.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => !matches!(error, object_store::Error::NotSupported { .. }),
            Self::Catalog(error) => error.is_retryable() || matches!(error, CatalogError::Refused(_)),
            Self::Condition(error) => matches!(error, MatchError::Failed(_)),
            Self::Work(_) => true,
            Self::Damaged { .. }
            | Self::NewerFormat { .. }
            | Self::Arrow(_)
            | Self::Parquet(_)
            | Self::Compression(_) => false,
        }
    }
}
