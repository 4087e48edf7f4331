//! The object store: where segments and parts live.

mod local;
mod observed;
mod remote;

use std::path::PathBuf;
use std::sync::Arc;

use object_store::{ObjectStore, RetryConfig};
use url::Url;

pub use local::LocalStore;
pub use observed::observed;

/// Where objects are kept.
#[derive(Debug, Clone)]
pub enum StoreLocation {
    /// A directory on the local disk.
    Local(PathBuf),
    /// `s3://`, `gs://` or `az://` with a bucket and a prefix, and the options of `object_store` for it
    /// (`aws_endpoint`, `aws_access_key_id`, ...).
    Remote {
        /// The address.
        url: Url,
        /// Option names and values.
        options: Vec<(String, String)>,
    },
}

impl StoreLocation {
    /// Whether objects are on the local disk.
    pub const fn is_local(&self) -> bool {
        matches!(self, Self::Local(_))
    }

    /// Opens the store. No request is made for a remote one.
    ///
    /// # Errors
    /// When the directory cannot be used or the address or an option is not understood.
    pub fn open(&self) -> object_store::Result<Arc<dyn ObjectStore>> {
        match self {
            Self::Local(directory) => Ok(Arc::new(LocalStore::open(directory)?)),
            Self::Remote { .. } => self.beside(),
        }
    }

    /// Opens a store that exists, to look at it while others write to it.
    ///
    /// # Errors
    /// As [`Self::open`], and when a local directory does not exist.
    pub fn beside(&self) -> object_store::Result<Arc<dyn ObjectStore>> {
        self.existing(RetryConfig::default())
    }

    /// As [`Self::beside`]; a request that fails is not tried again, so that the error says at once what is wrong.
    ///
    /// # Errors
    /// As [`Self::beside`].
    pub fn once(&self) -> object_store::Result<Arc<dyn ObjectStore>> {
        self.existing(RetryConfig {
            max_retries: 0,
            ..RetryConfig::default()
        })
    }

    fn existing(&self, retry: RetryConfig) -> object_store::Result<Arc<dyn ObjectStore>> {
        match self {
            Self::Local(directory) => Ok(Arc::new(LocalStore::beside(directory)?)),
            Self::Remote { url, options } => remote::open(url, options, retry),
        }
    }
}
