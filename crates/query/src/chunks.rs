//! Parts whose stored rows hold several rows each (`lake::part::Chunks`): DataFusion's Parquet reader reads the
//! stored rows, with what filters say about them, and here they become rows. The filters themselves are applied to the
//! rows by DataFusion afterwards.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::Column;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::{StreamExt, TryStreamExt, stream};
use lake::part::Chunks;

use crate::table::conform;

/// Stored rows read at once: they may hold a thousand rows each.
pub(crate) const STORED_ROWS: usize = 128;

/// What must be true of a stored row for one of its rows to match `filter`; `None` if that cannot be said.
pub(crate) fn stored_filter(filter: &Expr, chunks: &Chunks, time: &str) -> Option<Expr> {
    if filter.column_refs().iter().all(|c| chunks.is_constant(&c.name)) {
        return Some(filter.clone());
    }
    let is_time = |expr: &Expr| matches!(expr, Expr::Column(c) if c.name == time);
    let first = || Expr::Column(Column::from_name(time));
    let last = || Expr::Column(Column::from_name(chunks.last_time()));
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if matches!(op, Operator::And | Operator::Or) => {
            let (left, right) = (stored_filter(left, chunks, time), stored_filter(right, chunks, time));
            match (op, left, right) {
                (Operator::And, Some(left), Some(right)) => Some(left.and(right)),
                (Operator::And, one, other) => one.or(other),
                (_, left, right) => Some(left?.or(right?)),
            }
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (op, bound) = match (is_time(left), is_time(right)) {
                (true, false) => (*op, right.as_ref().clone()),
                (false, true) => (op.swap()?, left.as_ref().clone()),
                _ => return None,
            };
            if !bound.column_refs().is_empty() {
                return None;
            }
            match op {
                Operator::Gt => Some(last().gt(bound)),
                Operator::GtEq => Some(last().gt_eq(bound)),
                Operator::Lt => Some(first().lt(bound)),
                Operator::LtEq => Some(first().lt_eq(bound)),
                Operator::Eq => Some(first().lt_eq(bound.clone()).and(last().gt_eq(bound))),
                _ => None,
            }
        }
        Expr::Between(Between {
            expr,
            negated: false,
            low,
            high,
        }) if is_time(expr) && low.column_refs().is_empty() && high.column_refs().is_empty() => Some(
            first()
                .lt_eq(high.as_ref().clone())
                .and(last().gt_eq(low.as_ref().clone())),
        ),
        _ => None,
    }
}

/// The rows of one partition of a plan that reads stored rows.
pub(crate) struct ChunkRows {
    plan: Arc<dyn ExecutionPlan>,
    partition: usize,
    chunks: Arc<Chunks>,
    schema: SchemaRef,
}

impl ChunkRows {
    /// A stream of rows of `schema` for each partition of a plan that reads what they are stored in.
    pub(crate) fn partitions(
        plan: Arc<dyn ExecutionPlan>,
        chunks: Chunks,
        schema: &SchemaRef,
    ) -> Vec<Arc<dyn PartitionStream>> {
        let chunks = Arc::new(chunks);
        let stream = |partition| -> Arc<dyn PartitionStream> {
            Arc::new(Self {
                plan: Arc::clone(&plan),
                partition,
                chunks: Arc::clone(&chunks),
                schema: Arc::clone(schema),
            })
        };
        (0..plan.properties().partitioning.partition_count())
            .map(stream)
            .collect()
    }
}

impl fmt::Debug for ChunkRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkRows")
            .field("partition", &self.partition)
            .finish_non_exhaustive()
    }
}

impl PartitionStream for ChunkRows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = context.session_config().batch_size();
        let (chunks, schema) = (Arc::clone(&self.chunks), Arc::clone(&self.schema));
        let stored = match self.plan.execute(self.partition, context) {
            Ok(stored) => stored,
            Err(error) => {
                let failed = stream::once(async move { Err(error) });
                return Box::pin(RecordBatchStreamAdapter::new(schema, failed));
            }
        };
        let points = stored
            .map_ok({
                let schema = Arc::clone(&schema);
                move |batch| {
                    let schema = Arc::clone(&schema);
                    stream::iter(chunks.rows(&batch, rows).map(move |rows| {
                        let rows = rows.map_err(|e| DataFusionError::External(Box::new(e)))?;
                        conform(rows.num_rows(), |name| rows.column_by_name(name).cloned(), &schema)
                    }))
                }
            })
            .try_flatten();
        Box::pin(RecordBatchStreamAdapter::new(schema, points.boxed()))
    }
}
