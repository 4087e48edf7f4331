//! Objects that the catalog does not know, and those that should be gone.

use futures::StreamExt;
use object_store::ObjectMeta;

use super::finding::{Finding, FindingKind};
use super::{Check, PAGE};
use crate::LakeError;

impl Check {
    /// Lists the store and compares it with the catalog.
    pub(super) async fn orphans(&self) -> Result<(), LakeError> {
        // What is younger than the grace may belong to a commit whose catalog row is not there yet. Garbage collection
        // looks for orphans once in a grace period, so until twice that age they are not late.
        let grace = i64::try_from(self.options.orphan_grace.as_nanos()).unwrap_or(i64::MAX);
        let cutoff = self.lake.clock().now().saturating_sub(grace.saturating_mul(2));
        let store = self.lake.store();
        let mut objects = store.list(None).chunks(PAGE as usize);
        while let Some(chunk) = objects.next().await {
            let chunk = chunk.into_iter().collect::<Result<Vec<_>, _>>()?;
            self.count(|c| &c.listed, chunk.len() as u64);
            let old = chunk
                .into_iter()
                .filter(|object| is_ours(object) && modified(object) < cutoff);
            let old = self.unknown(old.collect()).await?;
            for object in self.unknown(old).await? {
                // Garbage collection may have deleted it since it was listed.
                let path = object.location.as_ref();
                match self.size(path).await {
                    Ok(Some(_)) => self.found(orphan(&object)).await?,
                    Ok(None) => self.count(|c| &c.gone_meanwhile, 1),
                    Err(error) => self.unchecked(path, &error),
                }
            }
            self.watcher.progress(&self.report(), &self.totals);
        }
        let (objects, bytes) = self.lake.catalog().overdue_garbage(cutoff).await?;
        if objects > 0 {
            self.found(Finding {
                kind: FindingKind::OverdueGarbage,
                path: None,
                what: format!(
                    "{objects} objects ({bytes} bytes) should have been deleted more than {:?} ago",
                    self.options.orphan_grace * 2
                ),
                affected: Vec::new(),
                remedy: "run a process with the role compact, and look in its log for deletions that the store refuses"
                    .to_owned(),
                quarantined: false,
            })
            .await?;
        }
        Ok(())
    }

    /// Those of the objects that no row names.
    async fn unknown(&self, mut objects: Vec<ObjectMeta>) -> Result<Vec<ObjectMeta>, LakeError> {
        if !objects.is_empty() {
            let paths = objects.iter().map(|o| o.location.to_string()).collect::<Vec<_>>();
            let known = self.lake.catalog().known_objects(&paths).await?;
            objects.retain(|object| !known.contains(object.location.as_ref()));
        }
        Ok(objects)
    }
}

fn is_ours(object: &ObjectMeta) -> bool {
    let path = object.location.as_ref();
    path.ends_with(".seg") || path.ends_with(".parquet")
}

fn modified(object: &ObjectMeta) -> i64 {
    object.last_modified.timestamp_nanos_opt().unwrap_or(i64::MAX)
}

fn orphan(object: &ObjectMeta) -> Finding {
    Finding {
        kind: FindingKind::Orphan,
        path: Some(object.location.to_string()),
        what: format!(
            "no row of the catalog names it ({} bytes, written {})",
            object.size, object.last_modified
        ),
        affected: Vec::new(),
        remedy: "nothing is lost: it was never acknowledged, or it was replaced. A process with the role compact deletes \
                 it; if none does, look in its log. Before you delete it yourself, make sure that this is the catalog of \
                 this store, and not an old copy of it"
            .to_owned(),
        quarantined: false,
    }
}
