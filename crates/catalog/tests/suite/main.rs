//! One suite, two databases: every case runs on SQLite and on PostgreSQL 15, each on a database of its own.
//!
//! SQLite gets a test per case. PostgreSQL gets one test for all, because starting a server costs more than the cases.

mod additive;
mod audit;
mod compaction;
mod deletions;
mod ducklake;
mod fixture;
mod ingest;
mod leases;
mod migrations;
mod orphans;
mod quarantine;
mod retention;

use catalog::testing::PostgresServer;
use fixture::Database;

macro_rules! cases {
    ($($module:ident::$case:ident,)*) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let directory = tempfile::tempdir().unwrap();
                let path = directory.path().join("made/on/demand.db");
                crate::$module::$case(crate::Database::sqlite(&path)).await;
            })*
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn postgres_passes_every_case() {
            let server = PostgresServer::start().await;
            $(
                println!("case {}", stringify!($case)); // the last one printed is the one that failed
                $module::$case(Database::new(&server.database().await.unwrap())).await;
            )*
        }
    };
}

cases! {
    ingest::a_commit_is_in_the_next_snapshot,
    ingest::duplicates_write_nothing,
    ingest::a_key_twice_in_one_segment_is_a_duplicate,
    ingest::of_two_concurrent_commits_of_one_request_one_wins,
    ingest::many_concurrent_commits_with_shared_columns_all_land,
    ingest::expired_requests_are_forgotten,
    ingest::columns_keep_their_order_and_any_name,
    ingest::wild_timestamps_come_back,
    ingest::time_ranges_are_inclusive,
    ingest::more_rows_than_one_statement_binds,
    ingest::invalid_segments_are_refused,
    ingest::tenants_are_apart,
    ingest::shrinking_loses_nothing,
    ingest::a_database_tells_its_time,
    ingest::whoever_gives_up_waiting_leaves_no_transaction_behind,
    compaction::replace_moves_the_sequence_and_queues_garbage,
    compaction::a_fenced_replace_changes_nothing,
    compaction::a_conflicting_replace_changes_nothing,
    compaction::of_two_concurrent_replaces_of_one_slice_one_wins,
    compaction::concurrent_replaces_that_empty_a_segment_queue_it_once,
    compaction::invalid_replacements_are_refused,
    compaction::the_backlog_counts_what_is_live,
    compaction::objects_are_known_until_collected,
    compaction::a_snapshot_is_consistent_while_parts_change,
    retention::expire_removes_what_is_wholly_old,
    retention::a_fenced_expire_changes_nothing,
    retention::bytes_are_deleted_when_their_object_is,
    retention::a_proof_is_remembered,
    deletions::a_deletion_goes_from_pending_to_verified,
    deletions::a_fenced_deletion_changes_nothing,
    deletions::of_two_workers_who_end_together_one_ends_the_deletion,
    deletions::deletions_are_listed_and_can_fail,
    deletions::a_commit_that_relies_on_deleted_descriptions_is_refused,
    deletions::of_a_commit_and_a_deletion_of_descriptions_one_is_first,
    orphans::a_condemned_segment_is_never_committed,
    orphans::a_condemned_part_is_never_published,
    orphans::an_object_is_committed_or_condemned,
    orphans::a_commit_that_comes_too_late_is_refused,
    orphans::a_grace_begins_when_objects_are_replaced,
    ducklake::columns_appear_with_the_parts_that_may_hold_them,
    ducklake::a_mapping_is_in_use_or_new,
    ducklake::names_that_differ_in_case_alone_go,
    ducklake::publishing_again_changes_nothing,
    ducklake::parts_in_quarantine_are_not_published,
    ducklake::the_views_go_and_come_back,
    leases::a_lease_has_one_holder_until_it_expires,
    leases::a_lease_of_a_wrong_clock_holds_nobody_up,
    leases::a_released_lease_is_fenced,
    leases::of_many_who_want_a_lease_one_gets_it,
    audit::a_checker_sees_every_object_page_by_page,
    audit::condemned_orphans_contradict_nothing,
    audit::an_unreachable_segment_is_found,
    audit::a_slice_beyond_its_segment_is_found,
    audit::an_ended_part_that_is_not_queued_is_found,
    audit::a_live_object_in_the_queue_is_found,
    audit::an_unknown_object_in_the_queue_is_found,
    audit::a_part_of_the_future_is_found,
    audit::a_head_that_went_back_is_found,
    audit::row_numbers_that_were_not_given_out_are_found,
    audit::an_unknown_dataset_is_found,
    quarantine::quarantined_objects_are_left_out_and_told,
    quarantine::a_quarantine_entry_goes_with_its_object,
    migrations::down_and_up_again,
    migrations::telemetry_survives_the_way_down_and_up,
    migrations::a_later_version_that_only_adds_is_opened,
    migrations::a_newer_schema_is_refused,
    migrations::without_tables_the_error_says_so,
    migrations::several_processes_may_migrate_at_once,
    migrations::a_reopened_catalog_knows_everything,
}

#[test]
fn mutated_addresses_are_addresses_or_errors() {
    use testkit::fuzz;
    fuzz::run(
        &fuzz::lines("addresses"),
        20_000,
        |input| match catalog::CatalogUrl::parse(&String::from_utf8_lossy(input)) {
            Ok(url) => assert!(!url.to_string().is_empty()),
            Err(error) => assert!(!error.is_retryable()),
        },
    );
}

#[tokio::test]
async fn a_catalog_in_memory_works() {
    ingest::a_commit_is_in_the_next_snapshot(Database::new("sqlite::memory:")).await;
}

#[tokio::test]
async fn a_file_that_is_no_database_is_corrupt() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.db");
    std::fs::write(
        &path,
        "this is not a database, and long enough to be read as a header of one".repeat(20),
    )
    .unwrap();
    let error = Database::sqlite(&path).connect_error().await;
    assert!(matches!(error, catalog::CatalogError::Corrupt(_)), "{error:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    // Port 1 is privileged and unused: nobody answers.
    let error = Database::new("postgres://nobody@127.0.0.1:1/none")
        .connect_error()
        .await;
    assert!(error.is_retryable(), "{error:?}");
}

#[tokio::test]
async fn a_test_server_leaves_nothing_behind() {
    let server = PostgresServer::start().await;
    let (url, directory) = (server.url(), server.directory().to_owned());
    assert!(directory.exists());
    drop(server);
    assert!(!directory.exists());
    assert!(Database::new(&url).connect_error().await.is_retryable());
}
