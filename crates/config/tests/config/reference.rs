use std::path::Path;

use config::{json_schema, reference_markdown};
use serde_json::Value;

#[test]
fn the_reference_page_is_what_the_records_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/configuration.md");
    let generated = reference_markdown();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &generated).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == generated,
        "docs/reference/configuration.md is out of date; run: UPDATE_DOCS=1 cargo nextest run -p config reference"
    );
}

#[test]
fn every_key_is_described() {
    fn walk(schema: &Value, path: &str) {
        assert!(schema.get("description").is_some(), "{path} has no description");
        assert!(schema.get("x-expected").is_none(), "{path} shows our own annotation");
        for (key, below) in schema["properties"].as_object().into_iter().flatten() {
            walk(below, &format!("{path}.{key}"));
        }
    }
    let schema = json_schema();
    walk(&schema, "");
    assert_eq!(schema["properties"]["commit"]["additionalProperties"], false);
    assert_eq!(
        schema["properties"]["commit"]["properties"]["max_bytes"]["default"],
        "32MiB"
    );
    assert_eq!(schema["properties"]["commit"]["properties"]["pipeline"]["maximum"], 64);
    assert_eq!(schema["properties"].as_object().unwrap().len(), 15);
}
