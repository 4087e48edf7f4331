use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Float64Array, Int64Array};
use arrow::datatypes::{Field, Int32Type, Schema};
use schema::sparse::SparseArray;

use super::*;

/// Rows of a time, a text and a number; equal numbers of `input` stand for rows of one input.
fn merged(rows: &[(i64, Option<&str>, f64, u32)]) -> Merged {
    let times: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>());
    let texts: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<DictionaryArray<Int32Type>>());
    let numbers: ArrayRef = Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>());
    let columns = [("time", times), ("text", texts), ("number", numbers)];
    let field = |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
    let starts = (0u32..).zip(rows).filter(|(row, this)| {
        let before = row.checked_sub(1).map(|before| rows[before as usize].3);
        before != Some(this.3)
    });
    Merged {
        schema: Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>())),
        inputs: starts.map(|(row, _)| row).collect(),
        columns: columns
            .iter()
            .map(|(_, array)| SparseArray::from_dense(array).unwrap())
            .collect(),
        rows: rows.len(),
    }
}

/// The rows that stay, and how many went.
fn left(rows: &[(i64, Option<&str>, f64, u32)], repeats: Repeats) -> (Vec<u32>, usize) {
    let merged = merged(rows);
    let mut copies = Copies::new(&merged, repeats);
    let mut numbers = (0..rows.len() as u32).collect::<Vec<_>>();
    let time = |row: u32| rows[row as usize].0;
    copies.drop_neighbours(&mut numbers, |a, b| time(a) == time(b)).unwrap();
    (numbers, copies.dropped)
}

#[test]
fn rows_that_differ_in_any_column_stay() {
    let rows = [
        (1, Some("a"), 1.0, 0),
        (1, Some("a"), 2.0, 0),
        (1, None, 1.0, 0),
        (1, Some(""), 1.0, 0),
        (2, Some("a"), 1.0, 0),
        (2, Some("a"), f64::NAN, 0),
        (2, Some("a"), -f64::NAN, 0),
        (2, Some("a"), 0.0, 0),
        (2, Some("a"), -0.0, 0),
    ];
    assert_eq!(left(&rows, Repeats::Once), ((0..9).collect(), 0));
}

#[test]
fn of_equal_rows_one_stays_wherever_they_stand_in_the_run() {
    let rows = [
        (1, Some("a"), 1.0, 0),
        (1, Some("b"), 1.0, 0),
        (1, Some("a"), 1.0, 1),
        (1, None, f64::NAN, 1),
        (1, Some("b"), 1.0, 1),
        (1, None, f64::NAN, 2),
        (2, Some("a"), 1.0, 2),
    ];
    assert_eq!(left(&rows, Repeats::Once), (vec![0, 1, 3, 6], 3));
}

#[test]
fn lines_that_one_input_repeats_stay_and_copies_of_the_input_go() {
    let twice = (1, Some("line"), 1.0);
    let once = (1, Some("other"), 1.0);
    let rows = [
        (twice.0, twice.1, twice.2, 0),
        (twice.0, twice.1, twice.2, 0),
        (once.0, once.1, once.2, 0),
        (twice.0, twice.1, twice.2, 1),
        (once.0, once.1, once.2, 1),
        (twice.0, twice.1, twice.2, 2),
        (twice.0, twice.1, twice.2, 2),
    ];
    let (rows, dropped) = left(&rows, Repeats::AsInOneInput);
    assert_eq!((rows.len(), dropped), (3, 4));
    assert_eq!(rows.iter().filter(|row| [2, 4].contains(row)).count(), 1);
}

/// A run of thousands of rows of one instant is sorted, not compared each with each.
#[test]
fn long_runs_of_one_instant_are_no_trouble() {
    let texts = ["a", "b", "c"];
    let rows = (0..60_000)
        .map(|n| (7, Some(texts[n % 3]), (n / 2 % 1000) as f64, 0))
        .collect::<Vec<_>>();
    let distinct = rows
        .iter()
        .map(|row| (row.1, row.2.to_bits()))
        .collect::<std::collections::HashSet<_>>();
    let (kept, dropped) = left(&rows, Repeats::Once);
    assert_eq!((kept.len(), dropped), (distinct.len(), rows.len() - distinct.len()));
    assert!(kept.is_sorted());
}
