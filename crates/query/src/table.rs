//! A dataset of a tenant as a DataFusion table: slices and parts of one snapshot.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use catalog::{Column, Part, Quarantined, Slice, Snapshot};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column as PlanColumn, DFSchema, ScalarValue};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};
use futures::{StreamExt, TryStreamExt, stream};
use lake::part::Chunks;
use lake::{Lake, PartFile};
use schema::columns::{self, AttributeType};
use schema::sparse::SparseArray;
use schema::{Dataset, UnixNanos};

use crate::blocks::{BlockScan, needs_blocks};
use crate::chunks::{ChunkRows, STORED_ROWS, stored_filter};
use crate::partial::LeftOut;
use crate::pool;
use crate::reader::{PartReaders, ScanBudget};

/// Where DataFusion believes parts to be; only a name, the reader factory does the reading.
pub(crate) const STORE_URL: &str = "lake://parts";

/// One dataset in one snapshot.
pub(crate) struct DatasetTable {
    lake: Lake,
    dataset: Dataset,
    schema: SchemaRef,
    slices: Vec<Slice>,
    parts: Vec<Part>,
    quarantined: Vec<Quarantined>,
    budget: Arc<ScanBudget>,
    left_out: Arc<LeftOut>,
}

impl fmt::Debug for DatasetTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatasetTable")
            .field("dataset", &self.dataset)
            .finish_non_exhaustive()
    }
}

/// Fixed columns, those that only parts have, and the attribute columns that the catalog lists.
pub(crate) fn dataset_schema(dataset: Dataset, known: &[Column]) -> Schema {
    let mut fields = columns::fixed(dataset);
    fields.extend(columns::stored(dataset));
    for column in known.iter().filter(|c| c.dataset == dataset) {
        if let Some(kind) = AttributeType::from_name(&column.data_type) {
            fields.push(Field::new(&column.name, kind.data_type(), true));
        }
    }
    Schema::new(fields)
}

impl DatasetTable {
    pub(crate) fn new(
        lake: Lake,
        dataset: Dataset,
        snapshot: &Snapshot,
        budget: Arc<ScanBudget>,
        left_out: Arc<LeftOut>,
    ) -> Self {
        Self {
            lake,
            dataset,
            schema: Arc::new(dataset_schema(dataset, &snapshot.columns)),
            slices: snapshot
                .slices
                .iter()
                .filter(|s| s.dataset == dataset)
                .cloned()
                .collect(),
            parts: snapshot
                .parts
                .iter()
                .filter(|p| p.dataset == dataset)
                .cloned()
                .collect(),
            quarantined: snapshot
                .quarantined
                .iter()
                .filter(|q| q.dataset == dataset)
                .cloned()
                .collect(),
            budget,
            left_out,
        }
    }

    /// Which of the time ranges may hold rows that match.
    fn prune(&self, predicate: Option<&Arc<dyn PhysicalExpr>>, ranges: Vec<(UnixNanos, UnixNanos)>) -> Vec<bool> {
        let all = vec![true; ranges.len()];
        let Some(predicate) = predicate else { return all };
        let statistics = TimeRanges {
            column: columns::time_column(self.dataset),
            ranges,
        };
        // None: nothing in the predicate can be decided by the time column.
        let pruning = PruningPredicateBuilder::new()
            .with_file_schema(Arc::clone(&self.schema))
            .build(Arc::clone(predicate));
        pruning.and_then(|p| p.prune(&statistics).ok()).unwrap_or(all)
    }

