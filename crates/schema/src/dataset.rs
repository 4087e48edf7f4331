use std::fmt;

/// A kind of row. Together with the tenant it names a table; every slice and part holds rows of exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Dataset {
    /// One row is a span.
    Spans = 1,
    /// One row is a log record.
    Logs = 2,
    /// One row is a resource (hash and attributes) as seen in a window.
    Resources = 3,
    /// One row is a metric series as seen in a window.
    MetricSeries = 4,
    /// One row is a number point of a gauge or sum.
    MetricSamples = 5,
    /// One row is a point of an explicit or exponential histogram or of a summary.
    MetricHistograms = 6,
    /// One row is an exemplar of a metric point.
    Exemplars = 7,
}

impl Dataset {
    /// Every dataset, in id order.
    pub const ALL: [Self; 7] = [
        Self::Spans,
        Self::Logs,
        Self::Resources,
        Self::MetricSeries,
        Self::MetricSamples,
        Self::MetricHistograms,
        Self::Exemplars,
    ];

    /// The stable number stored in the catalog.
    pub const fn id(self) -> i64 {
        self as u8 as i64
    }

    /// The dataset of a stored number.
    pub fn from_id(id: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.id() == id)
    }

    /// The name used in SQL, object paths and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Spans => "spans",
            Self::Logs => "logs",
            Self::Resources => "resources",
            Self::MetricSeries => "metric_series",
            Self::MetricSamples => "metric_samples",
            Self::MetricHistograms => "metric_histograms",
            Self::Exemplars => "exemplars",
        }
    }

    /// The dataset of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.name() == name)
    }
}

impl fmt::Display for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
