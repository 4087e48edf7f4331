//! The three layers - file, environment, flags - brought down to one value per key.
//!
//! Each layer is walked along the tree of keys, so that an unknown key is noticed where it stands, in whatever layer.
//! A later layer replaces single keys of an earlier one. Each value is then tried alone against the records, so that
//! one bad value hides no other; what remains is the raw configuration, right in shape.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};
use serde_yaml_ng::Value as Yaml;

use crate::location::redact_url;
use crate::problem::{Origin, Problem};
use crate::raw::RawConfig;
use crate::secret::HIDDEN;
use crate::suggest::advice;
use crate::tree::{Leaf, Node, Section};

/// Every environment variable that starts like this must name a key.
pub const ENV_PREFIX: &str = "OTLP_RUST__";

/// Longest piece of a value that an error shows, in characters.
const SHOWN_CHARS: usize = 80;

struct Given<'a> {
    leaf: &'a Leaf,
    value: Value,
    origin: Origin,
}

/// Collects the layers, in rising order of precedence.
pub(crate) struct Layers<'a> {
    tree: &'a Section,
    given: BTreeMap<Vec<String>, Given<'a>>,
    problems: Vec<Problem>,
}

/// The layers brought together.
pub(crate) struct Merged {
    pub raw: RawConfig,
    /// Who set a key, by dotted key; keys left at their default are absent.
    pub origins: BTreeMap<String, Origin>,
    pub problems: Vec<Problem>,
}

