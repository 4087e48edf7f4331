//! Savepoints, which clients set around what may fail. Nothing changes here, so nothing has to be undone.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::common::{DFSchema, ParamValues};
use datafusion::logical_expr::{EmptyRelation, LogicalPlan};
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::Statement;
use datafusion_postgres::QueryHook;
use datafusion_postgres::hooks::HookClient;
use datafusion_postgres::pgwire::api::ClientInfo;
use datafusion_postgres::pgwire::api::results::{Response, Tag};
use datafusion_postgres::pgwire::error::PgWireResult;
use datafusion_postgres::pgwire::messages::response::TransactionStatus;

use super::statements::error;

/// Answers them inside a transaction, also in one that failed (PostgreSQL 17, `ROLLBACK TO SAVEPOINT`).
#[derive(Debug)]
pub(super) struct SavepointHook;

/// The tag of a statement about savepoints.
const fn tag(statement: &Statement) -> Option<&'static str> {
    match statement {
        Statement::Savepoint { .. } => Some("SAVEPOINT"),
        Statement::ReleaseSavepoint { .. } => Some("RELEASE"),
        Statement::Rollback { savepoint: Some(_), .. } => Some("ROLLBACK"),
        _ => None,
    }
}

#[async_trait]
impl QueryHook for SavepointHook {
    async fn handle_simple_query(
        &self,
        statement: &Statement,
        _: &SessionContext,
        client: &mut dyn HookClient,
    ) -> Option<PgWireResult<Response>> {
        let name = tag(statement)?;
        Some(match (client.transaction_status(), name) {
            (TransactionStatus::Idle, _) => {
                let reason = format!("{name} can only be used in transaction blocks");
                Err(error("25P01", reason))
            }
            // Back to before the failure.
            (TransactionStatus::Error, "ROLLBACK") => Ok(Response::TransactionStart(Tag::new(name))),
            (TransactionStatus::Error, _) => return None, // refused as everything is
            (TransactionStatus::Transaction, _) => Ok(Response::Execution(Tag::new(name))),
        })
    }

    async fn handle_extended_parse_query(
        &self,
        statement: &Statement,
        _: &SessionContext,
        _: &(dyn ClientInfo + Send + Sync),
    ) -> Option<PgWireResult<LogicalPlan>> {
        tag(statement)?;
        Some(Ok(LogicalPlan::EmptyRelation(EmptyRelation {
            produce_one_row: false,
            schema: Arc::new(DFSchema::empty()),
        })))
    }

    async fn handle_extended_query(
        &self,
        statement: &Statement,
        _: &LogicalPlan,
        _: &ParamValues,
        session: &SessionContext,
        client: &mut dyn HookClient,
    ) -> Option<PgWireResult<Response>> {
        self.handle_simple_query(statement, session, client).await
    }
}
