//! What a check of the lake tells: what is wrong, what is affected, what to do.

use catalog::{Holder, Part, Slice};
use schema::{Dataset, TenantId, UnixNanos};

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FindingKind {
    /// The store does not have the object.
    MissingObject,
    /// The object ends before its content does.
    TruncatedObject,
    /// The object holds the content of another one.
    ForeignContent,
    /// Bytes of the object are not those that were written.
    DamagedObject,
    /// Of a part only the trace index is not what was written.
    DamagedTraceIndex,
    /// The bytes are those that were written, but they cannot be read.
    UnreadableObject,
    /// The object is of a format version that this program does not know.
    UnknownFormat,
    /// The catalog has another size than the object, whose content is right.
    WrongSize,
    /// The catalog does not say where the footer or the trace index of a part is.
    WrongLayout,
    /// The catalog counts other rows than there are.
    WrongRowCount,
    /// The catalog has another time range than the rows.
    WrongTimeRange,
    /// A statistic excludes a value that is there.
    WrongStatistic,
    /// Two slices of a segment have bytes in common.
    OverlappingSlices,
    /// An object that no catalog row names, past the grace period.
    Orphan,
    /// Objects that should have been deleted long ago.
    OverdueGarbage,
    /// A row of the catalog that contradicts others.
    CatalogRow,
    /// An object in quarantine with which nothing is wrong.
    SoundInQuarantine,
}

impl FindingKind {
    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MissingObject => "missing_object",
            Self::TruncatedObject => "truncated_object",
            Self::ForeignContent => "foreign_content",
            Self::DamagedObject => "damaged_object",
            Self::DamagedTraceIndex => "damaged_trace_index",
            Self::UnreadableObject => "unreadable_object",
            Self::UnknownFormat => "unknown_format",
            Self::WrongSize => "wrong_size",
            Self::WrongLayout => "wrong_layout",
            Self::WrongRowCount => "wrong_row_count",
            Self::WrongTimeRange => "wrong_time_range",
            Self::WrongStatistic => "wrong_statistic",
            Self::OverlappingSlices => "overlapping_slices",
            Self::Orphan => "orphan",
            Self::OverdueGarbage => "overdue_garbage",
            Self::CatalogRow => "catalog_row",
            Self::SoundInQuarantine => "sound_in_quarantine",
        }
    }

    /// Whether queries fail that need the object, or answer what was not written: then they had better do without it. What is
    /// wrong in the catalog alone can be put right.
    pub const fn spoils_queries(self) -> bool {
        matches!(self.severity(), Severity::Loss) || matches!(self, Self::UnknownFormat)
    }

    /// What it means for whoever asks for the data.
    pub const fn severity(self) -> Severity {
        match self {
            Self::MissingObject
            | Self::TruncatedObject
            | Self::ForeignContent
            | Self::DamagedObject
            | Self::DamagedTraceIndex
            | Self::UnreadableObject => Severity::Loss,
            Self::UnknownFormat
            | Self::WrongSize
            | Self::WrongLayout
            | Self::WrongRowCount
            | Self::WrongTimeRange
            | Self::WrongStatistic
            | Self::OverlappingSlices
            | Self::CatalogRow
            | Self::SoundInQuarantine => Severity::Wrong,
            Self::Orphan | Self::OverdueGarbage => Severity::Waste,
        }
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Space is wasted; every answer is right.
    Waste,
    /// The rows are there, but answers fail or are wrong.
    Wrong,
    /// Rows that were acknowledged cannot be read.
    Loss,
}

impl Severity {
    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waste => "waste",
            Self::Wrong => "wrong",
            Self::Loss => "loss",
        }
    }
}

/// Rows that a finding is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Affected {
    /// What holds them; none if it is only the catalog that names them.
    pub holder: Option<Holder>,
    /// Whose rows they are; none if the catalog does not say.
    pub tenant: Option<TenantId>,
    /// What they are.
    pub dataset: Option<Dataset>,
    /// Their number, as the catalog has it.
    pub rows: i64,
    /// Their least and greatest time (ns), as the catalog has it.
    pub times: Option<(UnixNanos, UnixNanos)>,
}

impl From<&Slice> for Affected {
    fn from(slice: &Slice) -> Self {
        Self {
            holder: Some(Holder::Slice(slice.id)),
            tenant: Some(slice.tenant.clone()),
            dataset: Some(slice.dataset),
            rows: slice.rows,
            times: Some((slice.min_ts, slice.max_ts)),
        }
    }
}

impl From<&Part> for Affected {
    fn from(part: &Part) -> Self {
        Self {
            holder: Some(Holder::Part(part.id)),
            tenant: Some(part.tenant.clone()),
            dataset: Some(part.dataset),
            rows: part.rows,
            times: Some((part.min_ts, part.max_ts)),
        }
    }
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub kind: FindingKind,
    /// The object, if it is about one.
    pub path: Option<String>,
    /// What is wrong, in words.
    pub what: String,
    /// Rows of live data that are affected; none if no query needs them.
    pub affected: Vec<Affected>,
    /// What to do about it.
    pub remedy: String,
    /// Whether queries do without the rows: the object is in quarantine.
    pub quarantined: bool,
}

/// What a check came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// The snapshot sequence at which it began.
    pub sequence: i64,
    /// Segments and parts that were looked at.
    pub objects: u64,
    /// Bytes that were read of them.
    pub bytes: u64,
    /// Live rows in them.
    pub rows: u64,
    /// Objects that the store listed.
    pub listed: u64,
    /// Findings by how bad they are: waste, wrong, loss.
    pub findings: [u64; 3],
    /// Objects that were compacted or deleted while they were looked at: nothing can be said, and nothing needs to be.
    pub gone_meanwhile: u64,
    /// What could not be checked, because the store did not answer.
    pub unchecked: u64,
}

impl VerifyReport {
    /// Number of findings.
    pub fn found(&self) -> u64 {
        self.findings.iter().sum()
    }
}
