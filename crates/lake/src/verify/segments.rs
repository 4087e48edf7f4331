//! Checks of segments: their slices are where the catalog says and hold what was written.

use std::collections::BTreeMap;

use catalog::{Holder, Quarantined, Slice, StoredSegment};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::content::found;
use super::finding::{Affected, Finding, FindingKind};
use super::{Check, PAGE};
use crate::LakeError;
use crate::segment::{self, decode_slice, time_range};

/// Slices of a segment with which the same is wrong, and what that is.
type Wrong<'a> = BTreeMap<(FindingKind, String), Vec<&'a Slice>>;

impl Check {
    pub(super) async fn all_segments(&self) -> Result<(), LakeError> {
        let mut after = 0;
        loop {
            let last = self.totals.last_segment;
            let page = self.lake.catalog().stored_segments(after, last, PAGE).await?;
            let Some(end) = page.last() else { return Ok(()) };
            after = end.id;
            self.each(page, Self::segment).await?;
        }
    }

    async fn segment(self, stored: StoredSegment) -> Result<(), LakeError> {
        self.count(|c| &c.objects, 1);
        self.count(|c| &c.rows, stored.slices.iter().map(|s| s.rows.max(0) as u64).sum());
        let findings = match self.segment_findings(&stored).await {
            Ok(findings) => findings,
            Err(error @ LakeError::Catalog(_)) => return Err(error),
            Err(error) => {
                self.unchecked(&stored.path, &error);
                return Ok(());
            }
        };
        if findings.is_empty() && stored.quarantined.is_empty() {
            return Ok(());
        }
        let now = self.lake.catalog().stored_segments(stored.id - 1, stored.id, 1).await?;
        if now.first() == Some(&stored) {
            for entry in &stored.quarantined {
                if !findings
                    .iter()
                    .any(|f| f.affected.iter().any(|a| a.holder == Some(entry.holder)))
                {
                    self.found(sound(entry)).await?;
                }
            }
            for finding in findings {
                self.found(finding).await?;
            }
        } else if let Some(now) = now.into_iter().next() {
            // Some slices were compacted meanwhile; what was found of the others may be true.
            return Box::pin(self.segment(now)).await;
        } else {
            self.count(|c| &c.gone_meanwhile, 1);
        }
        Ok(())
    }

    async fn segment_findings(&self, stored: &StoredSegment) -> Result<Vec<Finding>, LakeError> {
        if stored.slices.is_empty() {
            // Queued for deletion, and read only by queries that began before.
            return Ok(Vec::new());
        }
        let in_quarantine = |slice: &Slice| stored.quarantined.iter().any(|q| q.holder == Holder::Slice(slice.id));
        let finding = |kind: FindingKind, what: String, slices: Vec<&Slice>, remedy: String| Finding {
            kind,
            path: Some(stored.path.clone()),
            what,
            quarantined: !slices.is_empty() && slices.iter().all(|s| in_quarantine(s)),
            affected: slices.into_iter().map(Affected::from).collect(),
            remedy,
        };
        let all = || stored.slices.iter().collect::<Vec<_>>();
        let Some(size) = self.size(&stored.path).await? else {
            let what = "the store does not have it".to_owned();
            return Ok(vec![finding(FindingKind::MissingObject, what, all(), restore())]);
        };
        if stored.format_version > segment::FORMAT_VERSION {
            let what = format!(
                "the catalog says that it is of segment format {}, this program knows formats up to {}",
                stored.format_version,
                segment::FORMAT_VERSION
            );
            return Ok(vec![finding(FindingKind::UnknownFormat, what, all(), newer_program())]);
        }
        let mut wrong = Wrong::new();
        let mut end = 0;
        for slice in &stored.slices {
            if slice.offset < end {
                let what = format!("a slice begins at byte {}, within the one before", slice.offset);
                wrong
                    .entry((FindingKind::OverlappingSlices, what))
                    .or_default()
                    .push(slice);
            }
            end = end.max(slice.offset.saturating_add(slice.length));
            if let Some(reason) = self.slice_problem(slice, size).await? {
                wrong.entry(reason).or_default().push(slice);
            }
        }
        let truncated = wrong.keys().any(|(kind, _)| *kind == FindingKind::TruncatedObject);
        if size as i64 != stored.bytes && !truncated {
            let what = format!("it has {size} bytes, the catalog says {}", stored.bytes);
            wrong.entry((FindingKind::WrongSize, what)).or_default();
        }
        if self.begins(&stored.path, size).await? != Some(true) && !truncated {
            let what = "its first bytes are not those of a segment that this program knows".to_owned();
            wrong.entry((FindingKind::DamagedObject, what)).or_default();
        }
        let findings = wrong.into_iter().map(|((kind, what), slices)| {
            let remedy = match kind {
                FindingKind::WrongSize => {
                    format!("UPDATE segment SET byte_size = {size} WHERE id = {}", stored.id)
                }
                FindingKind::WrongRowCount | FindingKind::WrongTimeRange | FindingKind::OverlappingSlices => {
                    "restore the catalog from a backup; the bytes are those that were written".to_owned()
                }
                _ => restore(),
            };
            finding(kind, what, slices, remedy)
        });
        Ok(findings.collect())
    }

