//! From a validated configuration to running parts: the third of "parse, validate, build".

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use catalog::{Catalog, ConnectOptions};
use config::Config;
use ingest::IngestOptions;
use lake::store::StoreLocation;
use lake::{CacheSizes, CatalogClock, CompactionOptions, Lake, MaintenanceOptions, Means, Retention};
use limits::{Allowance, LimitOptions, Limits, RedisOptions, Sharing};
use memory::{Budget, Use};
use query::QueryOptions;
use schema::Clock as _;
use telemetry::Telemetry;
use url::Url;

/// Compactions get this part of the memory.
const COMPACTION_SHARE: u64 = 4;

/// Limits per tenant may remember series and keys in this part of the memory: a million in a pod of 512 MiB.
const LIMITS_SHARE: u64 = 16;

/// However much memory there is, no compaction takes more rows than this: it runs on one core until it ends.
const MAX_COMPACTION_ROWS: u64 = 4_000_000;

/// A service account that stands for none, for emulators.
const NO_GCS_CREDENTIALS: &str =
    r#"{"private_key": "", "private_key_id": "", "client_email": "", "disable_oauth": true}"#;

/// Opens the store and the catalog, and brings the catalog up to date.
///
/// # Errors
/// What could not be reached or used, and where.
pub async fn lake(config: &Config, telemetry: &Telemetry) -> Result<Lake> {
    let location = store_location(config)?;
    let store = location
        .open()
        .with_context(|| format!("cannot open the object store {}", config.store.url))?;
    let store = lake::store::observed(store, telemetry.clone());
    let catalog = catalog(config).await?;
    let clock = CatalogClock::start(&catalog)
        .await
        .context("the catalog does not tell the time")?;
    catalog
        .publish_lake(&lake::ducklake::definition(), &data_path(config)?, clock.now())
        .await
        .with_context(|| format!("cannot publish the catalog {} as DuckLake", config.catalog.url))?;
    let sizes = CacheSizes::split(config.cache.max_bytes, location.is_local());
    // Caches have what they may hold for themselves; the rest is one budget.
    let limit = config.memory.bytes.saturating_sub(config.cache.max_bytes);
    let means = Means {
        memory: Budget::new(limit),
        compaction: config.memory.bytes / COMPACTION_SHARE,
        ..Means::default()
    };
    Ok(Lake::with(
        means,
        store,
        catalog,
        clock,
        writer_name(),
        sizes,
        telemetry.clone(),
    ))
}

/// The lake as it is, beside processes that may be working on it: nothing is made, migrated or cleaned up, and nothing
/// cached.
///
/// # Errors
/// What is not there, cannot be reached, or has to be migrated first.
pub async fn lake_beside(config: &Config, telemetry: &Telemetry) -> Result<Lake> {
    let catalog = existing_catalog(config).await?;
    let (found, known) = (catalog.schema_version().await?, catalog::newest_version());
    if found < known {
        let shown = &config.catalog.url;
        bail!(
            "the catalog {shown} has version {found}, this program works on version {known}: migrate it \
             (otlp-rust catalog migrate), or use the program that runs on it"
        );
    }
    let location = store_location(config)?;
    let store = location
        .beside()
        .with_context(|| format!("cannot open the object store {}", config.store.url))?;
    let clock = CatalogClock::start(&catalog)
        .await
        .context("the catalog does not tell the time")?;
    Ok(Lake::new(
        store,
        catalog,
        clock,
        writer_name(),
        CacheSizes::split(0, true),
        telemetry.clone(),
    ))
}

/// The catalog, if there is one; it is not migrated.
///
/// # Errors
/// That it is not there or cannot be used.
pub async fn existing_catalog(config: &Config) -> Result<Catalog> {
    if let config::CatalogUrl::Sqlite { path } = &config.catalog.url
        && !path.exists()
    {
        bail!("there is no catalog at {}; is --data-dir right?", path.display());
    }
    connect(config).await
}

/// Where the paths of objects begin, as DuckDB names places.
fn data_path(config: &Config) -> Result<String> {
    let place = match &config.store.url {
        config::StoreUrl::Local { path } => {
            let path = std::path::absolute(path).with_context(|| format!("no such directory: {}", path.display()))?;
            path.display().to_string()
        }
        url => url.to_string(),
    };
    Ok(format!("{}/", place.trim_end_matches('/')))
}

