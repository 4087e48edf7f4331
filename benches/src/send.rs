//! The sender: OTLP/gRPC over plain HTTP/2 with bodies that are already encoded, so that sending costs this process
//! little more than the copy into the socket. It retries what the OTLP specification calls retryable and counts it.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt as _;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::codegen::{Service as _, http};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::bundle::Bundle;
use crate::load::{Request, Signal};

/// How fast to send.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// Each connection sends its next request when the last was acknowledged.
    FlatOut,
    /// Requests are due at fixed times, whatever the server does: this many items a second. Latency counts from the
    /// due time, so that a stalled server cannot hide behind a stalled sender.
    Steady(f64),
}

/// What to send and how.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// Base URL of the receiver.
    pub endpoint: &'a str,
    /// The requests.
    pub bundle: &'a Bundle,
    /// Concurrent connections.
    pub connections: usize,
    /// How fast.
    pub pace: Pace,
    /// Stop sending after this long, at the latest when the bundle ends.
    pub limit: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Items in acknowledged requests, without the rejected ones.
    pub acked: u64,
    /// Items that partial successes reported as rejected.
    pub rejected: u64,
    /// Acknowledged requests.
    pub requests: u64,
    /// Times a request was sent again.
    pub retries: u64,
    /// From the first request to the last acknowledgement.
    pub elapsed: Duration,
    /// Acknowledgement latency of each request, retries included.
    pub latencies: Vec<Duration>,
}

impl Outcome {
    fn add(&mut self, other: Self) {
        self.acked += other.acked;
        self.rejected += other.rejected;
        self.requests += other.requests;
        self.retries += other.retries;
        self.latencies.extend(other.latencies);
    }

    /// Acknowledged items a second of wall-clock time.
    pub fn rate(&self) -> f64 {
        self.acked as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// The `q`-quantile (nearest rank) of durations, which get sorted; zero when there are none.
pub fn quantile(times: &mut [Duration], q: f64) -> Duration {
    times.sort_unstable();
    let rank = (q * times.len() as f64).ceil() as usize;
    times.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// Retries of one request before the run is given up: with the back-off below, about two minutes.
const RETRIES: u32 = 130;
/// Unsent requests that wait in a paced run; beyond it the server is far too slow for the pace.
const BACKLOG: usize = 4096;

/// Sends a bundle.
///
/// # Errors
/// When the server refuses a request for good or cannot be reached.
pub async fn send(run: Run<'_>) -> Result<Outcome> {
    let source = stream(run.bundle, run.limit)?;
    let clients = connect(run.endpoint, run.bundle.signal, run.connections).await?;
    let begun = Instant::now();
    let mut outcome = match run.pace {
        Pace::FlatOut => flat_out(clients, source).await?,
        Pace::Steady(rate) => steady(clients, source, rate).await?,
    };
    outcome.elapsed = begun.elapsed();
    Ok(outcome)
}

/// Reads the bundle on a thread of its own, some requests ahead, until `limit` has passed.
fn stream(bundle: &Bundle, limit: Duration) -> Result<Receiver<Result<Request>>> {
    let (sender, receiver) = channel(64);
    let requests = bundle.read()?;
    let begun = Instant::now();
    std::thread::spawn(move || {
        for request in requests {
            if begun.elapsed() > limit || sender.blocking_send(request).is_err() {
                break;
            }
        }
    });
    Ok(receiver)
}

async fn flat_out(clients: Vec<Client>, source: Receiver<Result<Request>>) -> Result<Outcome> {
    let source = std::sync::Arc::new(tokio::sync::Mutex::new(source));
    let mut tasks = JoinSet::new();
    for mut client in clients {
        let source = std::sync::Arc::clone(&source);
        tasks.spawn(async move {
            let mut outcome = Outcome::default();
            loop {
                let next = source.lock().await.recv().await;
                let Some(request) = next else { return Ok(outcome) };
                client.export(request?, Instant::now(), &mut outcome).await?;
            }
        });
    }
    gather(tasks, Outcome::default()).await
}

async fn steady(clients: Vec<Client>, mut source: Receiver<Result<Request>>, rate: f64) -> Result<Outcome> {
    let mut tasks: JoinSet<Result<Outcome>> = JoinSet::new();
    let begun = Instant::now();
    let mut total = Outcome::default();
    let mut sent = 0u64;
    let mut number = 0;
    while let Some(request) = source.recv().await {
        let request = request?;
        let due = begun + Duration::from_secs_f64(sent as f64 / rate);
        sent += u64::from(request.items);
        tokio::time::sleep_until(due.into()).await;
        let mut client = clients[number % clients.len()].clone();
        number += 1;
        tasks.spawn(async move {
            let mut outcome = Outcome::default();
            client.export(request, due, &mut outcome).await?;
            Ok(outcome)
        });
        // What is answered is no longer in the set, which then holds what is not.
        while let Some(outcome) = tasks.try_join_next() {
            total.add(outcome.context("a sender failed")??);
        }
        if tasks.len() > BACKLOG {
            bail!("{BACKLOG} requests are unanswered: the server cannot hold {rate:.0} items/s");
        }
    }
    gather(tasks, total).await
}

/// Adds the outcomes of all tasks to `total`.
async fn gather(mut tasks: JoinSet<Result<Outcome>>, mut total: Outcome) -> Result<Outcome> {
    while let Some(outcome) = tasks.join_next().await {
        total.add(outcome.context("a sender failed")??);
    }
    Ok(total)
}

/// What the server said to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Acknowledged.
    Acked,
    /// To be retried; `delay` tells whether the server said when (`google.rpc.RetryInfo`).
    Refused {
        /// Whether there was a delay.
        delay: bool,
    },
    /// Anything else.
    Failed,
}

/// Connections for requests that are sent once.
#[derive(Debug, Clone)]
pub struct Clients(std::sync::Arc<Vec<Client>>);

impl Clients {
    /// Connects.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn connect(endpoint: &str, signal: Signal, connections: usize) -> Result<Self> {
        Ok(Self(std::sync::Arc::new(connect(endpoint, signal, connections).await?)))
    }

    /// How many there are.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Sends a request over the connection of that number.
    pub async fn send(&self, number: usize, body: Bytes) -> Answer {
        match self.0[number].clone().call(body).await {
            Ok(_) => Answer::Acked,
            Err(status) if retryable(status.code()) => Answer::Refused {
                // The type's name stands in the details (google.protobuf.Any).
                delay: status.details().windows(9).any(|name| name == b"RetryInfo"),
            },
            Err(status) => {
                eprintln!("the server refused a request: {status}");
                Answer::Failed
            }
        }
    }
}

async fn connect(endpoint: &str, signal: Signal, connections: usize) -> Result<Vec<Client>> {
    let mut clients = Vec::with_capacity(connections);
    for _ in 0..connections.max(1) {
        let channel = Endpoint::from_shared(endpoint.to_owned())?
            .tcp_nodelay(true)
            .connect()
            .await
            .with_context(|| format!("connecting to {endpoint}"))?;
        clients.push(Client {
            channel,
            endpoint: endpoint.to_owned(),
            signal,
        });
    }
    Ok(clients)
}

#[derive(Debug, Clone)]
struct Client {
    channel: Channel,
    endpoint: String,
    signal: Signal,
}

impl Client {
    async fn export(&mut self, request: Request, begun: Instant, outcome: &mut Outcome) -> Result<()> {
        let mut wait = Duration::from_millis(10);
        for _ in 0..RETRIES {
            match self.call(request.bytes.clone()).await {
                Ok(response) => {
                    let rejected = rejected(self.signal, response)?;
                    outcome.requests += 1;
                    outcome.rejected += rejected;
                    outcome.acked += u64::from(request.items).saturating_sub(rejected);
                    outcome.latencies.push(begun.elapsed());
                    return Ok(());
                }
                Err(status) if retryable(status.code()) => {
                    outcome.retries += 1;
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_secs(1));
                }
                Err(status) => bail!(
                    "the server refused a request of {} bytes: {status}",
                    request.bytes.len()
                ),
            }
        }
        bail!("the server asked for {RETRIES} retries of one request")
    }