    /// Reads parts row by row; `predicate` is over the schema that is stored.
    fn parquet(
        &self,
        parts: &[&Part],
        stored: Stored<'_>,
        predicate: Option<Arc<dyn PhysicalExpr>>,
        limit: Option<usize>,
        partitions: usize,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let readers = PartReaders {
            lake: self.lake.clone(),
            budget: Arc::clone(&self.budget),
        };
        let mut source = ParquetSource::new(Arc::clone(stored.schema))
            .with_parquet_file_reader_factory(Arc::new(readers))
            .with_pushdown_filters(true)
            .with_reorder_filters(true)
            .with_enable_page_index(true);
        if let Some(predicate) = predicate {
            source = source.with_predicate(predicate);
        }
        let groups = partitions.clamp(1, parts.len());
        let mut files = vec![FileGroup::default(); groups];
        for (i, part) in parts.iter().enumerate() {
            let file = PartitionedFile::new(part.path.clone(), part.bytes.max(0) as u64);
            files[i % groups].push(file.with_extension(PartFile::from(*part)));
        }
        let config = FileScanConfigBuilder::new(ObjectStoreUrl::parse(STORE_URL)?, Arc::new(source))
            .with_file_groups(files)
            .with_projection_indices(stored.projection.cloned())?
            .with_limit(limit)
            .with_batch_size(stored.batch_rows)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    /// Reads parts whose stored rows hold several rows each.
    fn chunked(
        &self,
        parts: &[&Part],
        chunks: Chunks,
        projected: &SchemaRef,
        filters: &[Expr],
        limit: Option<usize>,
        state: &dyn Session,
    ) -> Result<Vec<Arc<dyn PartitionStream>>> {
        let time = columns::time_column(self.dataset);
        let filters = filters.iter().filter_map(|f| stored_filter(f, &chunks, time));
        let predicate = match conjunction(filters) {
            Some(filter) => {
                let schema = DFSchema::try_from(chunks.schema.as_ref().clone())?;
                Some(state.create_physical_expr(filter, &schema)?)
            }
            None => None,
        };
        let stored = Stored {
            schema: &chunks.schema,
            projection: Some(&chunks.sources(projected)),
            batch_rows: Some(STORED_ROWS),
        };
        // A limit of rows is more than enough of stored rows.
        let plan = self.parquet(parts, stored, predicate, limit, state.config().target_partitions())?;
        Ok(ChunkRows::partitions(plan, chunks, projected))
    }
}

/// What is stored in parts and which of it is read.
struct Stored<'a> {
    schema: &'a SchemaRef,
    /// Indices of the columns; all if `None`.
    projection: Option<&'a Vec<usize>>,
    /// Rows read at once; as many as the session says if `None`.
    batch_rows: Option<usize>,
}

#[async_trait]
impl TableProvider for DatasetTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let predicate = match conjunction(filters.to_vec()) {
            Some(filter) => {
                let schema = DFSchema::try_from(self.schema.as_ref().clone())?;
                Some(state.create_physical_expr(filter, &schema)?)
            }
            None => None,
        };
        let keep = self.prune(
            predicate.as_ref(),
            self.slices.iter().map(|s| (s.min_ts, s.max_ts)).collect(),
        );
        let slices = self
            .slices
            .iter()
            .zip(keep)
            .filter(|(_, keep)| *keep)
            .map(|(s, _)| s.clone())
            .collect::<Vec<_>>();
        let keep = self.prune(
            predicate.as_ref(),
            self.parts.iter().map(|p| (p.min_ts, p.max_ts)).collect(),
        );
        let parts = self
            .parts
            .iter()
            .zip(keep)
            .filter(|(_, keep)| *keep)
            .map(|(p, _)| p)
            .collect::<Vec<_>>();
        let keep = self.prune(
            predicate.as_ref(),
            self.quarantined.iter().map(|q| (q.min_ts, q.max_ts)).collect(),
        );
        self.left_out.add(
            self.quarantined
                .iter()
                .zip(keep)
                .filter(|(_, keep)| *keep)
                .map(|(q, _)| q),
        );
        let projected = match projection {
            Some(indices) => Arc::new(self.schema.project(indices)?),
            None => Arc::clone(&self.schema),
        };
        let mut plans = Vec::new();
        if !slices.is_empty() {
            let rows = SliceRows {
                lake: self.lake.clone(),
                slices,
                schema: Arc::clone(&projected),
                budget: Arc::clone(&self.budget),
            };
            let table = StreamingTable::try_new(rows.schema.clone(), vec![Arc::new(rows)])?;
            plans.push(table.scan(state, None, &[], limit).await?);
        }
        if !parts.is_empty() {
            let filtered = predicate.as_ref().map(collect_columns).unwrap_or_default();
            let names = projected.fields().iter().map(|f| f.name().as_str());
            let blocks = needs_blocks(self.dataset, names.chain(filtered.iter().map(|c| c.name())));
            let partitions = state.config().target_partitions();
            plans.push(if let Some(chunks) = Chunks::of(self.dataset) {
                let streams = self.chunked(&parts, chunks, &projected, filters, limit, state)?;
                let table = StreamingTable::try_new(Arc::clone(&projected), streams)?;
                table.scan(state, None, &[], limit).await?
            } else if blocks {
                let scan = BlockScan {
                    lake: self.lake.clone(),
                    dataset: self.dataset,
                    parts: parts.into_iter().cloned().collect(),
                    table: Arc::clone(&self.schema),
                    projected: Arc::clone(&projected),
                    predicate,
                    budget: Arc::clone(&self.budget),
                };
                let table = StreamingTable::try_new(Arc::clone(&projected), scan.partitions(partitions))?;
                table.scan(state, None, &[], limit).await?
            } else {
                let stored = Stored {
                    schema: &self.schema,
                    projection,
                    batch_rows: None,
                };
                self.parquet(&parts, stored, predicate, limit, partitions)?
            });
        }
        match plans.len() {
            0 => Ok(Arc::new(EmptyExec::new(projected))),
            1 => Ok(plans.remove(0)),
            _ => UnionExec::try_new(plans),
        }
    }
}

