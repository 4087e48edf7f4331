//! The names and Arrow types of every stored column.
//!
//! Fixed columns are listed per dataset by [`fixed`]; attributes become one nullable column per key and type whose
//! physical name is made by [`physical_name`]. A slice or part may lack any nullable column: a reader treats it as null.
//! Times are `Timestamp(Nanosecond, UTC)`, durations ns in `Int64`, ids `FixedSizeBinary`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

use crate::Dataset;

/// The type of an attribute column. Arrays, maps and bytes have no column: they live in [`ATTRIBUTES_REST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AttributeType {
    /// UTF-8 text.
    Utf8,
    /// 64-bit signed integer.
    Int64,
    /// IEEE 754 double.
    Float64,
    /// Boolean.
    Bool,
}

impl AttributeType {
    /// The name stored in the catalog.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf8",
            Self::Int64 => "int64",
            Self::Float64 => "float64",
            Self::Bool => "bool",
        }
    }

    /// The type of a catalog name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Utf8, Self::Int64, Self::Float64, Self::Bool]
            .into_iter()
            .find(|t| t.name() == name)
    }

    /// What the physical column name carries behind the key; nothing for text.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Utf8 => "",
            Self::Int64 => ":int",
            Self::Float64 => ":double",
            Self::Bool => ":bool",
        }
    }

    /// The Arrow type that readers see.
    pub const fn data_type(self) -> DataType {
        match self {
            Self::Utf8 => DataType::Utf8,
            Self::Int64 => DataType::Int64,
            Self::Float64 => DataType::Float64,
            Self::Bool => DataType::Boolean,
        }
    }
}

/// Prefix of the columns of an item's own attributes (of a resource's, in `resources`).
pub const ATTRIBUTE_PREFIX: &str = "attr.";
/// Prefix of the columns of an instrumentation scope's attributes.
pub const SCOPE_PREFIX: &str = "scope.";
/// Prefix under which queries see a resource's attributes.
pub const RESOURCE_PREFIX: &str = "resource.";
/// JSON object text with the attributes that have no column: arrays, maps, bytes and the long tail of keys. Scope
/// attributes appear under `scope.<key>`.
pub const ATTRIBUTES_REST: &str = "attributes_rest";

/// The physical column name of an attribute: prefix, key and the type's suffix.
pub fn physical_name(prefix: &str, key: &str, kind: AttributeType) -> String {
    format!("{prefix}{key}{}", kind.suffix())
}

/// Splits a physical attribute column into prefix, key and type; `None` for fixed columns.
pub fn parse_physical(name: &str, data_type: &DataType) -> Option<(&'static str, String, AttributeType)> {
    let prefix = [ATTRIBUTE_PREFIX, SCOPE_PREFIX]
        .into_iter()
        .find(|p| name.starts_with(p))?;
    let kind = match data_type {
        DataType::Utf8 | DataType::Dictionary(_, _) => AttributeType::Utf8,
        DataType::Int64 => AttributeType::Int64,
        DataType::Float64 => AttributeType::Float64,
        DataType::Boolean => AttributeType::Bool,
        _ => return None,
    };
    let key = name.strip_prefix(prefix)?.strip_suffix(kind.suffix())?;
    Some((prefix, key.to_owned(), kind))
}

/// `Timestamp(ns, UTC)`.
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

/// The type of repeated text in memory and in slices: dictionary of UTF-8 with `Int32` keys. Readers see plain UTF-8.
pub fn dictionary() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// `List<Struct>` of a span's events: `time`, `name`, `attributes` (JSON object text), `dropped_attributes_count`.
pub fn events_type() -> DataType {
    list_of(DataType::Struct(event_fields()))
}

/// Fields of one event.
pub fn event_fields() -> Fields {
    Fields::from(vec![
        Field::new("time", timestamp(), false),
        Field::new("name", DataType::Utf8, false),
        Field::new("attributes", DataType::Utf8, true),
        Field::new("dropped_attributes_count", DataType::UInt32, true),
    ])
}

/// `List<Struct>` of a span's links: `trace_id`, `span_id`, `trace_state`, `flags`, `attributes` (JSON object text),
/// `dropped_attributes_count`.
pub fn links_type() -> DataType {
    list_of(DataType::Struct(link_fields()))
}

