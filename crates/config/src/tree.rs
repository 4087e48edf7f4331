//! The keys that exist, as a tree taken from the JSON schema of the raw records.
//!
//! The schema is generated with everything inlined, so that a key is found by walking properties. The order of keys
//! is that of the records, which the schema does not keep; it is taken from the serialised defaults.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use crate::raw::RawConfig;

/// A place in the tree of keys.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    /// Fixed keys below.
    Section(Section),
    /// Keys below are chosen by the user (tenants); all have the same shape.
    Map { description: String, value: Box<Node> },
    /// A value.
    Leaf(Leaf),
}

#[derive(Debug, Clone)]
pub(crate) struct Section {
    pub description: String,
    /// Key and what is there, in the order of the records.
    pub children: Vec<(String, Node)>,
}

#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    pub description: String,
    /// What a value must be, in words.
    pub expected: String,
    /// The JSON types that are allowed, `null` included.
    pub types: Vec<String>,
    /// Whether the value must not be shown.
    pub secret: bool,
    /// The default; null when it is worked out.
    pub default: Value,
    pub minimum: Option<u64>,
    pub maximum: Option<u64>,
}

impl Leaf {
    pub fn allows(&self, kind: &str) -> bool {
        self.types.iter().any(|t| t == kind)
    }
}

impl Section {
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.children.iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }
}

/// The generated schema, with our own annotations still in it.
fn annotated_schema() -> Value {
    let generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator();
    generator.into_root_schema_for::<RawConfig>().to_value()
}

/// The JSON schema (draft 2020-12) of the configuration file, for editors and validators.
pub fn json_schema() -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.retain(|key, _| !key.starts_with("x-") && key != "writeOnly");
                map.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut schema = annotated_schema();
    strip(&mut schema);
    if let Value::Object(map) = &mut schema {
        map.insert("title".to_owned(), "otlp-rust configuration".into());
    }
    schema
}

/// The tree of all keys.
pub(crate) fn key_tree() -> Section {
    let order = serde_yaml_ng::to_value(RawConfig::default()).unwrap_or_default();
    match node(&annotated_schema(), &order) {
        Node::Section(section) => section,
        // The root record is a struct, so its schema has properties; a test walks the tree.
        Node::Map { .. } | Node::Leaf(_) => Section {
            description: String::new(),
            children: Vec::new(),
        },
    }
}

fn node(schema: &Value, default: &serde_yaml_ng::Value) -> Node {
    let description = text(schema, "description")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    if let Some(Value::Object(properties)) = schema.get("properties") {
        return Node::Section(Section {
            description,
            children: children(properties, default),
        });
    }
    if let Some(value @ Value::Object(_)) = schema.get("additionalProperties") {
        return Node::Map {
            description,
            value: Box::new(node(value, &serde_yaml_ng::Value::Null)),
        };
    }
    let alternatives = || {
        schema
            .get("anyOf")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .chain([schema])
    };
    let types: Vec<String> = alternatives().flat_map(types_of).collect();
    Node::Leaf(Leaf {
        expected: expected(schema, &types),
        secret: alternatives().any(|s| s.get("writeOnly") == Some(&Value::Bool(true))),
        default: schema.get("default").cloned().unwrap_or_default(),
        minimum: schema.get("minimum").and_then(Value::as_u64),
        maximum: schema.get("maximum").and_then(Value::as_u64),
        description,
        types,
    })
}

fn children(properties: &Map<String, Value>, default: &serde_yaml_ng::Value) -> Vec<(String, Node)> {
    let empty = serde_yaml_ng::Mapping::new();
    let order = default.as_mapping().unwrap_or(&empty);
    let mut children: Vec<(String, Node)> = properties
        .iter()
        .map(|(key, schema)| {
            (
                key.clone(),
                node(schema, order.get(key.as_str()).unwrap_or(&serde_yaml_ng::Value::Null)),
            )
        })
        .collect();
    children.sort_by_key(|(key, _)| order.keys().position(|k| k.as_str() == Some(key)));
    children
}

fn types_of(schema: &Value) -> Vec<String> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// What a value must be, in words: the record's own phrase if it has one, or one made from its type and range.
fn expected(schema: &Value, types: &[String]) -> String {
    let phrase = schema.get("x-expected").or_else(|| {
        let alternatives = schema.get("anyOf")?.as_array()?;
        alternatives.iter().find_map(|s| s.get("x-expected"))
    });
    if let Some(phrase) = phrase.and_then(Value::as_str) {
        return phrase.to_owned();
    }
    if let Some(Value::Array(values)) = schema.get("enum") {
        return values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or ");
    }
    let is = |kind: &str| types.iter().any(|t| t == kind);
    let bound = |name| schema.get(name).and_then(Value::as_u64);
    match (bound("minimum"), bound("maximum")) {
        _ if is("boolean") => "true or false".to_owned(),
        _ if is("string") => "a text".to_owned(),
        (Some(min), Some(max)) => format!("a whole number from {min} to {max}"),
        (Some(min), None) => format!("a whole number of at least {min}"),
        _ => "a whole number".to_owned(),
    }
}

fn text<'a>(schema: &'a Value, key: &str) -> &'a str {
    schema.get(key).and_then(Value::as_str).unwrap_or_default()
}
