//! Reading rows of a part by their place, some columns of some rows at a time.
//!
//! Columns that only whole blocks tell (`part::block_columns`) are read here: first what decides which rows are wanted,
//! of whole blocks, then the other columns of those rows.

use std::ops::Range;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::Schema;
use futures::TryStreamExt;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, RowSelection, RowSelector};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};

use crate::LakeError;

/// Rows of a part by their number.
pub struct RowReader<R> {
    reader: R,
    metadata: ArrowReaderMetadata,
}

impl<R: AsyncFileReader + Clone + Unpin + Send + 'static> RowReader<R> {
    /// Rows of the part that `reader` reads and that has this footer.
    pub const fn new(reader: R, footer: ArrowReaderMetadata) -> Self {
        Self {
            reader,
            metadata: footer,
        }
    }

    /// The footer and the stored schema.
    pub fn metadata(&self) -> &ArrowReaderMetadata {
        &self.metadata
    }

    /// The numbers of the rows of each row group.
    pub fn row_groups(&self) -> impl Iterator<Item = Range<usize>> {
        let mut next = 0;
        self.metadata.metadata().row_groups().iter().map(move |group| {
            let start = next;
            next += group.num_rows().max(0) as usize;
            start..next
        })
    }

    /// The number of the row group that the rows numbered `rows` are in, and of its first row.
    ///
    /// # Errors
    /// [`LakeError::Parquet`] if they are not all in one.
    pub(crate) fn group_of(&self, rows: &Range<usize>) -> Result<(usize, usize), LakeError> {
        let mut groups = self.row_groups().enumerate();
        let found = groups.find(|(_, group)| group.start <= rows.start && rows.end <= group.end);
        let found = found.map(|(number, group)| (number, group.start));
        Ok(found.ok_or(parquet::errors::ParquetError::IndexOutOfBound(rows.end, rows.start))?)
    }

    /// Stored columns, those whose names are `wanted`, of the rows numbered `rows`, which are of one row group; of those
    /// only the `selected`, if given (one flag for each of `rows`).
    ///
    /// # Errors
    /// [`LakeError`] if the store fails, the part is damaged, or it does not have those rows in one row group.
    pub async fn read(
        &self,
        rows: Range<usize>,
        wanted: impl Fn(&str) -> bool,
        selected: Option<&BooleanArray>,
    ) -> Result<RecordBatch, LakeError> {
        let (number, first) = self.group_of(&rows)?;
        let behind = first + self.metadata.metadata().row_group(number).num_rows().max(0) as usize;
        let of_rows = match selected {
            Some(selected) => RowSelection::from_filters(std::slice::from_ref(selected)),
            None => RowSelection::from(vec![RowSelector::select(rows.len())]),
        };
        let count = of_rows.row_count();
        let selection = std::iter::once(RowSelector::skip(rows.start - first))
            .chain(of_rows.iter().copied())
            .chain([RowSelector::skip(behind - rows.end)])
            .collect::<RowSelection>();
        let stored = self.metadata.schema().fields().iter().enumerate();
        let columns = stored.filter(|(_, field)| wanted(field.name()));
        let columns = columns.map(|(column, _)| column).collect::<Vec<_>>();
        if count == 0 || columns.is_empty() {
            let schema = Schema::new(self.metadata.schema().project(&columns)?.fields().clone());
            let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(count));
            let empty = schema
                .fields()
                .iter()
                .map(|f| arrow::array::new_empty_array(f.data_type()));
            return Ok(RecordBatch::try_new_with_options(
                schema.clone().into(),
                empty.collect(),
                &options,
            )?);
        }
        let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(self.reader.clone(), self.metadata.clone());
        let mask = ProjectionMask::roots(builder.parquet_schema(), columns);
        let stream = builder
            .with_projection(mask)
            .with_row_groups(vec![number])
            .with_row_selection(selection)
            .with_batch_size(count)
            .build()?;
        let schema = stream.schema().clone();
        let batches: Vec<RecordBatch> = stream.try_collect().await?;
        match <[RecordBatch; 1]>::try_from(batches) {
            Ok([batch]) => Ok(batch),
            Err(batches) => Ok(concat_batches(&schema, &batches)?),
        }
    }
}
