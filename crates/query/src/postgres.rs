//! The PostgreSQL wire protocol, so that psql and BI tools connect.
//!
//! One tenant per listener. A statement runs as over HTTP: it reads only, sees one snapshot, and is held to the same limits;
//! a prepared statement sees a new snapshot at each execution. Off by default, and without authentication: listen on
//! loopback, or put a proxy that authenticates in front.

mod relay;
mod savepoints;
mod statements;

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::DataType;
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, SchemaProvider, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_postgres::datafusion_pg_catalog::setup_pg_catalog;
use datafusion_postgres::pgwire::api::auth::StartupHandler;
use datafusion_postgres::pgwire::api::auth::noop::NoopStartupHandler;
use datafusion_postgres::pgwire::api::cancel::{CancelHandler, DefaultCancelHandler};
use datafusion_postgres::pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use datafusion_postgres::pgwire::api::{ConnectionManager, PgWireServerHandlers};
use schema::TenantId;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use self::statements::Statements;
use crate::views::TABLES;
use crate::{QueryEngine, QueryError};

/// The names of a tenant's tables and their columns, for the tables of `pg_catalog`.
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
        let (mut tables, _) = tables.map_err(|error| DataFusionError::External(Box::new(error)))?;
        Ok(tables.pop().map(|(_, table)| table))
    }

    fn table_exist(&self, name: &str) -> bool {
        TABLES.contains(&name)
    }
}

/// What every connection is served with.
struct Handlers {
    statements: Arc<Statements>,
    startup: Arc<Startup>,
    cancel: Arc<DefaultCancelHandler>,
}

/// Lets everybody in, and remembers connections so that their queries can be cancelled.
struct Startup(Arc<ConnectionManager>);

#[async_trait]
impl NoopStartupHandler for Startup {
    fn connection_manager(&self) -> Option<Arc<ConnectionManager>> {
        Some(Arc::clone(&self.0))
    }
}

impl PgWireServerHandlers for Handlers {
    fn simple_query_handler(&self) -> Arc<impl SimpleQueryHandler> {
        Arc::clone(&self.statements)
    }

    fn extended_query_handler(&self) -> Arc<impl ExtendedQueryHandler> {
        Arc::clone(&self.statements)
    }

    fn startup_handler(&self) -> Arc<impl StartupHandler> {
        Arc::clone(&self.startup)
    }

    fn cancel_handler(&self) -> Arc<impl CancelHandler> {
        Arc::clone(&self.cancel)
    }
}

/// `version()`, of which clients read PostgreSQL's version: the one that the start-up message names, too.
fn version() -> ScalarUDF {
    let text = format!(
        "PostgreSQL 16.6 (otlp-rust {}, DataFusion {})",
        env!("CARGO_PKG_VERSION"),
        datafusion::DATAFUSION_VERSION
    );
    let answer = move |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(text.as_str().into()));
    create_udf(
        "version",
        Vec::new(),
        DataType::Utf8,
        Volatility::Immutable,
        Arc::new(answer),
    )
}

/// `to_regtype(name)`, with which clients look for types of extensions: there are none.
fn to_regtype() -> ScalarUDF {
    let answer = |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(ScalarValue::Int32(None)));
    create_udf(
        "to_regtype",
        vec![DataType::Utf8],
        DataType::Int32,
        Volatility::Immutable,
        Arc::new(answer),
    )
}

/// Serves a tenant until the future is dropped, which ends all connections.
///
/// # Errors
/// [`QueryError::Internal`] if the tables of `pg_catalog` cannot be set up.
pub async fn serve(engine: QueryEngine, tenant: TenantId, listener: TcpListener) -> Result<(), QueryError> {
    let template = engine.session();
    let catalog = Arc::new(MemoryCatalogProvider::new());
    let names = TenantSchema {
        engine: engine.clone(),
        tenant: tenant.clone(),
    };
    catalog.register_schema("public", Arc::new(names))?;
    template.register_catalog("otlp", catalog);
    setup_pg_catalog(&template, "otlp", EmptyContextProvider)
        .map_err(|error| QueryError::Internal(error.to_string()))?;
    template.register_udf(version());
    template.register_udf(to_regtype());
    let connections = Arc::new(ConnectionManager::new());
    let handlers = Arc::new(Handlers {
        statements: Arc::new(Statements::new(engine, tenant, template)),
        startup: Arc::new(Startup(Arc::clone(&connections))),
        cancel: Arc::new(DefaultCancelHandler::new(connections)),
    });
    let mut serving = JoinSet::new();
    loop {
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Such as too many open files: others may still be served, and this passes.
                tracing::warn!(%error, "a PostgreSQL client could not be accepted");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let handlers = Arc::clone(&handlers);
        serving.spawn(async move {
            if let Err(error) = relay::serve(socket, handlers).await {
                tracing::debug!(%error, %peer, "a PostgreSQL connection broke");
            }
        });
        while serving.try_join_next().is_some() {}
    }
}
