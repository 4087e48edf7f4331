//! The process's log: structured lines on standard error, so that standard output stays free for results.
//!
//! Set up once, before anything else runs. What was logged before is lost; what fails to be written is dropped.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people; coloured on a terminal.
    Text,
    /// One JSON object a line, fields at its top level.
    Json,
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The level is not one.
    #[error(
        "log level {level:?} is not understood ({reason}): use off, error, warn, info, debug or trace, also per module as in info,lake=debug"
    )]
    InvalidLevel {
        /// What was given.
        level: String,
        /// The parser's reason.
        reason: String,
    },
    /// The process has a log already.
    #[error("the log is set up already: call init_logging once, at the start of the program")]
    AlreadySetUp(#[source] TryInitError),
}

/// Sends `tracing` events to standard error. `level` is a level or directives such as `info,lake=debug`.
///
/// # Errors
/// [`LoggingError::InvalidLevel`] for a text that is neither; [`LoggingError::AlreadySetUp`] the second time.
pub fn init_logging(level: &str, format: LogFormat) -> Result<(), LoggingError> {
    let filter = EnvFilter::try_new(level).map_err(|error| LoggingError::InvalidLevel {
        level: level.to_owned(),
        reason: error.to_string(),
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    }
    .map_err(LoggingError::AlreadySetUp)
}
