use std::sync::Arc;

use arrow::array::{BinaryArray, RecordBatch, StringArray, StringDictionaryBuilder};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Schema};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection, RowSelector};
use parquet::arrow::{ArrowSchemaConverter, arrow_reader::ArrowReaderOptions};
use parquet::basic::ZstdLevel;
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::writer::SerializedFileWriter;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

const PAGE_ROWS: usize = 1000;

/// A file of one column; each array is a row group.
fn file(nullable: bool, arrays: &[ArrayRef]) -> Bytes {
    let schema = Schema::new(vec![Field::new("c", arrays[0].data_type().clone(), nullable)]);
    let descriptor = ArrowSchemaConverter::new().convert(&schema).unwrap();
    let compression = Compression::ZSTD(ZstdLevel::try_new(1).unwrap());
    let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
    let mut writer =
        SerializedFileWriter::new(Vec::new(), descriptor.root_schema_ptr(), Arc::clone(&properties)).unwrap();
    let mut distinct = Distinct::new(compression, PAGE_ROWS).unwrap();
    let column = descriptor.column(0);
    assert!(suits(schema.field(0), &properties));
    for array in arrays {
        let mut group = writer.next_row_group().unwrap();
        let (bytes, close) = distinct
            .chunk(
                &column,
                &SparseArray::from_dense(array).unwrap(),
                EnabledStatistics::Chunk,
            )
            .unwrap();
        group.append_column(&bytes, close).unwrap();
        group.close().unwrap();
    }
    writer.into_inner().unwrap().into()
}

fn reader(file: &Bytes) -> ParquetRecordBatchReaderBuilder<Bytes> {
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
    ParquetRecordBatchReaderBuilder::try_new_with_options(file.clone(), options).unwrap()
}

fn read(builder: ParquetRecordBatchReaderBuilder<Bytes>) -> ArrayRef {
    let schema = Arc::clone(builder.schema());
    let batches = builder
        .build()
        .unwrap()
        .collect::<Result<Vec<RecordBatch>, _>>()
        .unwrap();
    Arc::clone(concat_batches(&schema, &batches).unwrap().column(0))
}

/// Text by row, of `distinct` texts, in runs of up to `run` rows, null in `null` of ten runs.
fn texts(seed: u64, rows: usize, distinct: usize, run: usize, null: u32) -> Vec<Option<String>> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut out = Vec::new();
    while out.len() < rows {
        let text =
            (random.random_range(0..10) >= null).then(|| format!("text number {}", random.random_range(0..distinct)));
        let run = random.random_range(1..=run).min(rows - out.len());
        out.extend(std::iter::repeat_n(text, run));
    }
    out
}

/// The texts as a dictionary array in which some values occur twice.
fn dictionary(texts: &[Option<String>]) -> ArrayRef {
    let half = |texts: &[Option<String>]| {
        let mut builder = StringDictionaryBuilder::<Int32Type>::new();
        texts.iter().for_each(|text| builder.append_option(text.as_ref()));
        builder.finish()
    };
    let (left, right) = texts.split_at(texts.len() / 2);
    let (left, right) = (half(left), half(right));
    let first_right = left.values().len() as i32;
    let values = arrow::compute::concat(&[left.values().as_ref(), right.values().as_ref()]).unwrap();
    let keys = left
        .keys()
        .iter()
        .chain(right.keys().iter().map(|key| key.map(|k| k + first_right)));
    Arc::new(arrow::array::DictionaryArray::<Int32Type>::new(keys.collect(), values))
}

