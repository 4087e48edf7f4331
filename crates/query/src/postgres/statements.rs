//! Statements that come over the PostgreSQL protocol, one by one or prepared.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Schema};
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemoryCatalogProviderList, MemorySchemaProvider};
use datafusion::common::ParamValues;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::Statement;
use datafusion_postgres::QueryHook;
use datafusion_postgres::arrow_pg::datatypes::{arrow_schema_to_pg_fields, df, encode_recordbatch, into_pg_type};
use datafusion_postgres::datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use datafusion_postgres::hooks::set_show::SetShowHook;
use datafusion_postgres::hooks::transactions::TransactionStatementHook;
use datafusion_postgres::pgwire::api::portal::{Format, Portal};
use datafusion_postgres::pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use datafusion_postgres::pgwire::api::results::{FieldInfo, QueryResponse, Response};
use datafusion_postgres::pgwire::api::stmt::QueryParser;
use datafusion_postgres::pgwire::api::store::PortalStore;
use datafusion_postgres::pgwire::api::{ClientInfo, ClientPortalStore, Type};
use datafusion_postgres::pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::PgWireBackendMessage;
use datafusion_postgres::pgwire::types::format::FormatOptions;
use futures::{Sink, SinkExt, StreamExt, stream};
use schema::TenantId;

use super::savepoints::SavepointHook;
use crate::engine::QueryResult;
use crate::error::stream_error;
use crate::{QueryEngine, QueryError};

/// Where [`SetShowHook`] keeps a client's `statement_timeout`, in ms.
const STATEMENT_TIMEOUT: &str = "statement_timeout_ms";

/// SQLSTATE of the warning that a result is partial: class 01 is a warning, and of a class of ours within it (PostgreSQL,
/// Appendix A; SQL:2016, 24.1).
const PARTIAL: &str = "01P99";

/// Runs the statements of all connections of a listener.
pub(super) struct Statements(Arc<Inner>);

/// Also the parser of prepared statements, which pgwire wants by itself.
pub(super) struct Inner {
    engine: QueryEngine,
    tenant: TenantId,
    /// A session with the tables and functions of `pg_catalog`; every statement gets a copy.
    template: SessionContext,
    parser: PostgresCompatibilityParser,
    /// They answer what changes nothing here: settings of the client and transactions.
    hooks: [Arc<dyn QueryHook>; 3],
}

/// A prepared statement. Its plan tells the types of parameters and columns; it is planned anew when it is executed.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    statement: Statement,
    plan: LogicalPlan,
}

impl Statements {
    pub(super) fn new(engine: QueryEngine, tenant: TenantId, template: SessionContext) -> Self {
        Self(Arc::new(Inner {
            engine,
            tenant,
            template,
            parser: PostgresCompatibilityParser::new(),
            hooks: [
                Arc::new(SetShowHook),
                Arc::new(SavepointHook), // the next one would end the transaction
                Arc::new(TransactionStatementHook),
            ],
        }))
    }
}

/// Whether the engine answers the statement.
fn is_query(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::Query(_)
            | Statement::Explain { .. }
            | Statement::ExplainTable { .. }
            | Statement::ShowTables { .. }
            | Statement::ShowColumns { .. }
    )
}

pub(super) fn error(code: &str, message: String) -> PgWireError {
    PgWireError::UserError(Box::new(ErrorInfo::new("ERROR".to_owned(), code.to_owned(), message)))
}

fn read_only(statement: &Statement) -> PgWireError {
    let text = statement.to_string();
    let what = text.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    error(
        "25006",
        format!("{what}: only queries are allowed; telemetry comes in over OTLP"),
    )
}

/// An error in PostgreSQL's vocabulary (Appendix A, "PostgreSQL Error Codes").
fn refused(reason: QueryError) -> PgWireError {
    let code = match &reason {
        QueryError::Invalid(_) => "42000",
        QueryError::LimitExceeded { .. } => "54000",
        QueryError::Timeout(_) => "57014",
        QueryError::Busy => "53300",
        QueryError::Unavailable(_) => "57P03",
        QueryError::Corrupt(_) => "XX001",
        QueryError::Internal(_) => "XX000",
    };
    error(code, reason.to_string())
}

