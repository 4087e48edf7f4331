//! How a process leaves: first load balancers notice, then requests are refused, then connections end.
//!
//! An orchestrator sends SIGTERM at the moment at which it begins to tell load balancers, not after they know. So the
//! process first only says that it leaves (`/readyz`, gRPC health, `Connection: close`) and goes on serving for
//! `server.drain_delay`. What still arrives after it gets a retryable refusal.

use std::future::Future;
use std::time::Duration;

use api::Readiness;
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, Version, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// What has nothing to finish gets this long to notice that the process ends: connections that idle, work in the background.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Resolves when the process is asked to stop.
pub fn interrupted() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    // Installed at once, not at the first poll, so that an early signal is not missed.
    let terminate = signal(SignalKind::terminate());
    async move {
        match terminate {
            Ok(mut terminate) => {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = tokio::signal::ctrl_c() => {}
                }
            }
            Err(_) => {
                let _ = tokio::signal::ctrl_c().await;
            }
        }
    }
}

/// Goes on serving until load balancers have turned away; a second signal ends the wait.
pub async fn let_balancers_notice(delay: Duration) {
    if delay.is_zero() {
        return;
    }
    tracing::info!(
        ?delay,
        "draining: still serving while load balancers turn away (server.drain_delay)"
    );
    tokio::select! {
        () = tokio::time::sleep(delay) => {}
        () = interrupted() => {}
    }
}

/// While the process drains, connections of HTTP/1.1 end with their next answer: none is then cut while a request is on
/// its way. HTTP/2 has GOAWAY for this.
pub fn closes_connections(router: Router, ready: watch::Receiver<Readiness>) -> Router {
    router.layer(middleware::from_fn(move |request: Request, next: Next| {
        let ready = ready.clone();
        async move {
            let has_goaway = request.version() >= Version::HTTP_2;
            let mut response: Response = next.run(request).await;
            if !has_goaway && *ready.borrow() == Readiness::Draining {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            response
        }
    }))
}

/// Waits for answers that are under way until the deadline, and for everything else as long as noticing takes.
pub async fn last_answers(mut answering: JoinSet<()>, mut others: JoinSet<()>, deadline: Instant) {
    let soon = Instant::now() + LAST_ANSWERS;
    let answered = async {
        let done = timeout_at(deadline.max(soon), ended(&mut answering)).await;
        if done.is_err() {
            tracing::warn!("queries did not end within server.shutdown_timeout and were cut off");
        }
    };
    let noticed = async {
        // What does not notice is dropped with the set.
        let _ = timeout_at(soon, ended(&mut others)).await;
    };
    tokio::join!(answered, noticed);
}

async fn ended(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}
