//! Checks of parts: the object is what was written, and the catalog tells the truth about it.

use std::sync::Arc;

use catalog::{Part, StoredPart};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::file::metadata::ParquetMetaData;
use schema::Dataset;

use super::content::{Content, found};
use super::decode::Decoded;
use super::finding::{Affected, Finding, FindingKind};
use super::segments::{newer_program, reason, restore, sound};
use super::{Check, PAGE};
use crate::LakeError;
use crate::part::index::ENTRY_BYTES;
use crate::part::{self, BLOCK_ROWS};
use crate::read::PartFile;

/// A footer of unknown size is looked for in so many bytes at the end of a part.
const LARGEST_FOOTER: i64 = 16 << 20;

impl Check {
    pub(super) async fn all_parts(&self) -> Result<(), LakeError> {
        let mut after = 0;
        loop {
            let last = self.totals.last_part;
            let page = self.lake.catalog().stored_parts(after, last, PAGE).await?;
            let Some(end) = page.last() else { return Ok(()) };
            after = end.part.id;
            self.each(page, Self::part).await?;
        }
    }

    async fn part(self, stored: StoredPart) -> Result<(), LakeError> {
        self.count(|c| &c.objects, 1);
        if stored.end_seq.is_some() {
            // Read only by queries that began before it ended, and deleted when it is due.
            return Ok(());
        }
        self.count(|c| &c.rows, stored.part.rows.max(0) as u64);
        let findings = match self.part_findings(&stored.part).await {
            Ok(findings) => findings,
            Err(error @ LakeError::Catalog(_)) => return Err(error),
            Err(error) => {
                self.unchecked(&stored.part.path, &error);
                return Ok(());
            }
        };
        if findings.is_empty() && stored.quarantined.is_none() {
            return Ok(());
        }
        let id = stored.part.id;
        let now = self.lake.catalog().stored_parts(id - 1, id, 1).await?;
        if now.first() == Some(&stored) {
            if let (true, Some(entry)) = (findings.is_empty(), &stored.quarantined) {
                self.found(sound(entry)).await?;
            }
            for mut finding in findings {
                finding.quarantined = stored.quarantined.is_some();
                self.found(finding).await?;
            }
        } else {
            self.count(|c| &c.gone_meanwhile, 1);
        }
        Ok(())
    }

    async fn part_findings(&self, part: &Part) -> Result<Vec<Finding>, LakeError> {
        let Some(content) = self.content(&part.path).await? else {
            let what = "the store does not have it".to_owned();
            return Ok(vec![about(part, FindingKind::MissingObject, what, restore())]);
        };
        if part.format_version > part::FORMAT_VERSION {
            let what = format!(
                "the catalog says that it is of part format {}, this program knows formats up to {}",
                part.format_version,
                part::FORMAT_VERSION
            );
            return Ok(vec![about(part, FindingKind::UnknownFormat, what, newer_program())]);
        }
        if content.checksum != part.checksum {
            return Ok(vec![self.damage(part, content).await?]);
        }
        // From here on the bytes are right, so what does not fit is the catalog's word.
        let mut findings = Vec::new();
        let bytes = content.bytes as i64;
        if bytes != part.bytes {
            let what = format!("it has {bytes} bytes, the catalog says {}", part.bytes);
            findings.push(about(
                part,
                FindingKind::WrongSize,
                what,
                correct(part, "byte_size", bytes),
            ));
        }
        let mut right = part.clone();
        right.bytes = bytes;
        let footer = match self.footer(&right).await {
            Ok(footer) => footer,
            Err(error @ LakeError::Store(_)) => return Err(error),
            Err(error) => match error {
                LakeError::NewerFormat { .. } => {
                    findings.push(about(
                        part,
                        FindingKind::UnknownFormat,
                        error.to_string(),
                        newer_program(),
                    ));
                    return Ok(findings);
                }
                error => {
                    right.footer_bytes = LARGEST_FOOTER.min(bytes);
                    match self.footer(&right).await {
                        Ok(footer) => footer,
                        Err(error @ LakeError::Store(_)) => return Err(error),
                        Err(_) => {
                            let what = format!(
                                "it holds what was written, but its footer cannot be read: {}",
                                reason(&error)
                            );
                            findings.push(about(part, FindingKind::UnreadableObject, what, report()));
                            return Ok(findings);
                        }
                    }
                }
            },
        };
        self.layout(part, &mut right, &footer, &mut findings).await?;
        let decoded = match self.decode(&right, &footer, self.options.deep).await {
            Ok(decoded) => decoded,
            Err(error @ LakeError::Store(_)) => return Err(error),
            Err(error) => {
                let what = format!("it holds what was written, but cannot be read: {}", reason(&error));
                findings.push(about(part, FindingKind::UnreadableObject, what, report()));
                return Ok(findings);
            }
        };
        if decoded.rows != part.rows {
            let what = format!("it has {} rows, the catalog says {}", decoded.rows, part.rows);
            let remedy = correct(part, "row_count", decoded.rows);
            findings.push(about(part, FindingKind::WrongRowCount, what, remedy));
        }
        if decoded.times != (part.min_ts, part.max_ts) {
            let what = format!(
                "its times are {} to {} ns, the catalog says {} to {}: queries that look at the times leave rows out, or \
                 read it for nothing",
                decoded.times.0, decoded.times.1, part.min_ts, part.max_ts
            );
            let remedy = format!(
                "UPDATE part SET min_ts = {}, max_ts = {} WHERE id = {}",
                decoded.times.0, decoded.times.1, part.id
            );
            findings.push(about(part, FindingKind::WrongTimeRange, what, remedy));
        }
        for (column, what) in &decoded.statistics {
            let remedy = format!(
                "DELETE FROM part_stat WHERE part_id = {} AND column_name = '{}': queries then read the part instead of \
                 leaving it out",
                part.id,
                column.replace('\'', "''")
            );
            findings.push(about(part, FindingKind::WrongStatistic, what.clone(), remedy));
        }
        if let Some(what) = self.index_problem(&right, &decoded).await? {
            findings.push(about(part, FindingKind::UnreadableObject, what, report()));
        }
        Ok(findings)
    }