async fn catalog(config: &Config) -> Result<Catalog> {
    let catalog = connect(config).await?;
    let shown = &config.catalog.url;
    let report = catalog
        .migrate()
        .await
        .with_context(|| format!("cannot migrate the catalog {shown}"))?;
    if report.from != report.to {
        tracing::info!(from = report.from, to = report.to, "catalog migrated");
    }
    Ok(catalog)
}

/// Opens the catalog without looking at its tables; makes the file of a SQLite catalog.
///
/// # Errors
/// That it cannot be used.
pub async fn connect(config: &Config) -> Result<Catalog> {
    let options = ConnectOptions {
        max_connections: config.catalog.max_connections,
        ..ConnectOptions::default()
    };
    Catalog::connect(&catalog_url(config)?, options)
        .await
        .with_context(|| format!("cannot open the catalog {}", config.catalog.url))
}

/// Where the catalog is.
///
/// # Errors
/// If the address is not one that the database's client understands.
pub fn catalog_url(config: &Config) -> Result<catalog::CatalogUrl> {
    let url = match &config.catalog.url {
        config::CatalogUrl::Sqlite { path } => format!("sqlite://{}", path.display()),
        config::CatalogUrl::Postgres { url, .. } => url.to_string(),
    };
    catalog::CatalogUrl::parse(&url).with_context(|| format!("cannot use the catalog {}", config.catalog.url))
}

/// A name that no other process has, now or later.
fn writer_name() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "localhost".to_owned());
    let started = std::time::UNIX_EPOCH.elapsed().map_or(0, |t| t.as_nanos());
    format!("{host}/{}/{started:x}", std::process::id())
}

/// Where objects are, and how to get at them.
///
/// # Errors
/// If the address cannot be used.
pub fn store_location(config: &Config) -> Result<StoreLocation> {
    let store = &config.store;
    let mut options = from_environment(store, std::env::vars());
    options.push((
        "timeout".to_owned(),
        format!("{} seconds", store.request_timeout.as_secs().max(1)),
    ));
    let mut set = |key: &str, value: Option<String>| options.extend(value.map(|v| (key.to_owned(), v)));
    let url = match &store.url {
        config::StoreUrl::Local { path } => return Ok(StoreLocation::Local(path.clone())),
        config::StoreUrl::S3 { bucket, prefix } => {
            set("aws_endpoint", store.s3.endpoint.as_ref().map(without_slash));
            set("aws_region", store.s3.region.clone());
            set("aws_access_key_id", store.s3.access_key_id.clone());
            set(
                "aws_secret_access_key",
                store.s3.secret_access_key.as_ref().map(|s| s.expose().to_owned()),
            );
            set("aws_allow_http", Some(store.s3.allow_http.to_string()));
            set(
                "aws_virtual_hosted_style_request",
                Some(store.s3.virtual_hosted_style.to_string()),
            );
            format!("s3://{bucket}/{prefix}")
        }
        config::StoreUrl::Gcs { bucket, prefix } => {
            set(
                "google_service_account",
                store.gcs.service_account_path.as_ref().map(|p| p.display().to_string()),
            );
            if let Some(endpoint) = &store.gcs.endpoint {
                set("google_base_url", Some(without_slash(endpoint)));
                set("allow_http", Some((endpoint.scheme() == "http").to_string()));
                if store.gcs.service_account_path.is_none() {
                    // Not `google_skip_signature`: object_store 0.13 still asks the instance for credentials to write.
                    set("google_service_account_key", Some(NO_GCS_CREDENTIALS.to_owned()));
                }
            }
            format!("gs://{bucket}/{prefix}")
        }
        config::StoreUrl::Azure { container, prefix } => {
            set("azure_storage_account_name", store.azure.account.clone());
            set(
                "azure_storage_account_key",
                store.azure.access_key.as_ref().map(|s| s.expose().to_owned()),
            );
            set(
                "azure_storage_endpoint",
                store.azure.endpoint.as_ref().map(without_slash),
            );
            set("azure_allow_http", Some(store.azure.allow_http.to_string()));
            format!("az://{container}/{prefix}")
        }
    };
    let url = Url::parse(&url).with_context(|| format!("store.url {url} is not an address"))?;
    Ok(StoreLocation::Remote { url, options })
}

