//! A PostgreSQL server for the S3 phase, from the distribution's binaries, on a free port over a directory of its own.

use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::server::free_ports;

/// A running PostgreSQL; dropping it stops it.
#[derive(Debug)]
pub struct Postgres {
    child: Child,
    address: SocketAddr,
    // Removed after the server has stopped: fields drop after `Drop::drop`.
    _data: TempDir,
}

impl Postgres {
    /// Makes a database cluster and starts it.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or does not start.
    pub async fn start() -> Result<Self> {
        let binaries =
            binaries().context("no PostgreSQL below /usr/lib/postgresql; install it or give --catalog-url")?;
        let data = tempfile::Builder::new().prefix("otlp-rust-bench-pg-").tempdir()?;
        // PostgreSQL refuses to run as root; the packages make a user for it.
        let owner = if std::fs::metadata("/proc/self")?.uid() == 0 {
            Some(account("postgres")?)
        } else {
            None
        };
        if let Some((uid, gid)) = owner {
            chown(data.path(), Some(uid), Some(gid))?;
        }
        let run = |program: &str| {
            let mut command = Command::new(binaries.join(program));
            if let Some((uid, gid)) = owner {
                command.uid(uid).gid(gid);
            }
            command
                .current_dir(data.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            command
        };
        let cluster = data.path().join("cluster");
        let made = run("initdb")
            .args(["--auth=trust", "--username=bench", "-D"])
            .arg(&cluster)
            .status()?;
        if !made.success() {
            bail!("initdb failed with {made}");
        }
        let [address] = free_ports()?;
        let mut command = run("postgres");
        command
            .arg("-D")
            .arg(&cluster)
            .args(["-p", &address.port().to_string()]);
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        let child = command.spawn().context("starting postgres")?;
        let server = Self {
            child,
            address,
            _data: data,
        };
        let begun = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            if begun.elapsed() > Duration::from_secs(30) {
                bail!("PostgreSQL does not listen on {address} after 30 s");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(server)
    }

    /// The URL of its default database.
    pub fn url(&self) -> String {
        format!("postgres://bench@{}/postgres", self.address)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGQUIT is PostgreSQL's immediate shutdown, which takes its children along. Errors mean that it is gone.
        let _ = Command::new("sh")
            .args(["-c", &format!("kill -QUIT {}", self.child.id())])
            .status();
        let _ = self.child.wait();
    }
}

/// The binaries of the newest installed version.
fn binaries() -> Option<PathBuf> {
    let versions = std::fs::read_dir(Path::new("/usr/lib/postgresql")).ok()?;
    let mut found: Vec<PathBuf> = versions.flatten().map(|version| version.path().join("bin")).collect();
    found.retain(|directory| directory.join("initdb").exists());
    found.sort();
    found.pop()
}

/// User and group id of an account.
fn account(name: &str) -> Result<(u32, u32)> {
    let accounts = std::fs::read_to_string("/etc/passwd")?;
    let fields: Vec<&str> = accounts
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&name))
        .with_context(|| format!("there is no account {name}"))?;
    let id = |index: usize| {
        fields
            .get(index)
            .and_then(|id| id.parse().ok())
            .context("malformed /etc/passwd")
    };
    Ok((id(2)?, id(3)?))
}
