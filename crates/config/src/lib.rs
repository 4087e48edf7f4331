//! Configuration: one YAML file, the environment and flags, parsed, then validated, then handed out as plain data.
//!
//! There are three kinds of types, and a value passes through them once, at start:
//!
//! 1. *raw* records say which keys exist, their types, defaults and descriptions. The JSON schema, the reference page
//!    and the names of environment variables are derived from them, so that these cannot drift;
//! 2. [`Config`] holds what passed validation: defaults worked out, addresses taken apart, secrets read;
//! 3. the objects that run (stores, pools, servers) are built from it by their own crates. This crate opens no socket
//!    and keeps nothing open.
//!
//! Precedence: flags over environment (`OTLP_RUST__SECTION__KEY`) over file over defaults, key by key. Failure: every
//! problem of every source is reported at once, each naming the key, where its value came from, the value and what is
//! expected. Unknown keys are problems too, in the file as in the environment. A secret is shown nowhere.

mod effective;
mod human;
mod layers;
mod location;
mod memory;
mod problem;
mod raw;
mod reference;
mod secret;
mod settings;
mod suggest;
mod tree;
mod validate;

use std::path::{Path, PathBuf};

pub use human::{ByteSize, HumanDuration, NotHuman};
pub use layers::ENV_PREFIX;
pub use location::{CatalogUrl, RedisUrl, StoreUrl};
pub use memory::{
    MemoryLimit, MemorySource, ReadFile, detect_memory_limit, detect_memory_limit_with, group_and_parents,
};
pub use problem::{ConfigErrors, Origin, Problem};
pub use reference::reference_markdown;
pub use secret::Secret;
pub use settings::{
    Allowance, Azure, Cache, Catalog, Commit, Compaction, Config, CorsOrigins, Gc, Gcs, Ingest, Limits, Log, LogFormat,
    Periods, PostgresWire, Query, Redis, Retention, Roles, S3, Server, Store,
};
pub use tree::json_schema;

/// Where the configuration comes from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The YAML file, if there is one.
    pub file: Option<PathBuf>,
    /// The process's environment; variables that do not start with [`ENV_PREFIX`] are ignored.
    pub env: Vec<(String, String)>,
    /// Flags: dotted key (`server.http`), value, and the flag's name for messages (`--http`).
    pub overrides: Vec<(String, String, String)>,
}

/// Reads, merges and validates the configuration.
///
/// # Errors
/// [`ConfigErrors`] with everything that is wrong.
pub fn load(sources: Sources) -> Result<Config, ConfigErrors> {
    load_with(sources, &|path| std::fs::read_to_string(path))
}

/// As [`load`], reading every file (configuration, secrets, memory limits) through `read`.
///
/// # Errors
/// [`ConfigErrors`] with everything that is wrong.
pub fn load_with(sources: Sources, read: ReadFile<'_>) -> Result<Config, ConfigErrors> {
    let tree = tree::key_tree();
    let mut layers = layers::Layers::new(&tree);
    if let Some(path) = &sources.file {
        match read(path) {
            Ok(text) => layers.file(path, &text),
            Err(error) => layers.problem(unreadable(path, "the configuration file", &error)),
        }
    }
    layers.environment(&sources.env);
    layers.overrides(&sources.overrides);
    validate::validate(layers.merge(), read)
}

fn unreadable(path: &Path, origin: &str, error: &std::io::Error) -> Problem {
    Problem::UnreadableFile {
        path: path.to_owned(),
        origin: origin.to_owned(),
        reason: error.to_string(),
    }
}
