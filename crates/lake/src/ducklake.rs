//! What DuckLake shows of the lake: tables of the columns that parts hold, and views that give what queries see.
//!
//! The catalog publishes this ([`catalog::Catalog::publish_lake`]); the views beside this file are DuckDB's SQL. They undo
//! what `part::encode` does, so both change together; the tests of `tests/e2e/test_duckdb.py` compare them value by value.

use arrow::datatypes::{DataType, Field};
use catalog::{LakeColumn, LakeDefinition, LakeTable, LakeView};
use schema::{Dataset, columns};
use xxhash_rust::xxh3::xxh3_64;

use crate::part;

/// The ids of columns have 30 bits: two say how deep inside of others it is, the rest are made of its name.
const HASH_BITS: u32 = 28;

/// The views: name and query, in the order of their ids.
const VIEWS: [(&str, &str); 8] = [
    ("spans", include_str!("ducklake/spans.sql")),
    ("logs", include_str!("ducklake/logs.sql")),
    ("metrics", include_str!("ducklake/metrics.sql")),
    ("metric_histograms", include_str!("ducklake/metric_histograms.sql")),
    ("exemplars", include_str!("ducklake/exemplars.sql")),
    ("metric_samples", include_str!("ducklake/metric_samples.sql")),
    ("metric_series", include_str!("ducklake/metric_series.sql")),
    ("resources", include_str!("ducklake/resources.sql")),
];

/// The id of the first view; smaller ones are the tables'.
const FIRST_VIEW: i64 = 8;

/// What this program stores and how to read it.
pub fn definition() -> LakeDefinition {
    let mut columns = Vec::new();
    for dataset in Dataset::ALL {
        let mut place = 0;
        for field in part::stored_fields(dataset) {
            add(
                &mut columns,
                dataset,
                &field,
                field.name(),
                field.name(),
                "",
                0,
                &mut place,
            );
        }
    }
    let numbers = (0..columns::BODY_NUMBERS).map(columns::body_number);
    let numbers = numbers.collect::<Vec<_>>().join(", ");
    let tables = Dataset::ALL.map(|dataset| LakeTable {
        dataset,
        time_column: id(columns::time_column(dataset)),
    });
    let views = VIEWS.iter().zip(FIRST_VIEW..).map(|(&(name, body), id)| LakeView {
        id,
        name,
        body: body
            .replace("{BODY_NUMBERS}", &numbers)
            .replace("{BLOCK_ROWS}", &part::BLOCK_ROWS.to_string()),
    });
    let mut definition = LakeDefinition {
        name: String::new(),
        tables: tables.to_vec(),
        columns,
        views: views.collect(),
    };
    let hash = xxh3_64(format!("{definition:?}").as_bytes());
    definition.name = format!("otlp-rust {} {hash:016x}", env!("CARGO_PKG_VERSION"));
    definition
}

/// The id of a column, made of its name so that it never changes; `path` has the names of those it is inside of. DuckDB reads
/// columns in the order of the ids of those they are inside of, and must meet these first: what is deeper has a larger id.
fn id(path: &str) -> i64 {
    let depth = path.matches('.').count() as u64;
    (depth << HASH_BITS | (xxh3_64(path.as_bytes()) & ((1 << HASH_BITS) - 1)).max(1)) as i64
}

/// Adds a column and what is inside of it.
#[allow(clippy::too_many_arguments)] // a recursion of its own; a struct for it would be built once per call
fn add(
    out: &mut Vec<LakeColumn>,
    dataset: Dataset,
    field: &Field,
    name: &str,
    source: &str,
    inside: &str,
    parent: i64,
    place: &mut i64,
) {
    let path = format!("{inside}{name}");
    let id = id(&path);
    *place += 1;
    out.push(LakeColumn {
        dataset,
        id,
        place: *place,
        name: name.to_owned(),
        source: source.to_owned(),
        data_type: lake_type(field.data_type()),
        parent,
    });
    let inside = format!("{path}.");
    match field.data_type() {
        // DuckLake calls the items of a list `element`, DuckDB's reader of Parquet `list`.
        DataType::List(item) => add(out, dataset, item, "element", "list", &inside, id, place),
        DataType::Struct(fields) => {
            for field in fields {
                add(out, dataset, field, field.name(), field.name(), &inside, id, place);
            }
        }
        _ => {}
    }
}

/// The type that DuckLake has for a stored column.
fn lake_type(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Boolean => "boolean",
        DataType::Int32 => "int32",
        DataType::Int64 => "int64",
        DataType::UInt16 => "uint16",
        DataType::UInt32 => "uint32",
        DataType::UInt64 => "uint64",
        DataType::Float64 => "float64",
        DataType::Timestamp(_, _) => "timestamptz",
        DataType::FixedSizeBinary(_) => "blob",
        DataType::List(_) => "list",
        DataType::Struct(_) => "struct",
        // The rest is text, whatever its form in memory; a test holds the columns to this list.
        _ => "varchar",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_of_one_column_each() {
        let definition = definition();
        let mut seen = HashSet::new();
        for column in &definition.columns {
            assert!(
                (1..1 << 30).contains(&column.id) && column.parent < column.id,
                "{column:?}"
            );
            assert!(seen.insert((column.dataset, column.id)), "{column:?}");
            assert!(
                column.parent == 0 || seen.contains(&(column.dataset, column.parent)),
                "{column:?}"
            );
        }
        for table in &definition.tables {
            assert!(seen.contains(&(table.dataset, table.time_column)), "{table:?}");
        }
        assert!(definition.views.iter().all(|view| (FIRST_VIEW..16).contains(&view.id)));
    }

    /// Readers that are attached know columns by their ids: another id for a column would give them other values.
    #[test]
    fn ids_stay_what_they_were() {
        assert_eq!(id("start_time"), 16_224_925);
        assert_eq!(id("events.element.time"), 640_265_583);
    }

    #[test]
    fn every_type_is_known() {
        for dataset in Dataset::ALL {
            for field in part::stored_fields(dataset) {
                let text = matches!(field.data_type(), DataType::Utf8 | DataType::Utf8View);
                assert_eq!(lake_type(field.data_type()) == "varchar", text, "{field:?}");
            }
        }
    }

    /// The placeholders of the views are filled in, all but the catalog's.
    #[test]
    fn views_are_complete() {
        for view in definition().views {
            let left = view.body.replace("{DUCKLAKE_CATALOG}", "").replace("{TENANT}", "");
            assert!(!left.contains('{'), "{}", view.body);
        }
    }
}
