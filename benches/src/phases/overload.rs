//! Four times the load that the server can take, in a container's memory, with heavy queries beside it.
//!
//! Requests are due at fixed times whatever the server does. What is refused is counted, and the next request due is the
//! same one again. Latency counts from the moment a request is sent.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;

use super::Bench;
use crate::cgroup::Cgroup;
use crate::load::rename::rename;
use crate::load::{Request, Signal};
use crate::report::{Better, Figure};
use crate::send::{Answer, Clients, quantile};
use crate::server::Server;

/// What a small pod has.
const MEMORY: u64 = 512 << 20;
/// Spans of the load; sent again and again under other ids.
const SPANS: u64 = 300_000;
/// How much more is sent than the server takes.
const OVERLOAD: f64 = 4.0;
/// How long the server is measured flat out first.
const CAPACITY_TIME: Duration = Duration::from_secs(15);
/// Requests without an answer at one time; beyond it a request is not sent and counted as such.
const UNANSWERED: usize = 512;
/// Pause between two queries of the same kind.
const THINKING: Duration = Duration::from_secs(1);
/// After an overload a query is answered by then, or never.
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);

/// Queries of a dashboard, of a search, and of somebody who asks for far too much.
const QUERIES: [&str; 4] = [
    "SELECT \"service.name\", count(*) AS n, avg(duration), max(duration) FROM spans GROUP BY 1 ORDER BY 2 DESC",
    "SELECT trace_id, name, duration FROM spans WHERE duration > 100000000 ORDER BY duration DESC LIMIT 100",
    "SELECT count(DISTINCT trace_id) AS n FROM spans",
    "SELECT * FROM spans ORDER BY name, trace_id, span_id",
];

#[derive(Debug, Default)]
struct Counts {
    acked: AtomicU64,
    refused: AtomicU64,
    without_delay: AtomicU64,
    failed: AtomicU64,
    unsent: AtomicU64,
}

/// What became of queries.
#[derive(Debug, Default)]
struct Queries {
    answered: AtomicU64,
    limited: AtomicU64,
    busy: AtomicU64,
    failed: AtomicU64,
}

