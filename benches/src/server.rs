//! The process under test: started on free loopback ports over a directory of its own, watched through /proc, and
//! stopped by its process id in every case, also when a run fails or is interrupted.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::process;

/// How to start the server; may be used again for the same data.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The release binary.
    pub binary: PathBuf,
    /// Its data directory.
    pub data: PathBuf,
    /// Where its standard output and error go, appended.
    pub log: PathBuf,
    /// Environment variables besides the inherited ones.
    pub environment: Vec<(String, String)>,
    /// The file that takes processes into a control group; `None` for that of this process.
    pub group: Option<PathBuf>,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    launch: Launch,
    otlp: SocketAddr,
    http: SocketAddr,
    ready: Duration,
}

/// A server that is not ready by then will never be: its own goal is 0.2 s.
const START_LIMIT: Duration = Duration::from_secs(120);
/// Draining has 30 s by default; beyond that and some spare the process hangs.
const STOP_LIMIT: Duration = Duration::from_secs(60);

impl Launch {
    /// Starts the server and waits until `/readyz` answers 200.
    ///
    /// # Errors
    /// When it cannot be started, exits, or is not ready in two minutes.
    pub async fn start(&self) -> Result<Server> {
        std::fs::create_dir_all(&self.data)?;
        let [otlp, otlp_http, http, admin] = free_ports()?;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .context("opening the server's log")?;
        let mut command = match &self.group {
            // The shell enters the group and becomes the server, which then sees the group's limits from its start.
            Some(group) => {
                let mut shell = Command::new("/bin/sh");
                let enter = r#"echo $$ > "$0" && exec "$@""#;
                shell.args(["-c", enter]).arg(group).arg(&self.binary);
                shell
            }
            None => Command::new(&self.binary),
        };
        command.arg("serve").arg("--data-dir").arg(&self.data);
        for (flag, address) in [
            ("--otlp-grpc", otlp),
            ("--otlp-http", otlp_http),
            ("--http", http),
            ("--admin", admin),
        ] {
            command.arg(flag).arg(address.to_string());
        }
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        command.stdin(Stdio::null()).stdout(duplicate(&log)?).stderr(log);
        let begun = Instant::now();
        let child = command
            .spawn()
            .with_context(|| format!("starting {}", self.binary.display()))?;
        let mut server = Server {
            child,
            launch: self.clone(),
            otlp,
            http,
            ready: Duration::ZERO,
        };
        server.await_ready(begun).await?;
        server.ready = begun.elapsed();
        Ok(server)
    }
}

impl Server {
    /// The base URL of the OTLP/gRPC receiver.
    pub fn otlp(&self) -> String {
        format!("http://{}", self.otlp)
    }

    /// The URL of `path` on the API's port.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// From the start of the process to the first 200 of `/readyz`, polled each millisecond.
    pub fn time_to_ready(&self) -> Duration {
        self.ready
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.launch.data
    }

    /// That it runs.
    ///
    /// # Errors
    /// How it ended, and the end of its log.
    pub fn alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("the server ended with {status}:\n{}", tail(&self.launch.log)),
            None => Ok(()),
        }
    }

    /// CPU time so far, user and system.
    ///
    /// # Errors
    /// When the server has died.
    pub fn cpu(&self) -> Result<Duration> {
        process::cpu(self.child.id())
    }

    /// CPU time of the threads that compact: from now on, so begin before the load.
    pub fn background(&self) -> process::ThreadCpu {
        // The name is given by `lake::background`.
        process::ThreadCpu::watch(self.child.id(), "background")
    }

    /// CPU time of the threads that answer queries: from now on.
    pub fn queries(&self) -> process::ThreadCpu {
        // The name is given where the binary makes its runtimes.
        process::ThreadCpu::watch(self.child.id(), "query")
    }

    /// Peak resident memory in bytes.
    ///
    /// # Errors
    /// When the server has died.
    pub fn peak_memory(&self) -> Result<u64> {
        process::peak_memory(self.child.id())
    }

    /// Stops it as an operator would: SIGTERM, then waits for the drain.
    ///
    /// # Errors
    /// When it does not exit in a minute; it is killed then.
    pub async fn stop(mut self) -> Result<Launch> {
        // The shell's own kill: a separate kill program is not installed everywhere.
        let kill = format!("kill -TERM {}", self.child.id());
        Command::new("sh")
            .args(["-c", &kill])
            .status()
            .context("sending SIGTERM")?;
        let begun = Instant::now();
        while begun.elapsed() < STOP_LIMIT {
            if self.child.try_wait()?.is_some() {
                return Ok(self.launch.clone());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!(
            "the server did not stop in {} s after SIGTERM; it was killed",
            STOP_LIMIT.as_secs()
        )
    }

    /// Kills it without warning (SIGKILL).
    ///
    /// # Errors
    /// When it is gone already.
    pub fn kill(mut self) -> Result<Launch> {
        self.child.kill().context("killing the server")?;
        self.child.wait().context("waiting for the killed server")?;
        Ok(self.launch.clone())
    }

    async fn await_ready(&mut self, begun: Instant) -> Result<()> {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?;
        let url = self.url("/readyz");
        while begun.elapsed() < START_LIMIT {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "the server exited with {status} before it was ready:\n{}",
                    tail(&self.launch.log)
                );
            }
            if client
                .get(&url)
                .send()
                .await
                .is_ok_and(|response| response.status().is_success())
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        bail!(
            "the server was not ready after {} s:\n{}",
            START_LIMIT.as_secs(),
            tail(&self.launch.log)
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when the process has been reaped already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last lines of a log, for an error message.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

fn duplicate(file: &File) -> Result<Stdio> {
    Ok(file.try_clone().context("sharing the server's log")?.into())
}

/// Loopback addresses that are free now. All are held until all are known, so that they differ; another process
/// could take one before the server does, which then says so.
pub(crate) fn free_ports<const N: usize>() -> Result<[SocketAddr; N]> {
    let mut held = Vec::with_capacity(N);
    for _ in 0..N {
        held.push(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?);
    }
    let addresses: Vec<SocketAddr> = held.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
    Ok(std::array::from_fn(|index| addresses[index]))
}
