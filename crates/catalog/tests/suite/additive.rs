//! Which programs may go on when a migration has run (docs/decisions/0013): one that leaves `catalog_reader` as it is only adds
//! what a program before it does not meet. This reads the migrations; what they do is tried elsewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Tables whose rows no program ever deletes: others may refer to them.
const KEPT: [&str; 1] = ["dataset"];

/// The statements of a migration, in capitals, with single spaces.
fn statements(sql: &str) -> Vec<String> {
    let (mut statements, mut text) = (Vec::new(), String::new());
    let (mut quoted, mut comment) = (false, false);
    let mut rest = sql.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\n' if comment => comment = false,
            _ if comment => {}
            '-' if !quoted && rest.peek() == Some(&'-') => comment = true,
            ';' if !quoted => statements.push(std::mem::take(&mut text)),
            _ => {
                quoted ^= c == '\'';
                text.push(c);
            }
        }
    }
    statements.push(text);
    let spaced = |text: &String| text.split_whitespace().collect::<Vec<_>>().join(" ").to_uppercase();
    let mut spaced = statements.iter().map(spaced).collect::<Vec<_>>();
    spaced.retain(|statement| !statement.is_empty());
    spaced
}

/// The first name after some words, without what is attached to it.
fn name_after<'a>(statement: &'a str, words: &str) -> Option<&'a str> {
    let rest = statement.strip_prefix(words)?.trim_start();
    rest.split([' ', '(', ',', ')']).next()
}

/// Why a program that does not know a migration cannot work on what it leaves; `None` if it can.
fn obstacle(statements: &[String]) -> Option<String> {
    let made = statements.iter().filter_map(|s| name_after(s, "CREATE TABLE "));
    let made = made.collect::<BTreeSet<_>>();
    let views = statements.iter().filter_map(|s| name_after(s, "CREATE VIEW "));
    let views = views.collect::<BTreeSet<_>>();
    for statement in statements {
        let after = |words: &str| name_after(statement, words);
        let table = |words: &str| statement.split_once(words).and_then(|(_, rest)| name_after(rest, ""));
        let harmless = if after("CREATE TABLE ").is_some() {
            // To delete what it refers to must not fail for who does not know it.
            statement.split("REFERENCES ").skip(1).all(|reference| {
                let to = name_after(reference, "").unwrap_or_default();
                let end = reference.find([',', '\n']).unwrap_or(reference.len());
                made.contains(to)
                    || KEPT.iter().any(|kept| kept.to_uppercase() == to)
                    || reference[..end].contains("ON DELETE CASCADE")
            })
        } else if after("ALTER TABLE ").is_some() {
            let added = statement.split_once(" ADD COLUMN ").map(|(_, column)| column);
            added.is_some_and(|column| {
                let filled = !column.contains("NOT NULL") || column.contains("DEFAULT");
                let free = ["UNIQUE", "CHECK", "REFERENCES", " ADD ", " DROP ", " ALTER "];
                filled && !free.iter().any(|word| column.contains(word))
            })
        } else if after("CREATE UNIQUE INDEX ").is_some() {
            table(" ON ").is_some_and(|table| made.contains(table))
        } else if let Some(table) = after("INSERT INTO ") {
            made.contains(table)
        } else if let Some(view) = after("DROP VIEW ") {
            views.contains(view)
        } else {
            [
                "CREATE INDEX ",
                "CREATE VIEW ",
                "CREATE OR REPLACE VIEW ",
                "CREATE SCHEMA ",
            ]
            .iter()
            .any(|words| after(words).is_some())
        };
        if !harmless {
            return Some(statement.clone());
        }
    }
    None
}

/// The version to which a migration raises what a program must know.
fn raised(statements: &[String]) -> Option<i64> {
    let statement = statements.iter().find(|s| {
        s.starts_with("INSERT INTO CATALOG_READER ") || s.starts_with("UPDATE CATALOG_READER SET MIN_VERSION = ")
    })?;
    let number = statement.trim_end_matches(')').rsplit([' ', ',']).next()?;
    Some(
        number
            .parse()
            .unwrap_or_else(|_| panic!("{statement}: the number must come last")),
    )
}

#[test]
fn a_migration_only_adds_or_raises_catalog_reader() {
    let mut versions = Vec::new();
    for database in ["sqlite", "postgres"] {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(database);
        let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
        let mut files = files
            .filter(|file| file.to_str().unwrap().ends_with(".up.sql"))
            .collect::<Vec<_>>();
        files.sort();
        let mut told = Vec::new();
        for file in &files[1..] {
            let name = file.file_name().unwrap().to_str().unwrap();
            let version = name[..4].parse::<i64>().unwrap();
            let statements = statements(&fs::read_to_string(file).unwrap());
            let raised = raised(&statements);
            match raised {
                Some(to) => assert_eq!(to, version, "{database}/{name}"),
                None => assert_eq!(
                    obstacle(&statements),
                    None,
                    "{database}/{name}: a program before it cannot work with this, so it must raise catalog_reader to {version}"
                ),
            }
            told.push((version, raised));
        }
        versions.push(told);
    }
    assert_eq!(versions[0], versions[1], "both databases have the same migrations");
    assert_eq!(versions[0].len() as i64, catalog::newest_version() - 1);
}

#[test]
fn what_an_older_program_would_meet_is_no_addition() {
    let harmless = |sql: &str| obstacle(&statements(sql)).is_none();
    for sql in [
        "CREATE TABLE a (id BIGINT REFERENCES dataset (id)); CREATE UNIQUE INDEX i ON a (id); INSERT INTO a (id) VALUES (';')",
        "CREATE TABLE a (id BIGINT REFERENCES part (id) ON DELETE CASCADE, x TEXT NOT NULL)",
        "ALTER TABLE part ADD COLUMN a BIGINT; ALTER TABLE part ADD COLUMN b BIGINT NOT NULL DEFAULT 0;",
        "-- ALTER TABLE part DROP COLUMN path;\nDROP VIEW v; CREATE VIEW v AS SELECT 1",
    ] {
        assert!(harmless(sql), "{sql}");
    }
    for sql in [
        "ALTER TABLE part ADD COLUMN b BIGINT NOT NULL",
        "ALTER TABLE part ADD COLUMN b BIGINT CHECK (b > 0)",
        "ALTER TABLE part DROP COLUMN path",
        "ALTER TABLE part RENAME TO parts",
        "ALTER TABLE part ADD COLUMN a BIGINT, DROP COLUMN path",
        "CREATE UNIQUE INDEX i ON part (path)",
        "CREATE TABLE a (id BIGINT REFERENCES part (id))",
        "INSERT INTO part (id) VALUES (1)",
        "UPDATE part SET level = 2",
        "DELETE FROM lease",
        "DROP TABLE lease",
        "DROP VIEW v",
        "CREATE TRIGGER t AFTER INSERT ON part BEGIN SELECT 1",
    ] {
        assert!(!harmless(sql), "{sql}");
    }
}
