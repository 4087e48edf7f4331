use arrow::array::{BooleanArray, FixedSizeBinaryArray, Int64Array, StringDictionaryBuilder, TimestampNanosecondArray};
use arrow::datatypes::Int64Type;
use arrow::ipc::CompressionType;

use super::*;

const ROWS: usize = 70_000;

/// One column of each kind, with values in some rows or in all.
fn rows() -> RecordBatch {
    let texts = |distinct: usize, every: usize| -> ArrayRef {
        let mut builder = StringDictionaryBuilder::<Int32Type>::new();
        for row in 0..ROWS {
            builder.append_option((row % every == 0).then(|| format!("text {}", row % distinct)));
        }
        Arc::new(builder.finish())
    };
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(
        (0..ROWS as i64).map(|row| (row % 3 == 1).then(|| (0..row % 4).map(Some))),
    );
    let times = (0..ROWS as i64).map(|row| row * 7 - 100_000).collect::<Vec<_>>();
    let ids = (0..ROWS).map(|row| (row % 5 == 0).then(|| (row as u64).to_be_bytes()));
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "start_time",
            Arc::new(TimestampNanosecondArray::from(times).with_timezone("UTC")),
        ),
        ("few", texts(200, 1)),
        ("some", texts(60_000, 2)),
        ("many", texts(ROWS, 1)),
        (
            "flags",
            Arc::new(
                (0..ROWS)
                    .map(|row| (row % 2 == 0).then_some(row % 4 == 0))
                    .collect::<BooleanArray>(),
            ),
        ),
        (
            "numbers",
            Arc::new(
                (0..ROWS as i64)
                    .map(|row| (row % 9 == 0).then_some(row))
                    .collect::<Int64Array>(),
            ),
        ),
        ("lists", Arc::new(lists)),
        (
            "ids",
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(ids, 8).unwrap()),
        ),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn what_was_written_is_read_back() {
    let dense = rows();
    let rows = Rows {
        tenant: TenantId::default(),
        dataset: Dataset::Spans,
        batch: SparseBatch::from_dense(&dense).unwrap(),
    };
    let encoded = encode(&[rows.clone(), rows]).unwrap();
    assert!(encoded.bytes.starts_with(MAGIC));
    assert_eq!(encoded.slices.len(), 2);
    for slice in &encoded.slices {
        assert_eq!((slice.rows, slice.min_ts), (ROWS as i64, -100_000));
        let bytes = encoded
            .bytes
            .slice(slice.offset as usize..(slice.offset + slice.length) as usize);
        let read = decode_slice(&bytes, slice.checksum, "s").unwrap().to_dense().unwrap();
        for (name, array) in dense.schema().fields().iter().map(|f| f.name()).zip(dense.columns()) {
            assert_eq!(read.column_by_name(name), Some(array), "{name}");
        }
    }
}

#[test]
fn damage_is_an_error() {
    let rows = Rows {
        tenant: TenantId::default(),
        dataset: Dataset::Spans,
        batch: SparseBatch::from_dense(&rows().slice(0, 100)).unwrap(),
    };
    let encoded = encode(&[rows]).unwrap();
    let slice = &encoded.slices[0];
    let bytes = encoded.bytes[slice.offset as usize..].to_vec();
    assert!(decode_slice(&bytes, slice.checksum + 1, "s").is_err());
    // Bytes that a wrong checksum would vouch for: refused or read, never a panic. Not in the frame's header, whose
    // size may then ask for gigabytes.
    for at in (18..bytes.len()).step_by(bytes.len() / 200) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x41;
        let _ = decode_slice(&damaged, xxh3_64(&damaged) as i64, "s");
    }
}

/// A slice of one column and two rows, with what [`encode_slice`] never writes.
fn slice_of(values: ArrayRef, compression: Option<CompressionType>) -> Vec<u8> {
    let bitmap: ArrayRef = Arc::new(BinaryArray::from(vec![None]));
    let item = Arc::new(Field::new("item", values.data_type().clone(), true));
    let lists = ListArray::new(item, OffsetBuffer::from_lengths([values.len()]), values, None);
    let columns: Vec<(&str, ArrayRef)> = vec![("rows", bitmap), ("values", Arc::new(lists))];
    let column = StructArray::from(RecordBatch::try_from_iter(columns).unwrap());
    let field = Field::new("column", column.data_type().clone(), false);
    let schema = Schema::new_with_metadata(vec![field], [(super::ROWS.to_owned(), "2".to_owned())].into());
    let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(column)]).unwrap();
    let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options).unwrap();
    writer.write(&batch).unwrap();
    zstd::bulk::compress(&writer.into_inner().unwrap(), 1).unwrap()
}

#[test]
fn what_no_writer_makes_is_damage_whatever_the_checksum_says() {
    let decode = |bytes: &[u8]| decode_slice(bytes, xxh3_64(bytes) as i64, "s");
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![5; 2]));
    assert_eq!(decode(&slice_of(Arc::clone(&numbers), None)).unwrap().num_rows(), 2);
    let compressed = slice_of(numbers, Some(CompressionType::ZSTD));
    assert!(matches!(decode(&compressed), Err(LakeError::Damaged { .. })));

    // A key that points nowhere is right where it is null.
    let texts: ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["a"]));
    let dictionary = |second: u8, nulls: Option<NullBuffer>| -> ArrayRef {
        let keys = PrimitiveArray::<UInt8Type>::new(vec![0, second].into(), nulls);
        Arc::new(DictionaryArray::new(keys, Arc::clone(&texts)))
    };
    assert_eq!(decode(&slice_of(dictionary(0, None), None)).unwrap().num_rows(), 2);
    let wild = dictionary(200, Some(NullBuffer::from(vec![true, false])));
    assert!(matches!(decode(&slice_of(wild, None)), Err(LakeError::Damaged { .. })));
}
