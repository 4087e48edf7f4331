//! Metrics (opentelemetry/proto/metrics/v1/metrics.proto): from metrics to points.

use schema::Dataset;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::any_value::write_json_object;
use super::batch::{Context, TenantBatch};
use super::outcome::repeated;
use super::points::{ExemplarRows, HistogramRows, SampleRows};
use super::resource::{ResourceItems, scope_of};
use super::series::{MetricRef, SeriesId, SeriesRows, scope_identity};
use super::{Fault, ItemError, Outcome};
use crate::columns::ColumnAdmission;
use crate::wire::{Reader, WireError};

/// All metric rows under construction.
#[derive(Debug, Default)]
pub(super) struct MetricRows {
    pub series: SeriesRows,
    pub samples: SampleRows,
    pub histograms: HistogramRows,
    pub exemplars: ExemplarRows,
}

/// Which message the points of a metric are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PointKind {
    Number,
    Histogram,
    Exponential,
    Summary,
}

impl PointKind {
    /// The field number of a point's attributes.
    const fn attributes_field(self) -> u32 {
        match self {
            Self::Number | Self::Summary => 7,
            Self::Histogram => 9,
            Self::Exponential => 1,
        }
    }
}

impl TenantBatch {
    pub(super) fn append_resource_metrics(
        &mut self,
        message: &[u8],
        context: Context<'_>,
        outcome: &mut Outcome,
    ) -> Result<(), WireError> {
        let items = ResourceItems::parse(message)?;
        let resource = self.resources.resolve(
            items.resource,
            items.schema_url,
            context.known,
            context.now,
            context.limits,
            context.admissions.for_dataset(Dataset::Resources),
        );
        let resource = match resource {
            Ok(resource) => resource,
            Err(Fault::Item(reason)) => {
                outcome.reject(count_points(&items.scopes)?, reason);
                return Ok(());
            }
            Err(Fault::Wire(error)) => return Err(error),
        };
        for message in &items.scopes {
            let (scope, metrics) = scope_of(message)?;
            let identity = match scope_identity(&resource, &scope, context.limits.max_depth) {
                Ok(identity) => identity,
                Err(Fault::Item(reason)) => {
                    outcome.reject(count_points(&[message])?, reason);
                    continue;
                }
                Err(Fault::Wire(error)) => return Err(error),
            };
            for metric in metrics {
                let header = match Header::parse(metric)? {
                    Ok(header) => header,
                    Err((points, reason)) => {
                        outcome.reject(points, reason);
                        continue;
                    }
                };
                let mut metadata = Vec::new();
                match write_json_object(header.metadata.iter().copied(), &mut metadata, context.limits.max_depth) {
                    Ok(()) => {}
                    Err(Fault::Item(reason)) => {
                        outcome.reject(count_items_in(header.data)?, reason);
                        continue;
                    }
                    Err(Fault::Wire(error)) => return Err(error),
                }
                let mut metric = MetricRef {
                    resource: &resource,
                    scope: &scope,
                    name: header.name,
                    description: header.description,
                    unit: header.unit,
                    metadata: &metadata,
                    kind: header.kind,
                    temporality: header.temporality,
                    monotonic: header.monotonic,
                    hash: 0,
                };
                metric.hash = metric.identity(identity);
                let points = count_items_in(header.data)?;
                if let Err(reason) = repeated("a metric's own texts", metric.repeated_bytes(), points, items.bytes) {
                    outcome.reject(points, reason);
                    continue;
                }
                self.metrics.append(&metric, &header, context, outcome)?;
            }
        }
        Ok(())
    }
}

/// The fields of a `Metric` message before its points.
struct Header<'a> {
    name: &'a [u8],
    description: &'a [u8],
    unit: &'a [u8],
    metadata: Vec<&'a [u8]>,
    points: PointKind,
    kind: &'static str,
    data: &'a [u8],
    temporality: i32,
    monotonic: Option<bool>,
}

