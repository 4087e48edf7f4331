//! Resources and series in memory, by id, and the SQL functions that look their attributes up.
//!
//! Rows of spans, logs and points carry only the id. A view adds a column per attribute as a call of a lookup function,
//! so a query pays only for the attributes it names.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array, UInt32Builder};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, SchemaRef};
use catalog::{Part, Slice, Snapshot};
use datafusion::common::cast::as_fixed_size_binary_array;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use lake::{Lake, LakeError};
use memory::{Account, Reservation};
use schema::Dataset;
use schema::sparse::SparseBatch;

use crate::QueryError;
use crate::pool;

use std::collections::HashMap;

/// The latest row of every id of `resources` or `metric_series`.
#[derive(Debug)]
pub(crate) struct Lookup {
    pub schema: SchemaRef,
    columns: Vec<ArrayRef>,
    rows: HashMap<[u8; 16], u32>,
    memory: Reservation,
}

/// Bytes of memory that reading one row takes, estimated.
const LOADING_ROW_BYTES: u64 = 600;

/// Bytes of an entry of the map from ids to rows.
const ENTRY_BYTES: usize = 24;

/// The column that identifies rows of the dataset.
const fn id_column(dataset: Dataset) -> &'static str {
    match dataset {
        Dataset::Resources => "resource_id",
        _ => "series_id",
    }
}

/// What a lookup is made of, to know whether one in the cache is still right.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct LookupKey {
    dataset: Dataset,
    slices: Vec<i64>,
    parts: Vec<i64>,
}

/// The slices and parts of a dataset in a snapshot.
fn inputs(snapshot: &Snapshot, dataset: Dataset) -> (Vec<Slice>, Vec<Part>) {
    (
        snapshot
            .slices
            .iter()
            .filter(|s| s.dataset == dataset)
            .cloned()
            .collect(),
        snapshot
            .parts
            .iter()
            .filter(|p| p.dataset == dataset)
            .cloned()
            .collect(),
    )
}

impl LookupKey {
    pub(crate) fn of(snapshot: &Snapshot, dataset: Dataset) -> Self {
        let (slices, parts) = inputs(snapshot, dataset);
        Self {
            dataset,
            slices: slices.iter().map(|s| s.id).collect(),
            parts: parts.iter().map(|p| p.id).collect(),
        }
    }
}

impl Lookup {
    /// Reads all rows of the dataset in the snapshot.
    pub(crate) async fn load(
        lake: &Lake,
        snapshot: &Snapshot,
        dataset: Dataset,
        account: &Account,
    ) -> Result<Self, QueryError> {
        let (slices, parts) = inputs(snapshot, dataset);
        let rows = slices.iter().map(|s| s.rows).chain(parts.iter().map(|p| p.rows));
        let wanted = rows.map(|rows| rows.max(0) as u64).sum::<u64>() * LOADING_ROW_BYTES;
        let what = || format!("the rows of {dataset} are looked up in memory");
        let mut memory = account
            .try_reserve(wanted)
            .map_err(|refused| pool::refusal(account, refused, wanted, &what()))?;
        let mut batches = Vec::new();
        for part in &parts {
            for batch in lake.part_batches(part).await? {
                batches.push(Arc::new(SparseBatch::from_dense(&batch).map_err(LakeError::from)?));
            }
        }
        batches.extend(lake.slices(&slices).await?);
        let merged = lake::part::merge(dataset, &batches)?;
        let mut columns = Vec::with_capacity(merged.columns.len());
        for column in &merged.columns {
            columns.push(match column.data_type() {
                DataType::Dictionary(_, _) => cast(&column.dense(), &DataType::Utf8).map_err(LakeError::from)?,
                _ => column.dense(),
            });
        }
        let fields = merged.schema.fields().iter().zip(&columns);
        let fields = fields.map(|(f, c)| f.as_ref().clone().with_data_type(c.data_type().clone()));
        let schema = Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()));
        let mut rows = HashMap::new();
        if let Some(ids) = merged
            .column(id_column(dataset))
            .and_then(|c| c.values().as_fixed_size_binary_opt())
        {
            for row in 0..ids.len() {
                if let Ok(id) = ids.value(row).try_into() {
                    // Later rows are newer.
                    rows.insert(id, row as u32);
                }
            }
        }
        let held = columns.iter().map(|c| c.get_array_memory_size()).sum::<usize>() + rows.capacity() * ENTRY_BYTES;
        memory.shrink(memory.bytes().saturating_sub(held as u64));
        memory.grow((held as u64).saturating_sub(memory.bytes()));
        Ok(Self {
            schema,
            columns,
            rows,
            memory,
        })
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.memory.bytes()
    }

    /// The row number of an id.
    pub(crate) fn row(&self, id: &[u8]) -> Option<usize> {
        let id: &[u8; 16] = id.try_into().ok()?;
        self.rows.get(id).map(|&row| row as usize)
    }

    /// A column by name.
    pub(crate) fn column(&self, name: &str) -> Option<&ArrayRef> {
        self.schema.index_of(name).ok().map(|i| &self.columns[i])
    }

    /// One row per id.
    pub(crate) fn distinct(&self) -> Result<arrow::array::RecordBatch> {
        let mut rows = self.rows.values().copied().collect::<Vec<_>>();
        rows.sort_unstable();
        let indices = UInt32Array::from(rows);
        let columns = self
            .columns
            .iter()
            .map(|c| take(c, &indices, None))
            .collect::<Result<Vec<_>, _>>()?;
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(indices.len()));
        Ok(arrow::array::RecordBatch::try_new_with_options(
            Arc::clone(&self.schema),
            columns,
            &options,
        )?)
    }

    /// For each id the row it has here.
    fn indices(&self, ids: &dyn Array) -> Result<UInt32Array> {
        let ids = as_fixed_size_binary_array(ids)?;
        let mut indices = UInt32Builder::with_capacity(ids.len());
        let mut last: (&[u8], Option<u32>) = (&[], None);
        for row in 0..ids.len() {
            if ids.is_null(row) {
                indices.append_null();
                continue;
            }
            // Parts are sorted so that ids come in runs.
            let id = ids.value(row);
            if id != last.0 {
                last = (id, self.row(id).map(|row| row as u32));
            }
            indices.append_option(last.1);
        }
        Ok(indices.finish())
    }
}

/// `name(id)`: one column of a [`Lookup`] by id.
#[derive(Debug)]
struct LookupFunction {
    name: String,
    column: ArrayRef,
    lookup: Arc<Lookup>,
    signature: Signature,
}

impl PartialEq for LookupFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.lookup, &other.lookup)
    }
}

impl Eq for LookupFunction {}

impl Hash for LookupFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for LookupFunction {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.column.data_type().clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [id] = <[ColumnarValue; 1]>::try_from(args.args)
            .map_err(|_| DataFusionError::Internal("a lookup takes one id".to_owned()))?;
        let ids = id.into_array(args.number_rows)?;
        let indices = self.lookup.indices(&ids)?;
        Ok(ColumnarValue::Array(take(&self.column, &indices, None)?))
    }
}

/// A function from id to the values of `column`, or `None` if the lookup has no such column.
pub(crate) fn function(lookup: &Arc<Lookup>, kind: &str, column: &str) -> Option<ScalarUDF> {
    let values = Arc::clone(lookup.column(column)?);
    Some(ScalarUDF::new_from_impl(LookupFunction {
        name: format!("{kind}:{column}"),
        column: values,
        lookup: Arc::clone(lookup),
        signature: Signature::exact(vec![DataType::FixedSizeBinary(16)], Volatility::Immutable),
    }))
}