    /// The footer, read as queries read it.
    async fn footer(&self, part: &Part) -> Result<Arc<ParquetMetaData>, LakeError> {
        let footer = self.lake.part_reader(PartFile::from(part)).footer().await?;
        Ok(Arc::clone(footer.metadata()))
    }

    /// Compares where the catalog says that things are with where they are: the trace index between the last column and the
    /// footer, which begins with the page indexes.
    async fn layout(
        &self,
        part: &Part,
        right: &mut Part,
        footer: &ParquetMetaData,
        findings: &mut Vec<Finding>,
    ) -> Result<(), LakeError> {
        let chunks = || footer.row_groups().iter().flat_map(|group| group.columns());
        let ends = chunks().map(|chunk| chunk.byte_range());
        let ends = ends.map(|(from, length)| (from + length) as i64);
        right.index_offset = ends.max().unwrap_or(part.index_offset);
        // A Parquet file ends with the length of its metadata and a magic number of 4 bytes.
        let tail = (right.bytes - 8).max(0) as u64..right.bytes.max(0) as u64;
        let path = Path::from(part.path.as_str());
        let Some(tail) = found(self.lake.store().get_range(&path, tail).await)? else {
            return Ok(());
        };
        let length = tail.first_chunk().map_or(0, |length| u32::from_le_bytes(*length));
        let metadata = right.bytes - 8 - i64::from(length);
        let indexes = chunks().flat_map(|chunk| [chunk.column_index_offset(), chunk.offset_index_offset()]);
        let begins = indexes.flatten().min().unwrap_or(metadata).min(metadata);
        right.footer_bytes = right.bytes - begins;
        right.index_bytes = begins - right.index_offset;
        right.index_entries = right.index_bytes / ENTRY_BYTES as i64;
        let of = |p: &Part| (p.index_offset, p.index_bytes, p.index_entries, p.footer_bytes);
        if of(part) != of(right) {
            let what = format!(
                "trace index (offset, bytes, entries) and footer (bytes) are {:?}, the catalog says {:?}",
                of(right),
                of(part)
            );
            let remedy = format!(
                "UPDATE part SET index_offset = {}, index_bytes = {}, index_entries = {}, footer_bytes = {} WHERE id = {}",
                right.index_offset, right.index_bytes, right.index_entries, right.footer_bytes, part.id
            );
            findings.push(about(part, FindingKind::WrongLayout, what, remedy));
        }
        Ok(())
    }

