//! `Lake::verify`: a sound lake has no findings, whatever goes on in it; each kind of damage is found and told.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lake::{Finding, FindingKind, Lake, LakeError, VerifyOptions, VerifyReport, Watcher};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parking_lot::Mutex;
use schema::Dataset;
use sqlx::ConnectOptions as _;

use crate::fixture::{self, DAY, NOON, SECOND, World, commit_of, put, tenant};
use crate::rows::random_batch;

/// Keeps what it is told.
#[derive(Default)]
struct Kept {
    findings: Mutex<Vec<Finding>>,
    unchecked: Mutex<Vec<String>>,
}

impl Watcher for Kept {
    fn found(&self, finding: &Finding) {
        self.findings.lock().push(finding.clone());
    }

    fn unchecked(&self, path: &str, _: &LakeError) {
        self.unchecked.lock().push(path.to_owned());
    }

    fn progress(&self, so_far: &VerifyReport, of: &catalog::StoredTotals) {
        assert!(so_far.objects > 0 || so_far.listed > 0, "{so_far:?} of {of:?}");
    }
}

async fn verify(lake: &Lake, deep: bool) -> (VerifyReport, Vec<Finding>) {
    check(lake, deep, false).await
}

async fn check(lake: &Lake, deep: bool, quarantine: bool) -> (VerifyReport, Vec<Finding>) {
    let kept = Arc::new(Kept::default());
    let options = VerifyOptions {
        deep,
        orphan_grace: Duration::from_secs(3600),
        quarantine,
    };
    let report = lake.verify(options, Arc::clone(&kept) as _).await.unwrap();
    assert_eq!(*kept.unchecked.lock(), Vec::<String>::new());
    let findings = std::mem::take(&mut *kept.findings.lock());
    assert_eq!(report.found(), findings.len() as u64);
    (report, findings)
}

impl World {
    /// Runs SQL behind the catalog's back, without its rules.
    async fn sql(&self, sql: &str) -> u64 {
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(self.directory().join("catalog.db"))
            .foreign_keys(false)
            .busy_timeout(Duration::from_secs(10));
        let mut connection = options.connect().await.unwrap();
        let done = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned()))
            .execute(&mut connection)
            .await
            .unwrap();
        done.rows_affected()
    }
}

const ROWS: usize = 300;

/// A lake with a part and a slice of each of the datasets.
async fn filled(world: &World, datasets: &[Dataset]) -> Lake {
    let lake = world.process().await;
    let owner = tenant("acme");
    let first = (1..).zip(datasets);
    let first = first.map(|(seed, &dataset)| (dataset, random_batch(dataset, seed, ROWS, NOON, NOON + SECOND)));
    lake.commit(commit_of(&owner, 1, &first.collect::<Vec<_>>()))
        .await
        .unwrap();
    for (seed, &dataset) in (101..).zip(datasets) {
        lake.compact(&owner, dataset, &fixture::options(), fixture::ALL)
            .await
            .unwrap();
        let batch = random_batch(dataset, seed, ROWS, NOON + DAY, NOON + DAY + SECOND);
        put(&lake, &owner, u128::from(seed), dataset, batch).await;
    }
    lake
}

#[tokio::test]
async fn a_sound_lake_has_no_findings() {
    let world = World::new();
    // Resources and series are never committed alone.
    let datasets = Dataset::ALL
        .into_iter()
        .filter(|d| lake::is_item(*d))
        .collect::<Vec<_>>();
    let lake = filled(&world, &datasets).await;
    for deep in [false, true] {
        let (report, findings) = verify(&lake, deep).await;
        assert_eq!(findings, []);
        // Five parts, five segments, and the one that became parts and waits for deletion.
        assert_eq!((report.objects, report.rows, report.listed), (11, 10 * ROWS as u64, 11));
        assert!(report.bytes > 20_000, "{report:?}");
    }
    // A store that does not answer is not damage.
    let kept = Arc::new(Kept::default());
    let options = VerifyOptions {
        deep: false,
        orphan_grace: Duration::ZERO,
        quarantine: false,
    };
    world.store.faults.fail_gets.store(true, Ordering::SeqCst);
    let report = lake.verify(options, Arc::clone(&kept) as _).await.unwrap();
    assert_eq!((report.found(), report.unchecked), (0, 10));
    assert_eq!(kept.unchecked.lock().len(), 10);
}