impl<'a> Layers<'a> {
    pub fn new(tree: &'a Section) -> Self {
        Self {
            tree,
            given: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    pub fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// The text of the configuration file.
    pub fn file(&mut self, path: &Path, text: &str) {
        match serde_yaml_ng::from_str::<Yaml>(text) {
            Ok(yaml) => {
                let origin = Origin::File(path.to_owned());
                self.section(self.tree, &mut Vec::new(), yaml, &origin);
            }
            Err(error) => self.problems.push(Problem::Yaml {
                path: path.to_owned(),
                reason: error.to_string(),
            }),
        }
    }

    /// Environment variables; those without the prefix are not ours and pass unseen.
    pub fn environment(&mut self, variables: &[(String, String)]) {
        for (name, text) in variables {
            let Some(rest) = name.strip_prefix(ENV_PREFIX) else {
                continue;
            };
            let segments: Vec<&str> = rest.split("__").collect();
            self.assign(&segments, text, &Origin::Env(name.clone()));
        }
    }

    /// Flags: dotted key, value and the name of the flag.
    pub fn overrides(&mut self, overrides: &[(String, String, String)]) {
        for (key, text, flag) in overrides {
            let segments: Vec<&str> = key.split('.').collect();
            self.assign(&segments, text, &Origin::Flag(flag.clone()));
        }
    }

    /// One value given as text. The fixed keys are matched without regard to case, as environment variables are
    /// written in capitals; names chosen by the user (tenants) are taken as they are.
    fn assign(&mut self, segments: &[&str], text: &str, origin: &Origin) {
        let mut path: Vec<String> = Vec::new();
        let mut place: Option<&'a Node> = None;
        for segment in segments {
            let next = match place {
                None => find(self.tree, segment),
                Some(Node::Section(section)) => find(section, segment),
                Some(Node::Map { value, .. }) => Some(((*segment).to_owned(), value.as_ref())),
                Some(Node::Leaf(_)) => None,
            };
            let Some((key, node)) = next else {
                let section = match place {
                    None => Some(self.tree),
                    Some(Node::Section(section)) => Some(section),
                    Some(Node::Map { .. } | Node::Leaf(_)) => None,
                };
                path.push(segment.to_lowercase());
                return self.unknown(section, &path, origin);
            };
            path.push(key);
            place = Some(node);
        }
        match place {
            Some(Node::Leaf(leaf)) => {
                let value = value_of_text(leaf, text);
                self.given.insert(
                    path,
                    Given {
                        leaf,
                        value,
                        origin: origin.clone(),
                    },
                );
            }
            // A whole section as YAML, such as RETENTION__TENANTS='{acme: {spans: 7d}}'.
            Some(node) => match serde_yaml_ng::from_str::<Yaml>(text) {
                Ok(yaml) => self.node(node, &mut path, yaml, origin),
                Err(_) => self.not_a_section(&path, text.to_owned(), origin),
            },
            None => {}
        }
    }

    fn node(&mut self, node: &'a Node, path: &mut Vec<String>, yaml: Yaml, origin: &Origin) {
        match node {
            Node::Section(section) => self.section(section, path, yaml, origin),
            Node::Map { value, .. } => {
                for (key, yaml) in self.entries(path, yaml, origin) {
                    path.push(key);
                    self.node(value, path, yaml, origin);
                    path.pop();
                }
            }
            Node::Leaf(leaf) => match json_of_yaml(&yaml) {
                Some(value) => {
                    self.given.insert(
                        path.clone(),
                        Given {
                            leaf,
                            value,
                            origin: origin.clone(),
                        },
                    );
                }
                None => self.problems.push(Problem::Invalid {
                    key: path.join("."),
                    value: if leaf.secret {
                        HIDDEN.to_owned()
                    } else {
                        show_yaml(&yaml)
                    },
                    expected: leaf.expected.clone(),
                    origin: origin.clone(),
                }),
            },
        }
    }

    fn section(&mut self, section: &'a Section, path: &mut Vec<String>, yaml: Yaml, origin: &Origin) {
        for (key, yaml) in self.entries(path, yaml, origin) {
            path.push(key);
            match path.last().and_then(|key| section.get(key)) {
                Some(node) => self.node(node, path, yaml, origin),
                None => self.unknown(Some(section), path, origin),
            }
            path.pop();
        }
    }

    /// The entries of a mapping. An empty section (`commit:` with nothing below) is a mapping without entries.
    fn entries(&mut self, path: &[String], yaml: Yaml, origin: &Origin) -> Vec<(String, Yaml)> {
        let mapping = match yaml {
            Yaml::Null => return Vec::new(),
            Yaml::Mapping(mapping) => mapping,
            other => {
                self.not_a_section(path, show_yaml(&other), origin);
                return Vec::new();
            }
        };
        let mut entries = Vec::with_capacity(mapping.len());
        for (key, value) in mapping {
            match scalar_key(&key) {
                Some(key) => entries.push((key, value)),
                None => self.not_a_section(path, format!("the key {}", show_yaml(&key)), origin),
            }
        }
        entries
    }

    fn unknown(&mut self, section: Option<&Section>, path: &[String], origin: &Origin) {
        self.problems.push(Problem::UnknownKey {
            key: path.join("."),
            advice: advice(self.tree, section, path),
            origin: origin.clone(),
        });
    }

    fn not_a_section(&mut self, path: &[String], value: String, origin: &Origin) {
        self.problems.push(Problem::Invalid {
            key: if path.is_empty() {
                "the configuration".to_owned()
            } else {
                path.join(".")
            },
            value: shorten(&redact_url(&value)),
            expected: "a section, that is, keys with values below".to_owned(),
            origin: origin.clone(),
        });
    }

    /// Tries each value, and puts those that fit together.
    pub fn merge(mut self) -> Merged {
        let mut document = Value::Object(Map::new());
        let mut origins = BTreeMap::new();
        for (path, Given { leaf, value, origin }) in self.given {
            let key = path.join(".");
            let alone = nest(&path, value.clone());
            let in_range = value
                .as_u64()
                .is_none_or(|n| leaf.minimum.is_none_or(|min| n >= min) && leaf.maximum.is_none_or(|max| n <= max));
            if !in_range || serde_json::from_value::<RawConfig>(alone).is_err() {
                self.problems.push(Problem::Invalid {
                    key,
                    value: if leaf.secret { HIDDEN.to_owned() } else { show(&value) },
                    expected: leaf.expected.clone(),
                    origin,
                });
                continue;
            }
            put(&mut document, &path, value);
            if !(leaf.default.is_null() && path_is_null(&document, &path)) {
                origins.insert(key, origin);
            }
        }
        // Every value passed alone and values do not interact in the records, so this cannot fail; if it ever does,
        // it is reported like any other problem.
        let raw = serde_json::from_value(document).unwrap_or_else(|error| {
            self.problems.push(Problem::Conflict {
                message: error.to_string(),
                origins: "all sources".to_owned(),
            });
            RawConfig::default()
        });
        Merged {
            raw,
            origins,
            problems: self.problems,
        }
    }
}

fn find<'a>(section: &'a Section, key: &str) -> Option<(String, &'a Node)> {
    let (name, node) = section
        .children
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(key))?;
    Some((name.clone(), node))
}

