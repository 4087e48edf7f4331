use catalog::CatalogError;

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
    #[error("damaged object {path}: {what}; restore it from a backup or remove it from the catalog")]
    Damaged {
        /// The object.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// Arrow refused.
    #[error("arrow: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// Parquet refused.
    #[error("parquet: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
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
    /// Whether the same call may succeed later: after a pause, or when an operator has made room on the disk or mended the
    /// database's login. Whoever sends data must keep it until then.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => !matches!(error, object_store::Error::NotSupported { .. }),
            Self::Catalog(error) => error.is_retryable() || matches!(error, CatalogError::Refused(_)),
            Self::Condition(error) => matches!(error, MatchError::Failed(_)),
            Self::Work(_) => true,
            Self::Damaged { .. } | Self::Arrow(_) | Self::Parquet(_) | Self::Compression(_) => false,
        }
    }
}