async fn object(lake: &Lake, path: &str) -> Vec<u8> {
    let object = lake.store().get(&Path::from(path)).await.unwrap();
    object.bytes().await.unwrap().to_vec()
}

async fn write(lake: &Lake, path: &str, bytes: Vec<u8>) {
    lake.store().put(&Path::from(path), bytes.into()).await.unwrap();
}

/// Damages the lake and says what must be found: kind, object, affected rows.
async fn plant(case: &str, world: &World, lake: &Lake) -> Option<(FindingKind, Option<String>, Option<i64>)> {
    use FindingKind as K;
    let owner = tenant("acme");
    let snapshot = lake.snapshot(&owner, &[Dataset::Spans], None).await.unwrap();
    let [part] = <[_; 1]>::try_from(snapshot.parts).unwrap();
    let [slice] = <[_; 1]>::try_from(snapshot.slices).unwrap();
    let all = Some(ROWS as i64);
    let of_part = |kind| Some((kind, Some(part.path.clone()), all));
    let of_slice = |kind| Some((kind, Some(slice.path.clone()), all));
    let row = |rows| Some((K::CatalogRow, Some(part.path.clone()), rows));
    let id = part.id;
    let update = |set: &str| format!("UPDATE part SET {set} WHERE id = {id}");
    match case {
        "a missing part" => {
            lake.store().delete(&Path::from(part.path.as_str())).await.unwrap();
            of_part(K::MissingObject)
        }
        "a missing segment" => {
            lake.store().delete(&Path::from(slice.path.as_str())).await.unwrap();
            of_slice(K::MissingObject)
        }
        "a truncated part" => {
            let mut bytes = object(lake, &part.path).await;
            bytes.truncate(bytes.len() / 2);
            write(lake, &part.path, bytes).await;
            of_part(K::TruncatedObject)
        }
        "a truncated segment" => {
            let mut bytes = object(lake, &slice.path).await;
            bytes.truncate(bytes.len() - 1);
            write(lake, &slice.path, bytes).await;
            of_slice(K::TruncatedObject)
        }
        "a flipped bit in a part" => {
            let mut bytes = object(lake, &part.path).await;
            bytes[100] ^= 1;
            write(lake, &part.path, bytes).await;
            of_part(K::DamagedObject)
        }
        "a flipped bit in a footer" => {
            let mut bytes = object(lake, &part.path).await;
            let at = bytes.len() - 100;
            bytes[at] ^= 4;
            write(lake, &part.path, bytes).await;
            of_part(K::DamagedObject)
        }
        "a flipped bit in a segment" => {
            let mut bytes = object(lake, &slice.path).await;
            let at = bytes.len() / 2;
            bytes[at] ^= 128;
            write(lake, &slice.path, bytes).await;
            of_slice(K::DamagedObject)
        }
        "a segment that begins otherwise" => {
            let mut bytes = object(lake, &slice.path).await;
            bytes[7] = b'7';
            write(lake, &slice.path, bytes).await;
            Some((K::DamagedObject, Some(slice.path.clone()), None))
        }
        "a damaged trace index" => {
            let mut bytes = object(lake, &part.path).await;
            bytes[part.index_offset as usize + 9] ^= 1;
            write(lake, &part.path, bytes).await;
            of_part(K::DamagedTraceIndex)
        }
        "the content of another object" => {
            let logs = lake.snapshot(&owner, &[Dataset::Logs], None).await.unwrap();
            let other = object(lake, &logs.parts[0].path).await;
            write(lake, &part.path, other).await;
            of_part(K::ForeignContent)
        }
        "a later part format" => {
            world.sql(&update("format_version = 99")).await;
            of_part(K::UnknownFormat)
        }
        "a later segment format" => {
            world
                .sql(&format!(
                    "UPDATE segment SET format_version = 2 WHERE id = {}",
                    slice.segment_id
                ))
                .await;
            of_slice(K::UnknownFormat)
        }
        "a wrong size of a part" => {
            world.sql(&update("byte_size = byte_size + 1")).await;
            of_part(K::WrongSize)
        }
        "a wrong size of a segment" => {
            world
                .sql(&format!(
                    "UPDATE segment SET byte_size = byte_size + 1 WHERE id = {}",
                    slice.segment_id
                ))
                .await;
            Some((K::WrongSize, Some(slice.path.clone()), None))
        }
        "a wrong place of the footer" => {
            world.sql(&update("footer_bytes = footer_bytes - 8")).await;
            of_part(K::WrongLayout)
        }
        "a wrong number of index entries" => {
            world.sql(&update("index_entries = index_entries - 1")).await;
            of_part(K::WrongLayout)
        }
        "a wrong row count of a part" => {
            world.sql(&update("row_count = row_count - 1")).await;
            Some((K::WrongRowCount, Some(part.path.clone()), Some(ROWS as i64 - 1)))
        }
        "a wrong row count of chunks" => {
            let samples = lake.snapshot(&owner, &[Dataset::MetricSamples], None).await.unwrap();
            let part = &samples.parts[0];
            world
                .sql(&format!("UPDATE part SET row_count = 7 WHERE id = {}", part.id))
                .await;
            Some((K::WrongRowCount, Some(part.path.clone()), Some(7)))
        }
        "a wrong row count of a slice" => {
            world
                .sql(&format!(
                    "UPDATE segment_slice SET row_count = 1 WHERE id = {}",
                    slice.id
                ))
                .await;
            Some((K::WrongRowCount, Some(slice.path.clone()), Some(1)))
        }
        "a wrong time range of a part" => {
            world.sql(&update("min_ts = min_ts + 1")).await;
            of_part(K::WrongTimeRange)
        }
        "a wrong time range of chunks" => {
            let samples = lake.snapshot(&owner, &[Dataset::MetricSamples], None).await.unwrap();
            let part = &samples.parts[0];
            world
                .sql(&format!("UPDATE part SET max_ts = max_ts - 1 WHERE id = {}", part.id))
                .await;
            Some((K::WrongTimeRange, Some(part.path.clone()), all))
        }
        "a wrong time range of a slice" => {
            world
                .sql(&format!(
                    "UPDATE segment_slice SET max_ts = max_ts + 1 WHERE id = {}",
                    slice.id
                ))
                .await;
            of_slice(K::WrongTimeRange)
        }
        "a wrong statistic" => {
            world
                .sql(&format!("INSERT INTO part_stat VALUES ({id}, 'name', 'x', 'y')"))
                .await;
            of_part(K::WrongStatistic)
        }
        "slices that overlap" => {
            let more = "INSERT INTO segment_slice (segment_id, dataset_id, byte_offset, byte_length, row_count, min_ts, \
                        max_ts, checksum) SELECT segment_id, dataset_id, byte_offset, byte_length, row_count, min_ts, \
                        max_ts, checksum FROM segment_slice WHERE id =";
            world.sql(&format!("{more} {}", slice.id)).await;
            of_slice(K::OverlappingSlices)
        }
        "an orphan" => {
            write(lake, "acme/spans/2026-03-01/forgotten.parquet", vec![1, 2, 3]).await;
            world.clock.advance(3 * 3600 * SECOND);
            Some((
                K::Orphan,
                Some("acme/spans/2026-03-01/forgotten.parquet".to_owned()),
                None,
            ))
        }
        "garbage that stays" => {
            world.clock.advance(3 * 3600 * SECOND);
            Some((K::OverdueGarbage, None, None))
        }
        "a segment without slices" => {
            world
                .sql(&format!("DELETE FROM segment_slice WHERE id = {}", slice.id))
                .await;
            Some((K::CatalogRow, Some(slice.path.clone()), None))
        }
        "a slice without its segment" => {
            world
                .sql(&format!("DELETE FROM segment WHERE id = {}", slice.segment_id))
                .await;
            Some((K::CatalogRow, None, all))
        }
        "a part without its dataset" => {
            world.sql(&update("dataset_id = 999")).await;
            row(all)
        }
        "a statistic without its part" => {
            world.sql("INSERT INTO part_stat VALUES (999, 'name', 'a', 'b')").await;
            Some((K::CatalogRow, None, None))
        }
        "an ended part that is not queued" => {
            world.sql(&update("end_seq = begin_seq + 1")).await;
            row(all)
        }
        "a live part that is queued" => {
            let insert = "INSERT INTO gc_queue (kind, object_id, path, byte_size, queued_at, due_at) \
                          SELECT 'part', id, path, byte_size, 0, 9e18 FROM part WHERE id =";
            world.sql(&format!("{insert} {id}")).await;
            row(all)
        }
        "an unknown object that is queued" => {
            let insert = "INSERT INTO gc_queue (kind, object_id, path, byte_size, queued_at, due_at) \
                          VALUES ('part', 9, 'x', 1, 0, 9e18)";
            world.sql(insert).await;
            Some((K::CatalogRow, Some("x".to_owned()), None))
        }
        "a part of the future" => {
            world.sql(&update("begin_seq = 1000")).await;
            row(all)
        }
        "a head without its commit" => {
            world.sql("UPDATE lake_head SET sequence = sequence + 1").await;
            Some((K::CatalogRow, None, None))
        }
        "a column of no dataset" => {
            world.sql("INSERT INTO dataset_column (dataset_id, name, data_type, first_seen_at) VALUES (999, 'x', 'utf8', 0)").await;
            Some((K::CatalogRow, None, None))
        }
        "row numbers given out twice" => {
            world.sql("UPDATE dataset SET next_row_id = 1 WHERE kind = 1").await;
            row(all)
        }
        _ => None,
    }
}