/// The types in which columns are sent. Ids of a fixed size have no encoding of their own, in lists and structs least of
/// all, and are `bytea` like all bytes.
fn sendable(schema: &Schema) -> Schema {
    Schema::new(schema.fields().iter().map(sendable_field).collect::<Vec<_>>())
}

fn sendable_field(field: &FieldRef) -> FieldRef {
    let kind = match field.data_type() {
        DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::List(item) => DataType::List(sendable_field(item)),
        DataType::Struct(members) => DataType::Struct(members.iter().map(sendable_field).collect()),
        _ => return Arc::clone(field),
    };
    Arc::new(field.as_ref().clone().with_data_type(kind))
}

fn sent(batch: &RecordBatch) -> Result<RecordBatch, DataFusionError> {
    let schema = Arc::new(sendable(&batch.schema()));
    let columns = schema.fields().iter().zip(batch.columns());
    let columns = columns
        .map(|(field, column)| cast(column, field.data_type()))
        .collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
}

impl Inner {
    fn parse(&self, sql: &str) -> PgWireResult<Vec<Statement>> {
        self.parser
            .parse(sql)
            .map_err(|reason| error("42601", reason.to_string()))
    }

    /// A session for one statement: what it sets or registers is gone afterwards.
    fn session(&self) -> Result<SessionContext, QueryError> {
        let state = SessionStateBuilder::new_from_existing(self.template.state())
            .with_runtime_env(self.engine.runtime())
            .with_catalog_list(Arc::new(MemoryCatalogProviderList::new()))
            .build();
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema("public", Arc::new(MemorySchemaProvider::new()))?;
        let shared = self.template.catalog("otlp").and_then(|c| c.schema("pg_catalog"));
        if let Some(shared) = shared {
            catalog.register_schema("pg_catalog", shared)?;
        }
        let context = SessionContext::new_with_state(state);
        context.register_catalog("otlp", Arc::new(catalog));
        Ok(context)
    }

