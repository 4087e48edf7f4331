/// How rows are written. Of a result that may lack rows, because damaged objects are in quarantine, the header
/// `X-Partial-Reason` says why, whatever the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `{"columns": [{"name", "type"}], "data": [{...}, ...]}`, types in Arrow's words; between the two `partial`, the
    /// reason, if rows may be missing. An error after the first rows
    /// is a last member `error`.
    Json,
    /// One JSON object a line. An error after the first rows is a last line `{"error": {"kind", "message"}}`.
    Ndjson,
    /// RFC 4180 with a header line; null is nothing, an empty text is `""`. An error after the first rows is a last
    /// line `# error: ...`.
    Csv,
    /// An Arrow IPC stream. An error after the first rows breaks the connection.
    Arrow,
    /// An aligned table for people, shown when the query has ended; limited to [`Format::TABLE_ROWS`] rows. Its last line
    /// says why rows may be missing.
    Table,
}

impl Format {
    /// The values of `?format=`.
    pub const NAMES: [&'static str; 5] = ["json", "ndjson", "csv", "arrow", "table"];

    /// A table shows so many rows: it is held in memory, and nobody reads more.
    pub const TABLE_ROWS: usize = 10_000;

    /// The format of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "json" => Self::Json,
            "ndjson" => Self::Ndjson,
            "csv" => Self::Csv,
            "arrow" => Self::Arrow,
            "table" => Self::Table,
            _ => return None,
        })
    }

    /// The first known media type of an `Accept` header; JSON when there is none.
    pub(crate) fn from_accept(accept: &str) -> Self {
        let media = accept.split(',').filter_map(|entry| entry.split(';').next());
        let known = |media: &str| {
            Some(match media.trim().to_ascii_lowercase().as_str() {
                "application/json" => Self::Json,
                "application/x-ndjson" | "application/jsonl" | "application/ndjson" => Self::Ndjson,
                "text/csv" => Self::Csv,
                "application/vnd.apache.arrow.stream" => Self::Arrow,
                "text/plain" => Self::Table,
                _ => return None,
            })
        };
        media.into_iter().find_map(known).unwrap_or(Self::Json)
    }

    /// The value for `?format=`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Arrow => "arrow",
            Self::Table => "table",
        }
    }

    /// The media type of the answer.
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Table => "text/plain; charset=utf-8",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for name in Format::NAMES {
            assert_eq!(Format::from_name(name).unwrap().name(), name);
        }
        assert_eq!(Format::from_name("JSON"), None);
    }

    #[test]
    fn reads_accept() {
        for (accept, expected) in [
            ("", Format::Json),
            ("*/*", Format::Json),
            ("text/html, text/csv;q=0.9", Format::Csv),
            ("application/vnd.apache.arrow.stream", Format::Arrow),
            ("Text/Plain", Format::Table),
            ("application/x-ndjson, application/json", Format::Ndjson),
        ] {
            assert_eq!(Format::from_accept(accept), expected, "{accept}");
        }
    }
}
