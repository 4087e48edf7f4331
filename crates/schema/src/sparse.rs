//! Rows as columns that hold only their values: the form in which rows are decoded, committed and kept in memory.
//!
//! A batch of telemetry has a column for every attribute key that any of its items has, and most items have few of
//! them: dense arrays would be mostly nulls, which would be written, compressed, read and cached like values.
//! A column becomes a dense Arrow array when a reader asks for it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, BooleanBufferBuilder, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use arrow::compute::{concat, filter, filter_record_batch, take};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;

/// The values of a nullable column, without the rows that have none.
#[derive(Debug, Clone)]
pub struct SparseArray {
    /// Which rows have a value; `None` if all have one.
    validity: Option<NullBuffer>,
    /// One value per such row, in order; no nulls.
    values: ArrayRef,
}

impl SparseArray {
    /// A column of which `validity` says which rows have one of `values`.
    ///
    /// # Errors
    /// [`ArrowError::InvalidArgumentError`] unless there is one value, not null, for each valid row.
    pub fn try_new(validity: Option<NullBuffer>, values: ArrayRef) -> Result<Self, ArrowError> {
        let valid = validity.as_ref().map_or(values.len(), |v| v.len() - v.null_count());
        if valid != values.len() || values.null_count() > 0 {
            return Err(ArrowError::InvalidArgumentError(format!(
                "{} values, of which {} are null, for {valid} rows",
                values.len(),
                values.null_count()
            )));
        }
        // What is null nowhere needs no bitmap.
        let validity = validity.filter(|v| v.null_count() > 0);
        Ok(Self { validity, values })
    }

    /// The sparse form of a dense array.
    ///
    /// # Errors
    /// [`ArrowError`] if Arrow cannot filter the type.
    pub fn from_dense(array: &ArrayRef) -> Result<Self, ArrowError> {
        let Some(validity) = array.logical_nulls().filter(|n| n.null_count() > 0) else {
            return Ok(Self {
                validity: None,
                values: Arc::clone(array),
            });
        };
        let keep = BooleanArray::new(validity.inner().clone(), None);
        let values = filter(array, &keep)?;
        Self::try_new(Some(validity), values)
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.validity.as_ref().map_or(self.values.len(), NullBuffer::len)
    }

    /// Which rows have a value; `None` if all have one.
    pub fn validity(&self) -> Option<&NullBuffer> {
        self.validity.as_ref()
    }

    /// The values of the rows that have one.
    pub fn values(&self) -> &ArrayRef {
        &self.values
    }

    /// The type of the dense array.
    pub fn data_type(&self) -> &DataType {
        self.values.data_type()
    }

    /// Columns one behind the other: for each, how many rows there are and their values, `None` if no row has one. All
    /// values have the same type.
    ///
    /// # Errors
    /// [`ArrowError`] if the types differ, or if nothing has values.
    pub fn concat(parts: &[(usize, Option<Self>)]) -> Result<Self, ArrowError> {
        let rows = parts.iter().map(|(rows, _)| rows).sum();
        let mut validity = BooleanBufferBuilder::new(rows);
        let mut values: Vec<&dyn Array> = Vec::with_capacity(parts.len());
        for (rows, array) in parts {
            match array {
                Some(array) => {
                    match &array.validity {
                        Some(nulls) => validity.append_buffer(nulls.inner()),
                        None => validity.append_n(*rows, true),
                    }
                    values.push(array.values.as_ref());
                }
                None => validity.append_n(*rows, false),
            }
        }
        Self::try_new(Some(NullBuffer::new(validity.finish())), concat(&values)?)
    }

    /// One value or null per row.
    pub fn dense(&self) -> ArrayRef {
        let Some(validity) = &self.validity else {
            return Arc::clone(&self.values);
        };
        let mut indices = vec![0u32; validity.len()];
        for (value, row) in validity.valid_indices().enumerate() {
            indices[row] = value as u32;
        }
        let indices = UInt32Array::new(ScalarBuffer::from(indices), Some(validity.clone()));
        // Every index is below the number of values, which `try_new` checked, and `take` knows every type.
        take(&self.values, &indices, None)
            .unwrap_or_else(|_| arrow::array::new_null_array(self.data_type(), validity.len()))
    }
}

/// Picks rows of one column again and again: counts once how many values come before each row.
#[derive(Debug)]
pub struct Picker<'a> {
    array: &'a SparseArray,
    /// The validity, 64 rows a word, with the number of values before each word; empty if every row has a value.
    words: Vec<(u64, u32)>,
}

impl<'a> Picker<'a> {
    /// For rows of `array`.
    pub fn new(array: &'a SparseArray) -> Self {
        let mut before = 0;
        let count = |word: u64| {
            let entry = (word, before);
            before += word.count_ones();
            entry
        };
        let words = match &array.validity {
            Some(validity) => validity.inner().bit_chunks().iter_padded().map(count).collect(),
            None => Vec::new(),
        };
        Self { array, words }
    }

