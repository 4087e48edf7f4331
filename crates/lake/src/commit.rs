//! The group commit: segment object, then catalog row, then (by the caller) the acknowledgements.
//!
//! An object whose row was never committed is garbage that nobody can see; it was never acknowledged and garbage
//! collection removes it as an orphan. A failure at any step therefore loses nothing that was promised.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::BooleanArray;
use catalog::{CatalogError, CommitOutcome, NewColumn, NewSegment, RequestKey};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use schema::{Dataset, TenantId, day_text};

use crate::host::Urgency;
use crate::segment::{self, Rows};
use crate::{Lake, LakeError};

/// A commit that has not happened by then does not happen any more: senders have given up (OTLP exporters after 10 s) and
/// may have sent the same requests elsewhere, where they are remembered for longer than this, but not for ever.
const PATIENCE_NANOS: i64 = 60_000_000_000;

/// What one group commit makes durable.
#[derive(Debug, Default)]
pub struct Commit {
    /// The rows.
    pub rows: Vec<Rows>,
    /// The requests they came with.
    pub requests: Vec<Request>,
    /// Columns not known to be in the catalog.
    pub columns: Vec<NewColumn>,
    /// How often resources and series of the tenants were deleted, as it was known when the rows were decoded
    /// ([`catalog::Catalog::forgotten`]).
    pub forgotten: Vec<(TenantId, i64)>,
}

/// A request and the rows it brought, so that they can be left out if it turns out to be committed already.
#[derive(Debug, Clone)]
pub struct Request {
    /// Tenant and hash.
    pub key: RequestKey,
    /// Ranges of row numbers in `Commit::rows` entries: (entry, from, to).
    pub ranges: Vec<(usize, u32, u32)>,
}

/// What became of a commit.
#[derive(Debug)]
pub struct Committed {
    /// By request: true if its rows were committed now, false if they had been before or its tenant is among `forgotten`.
    pub fresh: Vec<bool>,
    /// Tenants of which nothing was committed, because resources or series that their rows rely on were deleted meanwhile;
    /// with each how often that is now.
    pub forgotten: Vec<(TenantId, i64)>,
    /// Bytes of the segment.
    pub bytes: u64,
    /// Rows in it.
    pub rows: u64,
    /// Time spent encoding, putting and in the catalog.
    pub phases: [Duration; 3],
}

