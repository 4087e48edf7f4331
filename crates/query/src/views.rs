//! The tables people query: datasets with the attributes of their resources and series beside them.
//!
//! | table | rows | added columns |
//! | --- | --- | --- |
//! | `spans`, `logs` | the dataset | `resource.<key>` |
//! | `metrics` | number points (gauges and sums) | `name`, `type`, `unit`, ..., `attr.<key>`, `resource.<key>` |
//! | `metric_histograms`, `exemplars` | the dataset (exemplars of integers have `value`, too) | as `metrics` |
//! | `metric_samples` | the dataset as stored | none |
//! | `metric_series`, `resources` | one row per id, the newest | none |
//!
//! Columns in which parts store something else (`schema::columns::stored`) are hidden; the column that they stand for is
//! an expression over them.
//!
//! A key whose values never were text has its columns named `attr.<key>:int` and so on; the name without the type
//! stands for the first of them, so that `"attr.http.response.status_code"` works whatever its type is.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::DataType;
use catalog::Column;
use datafusion::catalog::TableProvider;
use datafusion::common::Column as PlanColumn;
use datafusion::datasource::{MemTable, ViewTable, provider_as_source};
use datafusion::error::Result;
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, ScalarUDF, cast};
use schema::Dataset;
use schema::columns::{
    ATTRIBUTE_PREFIX, AttributeType, BODY_NUMBERS, BODY_TEMPLATE, BODY_WORDS, OBSERVED_DELAY, RESOURCE_PREFIX,
    SCOPE_PREFIX, body_number, fixed, stored, timestamp,
};

use crate::bodies::log_body;
use crate::lookup::{Lookup, function};

/// All tables.
pub(crate) const TABLES: [&str; 8] = [
    "spans",
    "logs",
    "metrics",
    "metric_histograms",
    "exemplars",
    "metric_samples",
    "metric_series",
    "resources",
];

/// The datasets that a table is made of, its own first.
pub(crate) fn datasets_of(table: &str) -> Option<Vec<Dataset>> {
    Some(match table {
        "spans" => vec![Dataset::Spans, Dataset::Resources],
        "logs" => vec![Dataset::Logs, Dataset::Resources],
        "metrics" => vec![Dataset::MetricSamples, Dataset::MetricSeries, Dataset::Resources],
        "metric_histograms" => vec![Dataset::MetricHistograms, Dataset::MetricSeries, Dataset::Resources],
        "exemplars" => vec![Dataset::Exemplars, Dataset::MetricSeries, Dataset::Resources],
        "metric_samples" => vec![Dataset::MetricSamples],
        "metric_series" => vec![Dataset::MetricSeries],
        "resources" => vec![Dataset::Resources],
        _ => return None,
    })
}

/// Resources and series of a snapshot.
#[derive(Clone)]
pub(crate) struct Lookups {
    pub resources: Option<Arc<Lookup>>,
    pub series: Option<Arc<Lookup>>,
}

/// Names that stand for the first typed column of a key that has no text column: (name, column).
fn short_names(known: &[Column], dataset: Dataset, prefix: &str) -> Vec<(String, String)> {
    let names = known
        .iter()
        .filter(|c| c.dataset == dataset)
        .map(|c| c.name.as_str())
        .collect::<HashSet<_>>();
    let mut done = HashSet::new();
    let mut out = Vec::new();
    for column in known
        .iter()
        .filter(|c| c.dataset == dataset && c.name.starts_with(prefix))
    {
        let Some(kind) = AttributeType::from_name(&column.data_type) else {
            continue;
        };
        let Some(short) = column
            .name
            .strip_suffix(kind.suffix())
            .filter(|_| kind != AttributeType::Utf8)
        else {
            continue;
        };
        if !names.contains(short) && done.insert(short) {
            out.push((short.to_owned(), column.name.clone()));
        }
    }
    out
}

/// A reference to a column whose name may hold dots.
fn column(name: &str) -> Expr {
    Expr::Column(PlanColumn::from_name(name))
}

fn call(function: &ScalarUDF, argument: Expr) -> Expr {
    function.call(vec![argument])
}

struct Projection {
    exprs: Vec<Expr>,
    names: HashSet<String>,
}

impl Projection {
    fn add(&mut self, name: &str, expr: Expr) {
        if self.names.insert(name.to_owned()) {
            self.exprs.push(expr.alias(name));
        }
    }

    /// Attributes of a resource, found by the id in `id`.
    fn add_resource(&mut self, lookup: Option<&Arc<Lookup>>, known: &[Column], id: Expr) {
        let Some(lookup) = lookup else { return };
        for field in lookup.schema.fields() {
            let Some(key) = field.name().strip_prefix(ATTRIBUTE_PREFIX) else {
                continue;
            };
            if let Some(f) = function(lookup, "resource", field.name()) {
                self.add(&format!("{RESOURCE_PREFIX}{key}"), call(&f, id.clone()));
            }
        }
        for (short, physical) in short_names(known, Dataset::Resources, ATTRIBUTE_PREFIX) {
            if let (Some(key), Some(f)) = (
                short.strip_prefix(ATTRIBUTE_PREFIX),
                function(lookup, "resource", &physical),
            ) {
                self.add(&format!("{RESOURCE_PREFIX}{key}"), call(&f, id.clone()));
            }
        }
        if let Some(f) = function(lookup, "resource", "schema_url") {
            self.add("resource_schema_url", call(&f, id.clone()));
        }
        if let Some(f) = function(lookup, "resource", schema::columns::ATTRIBUTES_REST) {
            self.add("resource_attributes_rest", call(&f, id));
        }
    }

