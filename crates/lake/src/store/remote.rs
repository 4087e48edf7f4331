//! Stores that are reached over the network.

use std::sync::Arc;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreScheme, Result, RetryConfig};
use url::Url;

/// Sets options of a builder that begins with what the environment says (`AWS_*`, `GOOGLE_*`, `AZURE_*`), unless
/// credentials are among the options: half of them from elsewhere would be none. `object_store::parse_url_opts` knows
/// neither the environment nor how often to retry.
macro_rules! build {
    ($builder:ty, $url:expr, $options:expr, $retry:expr) => {{
        let own = $options.iter().any(|(key, _)| CREDENTIALS.contains(&key.as_str()));
        let builder = if own { <$builder>::new() } else { <$builder>::from_env() };
        let mut builder = builder.with_url($url.as_str()).with_retry($retry);
        for (key, value) in $options {
            builder = builder.with_config(key.parse()?, value);
        }
        Arc::new(builder.build()?) as Arc<dyn ObjectStore>
    }};
}

const CREDENTIALS: [&str; 4] = [
    "aws_access_key_id",
    "google_service_account",
    "google_service_account_key",
    "azure_storage_account_key",
];

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
