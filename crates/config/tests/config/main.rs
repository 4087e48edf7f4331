//! The configuration from the outside: sources in, a `Config` or every problem out.

mod hostile;
mod layers;
mod print;
mod reference;
mod validation;

use std::io;

use config::{Config, ConfigErrors, Sources, load_with};

/// A machine with 1 GiB and the given files.
fn load_files(sources: Sources, files: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    load_with(sources, &|path| {
        let name = path.to_str().unwrap();
        if name == "/proc/meminfo" {
            return Ok("MemTotal: 1048576 kB".to_owned());
        }
        let text = files
            .iter()
            .find(|(file, _)| *file == name)
            .map(|(_, text)| (*text).to_owned());
        text.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    })
}

/// Only a file.
fn load_yaml(yaml: &str) -> Result<Config, ConfigErrors> {
    load_files(
        Sources {
            file: Some("c.yaml".into()),
            ..Sources::default()
        },
        &[("c.yaml", yaml)],
    )
}

/// Only the environment.
fn load_env(variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    load_files(
        Sources {
            env: env(variables),
            ..Sources::default()
        },
        &[],
    )
}

fn env(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Each problem as one line.
fn problems(result: Result<Config, ConfigErrors>) -> Vec<String> {
    result
        .expect_err("should be refused")
        .0
        .iter()
        .map(ToString::to_string)
        .collect()
}