    /// What is wrong with the trace index of a part whose bytes are right.
    async fn index_problem(&self, part: &Part, decoded: &Decoded) -> Result<Option<String>, LakeError> {
        if part.dataset != Dataset::Spans {
            return Ok(None);
        }
        let Some(index) = self.index(part).await? else {
            return Ok(None);
        };
        if let Some(rebuilt) = &decoded.trace_index {
            let wrong = (rebuilt != &index).then(|| "its trace index is not that of its traces".to_owned());
            return Ok(wrong);
        }
        let (entries, _) = index.as_chunks::<{ ENTRY_BYTES as usize }>();
        let blocks = decoded.rows.max(0).unsigned_abs().div_ceil(BLOCK_ROWS as u64);
        let block = |entry: &[u8; 8]| u64::from(u32::from_be_bytes([entry[4], entry[5], entry[6], entry[7]]));
        Ok(if !entries.is_sorted() {
            Some("its trace index is not in order".to_owned())
        } else if entries.iter().any(|entry| block(entry) >= blocks) {
            Some("its trace index names blocks that are not there".to_owned())
        } else {
            None
        })
    }

    /// The bytes of the trace index; `None` if the object is gone.
    async fn index(&self, part: &Part) -> Result<Option<Vec<u8>>, LakeError> {
        let (from, length) = (part.index_offset.max(0) as u64, part.index_bytes.max(0) as u64);
        if length == 0 {
            return Ok(Some(Vec::new()));
        }
        let range = from..from + length;
        let bytes = self
            .lake
            .store()
            .get_range(&Path::from(part.path.as_str()), range)
            .await;
        Ok(found(bytes)?.map(Vec::from))
    }

    /// The object does not have the checksum that was written: tells as exactly as can be what happened to it.
    async fn damage(&self, part: &Part, content: Content) -> Result<Finding, LakeError> {
        let same = self.lake.catalog().parts_with_checksum(content.checksum).await?;
        if let Some(other) = same.iter().find(|path| **path != part.path) {
            let what = format!("it holds the content of {other}");
            return Ok(about(part, FindingKind::ForeignContent, what, restore()));
        }
        let bytes = content.bytes as i64;
        if bytes < part.bytes {
            let what = format!("it ends after {bytes} of {} bytes", part.bytes);
            return Ok(about(part, FindingKind::TruncatedObject, what, restore()));
        }
        let mut what = "its bytes are not those that were written (its checksum differs)".to_owned();
        let decoded = match self.footer(part).await {
            Ok(footer) => self.decode(part, &footer, true).await,
            Err(error) => Err(error),
        };
        match decoded {
            Ok(decoded) => {
                if let Some(index) = decoded.trace_index.filter(|i| i.len() as i64 == part.index_bytes) {
                    let instead = Some((part.index_offset.max(0) as u64, index.as_slice()));
                    let repaired = self.hash(&part.path, content.bytes, instead).await?;
                    if repaired.is_some_and(|repaired| repaired.checksum == part.checksum) {
                        let what =
                            "its trace index is not what was written; all else is: SQL is right, but a trace asked \
                                    for by its id may lack spans"
                                .to_owned();
                        return Ok(about(part, FindingKind::DamagedTraceIndex, what, restore()));
                    }
                }
                what += "; every value can be decoded, so queries may give wrong answers without an error";
            }
            Err(error @ LakeError::Store(_)) => return Err(error),
            Err(error) => what = format!("{what}; reading it fails: {}", reason(&error)),
        }
        Ok(about(part, FindingKind::DamagedObject, what, restore()))
    }
}

fn about(part: &Part, kind: FindingKind, what: String, remedy: String) -> Finding {
    Finding {
        kind,
        path: Some(part.path.clone()),
        what,
        affected: vec![Affected::from(part)],
        remedy,
        quarantined: false,
    }
}

/// How to make the catalog tell the truth.
fn correct(part: &Part, column: &str, value: i64) -> String {
    format!("UPDATE part SET {column} = {value} WHERE id = {}", part.id)
}

fn report() -> String {
    "a fault of the program that wrote it: please report it, and keep the object. With --quarantine queries go on without \
     these rows, and say so"
        .to_owned()
}