    /// Which of the array's values the row has, if it has one.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn place(&self, row: u32) -> Option<usize> {
        if self.array.validity.is_none() {
            return Some(row as usize);
        }
        let (word, before) = self.words[row as usize / 64];
        let bit = 1u64 << (row % 64);
        (word & bit != 0).then(|| (before + (word & (bit - 1)).count_ones()) as usize)
    }

    /// The column of these rows, in this order.
    ///
    /// # Errors
    /// [`ArrowError`] if Arrow cannot pick values of the type.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn pick(&self, rows: &[u32]) -> Result<SparseArray, ArrowError> {
        if self.array.validity.is_none() {
            let indices = UInt32Array::from(rows.to_vec());
            return SparseArray::try_new(None, take(&self.array.values, &indices, None)?);
        }
        let mut indices = Vec::new();
        let validity = BooleanBuffer::collect_bool(rows.len(), |i| {
            let place = self.place(rows[i]);
            indices.extend(place.map(|place| place as u32));
            place.is_some()
        });
        let values = take(&self.array.values, &UInt32Array::from(indices), None)?;
        SparseArray::try_new(Some(NullBuffer::new(validity)), values)
    }
}

/// Rows of one dataset.
#[derive(Debug, Clone, Default)]
pub struct SparseBatch {
    rows: usize,
    columns: Vec<(String, SparseArray)>,
}

impl SparseBatch {
    /// A batch of `rows` rows.
    ///
    /// # Errors
    /// [`ArrowError::InvalidArgumentError`] if a column has another number of rows.
    pub fn try_new(rows: usize, columns: Vec<(String, SparseArray)>) -> Result<Self, ArrowError> {
        if let Some((name, array)) = columns.iter().find(|(_, array)| array.rows() != rows) {
            return Err(ArrowError::InvalidArgumentError(format!(
                "column {name} has {} rows, the batch {rows}",
                array.rows()
            )));
        }
        Ok(Self { rows, columns })
    }

    /// The sparse form of a dense batch.
    ///
    /// # Errors
    /// As [`SparseArray::from_dense`].
    pub fn from_dense(batch: &RecordBatch) -> Result<Self, ArrowError> {
        let schema = batch.schema();
        let columns = schema.fields().iter().zip(batch.columns());
        let columns = columns.map(|(field, array)| Ok((field.name().clone(), SparseArray::from_dense(array)?)));
        Self::try_new(batch.num_rows(), columns.collect::<Result<_, ArrowError>>()?)
    }

    /// Number of rows.
    pub fn num_rows(&self) -> usize {
        self.rows
    }

    /// Names and values of the columns.
    pub fn columns(&self) -> &[(String, SparseArray)] {
        &self.columns
    }

    /// The column of a name.
    pub fn column(&self, name: &str) -> Option<&SparseArray> {
        self.columns.iter().find(|(n, _)| n == name).map(|(_, array)| array)
    }

    /// Bytes held by the values.
    pub fn memory_size(&self) -> usize {
        let size = |(name, array): &(String, SparseArray)| {
            let validity = array.validity.as_ref().map_or(0, |v| v.buffer().len());
            // What a column costs beside its values: its name, its type and its place.
            name.len() + 160 + validity + array.values.get_buffer_memory_size()
        };
        self.columns.iter().map(size).sum()
    }

    /// The same rows as dense arrays. A column is nullable if a row has no value.
    ///
    /// # Errors
    /// [`ArrowError`], which would be a defect here.
    pub fn to_dense(&self) -> Result<RecordBatch, ArrowError> {
        let field = |(name, array): &(String, SparseArray)| {
            Field::new(name, array.data_type().clone(), array.validity.is_some())
        };
        let schema = Schema::new(self.columns.iter().map(field).collect::<Vec<_>>());
        let arrays = self.columns.iter().map(|(_, array)| array.dense()).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        RecordBatch::try_new_with_options(Arc::new(schema), arrays, &options)
    }

    /// The rows for which `keep` is true.
    ///
    /// # Errors
    /// [`ArrowError`] if `keep` has another length.
    pub fn filter(&self, keep: &BooleanArray) -> Result<Self, ArrowError> {
        Self::from_dense(&filter_record_batch(&self.to_dense()?, keep)?)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array, StringArray};
    use arrow::datatypes::Int64Type;

    use super::*;

