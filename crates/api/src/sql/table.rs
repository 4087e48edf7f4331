//! Rows as an aligned table for people.

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::Format;
use crate::cells::Column;

/// 16 MiB of cells: as many bytes as a terminal can be expected to take.
const MAX_BYTES: usize = 16 << 20;

/// Collects rows and draws them when all are there: widths are not known before.
pub(super) struct Table {
    heads: Vec<String>,
    /// Whether the column holds numbers, which are aligned on the right.
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
    bytes: usize,
    truncated: bool,
}

impl Table {
    pub(super) fn new(schema: &SchemaRef) -> Self {
        let heads = schema
            .fields()
            .iter()
            .map(|field| one_line(field.name().as_bytes()))
            .collect();
        let right = schema
            .fields()
            .iter()
            .map(|field| field.data_type().is_numeric())
            .collect();
        Self {
            heads,
            right,
            rows: Vec::new(),
            bytes: 0,
            truncated: false,
        }
    }

    /// Takes rows; false when it has enough.
    pub(super) fn rows(&mut self, batch: &RecordBatch) -> Result<bool, ArrowError> {
        let columns = batch.columns().iter().map(Column::new).collect::<Result<Vec<_>, _>>()?;
        let mut text = Vec::new();
        for row in 0..batch.num_rows() {
            if self.rows.len() == Format::TABLE_ROWS || self.bytes > MAX_BYTES {
                self.truncated = true;
                return Ok(false);
            }
            let mut cells = Vec::with_capacity(columns.len());
            for column in &columns {
                text.clear();
                column.text(row, &mut text);
                let cell = one_line(&text);
                self.bytes += cell.len();
                cells.push(cell);
            }
            self.rows.push(cells);
        }
        Ok(true)
    }

    /// The table with a line that says how many rows it has, and one why some may be missing.
    pub(super) fn finish(self, partial: Option<&str>) -> Vec<u8> {
        let mut widths = self.heads.iter().map(|head| width(head)).collect::<Vec<_>>();
        for row in &self.rows {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = (*widest).max(width(cell));
            }
        }
        let mut out = String::new();
        let rule = widths
            .iter()
            .map(|width| format!("+{}", "-".repeat(width + 2)))
            .collect::<String>()
            + "+\n";
        if !widths.is_empty() {
            out.push_str(&rule);
            line(&mut out, &self.heads, &widths, &vec![false; widths.len()]);
            out.push_str(&rule);
            for row in &self.rows {
                line(&mut out, row, &widths, &self.right);
            }
            if !self.rows.is_empty() {
                out.push_str(&rule);
            }
        }
        let rows = self.rows.len();
        out.push_str(&match (rows, self.truncated) {
            (1, false) => "(1 row)\n".to_owned(),
            (_, false) => format!("({rows} rows)\n"),
            (_, true) => {
                format!("(the first {rows} rows; there are more: add a LIMIT, or use the format ndjson or csv)\n")
            }
        });
        if let Some(reason) = partial {
            out.push_str(&format!("({reason})\n"));
        }
        out.into_bytes()
    }
}

fn line(out: &mut String, cells: &[String], widths: &[usize], right: &[bool]) {
    for ((cell, &widest), &right) in cells.iter().zip(widths).zip(right) {
        let padding = " ".repeat(widest.saturating_sub(width(cell)));
        out.push_str("| ");
        if right {
            out.push_str(&padding);
        }
        out.push_str(cell);
        if !right {
            out.push_str(&padding);
        }
        out.push(' ');
    }
    out.push_str("|\n");
}

/// Text without line ends and other control characters, which would break the lines or drive the terminal.
fn one_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    if !text.chars().any(char::is_control) {
        return text.into_owned();
    }
    text.chars()
        .flat_map(|c| {
            if c.is_control() {
                c.escape_default().collect::<Vec<_>>()
            } else {
                vec![c]
            }
        })
        .collect()
}

/// Columns that a text takes in a terminal: two for East Asian wide characters and emoji (Unicode Standard Annex 11,
/// the large blocks only).
fn width(text: &str) -> usize {
    let wide = |c: char| {
        matches!(u32::from(c),
            0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f
            | 0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff | 0x20000..=0x3fffd)
    };
    text.chars().map(|c| if wide(c) { 2 } else { 1 }).sum()
}