    async fn query<C>(
        &self,
        client: &mut C,
        statement: &Statement,
        parameters: Option<ParamValues>,
        format: &Format,
    ) -> PgWireResult<Response>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let asked = client.metadata().get(STATEMENT_TIMEOUT);
        let asked = asked.and_then(|ms| ms.parse().ok()).filter(|ms| *ms > 0);
        let limit = self.engine.options().timeout;
        let timeout = asked.map_or(limit, |ms| Duration::from_millis(ms).min(limit));
        let context = self.session().map_err(refused)?;
        let statement = DfStatement::Statement(Box::new(statement.clone()));
        let running = self.engine.run(&context, &self.tenant, statement, parameters, timeout);
        let QueryResult {
            schema,
            mut stream,
            partial,
        } = running.await.map_err(refused)?;
        // pgwire listens for a cancellation until it has this answer, so the work before the first row belongs in here.
        let first = stream.next().await.transpose().map_err(|e| refused(stream_error(e)))?;
        if let Some(reason) = partial {
            let notice = ErrorInfo::new("WARNING".to_owned(), PARTIAL.to_owned(), reason);
            client.send(PgWireBackendMessage::NoticeResponse(notice.into())).await?;
        }
        let options = Arc::new(FormatOptions::from_client_metadata(client.metadata()));
        let fields = Arc::new(arrow_schema_to_pg_fields(&sendable(&schema), format, Some(options))?);
        let encoded = Arc::clone(&fields);
        let rows = stream::iter(first.map(Ok))
            .chain(stream)
            .map(move |batch| match batch.and_then(|batch| sent(&batch)) {
                Ok(batch) => stream::iter(encode_recordbatch(Arc::clone(&encoded), batch)).boxed(),
                Err(reason) => stream::iter([Err(refused(stream_error(reason)))]).boxed(),
            })
            .flatten();
        Ok(Response::Query(QueryResponse::new(fields, rows)))
    }

    /// Refuses what would change DataFusion instead of the client's session: it has no effect here.
    fn check_setting(statement: &Statement) -> PgWireResult<()> {
        match statement {
            Statement::Set(set) if set.to_string().to_lowercase().contains("datafusion.") => Err(read_only(statement)),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl SimpleQueryHandler for Statements {
    async fn do_query<C>(&self, client: &mut C, sql: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let statements = self.0.parse(sql)?;
        if statements.is_empty() {
            return Ok(vec![Response::EmptyQuery]);
        }
        let mut responses = Vec::with_capacity(statements.len());
        'next: for statement in statements {
            Inner::check_setting(&statement)?;
            let session = self.0.session().map_err(refused)?;
            for hook in &self.0.hooks {
                if let Some(response) = hook.handle_simple_query(&statement, &session, client).await {
                    responses.push(response?);
                    continue 'next;
                }
            }
            if !is_query(&statement) {
                return Err(read_only(&statement));
            }
            responses.push(self.0.query(client, &statement, None, &Format::UnifiedText).await?);
        }
        Ok(responses)
    }
}

#[async_trait]
impl QueryParser for Inner {
    type Statement = Prepared;

    async fn parse_sql<C>(&self, client: &C, sql: &str, _: &[Option<Type>]) -> PgWireResult<Option<Prepared>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let mut statements = self.parse(sql)?;
        if statements.len() > 1 {
            return Err(error("42601", "a prepared statement is one statement".to_owned()));
        }
        let Some(statement) = statements.pop() else {
            return Ok(None);
        };
        Self::check_setting(&statement)?;
        let session = self.session().map_err(refused)?;
        for hook in &self.hooks {
            if let Some(plan) = hook.handle_extended_parse_query(&statement, &session, client).await {
                let plan = plan?;
                return Ok(Some(Prepared { statement, plan }));
            }
        }
        if !is_query(&statement) {
            return Err(read_only(&statement));
        }
        let parsed = DfStatement::Statement(Box::new(statement.clone()));
        let planned = self.engine.plan(&session, &self.tenant, parsed);
        let (plan, _) = planned.await.map_err(refused)?;
        Ok(Some(Prepared { statement, plan }))
    }

    fn get_parameter_types(&self, prepared: &Prepared) -> PgWireResult<Vec<Type>> {
        Ok(parameters(&prepared.plan)?.into_iter().map(|(_, wire)| wire).collect())
    }

    fn get_result_schema(&self, prepared: &Prepared, format: Option<&Format>) -> PgWireResult<Vec<FieldInfo>> {
        let schema = sendable(prepared.plan.schema().as_arrow());
        arrow_schema_to_pg_fields(&schema, format.unwrap_or(&Format::UnifiedText), None)
    }
}

/// Types of `$1`, `$2`, ... as they are used, and as the client sends them.
fn parameters(plan: &LogicalPlan) -> PgWireResult<Vec<(Option<DataType>, Type)>> {
    let types = plan
        .get_parameter_types()
        .map_err(|reason| refused(stream_error(reason)))?;
    let mut types = types.into_iter().collect::<Vec<_>>();
    types.sort_by_key(|(name, _)| name.trim_start_matches('$').parse::<u32>().unwrap_or(u32::MAX));
    let wire = types.into_iter().map(|(_, used)| {
        let wire = used.as_ref().map_or(Ok(Type::UNKNOWN), into_pg_type)?;
        Ok((used, wire))
    });
    wire.collect()
}

#[async_trait]
impl ExtendedQueryHandler for Statements {
    type Statement = Prepared;
    type QueryParser = Inner;

    fn query_parser(&self) -> Arc<Inner> {
        Arc::clone(&self.0)
    }

    async fn do_query<C>(&self, client: &mut C, portal: &Portal<Prepared>, _: usize) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let Prepared { statement, plan } = &portal.statement.statement;
        let types = parameters(plan)?;
        let used = types.iter().map(|(used, _)| used.as_ref()).collect::<Vec<_>>();
        let wire = types.iter().map(|(_, wire)| Some(wire)).collect::<Vec<_>>();
        let values = df::deserialize_parameters_with_server_types(portal, &used, &wire)?;
        let session = self.0.session().map_err(refused)?;
        for hook in &self.0.hooks {
            let answered = hook
                .handle_extended_query(statement, plan, &values, &session, client)
                .await;
            if let Some(response) = answered {
                return response;
            }
        }
        let format = &portal.result_column_format;
        self.0.query(client, statement, Some(values), format).await
    }
}