    fn batch() -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("all", DataType::Int64, false),
            Field::new("some", DataType::Utf8, true),
        ]);
        let all: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3, 4]));
        let some: ArrayRef = Arc::new(StringArray::from(vec![None, Some("b"), None, Some("d")]));
        RecordBatch::try_new(Arc::new(schema), vec![all, some]).unwrap()
    }

    #[test]
    fn sparse_and_dense_forms_hold_the_same_rows() {
        let sparse = SparseBatch::from_dense(&batch()).unwrap();
        assert_eq!(sparse.column("some").unwrap().values().len(), 2);
        assert_eq!(sparse.to_dense().unwrap(), batch());
        assert!(sparse.column("none").is_none());
    }

    #[test]
    fn filters_rows() {
        let sparse = SparseBatch::from_dense(&batch()).unwrap();
        let kept = sparse
            .filter(&BooleanArray::from(vec![true, true, false, false]))
            .unwrap();
        let all = kept.column("all").unwrap().dense();
        assert_eq!(all.as_primitive::<Int64Type>().values(), &[1, 2]);
        let some = kept.column("some").unwrap().dense();
        assert_eq!(some.as_string::<i32>().iter().collect::<Vec<_>>(), [None, Some("b")]);
    }

    #[test]
    fn picks_rows_and_joins_columns() {
        let values = |from: i64| {
            (from..from + 150)
                .map(|n| (n % 3 > 0).then_some(n))
                .collect::<Int64Array>()
        };
        let column = |from| SparseArray::from_dense(&(Arc::new(values(from)) as ArrayRef)).unwrap();
        let all: ArrayRef = Arc::new(Int64Array::from(vec![7; 20]));
        let parts = [
            (150, Some(column(0))),
            (10, None),
            (20, Some(SparseArray::from_dense(&all).unwrap())),
            (150, Some(column(1000))),
        ];
        let joined = SparseArray::concat(&parts).unwrap();
        let expected: Vec<Option<i64>> = values(0)
            .iter()
            .chain([None; 10])
            .chain([Some(7); 20])
            .chain(values(1000).iter())
            .collect();
        let dense = joined.dense();
        assert_eq!(dense.as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), expected);
        let rows = (0..330).rev().chain([5, 5, 64]).collect::<Vec<u32>>();
        let picked = Picker::new(&joined).pick(&rows).unwrap().dense();
        let picked = picked.as_primitive::<Int64Type>().iter();
        assert!(picked.eq(rows.iter().map(|&row| expected[row as usize])));
        let picker = Picker::new(&joined);
        let values = joined.values().as_primitive::<Int64Type>();
        let at = |row| picker.place(row).map(|place| values.value(place));
        assert!((0..330).map(at).eq(expected.iter().copied()));
    }

    /// Whatever arrow's kernels do with the dense form, the sparse form gives too.
    #[test]
    fn random_columns_do_what_dense_ones_do() {
        use arrow::compute::{concat, filter, take};
        use testkit::fuzz::Source;
        for seed in 0..300 {
            let mut source = Source::new(seed);
            let mut column = |kind: usize, share: usize| -> ArrayRef {
                let rows = source.below(200);
                let mut values = (0..rows).map(|_| (source.below(10) < share).then(|| source.number() as i64));
                if kind == 0 {
                    Arc::new(values.by_ref().collect::<Int64Array>())
                } else {
                    Arc::new(
                        values
                            .map(|v| v.map(|v| "x".repeat(v as usize % 4)))
                            .collect::<StringArray>(),
                    )
                }
            };
            let kind = seed as usize % 2;
            let dense = [0, 3, 10].map(|share| column(kind, share));
            let sparse = dense.each_ref().map(|d| SparseArray::from_dense(d).unwrap());
            for (dense, sparse) in dense.iter().zip(&sparse) {
                assert_eq!(&sparse.dense(), dense, "seed {seed}");
            }
            let joined = dense
                .iter()
                .zip(sparse)
                .map(|(d, s)| (d.len(), Some(s)))
                .collect::<Vec<_>>();
            let joined = SparseArray::concat(&joined).unwrap();
            let whole = concat(&dense.each_ref().map(|d| d.as_ref())).unwrap();
            assert_eq!(joined.dense().as_ref(), whole.as_ref(), "seed {seed}");
            if whole.is_empty() {
                continue;
            }
            let rows = (0..source.below(300))
                .map(|_| source.below(whole.len()) as u32)
                .collect::<Vec<_>>();
            let picked = Picker::new(&joined).pick(&rows).unwrap().dense();
            let taken = take(&whole, &arrow::array::UInt32Array::from(rows), None).unwrap();
            assert_eq!(picked.as_ref(), taken.as_ref(), "seed {seed}");
            let mask = (0..whole.len()).map(|_| source.below(2) == 0).collect::<Vec<_>>();
            let mask = BooleanArray::from(mask);
            let field = Field::new("x", whole.data_type().clone(), true);
            let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![Arc::clone(&whole)]).unwrap();
            let kept = SparseBatch::from_dense(&batch).unwrap().filter(&mask).unwrap();
            if let Some(kept) = kept.column("x") {
                assert_eq!(
                    kept.dense().as_ref(),
                    filter(&whole, &mask).unwrap().as_ref(),
                    "seed {seed}"
                );
            }
        }
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let values: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        assert!(SparseArray::try_new(Some(NullBuffer::from(vec![true, false])), Arc::clone(&values)).is_err());
        let nulls: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
        assert!(SparseArray::try_new(None, nulls).is_err());
        let array = SparseArray::try_new(None, values).unwrap();
        assert!(SparseBatch::try_new(3, vec![("a".to_owned(), array)]).is_err());
    }
}
