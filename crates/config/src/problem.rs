//! What can be wrong with a configuration, said so that the reader knows where to look and what to write.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// An environment variable, by its name.
    Env(String),
    /// A command-line flag, by its name.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A file that the configuration needs cannot be read.
    #[error("cannot read {path} ({origin}): {reason}", path = path.display())]
    UnreadableFile {
        /// The file.
        path: PathBuf,
        /// What named it: `--config`, or the key.
        origin: String,
        /// The operating system's reason.
        reason: String,
    },
    /// The configuration file is not YAML.
    #[error("{path} is not valid YAML: {reason}", path = path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// The parser's reason, with line and column.
        reason: String,
    },
    /// A key that does not exist.
    #[error("unknown key {key}; {advice} (from {origin})")]
    UnknownKey {
        /// The dotted key as it was given.
        key: String,
        /// `did you mean commit.min_interval?`, or the keys that exist there.
        advice: String,
        /// Where it stands.
        origin: Origin,
    },
    /// A value of the wrong type, or out of range.
    #[error("{key}: expected {expected}, got {value} (from {origin})")]
    Invalid {
        /// The dotted key.
        key: String,
        /// The value as it was given; `***` for a secret.
        value: String,
        /// What would be right.
        expected: String,
        /// Where it stands.
        origin: Origin,
    },
    /// Values that are right alone and not together.
    #[error("{message} ({origins})")]
    Conflict {
        /// What does not go together, and what to change.
        message: String,
        /// The keys and where each value stands.
        origins: String,
    },
}

/// Everything that is wrong with a configuration, in the order of the sources. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Problem>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => write!(f, "the configuration has a problem: {one}"),
            many => {
                write!(f, "the configuration has {} problems:", many.len())?;
                many.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
            }
        }
    }
}

impl std::error::Error for ConfigErrors {}
