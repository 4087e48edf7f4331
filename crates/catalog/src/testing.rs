//! A PostgreSQL server that lives as long as a test.
//!
//! [`PostgresServer::start`] makes a database cluster in a temporary directory and serves it on a free loopback port.
//! Dropping the value stops the server and removes the directory. If the test process is killed instead, the pipe to the
//! shell that watches over the server breaks and the shell does the same.

use std::io::{self, Read as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tempfile::TempDir;

/// Where Debian puts PostgreSQL 15.
const BINARIES: &str = "/usr/lib/postgresql/15/bin";

/// `$0` is the directory, the rest the server's command line. The server's own shutdown on SIGINT takes some ms.
const WATCH: &str = r#""$@" & server=$!; read -r _; kill -INT $server; wait $server; rm -rf "$0"/data"#;

/// A running server.
#[derive(Debug)]
pub struct PostgresServer {
    port: u16,
    watcher: Child,
    directory: TempDir,
    databases: AtomicU32,
}

impl PostgresServer {
    /// Starts a server and waits until it answers. It does not sync to disk: it is for tests, not for figures.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start: a test without its database must fail, not pass.
    pub async fn start() -> Self {
        match Self::try_start().await {
            Ok(server) => server,
            Err(error) => panic!("cannot start a PostgreSQL server for this test: {error}"),
        }
    }

    async fn try_start() -> io::Result<Self> {
        let binaries = Path::new(BINARIES);
        if !binaries.join("initdb").exists() || !binaries.join("postgres").exists() {
            return Err(io::Error::other(format!(
                "{BINARIES} is missing: apt-get install postgresql"
            )));
        }
        let user = User::for_server()?;
        let directory = tempfile::Builder::new().prefix("otlp-rust-postgres-").tempdir()?;
        if let Some(User { uid, gid }) = user {
            std::os::unix::fs::chown(directory.path(), Some(uid), Some(gid))?;
        }
        let data = directory.path().join("data");
        let mut initdb = Command::new(binaries.join("initdb"));
        initdb
            .arg("-D")
            .arg(&data)
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]);
        let made = become_user(&mut initdb, user)
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .output()?;
        if !made.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&made.stderr).into_owned()));
        }
        let port = free_port()?;
        let log = directory.path().join("log");
        let output = std::fs::File::create(&log)?;
        let mut watch = Command::new("/bin/sh");
        watch
            .args(["-c", WATCH])
            .arg(directory.path())
            .arg(binaries.join("postgres"))
            .arg("-D")
            .arg(&data);
        watch.args(["-F", "-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        watch.args(["-c", "unix_socket_directories=", "-c", "max_connections=200"]);
        become_user(&mut watch, user).current_dir(directory.path());
        let watcher = watch
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        let mut server = Self {
            port,
            watcher,
            directory,
            databases: AtomicU32::new(0),
        };
        server.wait(&log).await?;
        Ok(server)
    }

    async fn wait(&mut self, log: &PathBuf) -> io::Result<()> {
        // 30 s: a loaded machine with two cores may need some.
        for _ in 0..300 {
            if let Ok(connection) = PgConnection::connect(&self.url()).await {
                let _ = connection.close().await; // only an answer was wanted
                return Ok(());
            }
            if self.watcher.try_wait()?.is_some() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        let mut text = String::new();
        std::fs::File::open(log)?.read_to_string(&mut text)?;
        Err(io::Error::other(format!(
            "the server does not answer; its log:\n{text}"
        )))
    }

    /// The address of the server's `postgres` database, whose user needs no password.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Where the server keeps its files while it runs.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Makes a new, empty database and returns its address.
    ///
    /// # Errors
    /// Those of `CREATE DATABASE`.
    pub async fn database(&self) -> Result<String, sqlx::Error> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut connection = PgConnection::connect(&self.url()).await?;
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .execute(&mut connection)
            .await?;
        connection.close().await?;
        Ok(format!("postgres://postgres@127.0.0.1:{}/{name}", self.port))
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take()); // the watcher reads the end of input and stops the server
        let _ = self.watcher.wait(); // nothing could be done about an error here
    }
}

/// Whom the server runs as when the test runs as root, which PostgreSQL refuses.
#[derive(Debug, Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
}

impl User {
    fn for_server() -> io::Result<Option<Self>> {
        use std::os::unix::fs::MetadataExt as _;
        if std::fs::metadata("/proc/self")?.uid() != 0 {
            return Ok(None);
        }
        let users = std::fs::read_to_string("/etc/passwd")?;
        let line = users.lines().find(|line| line.starts_with("postgres:"));
        let mut fields = line.unwrap_or_default().split(':').skip(2).map(str::parse);
        match (fields.next(), fields.next()) {
            (Some(Ok(uid)), Some(Ok(gid))) => Ok(Some(Self { uid, gid })),
            _ => Err(io::Error::other(
                "there is no user postgres: apt-get install postgresql",
            )),
        }
    }
}

fn become_user(command: &mut Command, user: Option<User>) -> &mut Command {
    if let Some(User { uid, gid }) = user {
        command.uid(uid).gid(gid);
    }
    command
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