    /// One unary call; the message is not copied, as it would be by an encoder (at four times what a server takes that was a third
    /// of this process's work, on the server's own cores).
    async fn call(&mut self, message: Bytes) -> Result<Bytes, Status> {
        let broken = |error: tonic::transport::Error| Status::unavailable(error.to_string());
        poll_fn(|context| self.channel.poll_ready(context))
            .await
            .map_err(broken)?;
        let request = http::Request::post(format!("{}{}", self.endpoint, self.signal.grpc_path()))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Body::new(Message::new(message)))
            .map_err(|error| Status::internal(error.to_string()))?;
        let (head, body) = self.channel.call(request).await.map_err(broken)?.into_parts();
        // A refusal may be all headers, and no body.
        if let Some(status) = Status::from_header_map(&head.headers) {
            ok(status)?;
        }
        let body = body.collect().await?;
        let trailers = body.trailers().and_then(Status::from_header_map);
        ok(trailers.unwrap_or_else(|| Status::unavailable("the answer ended without a status")))?;
        let mut message = body.to_bytes();
        if message.len() < PREFIX {
            return Err(Status::internal("the answer has no message"));
        }
        Ok(message.split_off(PREFIX))
    }
}

fn ok(status: Status) -> Result<(), Status> {
    match status.code() {
        Code::Ok => Ok(()),
        _ => Err(status),
    }
}

/// The codes that a client retries (OTLP 1.x, "OTLP/gRPC response", table of gRPC status codes).
fn retryable(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::ResourceExhausted
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::DataLoss
    )
}

/// How many items of a request were rejected. Data points that are rejected count one each, also histograms.
fn rejected(signal: Signal, response: Bytes) -> Result<u64> {
    let count = match signal {
        Signal::Traces => ExportTraceServiceResponse::decode(response)?
            .partial_success
            .map_or(0, |partial| partial.rejected_spans),
        Signal::Logs => ExportLogsServiceResponse::decode(response)?
            .partial_success
            .map_or(0, |partial| partial.rejected_log_records),
        Signal::Metrics => ExportMetricsServiceResponse::decode(response)?
            .partial_success
            .map_or(0, |partial| partial.rejected_data_points),
    };
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Bytes before a message: whether it is compressed, and its length (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX: usize = 5;

/// The body of a unary call.
#[derive(Debug)]
struct Message {
    prefix: Option<Bytes>,
    message: Option<Bytes>,
}

impl Message {
    fn new(message: Bytes) -> Self {
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
        Self {
            prefix: Some([&[0], &length[..]].concat().into()),
            message: Some(message),
        }
    }
}

impl http_body::Body for Message {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.prefix.take().or_else(|| self.message.take());
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.message.is_none()
    }
}