impl<'a> Header<'a> {
    /// The header, or why the metric is refused with how many points.
    fn parse(message: &'a [u8]) -> Result<Result<Self, (u64, ItemError)>, WireError> {
        let (mut name, mut description, mut unit) = (&[][..], &[][..], &[][..]);
        let mut metadata = Vec::new();
        let mut found = None;
        let mut reader = Reader::new(message);
        while let Some((field, content)) = reader.next()? {
            let (points, kind) = match field {
                1 => {
                    name = content.bytes()?;
                    continue;
                }
                2 => {
                    description = content.bytes()?;
                    continue;
                }
                3 => {
                    unit = content.bytes()?;
                    continue;
                }
                12 => {
                    metadata.push(content.bytes()?);
                    continue;
                }
                5 => (PointKind::Number, "gauge"),
                7 => (PointKind::Number, "sum"),
                9 => (PointKind::Histogram, "histogram"),
                10 => (PointKind::Exponential, "exponential_histogram"),
                11 => (PointKind::Summary, "summary"),
                _ => continue,
            };
            found = Some((points, kind, content.bytes()?));
        }
        if name.is_empty() {
            let points = found.map_or(Ok(0), |(_, _, data)| count_items_in(data))?;
            return Ok(Err((points.max(1), ItemError::NoMetricName)));
        }
        let Some((points, kind, data)) = found else {
            let name = String::from_utf8_lossy(name).chars().take(100).collect();
            return Ok(Err((1, ItemError::NoMetricData(name))));
        };
        let (mut temporality, mut monotonic) = (0, (kind == "sum").then_some(false));
        let mut reader = Reader::new(data);
        while let Some((field, content)) = reader.next()? {
            match field {
                2 if !matches!(kind, "gauge" | "summary") => temporality = content.int32()?,
                3 if kind == "sum" => monotonic = Some(content.bool()?),
                _ => {}
            }
        }
        Ok(Ok(Self {
            name,
            description,
            unit,
            metadata,
            points,
            kind,
            data,
            temporality,
            monotonic,
        }))
    }
}

/// Points in one Gauge, Sum, Histogram, ExponentialHistogram or Summary message.
fn count_items_in(data: &[u8]) -> Result<u64, WireError> {
    let mut points = 0;
    let mut reader = Reader::new(data);
    while let Some((field, _)) = reader.next()? {
        points += u64::from(field == 1);
    }
    Ok(points)
}

/// Points in whole `ScopeMetrics` messages; a metric that is itself invalid counts as one.
fn count_points(scopes: &[&[u8]]) -> Result<u64, WireError> {
    let mut points = 0;
    for scope in scopes {
        let mut reader = Reader::new(scope);
        while let Some((field, content)) = reader.next()? {
            if field == 2 {
                points += match Header::parse(content.bytes()?)? {
                    Ok(header) => count_items_in(header.data)?,
                    Err((points, _)) => points,
                };
            }
        }
    }
    Ok(points)
}

impl MetricRows {
    /// Rows of samples, histograms and exemplars.
    pub(super) fn rows(&self) -> [u32; 3] {
        [self.samples.rows(), self.histograms.rows(), self.exemplars.rows()]
    }

    pub(super) fn truncate(&mut self, [samples, histograms, exemplars]: [usize; 3]) {
        self.samples.truncate(samples);
        self.histograms.truncate(histograms);
        self.exemplars.truncate(exemplars);
    }

    fn append(
        &mut self,
        metric: &MetricRef<'_>,
        header: &Header<'_>,
        context: Context<'_>,
        outcome: &mut Outcome,
    ) -> Result<(), WireError> {
        let admission = context.admissions.for_dataset(Dataset::MetricSeries);
        let mut attributes = Vec::new();
        let mut reader = Reader::new(header.data);
        while let Some((field, content)) = reader.next()? {
            if field != 1 {
                continue;
            }
            let mark = self.rows().map(|rows| rows as usize);
            let point = content.bytes()?;
            attributes.clear();
            let appended = self.append_point(metric, header.points, point, &mut attributes, context, admission);
            match appended {
                Ok(()) => outcome.accepted += 1,
                Err(Fault::Item(reason)) => {
                    self.truncate(mark);
                    outcome.reject(1, reason);
                }
                Err(Fault::Wire(error)) => return Err(error),
            }
        }
        Ok(())
    }

    fn append_point<'a>(
        &mut self,
        metric: &MetricRef<'_>,
        kind: PointKind,
        point: &'a [u8],
        attributes: &mut Vec<&'a [u8]>,
        context: Context<'_>,
        admission: &dyn ColumnAdmission,
    ) -> Result<(), Fault> {
        let mut raw = 0u128;
        let attributes_field = kind.attributes_field();
        let mut reader = Reader::new(point);
        while let Some((field, content)) = reader.next()? {
            if field == attributes_field {
                let message = content.bytes()?;
                // Chained, so that the same attributes in another order are simply looked up separately.
                raw = raw.rotate_left(1) ^ xxh3_128_with_seed(message, raw as u64);
                attributes.push(message);
            }
        }
        let series: SeriesId = self.series.resolve(metric, raw, attributes, context, admission)?;
        let exemplars = &mut self.exemplars;
        let depth = context.limits.max_depth;
        match kind {
            PointKind::Number => self.samples.push(&series, point, exemplars, depth),
            PointKind::Histogram => self.histograms.push_explicit(&series, point, exemplars, depth),
            PointKind::Exponential => self.histograms.push_exponential(&series, point, exemplars, depth),
            PointKind::Summary => self.histograms.push_summary(&series, point),
        }
    }
}
