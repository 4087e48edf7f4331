//! Which rows a deletion is about: conditions in SQL over the tables that people query.
//!
//! `lake` deletes rows and knows no query language; here its question, which of these rows meet the condition, becomes a
//! query over exactly those rows. Rows of slices and of rewritten parts come from memory ([`RowsTable`]), parts that are only
//! counted go through the usual scan, which reads the columns that the condition names. Nothing is written here.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use async_trait::async_trait;
use catalog::{DeletionTarget, Part, Slice, Snapshot};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::datasource::MemTable;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, ExprSchemable, TableType, Volatility};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{DataFrame, SessionContext};
use lake::{MatchError, Matcher, Question, described_by};
use schema::sparse::{SparseArray, SparseBatch};
use schema::{Dataset, TenantId};

use crate::names::resolve_attributes;
use crate::reader::ScanBudget;
use crate::table::{DatasetTable, conform, dataset_schema};
use crate::views::{self, Lookups};
use crate::{QueryEngine, QueryError};

/// The column of [`RowsTable`] that numbers the rows. No attribute has a name like it: theirs have a prefix.
const ROW: &str = "(row)";

/// The table under which people know a dataset's rows.
pub const fn table_of(dataset: Dataset) -> &'static str {
    match dataset {
        Dataset::Spans => "spans",
        Dataset::Logs => "logs",
        Dataset::MetricSamples => "metrics",
        Dataset::MetricHistograms => "metric_histograms",
        Dataset::Exemplars => "exemplars",
        Dataset::MetricSeries => "metric_series",
        Dataset::Resources => "resources",
    }
}

impl QueryEngine {
    /// Checks a condition of a deletion before it is recorded: whether it can be understood, and depends on the row
    /// alone.
    ///
    /// # Errors
    /// [`QueryError::Invalid`] says what is wrong with it; others if the tenant's columns cannot be read.
    pub async fn check_condition(
        &self,
        tenant: &TenantId,
        dataset: Dataset,
        target: &DeletionTarget,
    ) -> Result<(), QueryError> {
        let datasets = [&[dataset], described_by(dataset)].concat();
        let question = Question {
            tenant: tenant.clone(),
            dataset,
            target: target.clone(),
            snapshot: Arc::new(self.snapshot(tenant, &datasets, None).await?),
        };
        let rows = RowsTable::new(&question, &[]);
        let frame = self.matching(&question, Arc::new(rows)).await?;
        frame.create_physical_plan().await?;
        Ok(())
    }

    /// The rows of `base`, a table of the question's dataset, that match.
    async fn matching(&self, question: &Question, base: Arc<dyn TableProvider>) -> Result<DataFrame, QueryError> {
        // A trace's id stands in the rows: what describes them need not be read.
        let described_by = match question.target {
            DeletionTarget::Trace(_) => &[],
            _ => described_by(question.dataset),
        };
        let lookup = |dataset| self.lookup(&question.tenant, &question.snapshot, dataset, described_by);
        let lookups = Lookups {
            resources: lookup(Dataset::Resources).await?,
            series: lookup(Dataset::MetricSeries).await?,
        };
        let name = table_of(question.dataset);
        let table = match question.dataset {
            // People see the newest row of each id; deleted is every row.
            Dataset::Resources | Dataset::MetricSeries => base,
            _ => views::build(name, base, &lookups, &question.snapshot.columns)?,
        };
        let context = self.session();
        context.register_table(name, table)?;
        let frame = context.table(name).await?;
        let condition = condition(&context, frame.schema(), &question.target)?;
        Ok(frame.filter(condition)?)
    }
}

/// The condition as an expression over a table.
fn condition(context: &SessionContext, schema: &DFSchema, target: &DeletionTarget) -> Result<Expr, QueryError> {
    let text = match target {
        DeletionTarget::Everything => "TRUE".to_owned(),
        DeletionTarget::Trace(id) => format!("trace_id = X'{:032x}'", u128::from_be_bytes(*id)),
        DeletionTarget::Where(text) => text.clone(),
    };
    let state = context.state();
    let dialect = state.config_options().sql_parser.dialect;
    let mut parsed = state.sql_to_expr_with_alias(&text, &dialect)?;
    let invalid = |what: &str| QueryError::Invalid(format!("the condition {text:?} {what}"));
    if let Some(alias) = &parsed.alias {
        return Err(invalid(&format!("ends with {alias}, which means nothing there")));
    }
    let columns = schema.fields().iter().map(|field| field.name().clone()).collect();
    resolve_attributes(&mut parsed.expr, &columns);
    let condition = state.create_logical_expr_from_sql_expr(parsed, schema)?;
    if let Some(what) = not_of_the_row(&condition)? {
        return Err(invalid(&format!(
            "has {what}: which rows are deleted may depend on nothing but the row"
        )));
    }
    match condition.get_type(schema)? {
        DataType::Boolean => Ok(condition),
        other => Err(invalid(&format!("is of type {other}, not true or false"))),
    }
}