/// Fields of one link.
pub fn link_fields() -> Fields {
    Fields::from(vec![
        Field::new("trace_id", DataType::FixedSizeBinary(16), false),
        Field::new("span_id", DataType::FixedSizeBinary(8), false),
        Field::new("trace_state", DataType::Utf8, true),
        Field::new("flags", DataType::UInt32, true),
        Field::new("attributes", DataType::Utf8, true),
        Field::new("dropped_attributes_count", DataType::UInt32, true),
    ])
}

/// A list whose items are named `item` and never null.
pub fn list_of(item: DataType) -> DataType {
    DataType::List(item_field(item))
}

/// The item field of [`list_of`].
pub fn item_field(item: DataType) -> Arc<Field> {
    Arc::new(Field::new("item", item, false))
}

/// The fixed columns of a dataset, in storage order. Text is plain UTF-8 here; slices hold it dictionary-encoded.
pub fn fixed(dataset: Dataset) -> Vec<Field> {
    use DataType::{Boolean, Float64, Int32, Int64, UInt32, UInt64, Utf8};
    let id = |name: &str, width| Field::new(name, DataType::FixedSizeBinary(width), false);
    let optional_id = |name: &str, width| Field::new(name, DataType::FixedSizeBinary(width), true);
    let required = |name: &str, kind: DataType| Field::new(name, kind, false);
    let optional = |name: &str, kind: DataType| Field::new(name, kind, true);
    let scope = || {
        [
            optional("scope_name", Utf8),
            optional("scope_version", Utf8),
            optional("scope_schema_url", Utf8),
        ]
    };
    let mut fields = match dataset {
        Dataset::Spans => vec![
            id("trace_id", 16),
            id("span_id", 8),
            optional_id("parent_span_id", 8),
            required("start_time", timestamp()),
            required("duration", Int64),
            required("name", Utf8),
            required("kind", Utf8),
            required("status_code", Utf8),
            optional("status_message", Utf8),
            optional("trace_state", Utf8),
            optional("flags", UInt32),
            optional("service_name", Utf8),
            id("resource_id", 16),
            optional("events", events_type()),
            optional("links", links_type()),
            optional("dropped_attributes_count", UInt32),
            optional("dropped_events_count", UInt32),
            optional("dropped_links_count", UInt32),
        ],
        Dataset::Logs => vec![
            required("timestamp", timestamp()),
            optional("observed_time", timestamp()),
            optional("severity_number", Int32),
            optional("severity_text", Utf8),
            optional("body", Utf8),
            optional("body_type", Utf8),
            optional("event_name", Utf8),
            optional_id("trace_id", 16),
            optional_id("span_id", 8),
            optional("flags", UInt32),
            optional("service_name", Utf8),
            id("resource_id", 16),
            optional("dropped_attributes_count", UInt32),
        ],
        Dataset::Resources => vec![
            id("resource_id", 16),
            required("seen_at", timestamp()),
            optional("service_name", Utf8),
            optional("schema_url", Utf8),
            optional("dropped_attributes_count", UInt32),
        ],
        Dataset::MetricSeries => vec![
            id("series_id", 16),
            required("seen_at", timestamp()),
            required("name", Utf8),
            required("type", Utf8),
            optional("unit", Utf8),
            optional("description", Utf8),
            optional("temporality", Utf8),
            optional("monotonic", Boolean),
            optional("metadata", Utf8),
            optional("service_name", Utf8),
            id("resource_id", 16),
        ],
        Dataset::MetricSamples => vec![
            id("series_id", 16),
            required("timestamp", timestamp()),
            optional("start_time", timestamp()),
            optional("value", Float64),
            optional("value_int", Int64),
            optional("flags", UInt32),
        ],
        Dataset::MetricHistograms => vec![
            id("series_id", 16),
            required("timestamp", timestamp()),
            optional("start_time", timestamp()),
            required("count", UInt64),
            optional("sum", Float64),
            optional("min", Float64),
            optional("max", Float64),
            optional("bounds", list_of(Float64)),
            optional("bucket_counts", list_of(UInt64)),
            optional("scale", Int32),
            optional("zero_count", UInt64),
            optional("zero_threshold", Float64),
            optional("positive_offset", Int32),
            optional("positive_counts", list_of(UInt64)),
            optional("negative_offset", Int32),
            optional("negative_counts", list_of(UInt64)),
            optional("quantiles", list_of(Float64)),
            optional("quantile_values", list_of(Float64)),
            optional("flags", UInt32),
        ],
        Dataset::Exemplars => vec![
            id("series_id", 16),
            required("timestamp", timestamp()),
            optional("value", Float64),
            optional("value_int", Int64),
            optional_id("trace_id", 16),
            optional_id("span_id", 8),
            optional("attributes", Utf8),
        ],
    };
    if matches!(dataset, Dataset::Spans | Dataset::Logs | Dataset::MetricSeries) {
        fields.extend(scope());
    }
    if has_attributes(dataset) {
        fields.push(optional(ATTRIBUTES_REST, Utf8));
    }
    fields
}

