//! The life of the server: start, serve, drain.
//!
//! Start: catalog and store are opened, every port is bound, then it is ready. Drain, on SIGTERM or SIGINT: let load
//! balancers notice, refuse new requests (retryable), commit what was accepted, answer it, close.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use api::{ApiState, Readiness, Serves};
use axum::Router;
use config::{Config, CorsOrigins, LogFormat};
use futures::FutureExt;
use ingest::Ingest;
use lake::{Lake, Observer};
use query::QueryEngine;
use schema::TenantId;
use telemetry::Telemetry;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::TcpListenerStream;

use crate::allocator;
use crate::build;
use crate::drain::{self, interrupted};
use crate::observe::{self, Recorder};

/// Connections without traffic are probed this often, so that a dead peer does not hold a stream.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// A peer that does not answer a probe for this long is gone.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Larger windows let a batch of a few MiB arrive without waiting for the receiver; with little memory they are smaller.
const HTTP2_STREAM_WINDOW: u32 = 2 << 20;
/// As above, for all streams of a connection.
const HTTP2_CONNECTION_WINDOW: u32 = 8 << 20;
/// Senders that may use frames of this size deliver a batch in one piece, which is then decoded where it lies.
const HTTP2_FRAME: u32 = 1 << 20;
/// So much more than the plan a process may hold, as measured, before new work is refused: a third of what small control groups leave
/// for everything that nobody counts.
const SLACK: u64 = 48 << 20;

/// Runs the server until it is told to stop.
///
/// # Errors
/// What keeps it from starting.
pub fn run(config: Config) -> Result<ExitCode> {
    let format = match config.log.format {
        LogFormat::Text => telemetry::LogFormat::Text,
        LogFormat::Json => telemetry::LogFormat::Json,
    };
    telemetry::init_logging(&config.log.level, format)?;
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let queries = crate::cli::query_runtime()?;
    let ended = crate::cli::runtime()?.block_on(serve(config, queries.handle().clone()));
    queries.shutdown_background();
    ended
}

async fn bind(address: SocketAddr, what: &str, flag: &str) -> Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("cannot listen on {address} for {what}; choose another address with {flag}"))
}

