//! Migrations go both ways, and an old program keeps its hands off a newer database.

use catalog::*;
use schema::Dataset;

use crate::fixture::*;

pub async fn down_and_up_again(database: Database) {
    let catalog = database.connect().await;
    let report = catalog.migrate().await.unwrap();
    assert_eq!(report.from, 0);
    assert!(report.to >= 1);
    assert_eq!(
        catalog.migrate().await.unwrap(),
        MigrationReport {
            from: report.to,
            to: report.to
        }
    );
    commit(&catalog, &segment("s/1", &[(0, 1)], &[key(1)])).await;

    assert!(matches!(
        catalog.migrate_down(report.to + 1).await,
        Err(CatalogError::Invalid(_))
    ));
    assert!(matches!(catalog.migrate_down(-1).await, Err(CatalogError::Invalid(_))));
    catalog.migrate_down(report.to).await.unwrap(); // where it is: nothing happens
    assert_eq!(snapshot(&catalog).await.slices.len(), 1);
    catalog.migrate_down(0).await.unwrap();
    let error = catalog.tenants().await.unwrap_err();
    assert!(matches!(error, CatalogError::NotMigrated), "{error:?}");

    assert_eq!(catalog.migrate().await.unwrap(), report);
    assert!(catalog.tenants().await.unwrap().is_empty());
    commit(&catalog, &segment("s/1", &[(0, 1)], &[key(1)])).await;
    assert_eq!(snapshot(&catalog).await.slices.len(), 1);
}

pub async fn telemetry_survives_the_way_down_and_up(database: Database) {
    let catalog = database.migrated().await;
    let mut new = segment("s/1", &[(0, 1), (2, 3)], &[key(1)]);
    new.columns = vec![column("x")];
    let ids = commit(&catalog, &new).await;
    let lease = lease(&catalog).await;
    let change = replacement(vec![ids[0]], vec![], vec![part("p/1", 1, (0, 1))]);
    catalog.replace(&change, &lease, NOW, MINUTE).await.unwrap();
    let before = snapshot(&catalog).await;
    for target in (1..newest_version()).rev() {
        catalog.migrate_down(target).await.unwrap();
        assert_eq!(catalog.schema_version().await.unwrap(), target);
    }
    for target in 1..=newest_version() {
        assert_eq!(catalog.migrate_up(target).await.unwrap().to, target);
    }
    assert!(matches!(
        catalog.migrate_up(newest_version() + 1).await,
        Err(CatalogError::Invalid(_))
    ));
    assert_eq!(snapshot(&catalog).await, before);
    assert_eq!(catalog.committed_requests(&[key(1)]).await.unwrap(), [true]);
    assert_eq!(catalog.row_problems().await.unwrap(), []);
}

/// What a later program leaves behind that has added a migration.
const LATER: &str = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                     SELECT 9999, 'from the future', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1";

pub async fn a_later_version_that_only_adds_is_opened(database: Database) {
    database.migrated().await;
    database.sql("CREATE TABLE later (id BIGINT)").await;
    database.sql(LATER).await;
    let catalog = database.connect().await;
    let report = catalog.migrate().await.unwrap();
    assert_eq!((report.from, report.to), (9999, 9999));
    commit(&catalog, &segment("s/1", &[(0, 1)], &[])).await;
    assert_eq!(snapshot(&catalog).await.slices.len(), 1);
    // The way down is not known here.
    let error = catalog.migrate_down(1).await.unwrap_err();
    assert!(
        matches!(error, CatalogError::NewerSchema { found: 9999, .. }),
        "{error:?}"
    );
    assert_eq!(snapshot(&catalog).await.slices.len(), 1);
}

pub async fn a_newer_schema_is_refused(database: Database) {
    let catalog = database.migrated().await;
    database.sql("UPDATE catalog_reader SET min_version = 9999").await;
    database.sql(LATER).await;
    for error in [
        catalog.migrate().await.unwrap_err(),
        catalog.migrate_down(0).await.unwrap_err(),
        database.connect_error().await,
    ] {
        assert!(
            matches!(error, CatalogError::NewerSchema { found: 9999, .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains("9999") && !error.is_retryable());
    }
}

pub async fn without_tables_the_error_says_so(database: Database) {
    let catalog = database.connect().await;
    let errors = [
        catalog
            .commit_segment(&segment("s/1", &[(0, 1)], &[]), NOW)
            .await
            .unwrap_err(),
        catalog
            .snapshot(&tenant("a"), &[Dataset::Spans], None)
            .await
            .unwrap_err(),
        catalog.acquire_lease("x", "p", MINUTE, NOW).await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, CatalogError::NotMigrated), "{error:?}");
    }
}

pub async fn several_processes_may_migrate_at_once(database: Database) {
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let catalog = database.connect().await;
        tasks.push(tokio::spawn(async move { catalog.migrate().await }));
    }
    for task in tasks {
        assert!(task.await.unwrap().unwrap().to >= 1);
    }
    commit(&database.connect().await, &segment("s/1", &[(0, 1)], &[])).await;
}

pub async fn a_reopened_catalog_knows_everything(database: Database) {
    let before = {
        let catalog = database.migrated().await;
        let mut new = segment("s/1", &[(0, 1), (2, 3)], &[key(1)]);
        new.columns = vec![column("x")];
        let ids = commit(&catalog, &new).await;
        let lease = lease(&catalog).await;
        let change = replacement(vec![ids[0]], vec![], vec![part("p/1", 1, (0, 1))]);
        catalog.replace(&change, &lease, NOW, MINUTE).await.unwrap();
        let seen = snapshot(&catalog).await;
        catalog.close().await;
        seen
    };
    let catalog = database.connect().await;
    assert_eq!(snapshot(&catalog).await, before);
    assert_eq!(catalog.committed_requests(&[key(1)]).await.unwrap(), [true]);
    // Ids are never used twice, not even those of rows that are gone.
    let ids = commit(&catalog, &segment("s/2", &[(0, 1)], &[])).await;
    assert!(before.slices.iter().all(|slice| slice.id < ids[0]));
}