/// What a cloud puts into the environment of its machines and pods: who they are (IRSA, EKS Pod Identity, Azure's workload identity)
/// and where. The stores know these names in lower case. What the configuration says is added later, and wins.
fn from_environment(store: &config::Store, variables: impl Iterator<Item = (String, String)>) -> Vec<(String, String)> {
    let prefix = match &store.url {
        config::StoreUrl::Local { .. } => return Vec::new(),
        config::StoreUrl::S3 { .. } => "AWS_",
        config::StoreUrl::Gcs { .. } => "GOOGLE_",
        config::StoreUrl::Azure { .. } => "AZURE_",
    };
    // A session belongs to the key that it came with, not to one of the configuration.
    let own_key = store.s3.access_key_id.is_some();
    variables
        .filter(|(name, _)| name.starts_with(prefix) && !(own_key && name == "AWS_SESSION_TOKEN"))
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect()
}

/// The stores append `/bucket` to an endpoint.
fn without_slash(endpoint: &Url) -> String {
    endpoint.as_str().trim_end_matches('/').to_owned()
}

/// The limits of tenants, and the task that shares them with other processes if there is a Redis.
///
/// # Errors
/// If the address of Redis cannot be used. A Redis that is away is no error.
pub fn limits(config: &Config, telemetry: &Telemetry, budget: &Budget) -> Result<(Limits, Option<Sharing>)> {
    let allowance = |a: &config::Allowance| Allowance {
        bytes_per_second: a.bytes_per_second,
        items_per_second: a.items_per_second,
        attribute_keys: a.attribute_keys,
        series: a.series,
    };
    let tenants = config.limits.tenants.iter();
    let options = LimitOptions {
        burst: config.limits.burst,
        default: allowance(&config.limits.default),
        tenants: tenants.map(|(tenant, a)| (tenant.clone(), allowance(a))).collect(),
    };
    let memory = budget.account(Use::Limits, config.memory.bytes / LIMITS_SHARE);
    let limits = Limits::new(options, telemetry.clone(), memory);
    let Some(redis) = &config.redis.url else {
        return Ok((limits, None));
    };
    let options = RedisOptions {
        url: redis.url.to_string(),
        prefix: config.redis.prefix.clone(),
        process: writer_name(),
    };
    let sharing = Sharing::new(limits.clone(), options)
        .map_err(anyhow::Error::msg)
        .with_context(|| format!("cannot use the Redis {redis}"))?;
    Ok((limits, Some(sharing)))
}

/// Limits and pace of ingest.
pub fn ingest_options(config: &Config, limits: Limits) -> IngestOptions {
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    IngestOptions {
        max_request_bytes: size(config.ingest.max_request_bytes),
        max_decompressed_bytes: size(config.ingest.max_decompressed_bytes),
        max_depth: config.ingest.max_depth as usize,
        max_attribute_columns: config.ingest.max_attribute_columns as usize,
        max_pending_bytes: size(config.ingest.max_pending_bytes),
        dedupe_window: config.ingest.dedupe_window,
        min_interval: config.commit.min_interval,
        max_commit_bytes: size(config.commit.max_bytes),
        pipeline: config.commit.pipeline as usize,
        limits,
    }
}

/// Limits of queries.
pub fn query_options(config: &Config) -> QueryOptions {
    QueryOptions {
        max_memory: usize::try_from(config.query.max_memory).unwrap_or(usize::MAX),
        timeout: config.query.timeout,
        max_scan_bytes: config.query.max_scan_bytes,
        max_rows: config.query.max_rows,
        concurrency: config.query.concurrency as usize,
    }
}

/// When to compact; the memory there is bounds how much at once.
pub fn compaction_options(config: &Config) -> CompactionOptions {
    CompactionOptions {
        target_rows: config.compaction.target_rows.min(MAX_COMPACTION_ROWS) as i64,
        max_rows: MAX_COMPACTION_ROWS as i64,
        max_slice_age: config.compaction.max_slice_age,
        lease_ttl: config.compaction.lease_ttl,
        grace: config.gc.grace,
    }
}

/// How long rows are kept.
pub fn retention(config: &Config) -> Retention {
    let retention = config.retention.clone();
    Arc::new(move |tenant, dataset| retention.period(tenant, dataset))
}

/// The background work of the lake.
pub fn maintenance_options(config: &Config) -> MaintenanceOptions {
    MaintenanceOptions {
        compaction: compaction_options(config),
        compaction_interval: config.compaction.interval,
        retention: retention(config),
        gc_interval: config.gc.interval,
        orphan_grace: config.gc.orphan_grace,
        dedupe_window: config.ingest.dedupe_window,
    }
}
