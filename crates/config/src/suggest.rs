//! The advice beside an unknown key: the key that was probably meant.

use crate::tree::{Node, Section};

/// Keys whose distance (Damerau-Levenshtein) is at most a third of the key's length, and at least 2, are likely
/// slips of the finger; further away a guess would mislead.
fn close_enough(key: &str) -> usize {
    (key.chars().count() / 3).max(2)
}

/// `did you mean commit.min_interval?`, or the keys that exist where `path` ends.
///
/// `section` is where the last key of `path` was looked for; `None` when it stands below a value. First the keys of
/// that section are compared, then the same key is looked for in all others.
pub(crate) fn advice(tree: &Section, section: Option<&Section>, path: &[String]) -> String {
    let Some((key, above)) = path.split_last() else {
        return "no key was given".to_owned();
    };
    let Some(section) = section else {
        return format!("{} is a value and has no keys below", above.join("."));
    };
    let nearest = section
        .children
        .iter()
        .map(|(name, _)| (strsim::damerau_levenshtein(&key.to_lowercase(), name), name))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= close_enough(key));
    if let Some((_, name)) = nearest {
        return format!("did you mean {}?", dotted(above, name));
    }
    let mut elsewhere = Vec::new();
    places_of(tree, &key.to_lowercase(), &mut Vec::new(), &mut elsewhere);
    if !elsewhere.is_empty() {
        return format!("did you mean {}?", elsewhere.join(" or "));
    }
    let names: Vec<&str> = section.children.iter().map(|(name, _)| name.as_str()).collect();
    format!("the keys here are {}", names.join(", "))
}

fn dotted(above: &[String], key: &str) -> String {
    above
        .iter()
        .map(String::as_str)
        .chain([key])
        .collect::<Vec<_>>()
        .join(".")
}

fn places_of(section: &Section, key: &str, above: &mut Vec<String>, found: &mut Vec<String>) {
    for (name, node) in &section.children {
        if name == key {
            found.push(dotted(above, name));
        }
        if let Node::Section(below) = node {
            above.push(name.clone());
            places_of(below, key, above, found);
            above.pop();
        }
    }
}
