//! Runs queries: snapshot, tables, plan, limits.

use std::collections::{BTreeSet, HashSet};
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use catalog::Snapshot;
use datafusion::catalog::TableProvider;
use datafusion::common::ParamValues;
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::TrackConsumersPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::RecordBatchStream;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use futures::Stream;
use lake::Lake;
use memory::{Account, Use};
use moka::sync::Cache;
use schema::{Dataset, TenantId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

use crate::error::{QueryError, TimedOut, TooManyRows};
use crate::lookup::{Lookup, LookupKey};
use crate::names::resolve_attributes;
use crate::partial::LeftOut;
use crate::pool::{self, BudgetPool, QUEUE_TIME};
use crate::reader::ScanBudget;
use crate::table::{DatasetTable, STORE_URL};
use crate::views::{self, Lookups, TABLES};

/// Limits of queries.
#[derive(Debug, Clone)]
pub struct QueryOptions {
    /// Bytes that all running queries may hold together.
    pub max_memory: usize,
    /// How long one query may run.
    pub timeout: Duration,
    /// Bytes that one query may read from the store.
    pub max_scan_bytes: u64,
    /// Rows that one query may return; `None` is without limit.
    pub max_rows: Option<u64>,
    /// Queries at once.
    pub concurrency: usize,
}

/// Runs queries. Cheap to clone.
#[derive(Clone)]
pub struct QueryEngine {
    inner: Arc<Inner>,
}

struct Inner {
    lake: Lake,
    options: QueryOptions,
    runtime: Arc<RuntimeEnv>,
    running: Arc<Semaphore>,
    memory: Account,
    lookups: Cache<(TenantId, LookupKey), Arc<Lookup>>,
}

/// Tables by name.
type Tables = Vec<(&'static str, Arc<dyn TableProvider>)>;

/// A running query. Dropping the stream cancels it.
pub struct QueryResult {
    /// Columns of the result.
    pub schema: SchemaRef,
    /// The rows, as they come.
    pub stream: SendableRecordBatchStream,
    /// Why rows may be missing: damaged objects are in quarantine. `None` if the result is whole.
    pub partial: Option<String>,
}

/// The greatest holders of memory that an error names.
const CONSUMERS: NonZeroUsize = NonZeroUsize::new(3).expect("three is not zero");

/// The part of the memory of queries that remembered tables of resources and series may take.
const LOOKUPS: u64 = 4;

impl QueryEngine {
    /// An engine over a lake.
    ///
    /// # Errors
    /// [`QueryError::Internal`] if DataFusion cannot be set up.
    pub fn new(lake: Lake, options: QueryOptions) -> Result<Self, QueryError> {
        let memory = lake.memory().account(Use::Query, options.max_memory as u64);
        let runtime = RuntimeEnvBuilder::new()
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .build_arc()?;
        let url = datafusion::execution::object_store::ObjectStoreUrl::parse(STORE_URL)?;
        runtime.register_object_store(url.as_ref(), Arc::clone(lake.store()));
        let inner = Inner {
            lake,
            runtime,
            running: Arc::new(Semaphore::new(options.concurrency.max(1))),
            // What they hold is reserved by each lookup itself.
            lookups: Cache::builder()
                .max_capacity(memory.share() / LOOKUPS)
                .weigher(|_, lookup: &Arc<Lookup>| u32::try_from(lookup.bytes()).unwrap_or(u32::MAX))
                .build(),
            memory,
            options,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The limits.
    pub fn options(&self) -> &QueryOptions {
        &self.inner.options
    }

    pub(crate) fn lake(&self) -> &Lake {
        &self.inner.lake
    }

    /// Bytes that queries and what they remember hold together.
    pub fn memory_used(&self) -> u64 {
        self.inner.memory.used()
    }

    pub(crate) fn memory(&self) -> &Account {
        &self.inner.memory
    }

    /// What one query runs in: everything is shared but the pool, which counts what this query holds.
    pub(crate) fn runtime(&self) -> Arc<RuntimeEnv> {
        let pool = TrackConsumersPool::new(BudgetPool::new(&self.inner.memory), CONSUMERS);
        Arc::new(RuntimeEnv {
            memory_pool: Arc::new(pool),
            ..self.inner.runtime.as_ref().clone()
        })
    }

    /// A DataFusion session without tables, for one query.
    pub(crate) fn session(&self) -> SessionContext {
        let config = SessionConfig::new()
            .with_information_schema(true)
            .with_default_catalog_and_schema("otlp", "public")
            .set_bool("datafusion.execution.parquet.pushdown_filters", true)
            .set_bool("datafusion.execution.parquet.reorder_filters", true)
            .set_bool("datafusion.sql_parser.map_string_types_to_utf8view", false);
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(self.runtime())
            .with_default_features()
            .with_physical_optimizer_rule(Arc::new(crate::coop::YieldAfterJoins))
            .build();
        SessionContext::new_with_state(state)
    }

    pub(crate) async fn admit(&self) -> Result<OwnedSemaphorePermit, QueryError> {
        pool::relieved(self.inner.lake.memory()).await?;
        let permit = Arc::clone(&self.inner.running).acquire_owned();
        match tokio::time::timeout(QUEUE_TIME, permit).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(QueryError::Busy),
        }
    }

    /// Plans a statement and starts it. Only queries are allowed: nothing can be changed by SQL.
    ///
    /// # Errors
    /// [`QueryError`]; errors while running come through the stream, see [`crate::stream_error`].
    pub async fn sql(&self, tenant: &TenantId, sql: &str) -> Result<QueryResult, QueryError> {
        let context = self.session();
        let state = context.state();
        let dialect = state.config_options().sql_parser.dialect;
        let statement = state.sql_to_statement(sql, &dialect)?;
        self.run(&context, tenant, statement, None, self.inner.options.timeout)
            .await
    }

    /// As [`Self::sql`], for a statement that is parsed and whose parameters are given. Its tables are registered in
    /// `context`, so the context is of no use for another.
    pub(crate) async fn run(
        &self,
        context: &SessionContext,
        tenant: &TenantId,
        statement: Statement,
        parameters: Option<ParamValues>,
        timeout: Duration,
    ) -> Result<QueryResult, QueryError> {
        let permit = self.admit().await?;
        let start = async {
            let (mut plan, left_out) = self.plan(context, tenant, statement).await?;
            if let Some(parameters) = &parameters {
                plan = plan.replace_params_with_values(parameters)?;
            }
            let frame = context.execute_logical_plan(plan).await?;
            let stream = frame.execute_stream().await?;
            // Every scan is planned now, so it is known what they do without.
            Ok::<_, QueryError>((stream, left_out.reason()))
        };
        let started = tokio::time::timeout(timeout, start).await;
        let (stream, partial) = started.map_err(|_| QueryError::Timeout(timeout))??;
        let schema = stream.schema();
        let deadline = Box::pin(tokio::time::sleep(timeout));
        let rows_left = self.inner.options.max_rows.unwrap_or(u64::MAX);
        let stream = Limited {
            stream,
            deadline,
            timeout,
            rows_left,
            done: false,
            _permit: permit,
        };
        Ok(QueryResult {
            schema,
            stream: Box::pin(stream),
            partial,
        })
    }

    /// The plan of a statement that only reads, and where its scans will tell what they do without. Its tables, all of one
    /// snapshot, are registered in `context`.
    pub(crate) async fn plan(
        &self,
        context: &SessionContext,
        tenant: &TenantId,
        mut statement: Statement,
    ) -> Result<(LogicalPlan, Arc<LeftOut>), QueryError> {
        let state = context.state();
        let references = state.resolve_table_references(&statement)?;
        let named = references.iter().map(|r| r.table()).collect::<BTreeSet<_>>();
        let about_tables = references.iter().any(|r| r.schema() == Some("information_schema"))
            || matches!(&statement, Statement::Statement(s) if s.to_string().to_ascii_uppercase().starts_with("SHOW"));
        let tables = TABLES
            .into_iter()
            .filter(|t| about_tables || named.contains(t))
            .collect::<Vec<_>>();
        let mut columns = HashSet::new();
        let (tables, left_out) = self.tables(tenant, &tables).await?;
        for (name, table) in tables {
            columns.extend(table.schema().fields().iter().map(|f| f.name().clone()));
            context.register_table(name, table)?;
        }
        if let Statement::Statement(statement) = &mut statement {
            resolve_attributes(statement.as_mut(), &columns);
        }
        let plan = context.state().statement_to_plan(statement).await?;
        let allowed = SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        allowed.verify_plan(&plan)?;
        Ok((plan, left_out))
    }

    /// Tables of a tenant, all of one snapshot.
    pub(crate) async fn tables(
        &self,
        tenant: &TenantId,
        names: &[&'static str],
    ) -> Result<(Tables, Arc<LeftOut>), QueryError> {
        let datasets = names
            .iter()
            .flat_map(|n| views::datasets_of(n).unwrap_or_default())
            .collect::<BTreeSet<_>>();
        if datasets.is_empty() {
            return Ok((Vec::new(), Arc::default()));
        }
        let datasets = datasets.into_iter().collect::<Vec<_>>();
        let snapshot = self.snapshot(tenant, &datasets, None).await?;
        let lookups = Lookups {
            resources: self.lookup(tenant, &snapshot, Dataset::Resources, &datasets).await?,
            series: self.lookup(tenant, &snapshot, Dataset::MetricSeries, &datasets).await?,
        };
        let left_out = Arc::new(LeftOut::default());
        // Looked up whole, whatever time a query is about.
        let looked_up = snapshot.quarantined.iter();
        left_out.add(looked_up.filter(|entry| matches!(entry.dataset, Dataset::Resources | Dataset::MetricSeries)));
        let budget = Arc::new(ScanBudget::new(self.inner.options.max_scan_bytes));
        let mut tables = Vec::new();
        for name in names {
            let Some(dataset) = views::datasets_of(name).and_then(|d| d.first().copied()) else {
                continue;
            };
            let base = DatasetTable::new(
                self.inner.lake.clone(),
                dataset,
                &snapshot,
                Arc::clone(&budget),
                Arc::clone(&left_out),
            );
            tables.push((*name, views::build(name, Arc::new(base), &lookups, &snapshot.columns)?));
        }
        Ok((tables, left_out))
    }

    pub(crate) async fn snapshot(
        &self,
        tenant: &TenantId,
        datasets: &[Dataset],
        time: Option<(i64, i64)>,
    ) -> Result<Snapshot, QueryError> {
        Ok(self.inner.lake.snapshot(tenant, datasets, time).await?)
    }

    /// Resources or series of a snapshot, from memory if they have not changed.
    pub(crate) async fn lookup(
        &self,
        tenant: &TenantId,
        snapshot: &Snapshot,
        dataset: Dataset,
        datasets: &[Dataset],
    ) -> Result<Option<Arc<Lookup>>, QueryError> {
        if !datasets.contains(&dataset) {
            return Ok(None);
        }
        let key = (tenant.clone(), LookupKey::of(snapshot, dataset));
        if let Some(lookup) = self.inner.lookups.get(&key) {
            return Ok(Some(lookup));
        }
        let lookup = Arc::new(Lookup::load(&self.inner.lake, snapshot, dataset, &self.inner.memory).await?);
        self.inner.lookups.insert(key, Arc::clone(&lookup));
        self.inner.lookups.run_pending_tasks();
        Ok(Some(lookup))
    }
}

/// A result stream that ends at the deadline and gives its turn back when dropped.
struct Limited {
    stream: SendableRecordBatchStream,
    deadline: Pin<Box<Sleep>>,
    timeout: Duration,
    rows_left: u64,
    done: bool,
    _permit: OwnedSemaphorePermit,
}

impl Stream for Limited {
    type Item = Result<RecordBatch, DataFusionError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.done {
            return Poll::Ready(None);
        }
        if self.deadline.as_mut().poll(cx).is_ready() {
            self.done = true;
            let error = TimedOut(self.timeout);
            return Poll::Ready(Some(Err(DataFusionError::External(Box::new(error)))));
        }
        let next = self.stream.as_mut().poll_next(cx);
        match &next {
            Poll::Ready(None | Some(Err(_))) => self.done = true,
            Poll::Ready(Some(Ok(batch))) => match self.rows_left.checked_sub(batch.num_rows() as u64) {
                Some(left) => self.rows_left = left,
                None => {
                    self.done = true;
                    return Poll::Ready(Some(Err(DataFusionError::External(Box::new(TooManyRows)))));
                }
            },
            Poll::Pending => {}
        }
        next
    }
}

impl RecordBatchStream for Limited {
    fn schema(&self) -> SchemaRef {
        self.stream.schema()
    }
}