    /// Whether the object begins with a segment's first bytes.
    async fn begins(&self, path: &str, size: u64) -> Result<Option<bool>, LakeError> {
        let magic = segment::MAGIC.len() as u64;
        if size < magic {
            return Ok(Some(false));
        }
        let bytes = self.lake.store().get_range(&Path::from(path), 0..magic).await;
        Ok(found(bytes)?.map(|bytes| bytes.as_ref() == segment::MAGIC))
    }

    /// What is wrong with a slice of an object of `size` bytes.
    async fn slice_problem(&self, slice: &Slice, size: u64) -> Result<Option<(FindingKind, String)>, LakeError> {
        let (from, to) = (slice.offset, slice.offset.saturating_add(slice.length));
        if from < 0 || to < from {
            return Ok(None); // A row that contradicts itself is told with the catalog's rows.
        }
        if to as u64 > size {
            let what = format!("it has {size} bytes, but a slice ends at byte {to}");
            return Ok(Some((FindingKind::TruncatedObject, what)));
        }
        let range = from as u64..to as u64;
        let bytes = self
            .lake
            .store()
            .get_range(&Path::from(slice.path.as_str()), range)
            .await;
        let Some(bytes) = found(bytes)? else {
            return Ok(Some((
                FindingKind::MissingObject,
                "the store does not have it".to_owned(),
            )));
        };
        self.count(|c| &c.bytes, bytes.len() as u64);
        if xxhash_rust::xxh3::xxh3_64(&bytes) as i64 != slice.checksum {
            let what = "bytes of a slice are not those that were written (its checksum differs)".to_owned();
            return Ok(Some((FindingKind::DamagedObject, what)));
        }
        let batch = match decode_slice(&bytes, slice.checksum, &slice.path) {
            Ok(batch) => batch,
            Err(error) => {
                let what = format!("a slice holds what was written, but cannot be read: {}", reason(&error));
                return Ok(Some((FindingKind::UnreadableObject, what)));
            }
        };
        if batch.num_rows() as i64 != slice.rows {
            let what = format!("a slice has {} rows, the catalog says {}", batch.num_rows(), slice.rows);
            return Ok(Some((FindingKind::WrongRowCount, what)));
        }
        let times = time_range(slice.dataset, &batch);
        if times != (slice.min_ts, slice.max_ts) {
            let what = format!(
                "times of a slice are {} to {} ns, the catalog says {} to {}",
                times.0, times.1, slice.min_ts, slice.max_ts
            );
            return Ok(Some((FindingKind::WrongTimeRange, what)));
        }
        Ok(None)
    }
}

/// What is wrong with an object, without what a finding says anyway.
pub(super) fn reason(error: &LakeError) -> String {
    match error {
        LakeError::Damaged { what, .. } => what.clone(),
        error => error.to_string(),
    }
}

/// What to do about an object whose bytes are lost.
pub(super) fn restore() -> String {
    "restore the object from a backup or a copy of the store. Until then queries that need it fail; with --quarantine they \
     go on without these rows, and say so"
        .to_owned()
}

/// An object in quarantine with which nothing is wrong.
pub(super) fn sound(entry: &Quarantined) -> Finding {
    Finding {
        kind: FindingKind::SoundInQuarantine,
        path: Some(entry.path.clone()),
        what: format!(
            "queries do without it ({}), but nothing is wrong with it now",
            entry.reason
        ),
        affected: vec![Affected {
            holder: Some(entry.holder),
            tenant: Some(entry.tenant.clone()),
            dataset: Some(entry.dataset),
            rows: entry.rows,
            times: Some((entry.min_ts, entry.max_ts)),
        }],
        remedy: format!("otlp-rust quarantine release {}", entry.id),
        quarantined: true,
    }
}

/// What to do about an object of a later format.
pub(super) fn newer_program() -> String {
    "run a program at least as new as the one that wrote it. If there was none, the catalog or the object is damaged: \
     restore it from a backup"
        .to_owned()
}
