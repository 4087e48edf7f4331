//! The PostgreSQL wire protocol, so that psql and BI tools connect.
//!
//! One tenant per listener. Each statement sees the tables as of its planning. Off by default, and without
//! authentication: listen on loopback, or put a proxy that authenticates in front.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, SchemaProvider, TableProvider};
use datafusion::error::DataFusionError;
use datafusion_postgres::ServerOptions;
use schema::TenantId;

use crate::views::TABLES;
use crate::{QueryEngine, QueryError};

/// Tables of a tenant, made anew at each use.
struct TenantSchema {
    engine: QueryEngine,
    tenant: TenantId,
}

impl fmt::Debug for TenantSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantSchema")
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl SchemaProvider for TenantSchema {
    fn table_names(&self) -> Vec<String> {
        TABLES.iter().map(|&t| t.to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let Some(name) = TABLES.into_iter().find(|t| *t == name) else {
            return Ok(None);
        };
        let tables = self.engine.tables(&self.tenant, &[name]).await;
        let mut tables = tables.map_err(|error| DataFusionError::External(Box::new(error)))?;
        Ok(tables.pop().map(|(_, table)| table))
    }

    fn table_exist(&self, name: &str) -> bool {
        TABLES.contains(&name)
    }
}

/// Serves a tenant until the future is dropped.
///
/// # Errors
/// [`QueryError`] if the address cannot be used.
pub async fn serve(engine: QueryEngine, tenant: TenantId, listen: SocketAddr) -> Result<(), QueryError> {
    let context = engine.session();
    let catalog = Arc::new(MemoryCatalogProvider::new());
    catalog.register_schema("public", Arc::new(TenantSchema { engine, tenant }))?;
    context.register_catalog("otlp", catalog);
    let provider = datafusion_postgres::datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
    datafusion_postgres::datafusion_pg_catalog::setup_pg_catalog(&context, "otlp", provider)
        .map_err(|error| QueryError::Internal(error.to_string()))?;
    let options = ServerOptions::new()
        .with_host(listen.ip().to_string())
        .with_port(listen.port());
    datafusion_postgres::serve(Arc::new(context), &options)
        .await
        .map_err(|error| QueryError::Unavailable(format!("PostgreSQL protocol on {listen}: {error}")))
}
