//! Scans of columns that only whole blocks tell, such as the parents of spans (`lake::part::block_columns`).
//!
//! DataFusion's Parquet source cannot read them: it may skip any row. So a scan that names one reads here, chunk by chunk
//! of whole blocks. What decides which rows are wanted comes first, and only then the other columns, of those rows.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{filter_record_batch, prep_null_mask_filter};
use arrow::datatypes::{Schema, SchemaRef};
use catalog::Part;
use datafusion::datasource::physical_plan::parquet::{ParquetAccessPlan, ParquetFileMetrics, RowGroupAccessPlanFilter};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::utils::{collect_columns, conjunction, reassign_expr_columns, split_conjunction};
use datafusion::physical_expr_adapter::{DefaultPhysicalExprAdapterFactory, PhysicalExprAdapterFactory};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::{StreamExt, TryStreamExt, stream};
use lake::part::{self, BLOCK_ROWS, BlockColumn};
use lake::{Lake, PartFile, RowReader};
use schema::Dataset;

use crate::pool;
use crate::reader::{CountedReader, ScanBudget};
use crate::table::conform;

/// Rows read at once: whole blocks, and of spans a row group, which an object store answers with one range.
const CHUNK_ROWS: usize = 4 * BLOCK_ROWS;

/// A scan of parts.
pub(crate) struct BlockScan {
    pub lake: Lake,
    pub dataset: Dataset,
    pub parts: Vec<Part>,
    /// All logical columns.
    pub table: SchemaRef,
    /// The columns asked for.
    pub projected: SchemaRef,
    /// Over `table`.
    pub predicate: Option<Arc<dyn PhysicalExpr>>,
    pub budget: Arc<ScanBudget>,
}

/// Whether a scan of these columns has to be a [`BlockScan`].
pub(crate) fn needs_blocks<'a>(dataset: Dataset, mut columns: impl Iterator<Item = &'a str>) -> bool {
    columns.any(|name| block_column(dataset, name).is_some())
}

fn block_column(dataset: Dataset, name: &str) -> Option<&'static BlockColumn> {
    part::block_columns(dataset).iter().find(|column| column.name == name)
}

fn external(error: lake::LakeError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

impl BlockScan {
    /// Streams that share the work: each reads every so-manieth chunk.
    pub(crate) fn partitions(self, count: usize) -> Vec<Arc<dyn PartitionStream>> {
        let scan = Arc::new(self);
        let count = count.max(1);
        let share = |number| -> Arc<dyn PartitionStream> {
            Arc::new(Share {
                scan: Arc::clone(&scan),
                number,
                count,
            })
        };
        (0..count).map(share).collect()
    }

    async fn open(&self, part: &Part) -> Result<RowReader<CountedReader>> {
        let reader = self.lake.part_reader(PartFile::from(part));
        let footer = reader.footer().await.map_err(external)?;
        let reader = CountedReader::new(reader, Arc::clone(&self.budget));
        Ok(RowReader::new(reader, footer))
    }

    /// The row groups that may hold rows that match.
    fn row_groups(&self, reader: &RowReader<CountedReader>) -> Result<Vec<usize>> {
        let footer = reader.metadata().metadata();
        let groups = footer.row_groups();
        let all = || (0..groups.len()).collect();
        let Some(predicate) = &self.predicate else {
            return Ok(all());
        };
        // What is stored under the name of a block column is not its values.
        let decidable = split_conjunction(predicate).into_iter().filter(|term| {
            let columns = collect_columns(term);
            !needs_blocks(self.dataset, columns.iter().map(|c| c.name()))
        });
        let decidable = conjunction(decidable.map(Arc::clone));
        let stored = reader.metadata().schema();
        let adapter = DefaultPhysicalExprAdapterFactory.create(Arc::clone(&self.table), Arc::clone(stored))?;
        let pruning = PruningPredicateBuilder::new()
            .with_file_schema(Arc::clone(stored))
            .build(adapter.rewrite(decidable)?);
        let Some(pruning) = pruning else {
            return Ok(all()); // Statistics cannot decide it.
        };
        let mut kept = RowGroupAccessPlanFilter::new(ParquetAccessPlan::new_all(groups.len()));
        let metrics = ParquetFileMetrics::new(0, self.dataset.name(), &ExecutionPlanMetricsSet::new());
        kept.prune_by_statistics(
            stored,
            footer.file_metadata().schema_descr(),
            groups,
            &pruning,
            &metrics,
        );
        Ok(kept.row_group_indexes().collect())
    }

    /// The rows of a chunk that match, as projected.
    async fn chunk(&self, reader: &RowReader<CountedReader>, rows: Range<usize>) -> Result<RecordBatch> {
        let wanted = self.projected.fields().iter().map(|f| f.name().as_str());
        let decisive = self.predicate.as_ref().map(collect_columns).unwrap_or_default();
        let decisive = decisive.iter().map(|c| c.name()).collect::<BTreeSet<_>>();
        let mut first = decisive.clone();
        first.extend(wanted.clone().filter(|n| block_column(self.dataset, n).is_some()));
        let mut stored = BTreeSet::new();
        for name in first {
            match block_column(self.dataset, name) {
                Some(column) => stored.extend(column.stored),
                None => {
                    stored.insert(name);
                }
            }
        }
        // Gives way to the runtime: chunks that are in memory would otherwise follow each other without a pause.
        tokio::task::yield_now().await;
        let batch = reader.read(rows.clone(), |name| stored.contains(name), None).await;
        let mut batch = part::decode(self.dataset, batch.map_err(external)?).map_err(external)?;
        let mut selected = None;
        if let Some(predicate) = &self.predicate {
            let matching = self.matching(predicate, &decisive, &batch)?;
            batch = filter_record_batch(&batch, &matching)?;
            selected = Some(matching);
        }
        let rest = wanted.filter(|name| batch.column_by_name(name).is_none());
        let rest = rest.collect::<BTreeSet<_>>();
        if !rest.is_empty() && batch.num_rows() > 0 {
            let more = reader.read(rows, |name| rest.contains(name), selected.as_ref()).await;
            let more = part::decode(self.dataset, more.map_err(external)?).map_err(external)?;
            batch = beside(&batch, &more)?;
        }
        conform(
            batch.num_rows(),
            |name| batch.column_by_name(name).cloned(),
            &self.projected,
        )
    }

    /// For each row whether it matches.
    fn matching(
        &self,
        predicate: &Arc<dyn PhysicalExpr>,
        columns: &BTreeSet<&str>,
        batch: &RecordBatch,
    ) -> Result<BooleanArray> {
        let fields = self
            .table
            .fields()
            .iter()
            .filter(|f| columns.contains(f.name().as_str()));
        let schema = Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()));
        let batch = conform(batch.num_rows(), |name| batch.column_by_name(name).cloned(), &schema)?;
        let predicate = reassign_expr_columns(Arc::clone(predicate), &schema)?;
        let matching = predicate.evaluate(&batch)?.into_array(batch.num_rows())?;
        let matching = matching
            .as_boolean_opt()
            .ok_or_else(|| DataFusionError::Internal("a filter that is not true or false".to_owned()))?;
        Ok(match matching.null_count() {
            0 => matching.clone(),
            _ => prep_null_mask_filter(matching),
        })
    }
}

