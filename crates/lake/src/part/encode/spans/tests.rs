use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

fn batch(rows: &[(u128, u64, Option<u64>)]) -> RecordBatch {
    let trace = FixedSizeBinaryArray::try_from_iter(rows.iter().map(|r| r.0.to_be_bytes())).unwrap();
    let span = FixedSizeBinaryArray::try_from_iter(rows.iter().map(|r| r.1.to_be_bytes())).unwrap();
    let parents = rows.iter().map(|r| r.2.map(u64::to_be_bytes));
    let parent = FixedSizeBinaryArray::try_from_sparse_iter_with_size(parents, 8).unwrap();
    let schema = Schema::new(vec![
        Field::new("trace_id", DataType::FixedSizeBinary(16), false),
        Field::new("span_id", DataType::FixedSizeBinary(8), false),
        Field::new(PARENT, DataType::FixedSizeBinary(8), true),
    ]);
    RecordBatch::try_new(
        Arc::new(schema),
        vec![Arc::new(trace), Arc::new(span), Arc::new(parent)],
    )
    .unwrap()
}

/// Few ids, so that equal ids occur in one trace, in several traces, and in several blocks of one trace.
fn random(seed: u64, rows: usize, traces: u128, spans: u64) -> RecordBatch {
    let mut random = StdRng::seed_from_u64(seed);
    let rows = (0..rows)
        .map(|_| {
            let parent = match random.random_range(0..10) {
                0 => None,
                1 => Some(u64::MAX), // nobody's id
                _ => Some(random.random_range(0..spans)),
            };
            (random.random_range(0..traces), random.random_range(0..spans), parent)
        })
        .collect::<Vec<_>>();
    batch(&rows)
}

#[test]
fn parents_come_back_whatever_they_are() {
    for (seed, rows, traces, spans) in [
        (2, 1, 1, 1),
        (3, BLOCK_ROWS, 1, 50),
        (4, BLOCK_ROWS + 1, 700, 30),
        (5, 3 * BLOCK_ROWS - 5, 900, 3),
        (6, 3 * BLOCK_ROWS, 5, u64::MAX - 1),
    ] {
        let logical = random(seed, rows, traces, spans);
        let stored = encode(logical.clone()).unwrap();
        assert_eq!(stored.schema(), encode(logical.slice(0, 0)).unwrap().schema());
        assert_eq!(decode(stored).unwrap(), logical, "seed {seed}");
    }
}

#[test]
fn the_id_is_kept_only_for_parents_in_other_blocks() {
    let mut rows = vec![(7, 1, None), (7, 2, Some(1)), (8, 3, Some(1)), (7, 4, Some(4))];
    rows.extend((0..BLOCK_ROWS as u64 - 4).map(|n| (100, 1000 + n, None)));
    rows.push((7, 5, Some(2)));
    let logical = batch(&rows);
    let stored = encode(logical.clone()).unwrap();
    let ordinals = stored.column_by_name(ORDINAL).unwrap().as_primitive::<UInt16Type>();
    let ordinals = ordinals.iter().enumerate().filter_map(|(row, o)| Some((row, o?)));
    assert_eq!(ordinals.collect::<Vec<_>>(), [(1, 0), (3, 2)]);
    let kept = stored.column_by_name(PARENT).unwrap();
    let kept = (0..rows.len()).filter(|&row| kept.is_valid(row));
    assert_eq!(kept.collect::<Vec<_>>(), [2, BLOCK_ROWS]);
    assert_eq!(decode(stored).unwrap(), logical);
}

#[test]
fn the_rows_of_one_trace_in_a_block_suffice() {
    let logical = random(9, BLOCK_ROWS, 40, 20);
    let stored = encode(logical.clone()).unwrap();
    let ids = logical.column(0).as_fixed_size_binary();
    let of_trace = (0..BLOCK_ROWS).map(|row| Some(ids.value(row) == 3u128.to_be_bytes()));
    let of_trace = of_trace.collect::<arrow::array::BooleanArray>();
    let few = arrow::compute::filter_record_batch(&stored, &of_trace).unwrap();
    let expected = arrow::compute::filter_record_batch(&logical, &of_trace).unwrap();
    assert!(expected.num_rows() > 50);
    assert_eq!(decode(few).unwrap(), expected);
}

#[test]
fn an_ordinal_beyond_the_trace_is_an_error() {
    let stored = encode(batch(&[(7, 1, None), (7, 2, Some(1))])).unwrap();
    let mut columns = stored.columns().to_vec();
    columns[3] = Arc::new(UInt16Array::from(vec![None, Some(2)]));
    let damaged = RecordBatch::try_new(stored.schema(), columns).unwrap();
    assert!(decode(damaged).is_err());
}
