//! `s3-endpoint`: an S3 server over a local folder, for tests and benchmarks.
//!
//! Prints one line of JSON with its URL and keys when it is ready, and runs until SIGINT or SIGTERM. With `--anonymous`
//! it takes requests without an S3 signature and so stands for Google Cloud Storage, whose XML API is S3's otherwise.
//! `GET /-/counts` answers the requests so far by kind.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use testkit::s3::{ACCESS_KEY_ID, Access, S3Endpoint, SECRET_ACCESS_KEY};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, Parser)]
#[command(about)]
struct Options {
    /// Address to listen on; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Folder that holds the buckets.
    #[arg(long)]
    root: PathBuf,
    /// Bucket to create when it does not exist; may be given several times.
    #[arg(long = "bucket")]
    buckets: Vec<String>,
    /// Take requests without a signature.
    #[arg(long)]
    anonymous: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    std::fs::create_dir_all(&options.root)?;
    let access = if options.anonymous {
        Access::Anyone
    } else {
        Access::Signed
    };
    let endpoint = S3Endpoint::start(&options.root, options.listen, &options.buckets, access).await?;
    println!(
        "{}",
        serde_json::json!({
            "url": endpoint.url(),
            "access_key_id": ACCESS_KEY_ID,
            "secret_access_key": SECRET_ACCESS_KEY,
        })
    );
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
