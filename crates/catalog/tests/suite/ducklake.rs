//! What the catalog publishes as DuckLake. That DuckDB reads it is tested with DuckDB, in tests/e2e.

use catalog::*;
use schema::Dataset;

use crate::fixture::*;

const COLUMNS: &str = "SELECT name || '@' || CAST(lake_seq AS TEXT) || COALESCE('-' || CAST(lake_end AS TEXT), '') \
                       FROM dataset_column WHERE lake_seq IS NOT NULL ORDER BY id";
const SCHEMAS: &str = "SELECT tenant || '=' || name || '@' || CAST(begin_seq AS TEXT) FROM lake_schema ORDER BY id";
const VERSIONS: &str = "SELECT CAST(schema_version AS TEXT) FROM lake_commit ORDER BY seq";

fn definition(name: &str) -> LakeDefinition {
    LakeDefinition {
        name: name.into(),
        tables: vec![LakeTable {
            dataset: Dataset::Spans,
            time_column: 7,
        }],
        columns: vec![LakeColumn {
            dataset: Dataset::Spans,
            id: 7,
            place: 1,
            name: "start_time".into(),
            source: "start_time".into(),
            data_type: "timestamptz",
            parent: 0,
        }],
        views: vec![LakeView {
            id: 8,
            name: "spans",
            body: "SELECT 1".into(),
        }],
    }
}

/// Commits a slice with columns and compacts it to the part `name`.
async fn compact(catalog: &Catalog, name: &str, columns: &[&str]) {
    let mut new = segment(&format!("{name}.slices"), &[(0, 1)], &[]);
    new.columns = columns.iter().map(|name| column(name)).collect();
    let slices = commit(catalog, &new).await;
    let lease = lease(catalog).await;
    let change = replacement(slices, vec![], vec![part(name, 1, (0, 1))]);
    catalog.replace(&change, &lease, NOW, MINUTE).await.unwrap();
}

pub async fn columns_appear_with_the_parts_that_may_hold_them(database: Database) {
    let catalog = database.migrated().await;
    let mut new = segment("s/0", &[(0, 1)], &[]);
    new.columns = vec![column("attr.early")];
    commit(&catalog, &new).await;
    assert!(database.texts(COLUMNS).await.is_empty() && database.texts(SCHEMAS).await.is_empty());

    compact(&catalog, "s/1", &["attr.x"]).await;
    assert_eq!(database.texts(SCHEMAS).await, ["a=a@1"]);
    assert_eq!(database.texts(COLUMNS).await, ["attr.early@1", "attr.x@1"]);
    compact(&catalog, "s/2", &["attr.x"]).await;
    compact(&catalog, "s/3", &["attr.x", "attr.y"]).await;
    assert_eq!(database.texts(COLUMNS).await, ["attr.early@1", "attr.x@1", "attr.y@3"]);
    // The version moves with the columns alone.
    assert_eq!(database.texts(VERSIONS).await, ["0", "1", "1", "3"]);
}

/// A reader that stays attached never looks back: a mapping that no part had when it looked must be a new one.
pub async fn a_mapping_is_in_use_or_new(database: Database) {
    const MAPPINGS: &str = "SELECT path || '@' || CAST(schema_seq AS TEXT) FROM part WHERE end_seq IS NULL ORDER BY id";
    let catalog = database.migrated().await;
    compact(&catalog, "s/1", &["attr.x"]).await;
    compact(&catalog, "s/2", &["attr.x"]).await;
    assert_eq!(database.texts(MAPPINGS).await, ["s/1@1", "s/2@1"]);
    // One part for all that have it.
    let parts = snapshot(&catalog).await.parts.iter().map(|part| part.id).collect();
    let change = replacement(vec![], parts, vec![part("s/3", 2, (0, 1))]);
    catalog
        .replace(&change, &lease(&catalog).await, NOW, MINUTE)
        .await
        .unwrap();
    assert_eq!(database.texts(MAPPINGS).await, ["s/3@1"]);
    // What the program says of columns changed with snapshot 4, of which there are no parts.
    catalog.publish_lake(&definition("one"), "/store/", NOW).await.unwrap();
    compact(&catalog, "s/5", &["attr.x"]).await;
    compact(&catalog, "s/6", &["attr.x"]).await;
    assert_eq!(database.texts(MAPPINGS).await, ["s/3@1", "s/5@5", "s/6@5"]);
    // All parts go, and later there are some again.
    let parts = snapshot(&catalog).await.parts.iter().map(|part| part.id).collect();
    let change = replacement(vec![], parts, vec![]);
    catalog
        .replace(&change, &lease(&catalog).await, NOW, MINUTE)
        .await
        .unwrap();
    compact(&catalog, "s/8", &["attr.x"]).await;
    assert_eq!(database.texts(MAPPINGS).await, ["s/8@8"]);
}