/// Columns of the same rows.
fn beside(left: &RecordBatch, right: &RecordBatch) -> Result<RecordBatch> {
    let fields = [left.schema(), right.schema()];
    let fields = fields
        .iter()
        .flat_map(|s| s.fields().iter().cloned())
        .collect::<Vec<_>>();
    let columns = [left.columns(), right.columns()].concat();
    let options = RecordBatchOptions::new().with_row_count(Some(left.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        Arc::new(Schema::new(fields)),
        columns,
        &options,
    )?)
}

/// One of several streams of a [`BlockScan`].
struct Share {
    scan: Arc<BlockScan>,
    number: usize,
    count: usize,
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockScan")
            .field("dataset", &self.scan.dataset)
            .field("parts", &self.scan.parts.len())
            .finish_non_exhaustive()
    }
}

impl PartitionStream for Share {
    fn schema(&self) -> &SchemaRef {
        &self.scan.projected
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let memory = Arc::new(MemoryConsumer::new("blocks").register(context.memory_pool()));
        let (scan, number, count) = (Arc::clone(&self.scan), self.number, self.count);
        let parts = stream::iter(scan.parts.clone());
        let of_part = {
            let scan = Arc::clone(&scan);
            move |part: Part| {
                let scan = Arc::clone(&scan);
                async move {
                    let reader = Arc::new(scan.open(&part).await?);
                    let groups = reader.row_groups().collect::<Vec<_>>();
                    let kept = scan.row_groups(&reader)?.into_iter().map(|group| groups[group].clone());
                    let chunks = kept.flat_map(|group| {
                        let starts = group.clone().step_by(CHUNK_ROWS);
                        starts.map(move |start| start..(start + CHUNK_ROWS).min(group.end))
                    });
                    let mine = chunks.enumerate().filter(|(at, _)| at % count == number);
                    let mine = mine.map(|(_, rows)| Ok((Arc::clone(&reader), rows)));
                    Ok::<_, DataFusionError>(stream::iter(mine.collect::<Vec<_>>()))
                }
            }
        };
        let chunks = parts.then(of_part).try_flatten();
        let rows = chunks.and_then(move |(reader, rows)| {
            let scan = Arc::clone(&scan);
            async move { scan.chunk(&reader, rows).await }
        });
        let rows = rows.try_filter(|batch| futures::future::ready(batch.num_rows() > 0));
        // Until the next chunk is asked for.
        let rows = rows.and_then(move |batch| {
            let memory = Arc::clone(&memory);
            async move {
                pool::hold(&memory, batch.get_array_memory_size()).await?;
                Ok(batch)
            }
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(self.schema()), rows))
    }
}
