//! A lake to query.

use std::sync::Arc;
use std::time::Duration;

use catalog::{Catalog, CatalogUrl, ConnectOptions};
use lake::{CacheSizes, Lake};
use object_store::memory::InMemory;
use query::QueryOptions;
use schema::SystemClock;
use telemetry::Telemetry;

/// An empty lake in memory.
pub async fn empty_lake() -> Lake {
    let catalog = Catalog::connect(&CatalogUrl::SqliteMemory, ConnectOptions::default())
        .await
        .unwrap();
    catalog.migrate().await.unwrap();
    let (sizes, telemetry) = (CacheSizes::split(1 << 20, true), Telemetry::new("test", "0"));
    let (store, clock) = (Arc::new(InMemory::new()), Arc::new(SystemClock));
    Lake::new(store, catalog, clock, "test".to_owned(), sizes, telemetry)
}

/// Limits that no query of these tests meets.
pub fn options() -> QueryOptions {
    QueryOptions {
        max_rows: None,
        max_memory: 256 << 20,
        timeout: Duration::from_secs(60),
        max_scan_bytes: 1 << 30,
        concurrency: 2,
    }
}