pub async fn names_that_differ_in_case_alone_go(database: Database) {
    let catalog = database.migrated().await;
    compact(
        &catalog,
        "s/1",
        &["attr.Host", "attr.", "attr.\\", "attr.\0", "attr.a", "attr.A"],
    )
    .await;
    compact(&catalog, "s/2", &["attr.HOST"]).await;
    compact(&catalog, "s/3", &["attr.host", "attr.İ"]).await;
    let mut columns = database.texts(COLUMNS).await;
    columns.sort();
    let expected = [
        "attr.@1-1",
        "attr.A@1-1",
        "attr.HOST@2-2",
        "attr.Host@1-2",
        "attr.\\0@1-1",
        "attr.\\\\@1",
        "attr.a@1-1",
        "attr.host@3-3",
        "attr.İ@3",
    ];
    assert_eq!(columns, expected);
}

pub async fn publishing_again_changes_nothing(database: Database) {
    let catalog = database.migrated().await;
    for (definition_name, path, versions) in [
        ("one", "/store/", &["0", "1"][..]),
        ("one", "/store/", &["0", "1"]),
        ("one", "/moved/", &["0", "1", "2"]),
        ("two", "/moved/", &["0", "1", "2", "3"]),
    ] {
        catalog
            .publish_lake(&definition(definition_name), path, NOW)
            .await
            .unwrap();
        assert_eq!(database.texts(VERSIONS).await, versions, "{definition_name} {path}");
    }
    assert_eq!(database.texts("SELECT name FROM lake_view").await, ["spans"]);
}

pub async fn parts_in_quarantine_are_not_published(database: Database) {
    let catalog = database.migrated().await;
    compact(&catalog, "s/1", &[]).await;
    compact(&catalog, "s/2", &[]).await;
    catalog.publish_lake(&definition("one"), "/store/", NOW).await.unwrap();
    let files = match database.is_postgres() {
        true => "SELECT path FROM lake.ducklake_data_file ORDER BY path",
        false => "SELECT path FROM ducklake_data_file ORDER BY path",
    };
    assert_eq!(database.texts(files).await, ["s/1", "s/2"]);
    let parts = snapshot(&catalog).await.parts;
    let entry = [Holder::Part(parts[0].id)];
    assert_eq!(catalog.quarantine(&entry, "it is ill", NOW).await.unwrap(), 1);
    assert_eq!(database.texts(files).await, ["s/2"]);
    // An older program publishes all of them again.
    catalog.migrate_down(4).await.unwrap();
    assert_eq!(database.texts(files).await, ["s/1", "s/2"]);
    catalog.migrate().await.unwrap();
    assert_eq!(database.texts(files).await, ["s/2"]);
    let entry = catalog.quarantined().await.unwrap()[0].id;
    assert!(catalog.release(entry).await.unwrap());
    assert_eq!(database.texts(files).await, ["s/1", "s/2"]);
}

pub async fn the_views_go_and_come_back(database: Database) {
    let catalog = database.migrated().await;
    compact(&catalog, "s/1", &["attr.x"]).await;
    let before = snapshot(&catalog).await;
    catalog.migrate_down(1).await.unwrap();
    catalog.migrate().await.unwrap();
    assert!(database.texts(SCHEMAS).await.is_empty());
    // What was there before the views is published with them.
    catalog.publish_lake(&definition("one"), "/store/", NOW).await.unwrap();
    assert_eq!(database.texts(SCHEMAS).await, ["a=a@2"]);
    assert_eq!(database.texts(COLUMNS).await, ["attr.x@2"]);
    assert_eq!(snapshot(&catalog).await.parts, before.parts);
}
