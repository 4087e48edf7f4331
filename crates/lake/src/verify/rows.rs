//! Rows of the catalog that contradict each other, in words.

use catalog::{RowProblem, RowRule};
use schema::TenantId;

use super::Check;
use super::finding::{Affected, Finding, FindingKind};
use crate::LakeError;

impl Check {
    /// Compares rows of the catalog with each other. What one transaction sees is never half of a change, so nothing needs
    /// to be read again.
    pub(super) async fn catalog_rows(&self) -> Result<(), LakeError> {
        for problem in self.lake.catalog().row_problems().await? {
            self.found(finding(problem)).await?;
        }
        Ok(())
    }
}

const RESTORE: &str = "restore the catalog from a backup";

/// What is wrong and what to do about it.
const fn told(rule: RowRule) -> (&'static str, &'static str) {
    match rule {
        RowRule::UnknownDataset => (
            "this program knows no such dataset or tenant, so queries of the tenant fail",
            "run the program that wrote it, or restore the catalog from a backup",
        ),
        RowRule::ColumnWithoutDataset => ("its dataset is gone; nothing reads it", "delete the row"),
        RowRule::UnreachableSegment => (
            "no slice lies in it and it is not queued for deletion: its object stays for ever",
            "if slices of it are missing, restore the catalog from a backup; else delete the row, and garbage collection \
             takes the object as an orphan",
        ),
        RowRule::SliceWithoutSegment => ("its segment is gone, so no query sees its rows", RESTORE),
        RowRule::SliceWithoutDataset => ("its dataset is gone, so no query sees its rows", RESTORE),
        RowRule::SliceOutsideSegment => ("it ends beyond its segment, so queries of its rows fail", RESTORE),
        RowRule::PartWithoutDataset => ("its dataset is gone, so no query sees its rows", RESTORE),
        RowRule::StatisticWithoutPart => ("its part is gone; nothing reads it", "delete the row"),
        RowRule::EndedPartNotQueued => (
            "it has ended and is not queued for deletion: its object stays for ever",
            "insert it into gc_queue, or restore the catalog from a backup",
        ),
        RowRule::LiveObjectQueued => (
            "its object is queued for deletion although these rows are live: when it is due they are LOST",
            "stop processes with the role compact at once, delete the row from gc_queue, then start them again",
        ),
        RowRule::UnknownObjectQueued => (
            "the object that it queues is neither a segment nor a part",
            "nothing: garbage collection deletes the object and the row when it is due",
        ),
        RowRule::WrongSequence => (
            "it belongs to a snapshot that was not made yet, or ended before it began: the catalog went back in time",
            RESTORE,
        ),
        RowRule::WrongHead => ("head and history of the snapshot sequence do not fit", RESTORE),
        RowRule::WrongRowNumbers => (
            "its rows have numbers that its dataset has not given out: other engines may see rows twice",
            RESTORE,
        ),
    }
}

fn finding(problem: RowProblem) -> Finding {
    let (what, remedy) = told(problem.rule);
    let tenant = problem.tenant.as_deref().and_then(|t| TenantId::parse(t).ok());
    let affected = Affected {
        holder: None,
        tenant,
        dataset: problem.dataset,
        rows: problem.rows,
        times: problem.times,
    };
    Finding {
        kind: FindingKind::CatalogRow,
        path: problem.path,
        what: format!("{}: {what}", problem.row),
        affected: if problem.rows > 0 || affected.tenant.is_some() {
            vec![affected]
        } else {
            Vec::new()
        },
        remedy: remedy.to_owned(),
        quarantined: false,
    }
}
