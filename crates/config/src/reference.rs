//! The reference page, generated from the same records that parse the configuration.

use std::fmt::Write;

use serde_json::Value;

use crate::layers::ENV_PREFIX;
use crate::tree::{Leaf, Node, Section, key_tree};

const PREFACE: &str = "\
<!-- Generated from crates/config/src/raw.rs. Do not edit; run: UPDATE_DOCS=1 cargo nextest run -p config reference -->

# Configuration reference

otlp-rust starts without any configuration. What differs from the defaults is given in one YAML file
(`otlp-rust serve --config FILE`), in environment variables, or as flags. Flags win over the environment, the environment
wins over the file, key by key.

```yaml
server:
  data_dir: /var/lib/otlp-rust
store:
  url: s3://telemetry/prod
  s3:
    region: eu-central-1
catalog:
  url_file: /run/secrets/catalog-url
retention:
  default: 30d
  tenants:
    acme:
      spans: 7d
```

- **Environment.** The variable of a key is `OTLP_RUST__` and its path in capitals, joined by two underscores:
  `commit.min_interval` is `OTLP_RUST__COMMIT__MIN_INTERVAL`. Names of tenants keep their case:
  `OTLP_RUST__RETENTION__TENANTS__acme__SPANS=7d`. Lists are separated by commas. An empty value or `null` unsets a key
  that may be unset.
- **Durations** are whole numbers with a unit: `ns`, `us`, `ms`, `s`, `m`, `h`, `d`; parts may be joined (`1h30m`).
- **Sizes** are bytes, or whole numbers with a unit: `kB`, `MB`, `GB`, `TB` (powers of 1000) or `KiB`, `MiB`, `GiB`,
  `TiB` (powers of 1024).
- **Unknown keys are errors**, in the file as in the environment, and so are wrong values. All of them are reported at once.
- **Secrets** are never printed. Each can be read from a file instead: the key with `_file` at its end.
- `otlp-rust config check` validates, `otlp-rust config print` shows what is in force, and `otlp-rust config schema` prints
  the JSON schema, for editors.

A default of *computed* is worked out from other values as described.
";

/// The reference page of every key, in Markdown.
pub fn reference_markdown() -> String {
    let mut page = PREFACE.to_owned();
    write_section(&mut page, &key_tree(), &mut Vec::new());
    page
}

fn write_section(page: &mut String, section: &Section, path: &mut Vec<String>) {
    if !path.is_empty() {
        write_heading(page, path, &section.description);
    }
    write_leaves(page, section, path);
    for (key, node) in &section.children {
        path.push(key.clone());
        match node {
            Node::Section(below) => write_section(page, below, path),
            Node::Map { description, value } => {
                path.push("<tenant>".to_owned());
                match value.as_ref() {
                    Node::Section(below) => {
                        write_heading(page, path, description);
                        write_leaves(page, below, path);
                    }
                    Node::Map { .. } | Node::Leaf(_) => write_heading(page, path, description),
                }
                path.pop();
            }
            Node::Leaf(_) => {}
        }
        path.pop();
    }
}

fn write_heading(page: &mut String, path: &[String], description: &str) {
    let level = "#".repeat(path.len().min(2) + 1);
    // Writing to a String cannot fail.
    let _ = write!(page, "\n{level} `{}`\n\n{description}\n", path.join("."));
}

fn write_leaves(page: &mut String, section: &Section, path: &[String]) {
    let leaves: Vec<(&String, &Leaf)> = section
        .children
        .iter()
        .filter_map(|(key, node)| match node {
            Node::Leaf(leaf) => Some((key, leaf)),
            Node::Section(_) | Node::Map { .. } => None,
        })
        .collect();
    if leaves.is_empty() {
        return;
    }
    page.push_str("\n| Key | Default | Value | Meaning |\n| --- | --- | --- | --- |\n");
    for (key, leaf) in leaves {
        let _ = writeln!(
            page,
            "| `{key}`<br>`{}` | {} | {} | {} |",
            variable(path, key),
            default(leaf),
            cell(&leaf.expected),
            cell(&leaf.description)
        );
    }
}

fn variable(path: &[String], key: &str) -> String {
    let segments = path.iter().map(String::as_str).chain([key]);
    let capitals = segments.map(|segment| {
        if segment.starts_with('<') {
            segment.to_owned()
        } else {
            segment.to_uppercase()
        }
    });
    format!("{ENV_PREFIX}{}", capitals.collect::<Vec<_>>().join("__"))
}

fn default(leaf: &Leaf) -> String {
    match &leaf.default {
        Value::Null if leaf.description.contains("Unset: ") && !leaf.description.contains("Unset: no limit") => {
            "*computed*".to_owned()
        }
        Value::Null => "unset".to_owned(),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

/// Text for a table cell: a bar would end it.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