impl Lake {
    /// Commits rows: afterwards they are durable and every later snapshot, of any process, has them.
    ///
    /// # Errors
    /// [`LakeError`]; nothing is visible then.
    pub async fn commit(&self, mut commit: Commit) -> Result<Committed, LakeError> {
        let mut fresh = vec![true; commit.requests.len()];
        let mut phases = [Duration::ZERO; 3];
        let (began, began_ticks) = (self.inner.clock.now(), self.inner.clock.ticks());
        let mut attempts_left = 2;
        let mut forgotten: Vec<(TenantId, i64)> = Vec::new();
        loop {
            if commit
                .rows
                .iter()
                .all(|rows| rows.batch.num_rows() == 0 || !is_item(rows.dataset))
            {
                // Nothing new is left; resources and series alone need no commit.
                return Ok(Committed {
                    fresh,
                    forgotten,
                    bytes: 0,
                    rows: 0,
                    phases,
                });
            }
            // Entries are numbered by the requests' ranges, so an emptied one keeps its place.
            let live = (0..fresh.len()).filter(|&i| fresh[i]).collect::<Vec<_>>();
            let started = Instant::now();
            let rows = std::mem::take(&mut commit.rows);
            let encoding = move || {
                let encoded = segment::encode(&rows);
                (rows, encoded)
            };
            let (rows, encoded) = self.inner.host.run(Urgency::Now, encoding).await?;
            commit.rows = rows;
            let encoded = encoded?;
            phases[0] += started.elapsed();
            let started = Instant::now();
            let now = self.inner.clock.now();
            let path = format!("segments/{}/{}.seg", day_text(now), self.inner.host.unique_name());
            let bytes = encoded.bytes.len() as u64;
            self.inner
                .store
                .put(&Path::from(path.as_str()), encoded.bytes.into())
                .await?;
            phases[1] += started.elapsed();
            let started = Instant::now();
            let segment = NewSegment {
                path,
                bytes: bytes as i64,
                created_at: now,
                commit_by: began.saturating_add(PATIENCE_NANOS),
                commit_by_ticks: began_ticks.saturating_add(PATIENCE_NANOS),
                writer: self.inner.writer.clone(),
                format_version: segment::FORMAT_VERSION,
                slices: encoded.slices,
                requests: live.iter().map(|&i| commit.requests[i].key.clone()).collect(),
                columns: commit.columns.clone(),
                forgotten: commit.forgotten.clone(),
            };
            let outcome = self.inner.catalog.commit_segment(&segment, &*self.inner.clock).await;
            phases[2] += started.elapsed();
            self.inner
                .telemetry
                .catalog_operation("commit_segment", started.elapsed());
            let outcome = match outcome {
                // The object was taken for an orphan, by a clock that is wrong: put it again.
                Err(CatalogError::Conflict(_)) if attempts_left > 0 => {
                    attempts_left -= 1;
                    continue;
                }
                outcome => outcome?,
            };
            match outcome {
                CommitOutcome::Committed { slice_ids, .. } => {
                    let mut count = 0;
                    for (id, rows) in slice_ids.into_iter().zip(commit.rows) {
                        count += rows.batch.num_rows() as u64;
                        self.inner.cache.keep_slice(id, Arc::new(rows.batch));
                    }
                    return Ok(Committed {
                        fresh,
                        forgotten,
                        bytes,
                        rows: count,
                        phases,
                    });
                }
                CommitOutcome::Duplicates(indexes) => {
                    // Somebody committed these requests first (a client that retried elsewhere): leave them out.
                    for index in indexes {
                        if let Some(&request) = live.get(index) {
                            fresh[request] = false;
                        }
                    }
                    commit = without(commit, &fresh)?;
                }
                CommitOutcome::Forgotten(tenants) => {
                    let is = |tenant: &TenantId| tenants.iter().any(|(outdated, _)| outdated == tenant);
                    for (request, fresh) in commit.requests.iter().zip(&mut fresh) {
                        *fresh &= !is(&request.key.tenant);
                    }
                    commit = without(commit, &fresh)?;
                    // Rows of resources and series belong to no request.
                    for rows in commit.rows.iter_mut().filter(|rows| is(&rows.tenant)) {
                        let none = BooleanArray::from(vec![false; rows.batch.num_rows()]);
                        rows.batch = rows.batch.filter(&none)?;
                    }
                    commit.columns.retain(|column| !is(&column.tenant));
                    commit.forgotten.retain(|(tenant, _)| !is(tenant));
                    forgotten.extend(tenants);
                }
            }
        }
    }
}

/// The commit without the rows of requests that are not fresh. Their ranges become empty, the others move up.
fn without(commit: Commit, fresh: &[bool]) -> Result<Commit, LakeError> {
    let mut keep: HashMap<usize, Vec<bool>> = HashMap::new();
    for (request, _) in commit.requests.iter().zip(fresh).filter(|(_, fresh)| !**fresh) {
        for &(entry, from, to) in &request.ranges {
            let rows = commit.rows[entry].batch.num_rows();
            keep.entry(entry).or_insert_with(|| vec![true; rows])[from as usize..to as usize].fill(false);
        }
    }
    let mut rows = Vec::with_capacity(commit.rows.len());
    for (entry, part) in commit.rows.into_iter().enumerate() {
        rows.push(match keep.get(&entry) {
            Some(keep) => Rows {
                batch: part.batch.filter(&BooleanArray::from(keep.clone()))?,
                ..part
            },
            None => part,
        });
    }
    let requests = commit
        .requests
        .into_iter()
        .zip(fresh)
        .map(|(request, &fresh)| Request {
            ranges: if fresh {
                moved(&request.ranges, &keep)
            } else {
                Vec::new()
            },
            key: request.key,
        })
        .collect();
    Ok(Commit {
        rows,
        requests,
        ..commit
    })
}

fn moved(ranges: &[(usize, u32, u32)], keep: &HashMap<usize, Vec<bool>>) -> Vec<(usize, u32, u32)> {
    ranges
        .iter()
        .map(|&(entry, from, to)| match keep.get(&entry) {
            Some(keep) => {
                let gone = keep[..from as usize].iter().filter(|k| !**k).count() as u32;
                (entry, from - gone, to - gone)
            }
            None => (entry, from, to),
        })
        .collect()
}

/// The datasets whose rows a request's items become; rows of resources and series belong to nobody.
pub fn is_item(dataset: Dataset) -> bool {
    !matches!(dataset, Dataset::Resources | Dataset::MetricSeries)
}

/// A key for a request's payload: tenant and hash.
pub fn request_key(tenant: &TenantId, payload_hash: u128) -> RequestKey {
    RequestKey {
        tenant: tenant.clone(),
        hash: payload_hash.to_be_bytes(),
    }
}
