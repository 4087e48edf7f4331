use super::*;

fn ids(width: i32, values: &[Option<u8>]) -> ArrayRef {
    let mut builder = FixedSizeBinaryBuilder::new(width);
    for value in values {
        match value {
            Some(value) => builder.append_value(vec![*value; width as usize]).unwrap(),
            None => builder.append_null(),
        }
    }
    Arc::new(builder.finish())
}

fn logs() -> RecordBatch {
    let fixed = columns::fixed(Dataset::Logs);
    let fields = fixed
        .into_iter()
        .filter(|f| matches!(f.data_type(), DataType::FixedSizeBinary(_)))
        .collect::<Vec<_>>();
    let arrays = fields
        .iter()
        .map(|f| match f.name().as_str() {
            "trace_id" => ids(16, &[Some(1), None, None, Some(2)]),
            "span_id" => ids(8, &[None, None, Some(9), Some(2)]),
            _ => ids(16, &[Some(7), Some(7), Some(7), Some(8)]),
        })
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

#[test]
fn ids_come_back_as_they_were() {
    let logical = logs();
    for batch in [logical.clone(), logical.slice(1, 2), logical.slice(0, 0)] {
        let physical = encode(Dataset::Logs, batch.clone()).unwrap();
        let types = |name: &str| physical.schema().field_with_name(name).unwrap().data_type().clone();
        assert_eq!(types("trace_id"), DataType::Binary);
        assert_eq!(types("resource_id"), DataType::Binary);
        assert_eq!(types("span_id"), DataType::FixedSizeBinary(8));
        assert_eq!(decode(Dataset::Logs, physical.clone()).unwrap(), batch);
        let narrow = physical.project(&[0]).unwrap();
        assert_eq!(decode(Dataset::Logs, narrow).unwrap(), batch.project(&[0]).unwrap());
    }
}

#[test]
fn logical_rows_pass_through_decode() {
    assert_eq!(decode(Dataset::Logs, logs()).unwrap(), logs());
}

#[test]
fn an_id_of_the_wrong_length_is_an_error() {
    let fields = vec![Field::new("trace_id", DataType::Binary, true)];
    let array: ArrayRef = Arc::new(BinaryArray::from(vec![&b"short"[..]]));
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![array]).unwrap();
    assert!(decode(Dataset::Logs, batch).is_err());
}