#[tokio::test]
async fn each_kind_of_damage_is_found() {
    for case in [
        "a missing part",
        "a missing segment",
        "a truncated part",
        "a truncated segment",
        "a flipped bit in a part",
        "a flipped bit in a footer",
        "a flipped bit in a segment",
        "a segment that begins otherwise",
        "a damaged trace index",
        "the content of another object",
        "a later part format",
        "a later segment format",
        "a wrong size of a part",
        "a wrong size of a segment",
        "a wrong place of the footer",
        "a wrong number of index entries",
        "a wrong row count of a part",
        "a wrong row count of chunks",
        "a wrong row count of a slice",
        "a wrong time range of a part",
        "a wrong time range of chunks",
        "a wrong time range of a slice",
        "a wrong statistic",
        "slices that overlap",
        "an orphan",
        "garbage that stays",
        "a segment without slices",
        "a slice without its segment",
        "a part without its dataset",
        "a statistic without its part",
        "an ended part that is not queued",
        "a live part that is queued",
        "an unknown object that is queued",
        "a part of the future",
        "a head without its commit",
        "a column of no dataset",
        "row numbers given out twice",
    ] {
        let world = World::new();
        let lake = filled(&world, &[Dataset::Spans, Dataset::Logs, Dataset::MetricSamples]).await;
        let Some((kind, path, rows)) = plant(case, &world, &lake).await else {
            panic!("nobody knows how to make {case}")
        };
        let (_, findings) = verify(&lake, false).await;
        // The orphan case lets garbage grow old, too.
        let mut findings = findings;
        if case == "an orphan" {
            findings.retain(|finding| finding.kind != FindingKind::OverdueGarbage);
        }
        assert_eq!(findings.len(), 1, "{case}: {findings:#?}");
        let finding = &findings[0];
        assert_eq!((finding.kind, &finding.path), (kind, &path), "{case}: {finding:?}");
        let affected = finding.affected.first();
        assert_eq!(
            affected.filter(|a| a.rows > 0).map(|a| a.rows),
            rows,
            "{case}: {finding:?}"
        );
        if let Some(affected) = affected.filter(|a| a.rows > 0 && a.tenant.is_some()) {
            assert_eq!(affected.tenant, Some(tenant("acme")), "{case}");
            assert!(affected.times.is_some(), "{case}");
        }
        assert!(!finding.what.is_empty() && !finding.remedy.is_empty());
    }
}