/// What a text from the environment or a flag means for a key. What does not fit stays a text and is refused later.
fn value_of_text(leaf: &Leaf, text: &str) -> Value {
    let trimmed = text.trim();
    if leaf.allows("null") && matches!(trimmed, "" | "null") {
        return Value::Null;
    }
    if leaf.allows("array") {
        if trimmed.starts_with('[')
            && let Some(list) = serde_yaml_ng::from_str(trimmed).ok().as_ref().and_then(json_of_yaml)
        {
            return list;
        }
        return trimmed
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .collect();
    }
    if leaf.allows("boolean")
        && let Ok(flag) = trimmed.parse::<bool>()
    {
        return flag.into();
    }
    if leaf.allows("integer")
        && !leaf.allows("string")
        && let Ok(number) = trimmed.parse::<u64>()
    {
        return number.into();
    }
    text.into()
}

fn nest(path: &[String], value: Value) -> Value {
    path.iter().rev().fold(value, |inner, key| {
        Value::Object(Map::from_iter([(key.clone(), inner)]))
    })
}

fn put(document: &mut Value, path: &[String], value: Value) {
    let mut place = document;
    for key in path {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        // Indexing an object by a missing key inserts it.
        place = &mut place[key.as_str()];
    }
    *place = value;
}

fn path_is_null(document: &Value, path: &[String]) -> bool {
    path.iter().fold(document, |place, key| &place[key.as_str()]).is_null()
}

/// The JSON of a YAML value; `None` for what JSON has not: tags, other keys than scalars, NaN and infinities.
fn json_of_yaml(yaml: &Yaml) -> Option<Value> {
    Some(match yaml {
        Yaml::Null => Value::Null,
        Yaml::Bool(flag) => (*flag).into(),
        Yaml::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(n), _) => n.into(),
            (None, Some(n)) => n.into(),
            (None, None) => Value::Number(serde_json::Number::from_f64(number.as_f64()?)?),
        },
        Yaml::String(text) => text.clone().into(),
        Yaml::Sequence(items) => Value::Array(items.iter().map(json_of_yaml).collect::<Option<_>>()?),
        Yaml::Mapping(mapping) => {
            let entries = mapping
                .iter()
                .map(|(key, value)| Some((scalar_key(key)?, json_of_yaml(value)?)));
            Value::Object(entries.collect::<Option<_>>()?)
        }
        Yaml::Tagged(_) => return None,
    })
}

/// A key of a mapping as text: a tenant may be called `42`.
fn scalar_key(yaml: &Yaml) -> Option<String> {
    match yaml {
        Yaml::String(text) => Some(text.clone()),
        Yaml::Number(number) => Some(number.to_string()),
        Yaml::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::String(text) => shorten(&format!("{:?}", redact_url(text))),
        other => shorten(&redact_url(&other.to_string())),
    }
}

fn show_yaml(yaml: &Yaml) -> String {
    match json_of_yaml(yaml) {
        Some(value) => show(&value),
        None => shorten(&redact_url(serde_yaml_ng::to_string(yaml).unwrap_or_default().trim())),
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