async fn serve(config: Config, queries: Handle) -> Result<ExitCode> {
    let stop_signal = interrupted();
    let telemetry = Telemetry::new("otlp-rust", env!("CARGO_PKG_VERSION"));
    let lake = build::lake(&config, &telemetry).await?;
    let query = QueryEngine::new(lake.clone(), build::query_options(&config))?;
    let observer: Arc<dyn Observer> = Arc::new(Recorder(telemetry.clone()));
    let (ready, readiness) = watch::channel(Readiness::Starting);
    let (stop, stopped) = watch::channel(false);
    let server = Server {
        config,
        telemetry,
        lake,
        query,
        observer,
        readiness,
        stopped,
        queries,
    };
    let (mut tasks, mut answering) = (JoinSet::new(), JoinSet::new());
    tasks.spawn(observe::watch_catalog(
        server.lake.catalog().clone(),
        server.telemetry.clone(),
        server.stopped.clone(),
    ));
    // Everything is bound before anything is served: a port that is taken ends the start, not half of the service.
    server.api(&mut tasks, &mut answering).await?;
    let receivers = if server.config.server.roles.ingest {
        Some(server.receivers(&mut tasks).await?)
    } else {
        None
    };
    if server.config.server.roles.compact {
        let (lake, observer, stopped) = (server.lake.clone(), server.observer.clone(), server.stopped.clone());
        let options = build::maintenance_options(&server.config);
        let compaction = options.compaction;
        let maintaining = {
            let (lake, observer, stopped) = (lake.clone(), observer.clone(), stopped.clone());
            async move { lake.maintain(options, observer.as_ref(), stopped).await }
        };
        tasks.spawn(maintaining);
        let matcher = server.query.clone();
        // Beside the other work: a deletion may rewrite a lot, and only its own dataset waits for it.
        tasks.spawn(async move {
            lake.work_off_deletions(compaction, &matcher, observer.as_ref(), stopped)
                .await
        });
    }
    let postgres = &server.config.postgres_wire;
    if postgres.enabled && server.config.server.roles.query {
        let listener = bind(postgres.listen, "the PostgreSQL protocol", "postgres_wire.listen").await?;
        let serving = query::postgres::serve(server.query.clone(), TenantId::default(), listener);
        let stopped = server.stopped.clone();
        let serving = async move {
            tokio::select! {
                done = serving => if let Err(error) = done { tracing::error!(%error, "PostgreSQL protocol ended") },
                () = until(stopped) => {}
            }
        };
        tasks.spawn_on(serving, &server.queries);
    }
    watch_memory(&server)?;
    ready.send_replace(Readiness::Ready);
    if let Some(receivers) = &receivers {
        receivers.health.set(true).await;
    }
    banner(&server.config);
    stop_signal.await;
    ready.send_replace(Readiness::Draining);
    if let Some(receivers) = &receivers {
        receivers.health.set(false).await;
    }
    drain::let_balancers_notice(server.config.server.drain_delay).await;
    tracing::info!("stopping: new requests are refused, accepted ones are committed");
    let deadline = Instant::now() + server.config.server.shutdown_timeout;
    if let Some(receivers) = receivers {
        receivers.ingest.close();
        if timeout_at(deadline, receivers.committer).await.is_err() {
            tracing::error!("the last commit did not end within server.shutdown_timeout; its senders will retry");
        }
    }
    stop.send_replace(true);
    drain::last_answers(answering, tasks, deadline).await;
    server.lake.catalog().close().await;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop as well.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Compares what the process holds with what it may, on a thread of its own: when memory runs short the runtime's threads
/// are busy.
fn watch_memory(server: &Server) -> Result<()> {
    let (budget, telemetry) = (server.lake.memory().clone(), server.telemetry.clone());
    let limit = server.config.memory.bytes;
    allocator::keep_for(limit);
    let most = limit + (limit / 4).min(SLACK);
    let resident = memory::Resident::of_this_process(allocator::page_bytes());
    let runtimes = [Handle::current(), server.queries.clone()];
    let reclaim = move || {
        allocator::reclaim();
        // A thread that slept before memory ran short wakes, and gives back what it holds before it sleeps again.
        for runtime in &runtimes {
            for _ in 0..runtime.metrics().num_workers() {
                runtime.spawn(async {});
            }
        }
    };
    let uses = budget.clone();
    let report = move |bytes, pressed| {
        allocator::set_short(pressed);
        telemetry.set_memory(bytes, limit, pressed);
        for of in memory::Use::ALL {
            telemetry.set_memory_use(of.name(), uses.used(of));
        }
    };
    std::thread::Builder::new()
        .name("memory".to_owned())
        .spawn(move || memory::watch(&budget, &resident, most, reclaim, report))
        .context("cannot start the thread that watches the memory")?;
    Ok(())
}

/// Bytes that may be on their way on one connection and on one of its streams: received by nobody yet, they are
/// counted by nobody.
fn windows(limit: u64) -> (u32, u32) {
    let connection = (limit / 512).clamp(256 << 10, u64::from(HTTP2_CONNECTION_WINDOW)) as u32;
    (connection, connection.min(HTTP2_STREAM_WINDOW))
}

struct Server {
    config: Config,
    telemetry: Telemetry,
    lake: Lake,
    query: QueryEngine,
    observer: Arc<dyn Observer>,
    readiness: watch::Receiver<Readiness>,
    stopped: watch::Receiver<bool>,
    /// Where queries run.
    queries: Handle,
}

/// The running receivers.
struct Receivers {
    ingest: Ingest,
    health: ingest::grpc::Health,
    committer: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Serves until the process stops.
    fn serve_http(
        &self,
        listener: TcpListener,
        router: Router,
        what: &'static str,
    ) -> impl Future<Output = ()> + Send + use<> {
        let stopped = self.stopped.clone();
        let router = drain::closes_connections(router, self.readiness.clone());
        async move {
            let serving = axum::serve(listener, router).with_graceful_shutdown(until(stopped));
            if let Err(error) = serving.await {
                tracing::error!(%error, "{what} ended");
            }
        }
    }

    /// The API answers queries, which are waited for at the end; the metrics go with the `tasks`.
    async fn api(&self, tasks: &mut JoinSet<()>, answering: &mut JoinSet<()>) -> Result<()> {
        let roles = self.config.server.roles;
        let state = ApiState {
            serves: Serves {
                query: roles.query,
                compact: roles.compact,
            },
            query: self.query.clone(),
            lake: self.lake.clone(),
            compaction: build::compaction_options(&self.config),
            retention: build::retention(&self.config),
            observer: self.observer.clone(),
            telemetry: self.telemetry.clone(),
            ready: self.readiness.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let listener = bind(self.config.server.http, "the API", "--http").await?;
        answering.spawn_on(self.serve_http(listener, api::router(state), "the API"), &self.queries);
        let listener = bind(self.config.server.admin, "own metrics", "--admin").await?;
        let metrics = api::admin_router(self.telemetry.clone());
        tasks.spawn(self.serve_http(listener, metrics, "the metrics endpoint"));
        Ok(())
    }

    async fn receivers(&self, tasks: &mut JoinSet<()>) -> Result<Receivers> {
        let (limits, sharing) = build::limits(&self.config, &self.telemetry, self.lake.memory())?;
        if let Some(sharing) = sharing {
            tasks.spawn(sharing.run(self.stopped.clone()));
        }
        let ingest = Ingest::new(
            self.lake.clone(),
            build::ingest_options(&self.config, limits),
            self.telemetry.clone(),
        );
        let grpc = bind(self.config.server.otlp_grpc, "OTLP/gRPC", "--otlp-grpc").await?;
        let http = bind(self.config.server.otlp_http, "OTLP/HTTP", "--otlp-http").await?;
        let origins = match &self.config.server.cors {
            CorsOrigins::Any => vec!["*".to_owned()],
            CorsOrigins::List(origins) => origins.clone(),
        };
        let router = ingest::http::router(ingest.clone(), &origins);
        tasks.spawn(self.serve_http(http, router, "the OTLP/HTTP receiver"));
        let services = ingest::grpc::services(ingest.clone()).map_err(anyhow::Error::msg)?;
        let stopped = self.stopped.clone();
        let routes = services.routes.prepare();
        let (connection, stream) = windows(self.config.memory.bytes);
        tasks.spawn(async move {
            let served = tonic::transport::Server::builder()
                .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
                .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
                .initial_stream_window_size(stream)
                .initial_connection_window_size(connection)
                .max_frame_size(HTTP2_FRAME)
                .tcp_nodelay(true)
                .add_routes(routes)
                .serve_with_incoming_shutdown(TcpListenerStream::new(grpc), until(stopped).map(drop))
                .await;
            if let Err(error) = served {
                tracing::error!(%error, "the OTLP/gRPC receiver ended");
            }
        });
        let committing = ingest.clone();
        let committer = tokio::spawn(async move { committing.run().await });
        Ok(Receivers {
            ingest,
            health: services.health,
            committer,
        })
    }
}

/// Says where everything is and what to point an SDK at.
fn banner(config: &Config) {
    let server = &config.server;
    let version = env!("CARGO_PKG_VERSION");
    println!("otlp-rust {version} is ready");
    println!("  store     {}", config.store.url);
    println!("  catalog   {}", config.catalog.url);
    if server.roles.ingest {
        println!("  OTLP/gRPC http://{}", server.otlp_grpc);
        println!("  OTLP/HTTP http://{}", server.otlp_http);
    }
    if server.roles.query {
        println!(
            "  API       http://{}   (SQL: otlp-rust sql \"SELECT * FROM spans LIMIT 10\" --url http://{})",
            server.http, server.http
        );
    } else {
        println!("  health    http://{}/health", server.http);
    }
    println!("  metrics   http://{}/metrics", server.admin);
    if config.postgres_wire.enabled && server.roles.query {
        let listen = config.postgres_wire.listen;
        println!("  psql      psql -h {} -p {} -d otlp", listen.ip(), listen.port());
    }
    if server.roles.ingest {
        println!("point an OpenTelemetry SDK here:");
        println!(
            "  export OTEL_EXPORTER_OTLP_ENDPOINT=http://{} OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
            server.otlp_grpc
        );
        println!(
            "  export OTEL_EXPORTER_OTLP_ENDPOINT=http://{} OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
            server.otlp_http
        );
    }
}