#[tokio::test]
async fn what_is_in_quarantine_is_left_out_until_it_is_released() {
    let world = World::new();
    let lake = filled(&world, &[Dataset::Spans]).await;
    let owner = tenant("acme");
    let snapshot = lake.snapshot(&owner, &[Dataset::Spans], None).await.unwrap();
    let (part, slice) = (&snapshot.parts[0].path, &snapshot.slices[0].path);
    let (part_bytes, slice_bytes) = (object(&lake, part).await, object(&lake, slice).await);
    lake.store().delete(&Path::from(part.as_str())).await.unwrap();
    let mut damaged = slice_bytes.clone();
    damaged[50] ^= 1;
    write(&lake, slice, damaged).await;
    // Another process: nothing of it is in memory.
    let lake = world.process().await;
    assert!(fixture::try_visible(&lake, &owner, Dataset::Spans).await.is_err());

    let (_, findings) = check(&lake, false, true).await;
    assert_eq!(findings.len(), 2);
    assert!(findings.iter().all(|finding| finding.quarantined), "{findings:?}");
    assert_eq!(fixture::visible(&lake, &owner, Dataset::Spans).await.len(), 0);
    let without = lake.snapshot(&owner, &[Dataset::Spans], None).await.unwrap();
    assert_eq!(without.quarantined.len(), 2);
    // What is whole is compacted and found as before; nothing is put there twice.
    let batch = random_batch(Dataset::Spans, 7, ROWS, NOON, NOON + SECOND);
    put(&lake, &owner, 7, Dataset::Spans, batch).await;
    lake.compact(&owner, Dataset::Spans, &fixture::options(), fixture::ALL)
        .await
        .unwrap();
    assert_eq!(fixture::visible(&lake, &owner, Dataset::Spans).await.len(), ROWS);
    let (_, findings) = check(&lake, true, true).await;
    assert_eq!(
        findings.iter().filter(|finding| finding.quarantined).count(),
        2,
        "{findings:?}"
    );
    assert_eq!(lake.catalog().quarantined().await.unwrap(), without.quarantined);

    write(&lake, part, part_bytes).await;
    write(&lake, slice, slice_bytes).await;
    let (_, findings) = check(&lake, false, true).await;
    let kinds = findings.iter().map(|finding| finding.kind).collect::<Vec<_>>();
    assert_eq!(kinds, [FindingKind::SoundInQuarantine; 2], "{findings:?}");
    for entry in &without.quarantined {
        assert!(lake.catalog().release(entry.id).await.unwrap());
    }
    assert_eq!(verify(&lake, true).await.1, []);
    assert_eq!(fixture::visible(&lake, &owner, Dataset::Spans).await.len(), 3 * ROWS);
}

#[tokio::test]
async fn objects_that_change_meanwhile_are_not_findings() {
    let world = World::new();
    let (writer, checker) = (world.process().await, world.process().await);
    let owner = tenant("acme");
    let mut options = crate::maintenance::options();
    // Objects are deleted as soon as they are replaced.
    options.compaction.grace = Duration::ZERO;
    options.compaction.max_slice_age = Duration::ZERO;
    let stop = tokio::sync::watch::channel(false);
    let work = {
        let writer = writer.clone();
        let tally = fixture::Tally::default();
        tokio::spawn(async move { writer.maintain(options, &tally, stop.1).await })
    };
    let mut rows = 0;
    for round in 0..30u64 {
        let batch = random_batch(Dataset::Spans, round, 40, NOON, NOON + SECOND);
        put(&writer, &owner, u128::from(round), Dataset::Spans, batch).await;
        rows += 40;
        let (report, findings) = verify(&checker, round % 2 == 0).await;
        assert_eq!(findings, [], "round {round}");
        assert!(report.rows <= rows, "{report:?}");
    }
    stop.0.send_replace(true);
    work.await.unwrap();
}
