//! What a checker reads: pages of objects, and rows that contradict each other.

use catalog::*;

use crate::fixture::*;

/// A catalog with a slice and a part of spans.
async fn filled(database: &Database) -> Catalog {
    let catalog = database.migrated().await;
    let ids = commit(&catalog, &segment("s/1", &[(0, 1), (2, 3)], &[])).await;
    let lease = lease(&catalog).await;
    let change = replacement(vec![ids[0]], vec![], vec![part("p/1", 1, (0, 1))]);
    catalog.replace(&change, &lease, NOW, MINUTE).await.unwrap();
    catalog
}

pub async fn a_checker_sees_every_object_page_by_page(database: Database) {
    let catalog = filled(&database).await;
    commit(&catalog, &segment("s/2", &[(4, 5)], &[])).await;
    let lease = lease(&catalog).await;
    let parts = snapshot(&catalog).await.parts;
    let change = replacement(vec![], vec![parts[0].id], vec![part("p/2", 2, (0, 1))]);
    let sequence = catalog.replace(&change, &lease, NOW, MINUTE).await.unwrap();
    let totals = catalog.stored_totals().await.unwrap();
    let expected = StoredTotals {
        sequence,
        objects: 4,
        bytes: 2 * 100 + 1_000,
        rows: 2 * 10 + 100,
        last_segment: totals.last_segment,
        last_part: totals.last_part,
    };
    assert_eq!(totals, expected);
    let first = catalog.stored_segments(0, totals.last_segment, 1).await.unwrap();
    let second = catalog
        .stored_segments(first[0].id, totals.last_segment, 9)
        .await
        .unwrap();
    assert_eq!([first[0].path.as_str(), second[0].path.as_str()], ["s/1", "s/2"]);
    assert_eq!((first[0].slices.len(), first[0].due_at, second.len()), (1, None, 1));
    let first = catalog.stored_parts(0, totals.last_part, 1).await.unwrap();
    let second = catalog
        .stored_parts(first[0].part.id, totals.last_part, 9)
        .await
        .unwrap();
    let due = NOW + 60 * SECOND;
    assert_eq!((first[0].end_seq, first[0].due_at), (Some(sequence), Some(due)));
    assert_eq!((second[0].end_seq, second[0].due_at, second.len()), (None, None, 1));
    assert_eq!(
        catalog.parts_with_checksum(first[0].part.checksum).await.unwrap(),
        ["p/1", "p/2"]
    );
    assert_eq!(catalog.overdue_garbage(due).await.unwrap(), (0, 0));
    assert_eq!(catalog.overdue_garbage(due + 1).await.unwrap(), (1, 1_000));
    assert_eq!(catalog.row_problems().await.unwrap(), []);
}

pub async fn condemned_orphans_contradict_nothing(database: Database) {
    let catalog = filled(&database).await;
    let (segments, parts) = (["s/orphan".to_owned()], ["p/orphan".to_owned()]);
    assert_eq!(catalog.condemn(&segments, &parts, NOW).await.unwrap().len(), 2);
    assert_eq!(catalog.row_problems().await.unwrap(), []);
    assert_eq!(catalog.overdue_garbage(i64::MAX).await.unwrap(), (0, 0));
}

/// Plants a contradiction; the rules of both databases let these through.
async fn found(database: Database, sql: &'static str, rule: RowRule, path: Option<&str>) {
    let catalog = filled(&database).await;
    assert_eq!(catalog.row_problems().await.unwrap(), []);
    database.sql(sql).await;
    let problems = catalog.row_problems().await.unwrap();
    let told = problems.iter().map(|p| (p.rule, p.path.as_deref())).collect::<Vec<_>>();
    assert_eq!(told, [(rule, path)], "{problems:?}");
    if problems[0].rows > 0 {
        assert_eq!(problems[0].tenant.as_deref(), Some("a"));
        assert!(problems[0].times.is_some());
    }
}

pub async fn an_unreachable_segment_is_found(database: Database) {
    let sql = "DELETE FROM segment_slice WHERE byte_offset = 100";
    found(database, sql, RowRule::UnreachableSegment, Some("s/1")).await;
}

pub async fn a_slice_beyond_its_segment_is_found(database: Database) {
    let sql = "UPDATE segment_slice SET byte_length = 101";
    found(database, sql, RowRule::SliceOutsideSegment, Some("s/1")).await;
}

pub async fn an_ended_part_that_is_not_queued_is_found(database: Database) {
    let sql = "UPDATE part SET end_seq = 1, begin_seq = 0";
    found(database, sql, RowRule::EndedPartNotQueued, Some("p/1")).await;
}

pub async fn a_live_object_in_the_queue_is_found(database: Database) {
    let sql = "INSERT INTO gc_queue (kind, object_id, path, byte_size, queued_at, due_at) \
               SELECT 'part', id, path, byte_size, 0, 0 FROM part";
    found(database, sql, RowRule::LiveObjectQueued, Some("p/1")).await;
}

pub async fn an_unknown_object_in_the_queue_is_found(database: Database) {
    let sql =
        "INSERT INTO gc_queue (kind, object_id, path, byte_size, queued_at, due_at) VALUES ('part', 9, 'x', 1, 0, 0)";
    found(database, sql, RowRule::UnknownObjectQueued, Some("x")).await;
}

pub async fn a_part_of_the_future_is_found(database: Database) {
    let sql = "UPDATE part SET begin_seq = 99";
    found(database, sql, RowRule::WrongSequence, Some("p/1")).await;
}

pub async fn a_head_that_went_back_is_found(database: Database) {
    let sql = "INSERT INTO lake_commit (seq, committed_at) VALUES (99, 0)";
    found(database, sql, RowRule::WrongHead, None).await;
}

pub async fn row_numbers_that_were_not_given_out_are_found(database: Database) {
    let sql = "UPDATE dataset SET next_row_id = 1";
    found(database, sql, RowRule::WrongRowNumbers, Some("p/1")).await;
}

pub async fn an_unknown_dataset_is_found(database: Database) {
    let sql = "INSERT INTO dataset (tenant, kind, name, created_at) VALUES ('a', 99, 'dreams', 0)";
    found(database, sql, RowRule::UnknownDataset, None).await;
}
