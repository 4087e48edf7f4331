//! The `otlp-rust` binary: reads the command line and the configuration, builds the parts, runs them.

mod allocator;
mod build;
mod cli;
mod doctor;
mod drain;
mod health;
mod migrate;
mod observe;
mod quarantine;
mod serve;
mod verify;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    allocator::configure();
    let cli = cli::Cli::parse();
    match cli::run(cli) {
        Ok(code) => code,
        Err(error) => {
            // The chain reads from what was tried to why it failed.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