/// Number columns of log bodies: few messages hold more numbers, and each column costs space in every footer.
pub const BODY_NUMBERS: usize = 16;
/// Parts of logs: text of the body with placeholders for what varies.
pub const BODY_TEMPLATE: &str = "body_template";
/// Parts of logs: words of the body that are not in its template.
pub const BODY_WORDS: &str = "body_words";
/// Parts of logs: `observed_time` minus `timestamp`, ns.
pub const OBSERVED_DELAY: &str = "observed_delay";

const BODY_NUMBER_PREFIX: &str = "body_number_";

/// Parts of logs: the column of the numbers at a position in their bodies, counted from 0.
pub fn body_number(position: usize) -> String {
    format!("{BODY_NUMBER_PREFIX}{}", position + 1)
}

/// Whether a column has the name of a [`body_number`].
pub fn is_body_number(name: &str) -> bool {
    name.starts_with(BODY_NUMBER_PREFIX)
}

/// Columns, all nullable, in which parts store what does not fill one of the [`fixed`] columns. Queries do not see
/// them: a view makes the fixed column of them.
pub fn stored(dataset: Dataset) -> Vec<Field> {
    if dataset != Dataset::Logs {
        return Vec::new();
    }
    let mut fields = vec![
        Field::new(OBSERVED_DELAY, DataType::Int64, true),
        // Views into the dictionary of the part: a reader does not copy the text for each row.
        Field::new(BODY_TEMPLATE, DataType::Utf8View, true),
        Field::new(BODY_WORDS, DataType::Utf8, true),
    ];
    fields.extend((0..BODY_NUMBERS).map(|position| Field::new(body_number(position), DataType::Float64, true)));
    fields
}

/// Whether the dataset has attribute columns.
pub const fn has_attributes(dataset: Dataset) -> bool {
    matches!(
        dataset,
        Dataset::Spans | Dataset::Logs | Dataset::Resources | Dataset::MetricSeries
    )
}

/// The column that time ranges refer to.
pub const fn time_column(dataset: Dataset) -> &'static str {
    match dataset {
        Dataset::Spans => "start_time",
        Dataset::Logs | Dataset::MetricSamples | Dataset::MetricHistograms | Dataset::Exemplars => "timestamp",
        Dataset::Resources | Dataset::MetricSeries => "seen_at",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn physical_names_round_trip() {
        for kind in [
            AttributeType::Utf8,
            AttributeType::Int64,
            AttributeType::Float64,
            AttributeType::Bool,
        ] {
            let name = physical_name(ATTRIBUTE_PREFIX, "http.status", kind);
            let parsed = parse_physical(&name, &kind.data_type());
            assert_eq!(parsed, Some((ATTRIBUTE_PREFIX, "http.status".to_owned(), kind)));
        }
        assert_eq!(parse_physical("name", &DataType::Utf8), None);
    }

    #[test]
    fn every_dataset_has_its_time_column() {
        for dataset in Dataset::ALL {
            let fields = fixed(dataset);
            let time = fields.iter().find(|f| f.name() == time_column(dataset)).unwrap();
            assert_eq!(time.data_type(), &timestamp());
        }
    }
}
