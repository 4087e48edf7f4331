//! Stores that are reached over the network.

use std::sync::Arc;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreScheme, Result, RetryConfig};
use url::Url;

/// As `object_store::parse_url_opts`, which cannot be told how often to retry. Options that the store does not know are left
/// out, because the environment that they come from has variables of other programs as well.
macro_rules! build {
    ($builder:ty, $url:expr, $options:expr, $retry:expr) => {{
        let mut builder = <$builder>::new().with_url($url.as_str()).with_retry($retry);
        for (key, value) in $options {
            if let Ok(key) = key.to_ascii_lowercase().parse() {
                builder = builder.with_config(key, value);
            }
        }
        Arc::new(builder.build()?) as Arc<dyn ObjectStore>
    }};
}

/// Opens the store at `url`. No request is made.
pub(super) fn open(url: &Url, options: &[(String, String)], retry: RetryConfig) -> Result<Arc<dyn ObjectStore>> {
    let (scheme, prefix) = ObjectStoreScheme::parse(url)?;
    let store = match scheme {
        ObjectStoreScheme::AmazonS3 => build!(AmazonS3Builder, url, options, retry),
        ObjectStoreScheme::GoogleCloudStorage => build!(GoogleCloudStorageBuilder, url, options, retry),
        ObjectStoreScheme::MicrosoftAzure => build!(MicrosoftAzureBuilder, url, options, retry),
        _ => {
            return Err(object_store::Error::NotSupported {
                source: format!("{} is no object store", url.scheme()).into(),
            });
        }
    };
    if prefix == Path::default() {
        Ok(store)
    } else {
        Ok(Arc::new(PrefixStore::new(store, prefix)))
    }
}