/// What in an expression does not follow from the row alone. A deletion is evaluated again and again, by several
/// processes, until nothing is left that matches: the answer must always be the same.
fn not_of_the_row(condition: &Expr) -> Result<Option<String>> {
    let mut found = None;
    condition.apply(|expr| {
        let what = match expr {
            Expr::ScalarFunction(call) if call.func.signature().volatility != Volatility::Immutable => {
                Some(format!("the function {}", call.func.name()))
            }
            Expr::AggregateFunction(call) => Some(format!("the aggregate {}", call.func.name())),
            Expr::WindowFunction(_) => Some("a window function".to_owned()),
            Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) | Expr::ScalarSubquery(_) => {
                Some("a subquery".to_owned())
            }
            Expr::Placeholder(_) => Some("a parameter".to_owned()),
            _ => None,
        };
        found = what;
        Ok(match found {
            Some(_) => TreeNodeRecursion::Stop,
            None => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(found)
}

impl From<QueryError> for MatchError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Invalid(reason) => Self::Invalid(reason),
            other => Self::Failed(other.to_string()),
        }
    }
}

#[async_trait]
impl Matcher for QueryEngine {
    async fn count(&self, question: &Question, slices: Vec<Slice>, parts: Vec<Part>) -> Result<u64, MatchError> {
        let rows = Snapshot {
            slices,
            parts,
            columns: question.snapshot.columns.clone(),
            quarantined: Vec::new(),
            sequence: question.snapshot.sequence,
        };
        // The scan is a task's, not a user's: nothing limits what it may read.
        let budget = Arc::new(ScanBudget::new(u64::MAX));
        let base = DatasetTable::new(self.lake().clone(), question.dataset, &rows, budget, Arc::default());
        let frame = self.matching(question, Arc::new(base)).await?;
        let count = frame.count().await.map_err(QueryError::from)?;
        Ok(count as u64)
    }

    async fn select(&self, question: &Question, batches: &[Arc<SparseBatch>]) -> Result<Vec<BooleanArray>, MatchError> {
        let table = RowsTable::new(question, batches);
        let frame = self.matching(question, Arc::new(table)).await?;
        let numbers = async {
            frame
                .select(vec![Expr::Column(Column::from_name(ROW))])?
                .collect()
                .await
        };
        let numbers = numbers.await.map_err(QueryError::from)?;
        let total = batches.iter().map(|batch| batch.num_rows()).sum();
        let mut matching = BooleanBufferBuilder::new(total);
        matching.append_n(total, false);
        for numbers in numbers {
            for &number in numbers.column(0).as_primitive::<UInt64Type>().values() {
                matching.set_bit(number as usize, true);
            }
        }
        let matching = BooleanArray::new(matching.finish(), None);
        let mut from = 0;
        let of_batch = |batch: &Arc<SparseBatch>| {
            let rows = matching.slice(from, batch.num_rows());
            from += batch.num_rows();
            rows
        };
        Ok(batches.iter().map(of_batch).collect())
    }
}

/// Rows in memory as a table of their dataset, with their numbers. Columns are made dense as a query asks for them.
#[derive(Debug)]
struct RowsTable {
    schema: SchemaRef,
    batches: Vec<Arc<SparseBatch>>,
}

impl RowsTable {
    fn new(question: &Question, batches: &[Arc<SparseBatch>]) -> Self {
        let known = dataset_schema(question.dataset, &question.snapshot.columns);
        let mut fields = known.fields().iter().cloned().collect::<Vec<_>>();
        fields.push(Arc::new(Field::new(ROW, DataType::UInt64, false)));
        Self {
            schema: Arc::new(Schema::new(fields)),
            batches: batches.to_vec(),
        }
    }
}

#[async_trait]
impl TableProvider for RowsTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(indices) => Arc::new(self.schema.project(indices)?),
            None => Arc::clone(&self.schema),
        };
        let mut next = 0;
        let rows = self.batches.iter().map(|batch| {
            let numbers = next..next + batch.num_rows() as u64;
            next = numbers.end;
            let column = |name: &str| match name {
                ROW => Some(Arc::new(UInt64Array::from_iter_values(numbers.clone())) as ArrayRef),
                _ => batch.column(name).map(SparseArray::dense),
            };
            conform(batch.num_rows(), column, &schema)
        });
        let rows = rows.collect::<Result<Vec<_>, DataFusionError>>()?;
        MemTable::try_new(schema, vec![rows])?
            .scan(state, None, &[], limit)
            .await
    }
}

#[cfg(test)]
mod tests;