#[test]
fn texts_come_back_through_parquets_own_reader() {
    for (seed, rows, distinct, run, null) in [
        (1, 1, 1, 1, 0),
        (2, 5000, 1, 5000, 0),
        (3, 5000, 2, 3, 5),
        (4, 3001, 50, 40, 9),
        (5, 7999, 300, 1, 1),
        (6, 9000, 5000, 1, 0),  // hardly repeats: plain
        (7, 2500, 40, 900, 10), // all null
        (8, 12_345, 3000, 17, 4),
    ] {
        let texts = texts(seed, rows, distinct, run, null);
        let expected: ArrayRef = Arc::new(StringArray::from(texts.clone()));
        let nullable = expected.null_count() > 0 || seed % 2 == 0;
        for array in [dictionary(&texts), Arc::clone(&expected)] {
            let (from, len) = (rows / 3, rows - rows / 3);
            let file = file(nullable, &[Arc::clone(&array), array.slice(from, len)]);
            let both = arrow::compute::concat(&[expected.as_ref(), expected.slice(from, len).as_ref()]).unwrap();
            assert_eq!(&read(reader(&file)), &both, "seed {seed}");
            // One page of each row group, found by the offset index.
            let place = |rows: usize| rows / 2 / PAGE_ROWS * PAGE_ROWS;
            let mut selection = Vec::new();
            for rows in [rows, len] {
                let here = PAGE_ROWS.min(rows - place(rows));
                selection.push(RowSelector::skip(place(rows)));
                selection.push(RowSelector::select(here));
                selection.push(RowSelector::skip(rows - place(rows) - here));
            }
            let part = read(reader(&file).with_row_selection(RowSelection::from(selection)));
            let (first, second) = (place(rows), rows + place(len));
            let pages = [
                both.slice(first, PAGE_ROWS.min(rows - first)),
                both.slice(second, part.len() - PAGE_ROWS.min(rows - first)),
            ];
            assert_eq!(
                &part,
                &arrow::compute::concat(&[pages[0].as_ref(), pages[1].as_ref()]).unwrap(),
                "seed {seed}"
            );
        }
    }
}

#[test]
fn ids_come_back() {
    let ids = (0..4000u64).map(|n| (n % 7 != 0).then(|| (n / 9).to_be_bytes()));
    let array: ArrayRef = Arc::new(BinaryArray::from_iter(ids));
    assert_eq!(&read(reader(&file(true, &[Arc::clone(&array)]))), &array);
}

#[test]
fn huge_texts_are_pages_of_their_own() {
    let texts = (0..20).map(|n| (n % 3 != 2).then(|| n.to_string().repeat(1 << 20)));
    let array: ArrayRef = Arc::new(StringArray::from_iter(texts));
    let file = file(true, &[Arc::clone(&array)]);
    let reader = reader(&file);
    assert_eq!(
        reader.metadata().offset_index().unwrap()[0][0].page_locations().len(),
        9
    );
    assert_eq!(&read(reader), &array);
}

#[test]
fn statistics_hold_what_they_say() {
    let long = format!("é{}", "ü".repeat(100));
    let array: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), None, Some(long.as_str()), Some("a")]));
    let chunk = |array: ArrayRef| {
        let file = file(true, &[array]);
        let statistics = reader(&file).metadata().row_group(0).column(0).statistics().cloned();
        statistics.unwrap()
    };
    let statistics = chunk(Arc::clone(&array));
    assert_eq!(statistics.min_bytes_opt(), Some(&b"a"[..]));
    assert_eq!(statistics.max_bytes_opt(), None, "too long");
    assert_eq!(statistics.null_count_opt(), Some(1));
    let statistics = chunk(array.slice(2, 1));
    let min = std::str::from_utf8(statistics.min_bytes_opt().unwrap()).unwrap();
    assert!(long.starts_with(min) && !statistics.min_is_exact() && min.len() > 25);
    let statistics = chunk(array.slice(1, 1));
    assert_eq!(
        (statistics.min_bytes_opt(), statistics.null_count_opt()),
        (None, Some(1))
    );
}

#[test]
fn runs_and_packed_numbers_are_told_apart() {
    let mut out = Vec::new();
    put_codes(&mut out, &[5; 20], 3);
    assert_eq!(out, [40, 5]);
    out.clear();
    // Three of the run complete the first group of eight.
    put_codes(&mut out, &[1, 2, 3, 4, 5, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6], 3);
    assert_eq!(out, [3, 0b1101_0001, 0b0101_1000, 0b1101_1011, 16, 6]);
}