/// The rows of slices, one batch a slice, loaded as they are asked for.
struct SliceRows {
    lake: Lake,
    slices: Vec<Slice>,
    schema: SchemaRef,
    budget: Arc<ScanBudget>,
}

impl fmt::Debug for SliceRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SliceRows")
            .field("slices", &self.slices.len())
            .finish_non_exhaustive()
    }
}

/// Slices loaded ahead of the one being processed.
const READ_AHEAD: usize = 4;

impl PartitionStream for SliceRows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let memory = Arc::new(MemoryConsumer::new("slices").register(context.memory_pool()));
        let (lake, schema, budget) = (self.lake.clone(), Arc::clone(&self.schema), Arc::clone(&self.budget));
        let stream = stream::iter(self.slices.clone())
            .map(move |slice| {
                let (lake, budget) = (lake.clone(), Arc::clone(&budget));
                async move {
                    budget
                        .take(slice.length.max(0) as u64)
                        .map_err(|e| DataFusionError::External(Box::new(e)))?;
                    lake.slice(&slice)
                        .await
                        .map_err(|e| DataFusionError::External(Box::new(e)))
                }
            })
            .buffered(READ_AHEAD)
            .and_then({
                let schema = Arc::clone(&schema);
                move |slice| {
                    let rows = conform(
                        slice.num_rows(),
                        |name| slice.column(name).map(SparseArray::dense),
                        &schema,
                    );
                    // Until the next slice is asked for; the slice itself is the cache's.
                    let memory = Arc::clone(&memory);
                    async move {
                        let rows = rows?;
                        pool::hold(&memory, rows.get_array_memory_size()).await?;
                        Ok(rows)
                    }
                }
            });
        Box::pin(RecordBatchStreamAdapter::new(schema, stream))
    }
}

/// Columns in the order and of the types of `schema`, of `rows` rows; null where `column` has none.
pub(crate) fn conform(
    rows: usize,
    column: impl Fn(&str) -> Option<ArrayRef>,
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        arrays.push(match column(field.name()) {
            Some(array) if array.data_type() == field.data_type() => array,
            Some(array) => cast(&array, field.data_type())?,
            None => new_null_array(field.data_type(), rows),
        });
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)?)
}

/// What the catalog knows of slices or parts: the range of their time column.
struct TimeRanges {
    column: &'static str,
    ranges: Vec<(UnixNanos, UnixNanos)>,
}

impl TimeRanges {
    fn values(&self, column: &PlanColumn, value: impl Fn(&(i64, i64)) -> i64) -> Option<ArrayRef> {
        (column.name == self.column).then(|| {
            let values = self
                .ranges
                .iter()
                .map(|r| ScalarValue::TimestampNanosecond(Some(value(r)), Some("UTC".into())));
            ScalarValue::iter_to_array(values).ok()
        })?
    }
}

impl PruningStatistics for TimeRanges {
    fn min_values(&self, column: &PlanColumn) -> Option<ArrayRef> {
        self.values(column, |r| r.0)
    }

    fn max_values(&self, column: &PlanColumn) -> Option<ArrayRef> {
        self.values(column, |r| r.1)
    }

    fn num_containers(&self) -> usize {
        self.ranges.len()
    }

    fn null_counts(&self, _: &PlanColumn) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        None
    }

    fn contained(&self, _: &PlanColumn, _: &std::collections::HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