    /// What a series knows: names, attributes, and its resource.
    fn add_series(&mut self, lookups: &Lookups, known: &[Column]) {
        let Some(lookup) = &lookups.series else { return };
        let id = || column("series_id");
        let known_fixed = fixed(Dataset::MetricSeries);
        let fixed_names = known_fixed.iter().map(|f| f.name().as_str());
        let attributes = lookup.schema.fields().iter().map(|f| f.name().as_str());
        let attributes = attributes.filter(|n| n.starts_with(ATTRIBUTE_PREFIX) || n.starts_with(SCOPE_PREFIX));
        for name in fixed_names
            .chain(attributes)
            .filter(|n| !matches!(*n, "series_id" | "seen_at"))
        {
            if let Some(f) = function(lookup, "series", name) {
                self.add(name, call(&f, id()));
            } else if let Ok(field) = arrow::datatypes::Schema::new(known_fixed.clone()).field_with_name(name) {
                // No series has it yet: the column exists all the same.
                if let Ok(null) = datafusion::common::ScalarValue::try_from(field.data_type()) {
                    self.add(name, Expr::Literal(null, None));
                }
            }
        }
        for prefix in [ATTRIBUTE_PREFIX, SCOPE_PREFIX] {
            for (short, physical) in short_names(known, Dataset::MetricSeries, prefix) {
                if let Some(f) = function(lookup, "series", &physical) {
                    self.add(&short, call(&f, id()));
                }
            }
        }
        if let Some(f) = function(lookup, "series", "resource_id") {
            self.add_resource(lookups.resources.as_ref(), known, call(&f, id()));
        }
    }
}

/// What a column of a table is in terms of the dataset's columns.
fn fixed_column(table: &str, name: &str) -> Expr {
    match (table, name) {
        // Integers are numbers too: one value column, and the exact integers beside it.
        ("metrics" | "exemplars", "value") => {
            let as_double = cast(column("value_int"), DataType::Float64);
            coalesce(vec![column("value"), as_double])
        }
        ("logs", "body") => {
            let mut columns = vec![column("body"), column(BODY_TEMPLATE), column(BODY_WORDS)];
            columns.extend((0..BODY_NUMBERS).map(|position| column(&body_number(position))));
            log_body().call(columns)
        }
        ("logs", "observed_time") => {
            let observed = cast(column("timestamp"), DataType::Int64) + column(OBSERVED_DELAY);
            coalesce(vec![column("observed_time"), cast(observed, timestamp())])
        }
        _ => column(name),
    }
}

/// Builds a table over its dataset.
pub(crate) fn build(
    table: &str,
    base: Arc<dyn TableProvider>,
    lookups: &Lookups,
    known: &[Column],
) -> Result<Arc<dyn TableProvider>> {
    let distinct = match table {
        "metric_series" => lookups.series.as_ref().map(|l| (l, Dataset::MetricSeries)),
        "resources" => lookups.resources.as_ref().map(|l| (l, Dataset::Resources)),
        _ => None,
    };
    if let Some((lookup, dataset)) = distinct {
        let schema = Arc::new(crate::table::dataset_schema(dataset, known));
        let distinct = lookup.distinct()?;
        let column = |name: &str| distinct.column_by_name(name).cloned();
        let batch = crate::table::conform(distinct.num_rows(), column, &schema)?;
        return Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?));
    }
    if table == "metric_samples" {
        return Ok(base);
    }
    let dataset = datasets_of(table)
        .and_then(|d| d.first().copied())
        .unwrap_or(Dataset::Spans);
    let mut projection = Projection {
        exprs: Vec::new(),
        names: HashSet::new(),
    };
    let stored = stored(dataset);
    let schema = base.schema();
    let names = schema.fields().iter().map(|f| f.name());
    for name in names.filter(|&name| !stored.iter().any(|f| f.name() == name)) {
        projection.add(name, fixed_column(table, name));
    }
    for prefix in [ATTRIBUTE_PREFIX, SCOPE_PREFIX] {
        for (short, physical) in short_names(known, dataset, prefix) {
            projection.add(&short, column(&physical));
        }
    }
    match dataset {
        Dataset::Spans | Dataset::Logs => {
            projection.add_resource(lookups.resources.as_ref(), known, column("resource_id"));
        }
        _ => projection.add_series(lookups, known),
    }
    let plan = LogicalPlanBuilder::scan(format!("{table}_stored"), provider_as_source(base), None)?
        .project(projection.exprs)?
        .build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}