impl Bench {
    pub(super) async fn overload(&mut self) -> Result<()> {
        let bundle = self.load(Signal::Traces, SPANS)?;
        let load = Arc::new(bundle.read()?.collect::<Result<Vec<Request>>>()?);
        bundle.discard();
        let group = match Cgroup::with_memory(MEMORY) {
            Ok(group) => Some(group),
            Err(error) => {
                self.note(format!("overload: no control group, only memory.limit: {error:#}"));
                None
            }
        };
        let mut launch = self.launch("overload");
        launch.group = group.as_ref().map(Cgroup::processes);
        let planned = ("OTLP_RUST__MEMORY__LIMIT".to_owned(), (MEMORY / 10 * 8).to_string());
        launch.environment.extend(group.is_none().then_some(planned));
        let mut server = launch.start().await?;
        let clients = Clients::connect(&server.otlp(), Signal::Traces, self.options.connections).await?;
        let number = Arc::new(AtomicU64::new(0));

        // How much the server takes: each connection sends its next request when it has the answer to the last.
        let (capacity, most) = (Arc::new(Counts::default()), AtomicU64::new(0));
        let begun = Instant::now();
        let mut senders = JoinSet::new();
        for sender in 0..clients.len() {
            let (load, number, counts) = (Arc::clone(&load), Arc::clone(&number), Arc::clone(&capacity));
            let clients = clients.clone();
            senders.spawn(async move {
                while begun.elapsed() < CAPACITY_TIME {
                    let request = next(&load, &number)?;
                    if !count(&counts, &request, &clients.send(sender, request.bytes.clone()).await) {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
                Ok::<_, anyhow::Error>(())
            });
        }
        while let Some(done) = senders.join_next().await {
            done.context("a sender failed")??;
        }
        let rate = capacity.acked.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
        self.figure(Figure::info("overload: taken flat out", "spans/s", rate));

        // Four times as much. What is refused is sent again, as senders do it, before something new is: so this process is
        // not busy with making requests while the server, on the same cores, is measured.
        let refused = Arc::new(Mutex::new(VecDeque::new()));
        let mut sender = 0;
        let counts = Arc::new(Counts::default());
        let queries = Arc::new(Queries::default());
        let stop = Arc::new(AtomicBool::new(false));
        let mut asking = JoinSet::new();
        for sql in QUERIES {
            let url = server.url("/api/v1/sql?format=ndjson");
            asking.spawn(ask(url, sql, Arc::clone(&queries), Arc::clone(&stop)));
        }
        let mut latencies = Vec::new();
        let mut sending: JoinSet<Option<Duration>> = JoinSet::new();
        let begun = Instant::now();
        let mut due = 0.0;
        let mut told = Instant::now();
        while begun.elapsed() < self.options.overload_time {
            let again = refused.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let request = again.map_or_else(|| next(&load, &number), Ok)?;
            tokio::time::sleep_until((begun + Duration::from_secs_f64(due)).into()).await;
            due += f64::from(request.items) / (rate * OVERLOAD).max(1.0);
            while let Some(done) = sending.try_join_next() {
                latencies.extend(done.context("a sender failed")?);
            }
            if sending.len() >= UNANSWERED {
                counts.unsent.fetch_add(u64::from(request.items), Ordering::Relaxed);
                continue;
            }
            let (clients, counts, refused) = (clients.clone(), Arc::clone(&counts), Arc::clone(&refused));
            sender = (sender + 1) % clients.len();
            sending.spawn(async move {
                let sent = Instant::now();
                let answer = clients.send(sender, request.bytes.clone()).await;
                if count(&counts, &request, &answer) {
                    return Some(sent.elapsed());
                }
                refused
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push_back(request);
                None
            });
            if told.elapsed() > Duration::from_millis(500) {
                told = Instant::now();
                // Fails when the server has died.
                server.alive()?;
                most.fetch_max(
                    group.as_ref().and_then(Cgroup::anonymous).unwrap_or(0),
                    Ordering::Relaxed,
                );
            }
        }
        let elapsed = begun.elapsed();
        while let Some(done) = sending.join_next().await {
            latencies.extend(done.context("a sender failed")?);
        }
        stop.store(true, Ordering::Relaxed);
        while asking.join_next().await.is_some() {}

        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        let offered = get(&counts.acked) + get(&counts.refused) + get(&counts.failed);
        let share = |n: f64| n / offered.max(1.0);
        self.figure(Figure::info("overload: time", "s", elapsed.as_secs_f64()));
        self.figure(Figure::info(
            "overload: offered",
            "x of what is taken",
            offered / elapsed.as_secs_f64() / rate,
        ));
        self.figure(Figure::info(
            "overload: not sent for lack of answers",
            "spans",
            get(&counts.unsent),
        ));
        self.figure(Figure::info(
            "overload: taken",
            "spans/s",
            get(&counts.acked) / elapsed.as_secs_f64(),
        ));
        self.figure(Figure::info("overload: refused", "share", share(get(&counts.refused))));
        self.figure(Figure::goal(
            "overload: refused without a delay",
            "spans",
            get(&counts.without_delay),
            0.0,
            Better::Lower,
        ));
        self.figure(Figure::goal(
            "overload: failed otherwise",
            "spans",
            get(&counts.failed),
            0.0,
            Better::Lower,
        ));
        for (name, q, goal) in [("p50", 0.5, None), ("p99", 0.99, Some(500.0))] {
            let measured = quantile(&mut latencies, q).as_secs_f64() * 1e3;
            let name = format!("overload: ack {name} of what was taken");
            self.figure(match goal {
                Some(goal) => Figure::goal(&name, "ms", measured, goal, Better::Lower),
                None => Figure::info(&name, "ms", measured),
            });
        }
        for (name, counter) in [
            ("answered", &queries.answered),
            ("refused by a limit", &queries.limited),
            ("told to retry", &queries.busy),
        ] {
            self.figure(Figure::info(format!("overload: queries {name}"), "", get(counter)));
        }
        self.figure(Figure::goal(
            "overload: queries failed otherwise",
            "",
            get(&queries.failed),
            0.0,
            Better::Lower,
        ));
        if let Some(group) = &group {
            let killed = group.killed().unwrap_or(0) as f64;
            self.figure(Figure::goal(
                "overload: killed for lack of memory",
                "times",
                killed,
                0.0,
                Better::Lower,
            ));
            let most = most.load(Ordering::Relaxed) as f64 / f64::from(1 << 20);
            self.figure(Figure::goal(
                "overload: most memory held",
                "MiB",
                most,
                512.0,
                Better::Lower,
            ));
        }
        // Everything acknowledged is there, once.
        let acked = capacity.acked.load(Ordering::Relaxed) + counts.acked.load(Ordering::Relaxed);
        let stored = self.stored(&server).await?;
        self.figure(Figure::goal(
            "overload: acked and not stored",
            "spans",
            acked as f64 - stored as f64,
            0.0,
            Better::Lower,
        ));
        Ok(())
    }
}

impl Bench {
    /// The spans that the server has; asked again while it says that memory is still short.
    async fn stored(&self, server: &Server) -> Result<u64> {
        let begun = Instant::now();
        loop {
            match self.api.count(server, "SELECT count(*) AS n FROM spans").await {
                Ok(stored) => return Ok(stored),
                Err(error) if begun.elapsed() > RECOVERY_LIMIT => return Err(error),
                Err(_) => tokio::time::sleep(THINKING).await,
            }
        }
    }
}

/// The next request, different from all before.
fn next(load: &[Request], number: &AtomicU64) -> Result<Request> {
    let number = number.fetch_add(1, Ordering::Relaxed);
    let request = &load[number as usize % load.len()];
    let mut bytes = request.bytes.to_vec();
    rename(&mut bytes, number / load.len() as u64)?;
    Ok(Request {
        bytes: bytes.into(),
        items: request.items,
    })
}

/// Counts an answer; true if it is an acknowledgement.
fn count(counts: &Counts, request: &Request, answer: &Answer) -> bool {
    let counter = match answer {
        Answer::Acked => &counts.acked,
        Answer::Refused { delay: true } => &counts.refused,
        Answer::Refused { delay: false } => {
            counts
                .without_delay
                .fetch_add(u64::from(request.items), Ordering::Relaxed);
            &counts.refused
        }
        Answer::Failed => &counts.failed,
    };
    counter.fetch_add(u64::from(request.items), Ordering::Relaxed);
    matches!(answer, Answer::Acked)
}

/// Asks a query again and again.
async fn ask(url: String, sql: &'static str, queries: Arc<Queries>, stop: Arc<AtomicBool>) {
    let client = reqwest::Client::new();
    while !stop.load(Ordering::Relaxed) {
        let answer = client
            .post(&url)
            .timeout(Duration::from_secs(120))
            .body(sql)
            .send()
            .await;
        let counter = match answer {
            Ok(answer) => {
                let status = answer.status().as_u16();
                let body = answer.text().await.unwrap_or_default();
                // An error that comes after the first rows is the last line of the answer.
                let last = body.lines().last().unwrap_or_default();
                match status {
                    429 | 503 => &queries.busy,
                    200 if !last.contains("\"error\"") => &queries.answered,
                    _ if last.contains("query.") => &queries.limited,
                    _ => {
                        eprintln!("{sql}: {status} {last}");
                        &queries.failed
                    }
                }
            }
            Err(error) => {
                eprintln!("{sql}: {error}");
                &queries.failed
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(THINKING).await;
    }
}
