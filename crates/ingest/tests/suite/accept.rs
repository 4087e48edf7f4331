//! The path from a request to its acknowledgement: what is admitted, stored once, refused, and drained.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;
use ingest::{Accepted, Ingest, IngestError, IngestOptions};
use otlp::model::Signal;
use schema::Dataset;
use tokio::task::JoinHandle;

use crate::fixture::{Shut, World, large, logs, metrics, options, span, tenant, traces};

fn send(ingest: &Ingest, body: bytes::Bytes) -> JoinHandle<Result<Accepted, IngestError>> {
    let ingest = ingest.clone();
    tokio::spawn(async move { ingest.accept(tenant(), Signal::Traces, body).await })
}

/// Waits until the store is asked to put something.
async fn until_put(world: &World) {
    while world.store.faults.put_count.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn an_acknowledged_request_of_each_signal_is_visible_to_another_process() {
    let world = World::new();
    let (one, two) = (
        world.process("one", options()).await,
        world.process("two", options()).await,
    );
    let requests = [
        (
            Signal::Traces,
            traces(vec![span("a", &[]), span("b", &[])]),
            Dataset::Spans,
            2,
        ),
        (Signal::Logs, logs(&["x", "y", "z"]), Dataset::Logs, 3),
        (Signal::Metrics, metrics(&["m"]), Dataset::MetricSamples, 1),
    ];
    for (signal, body, dataset, items) in requests {
        let accepted = one.ingest.accept(tenant(), signal, body).await.unwrap();
        assert_eq!(
            (accepted.accepted, accepted.rejected, accepted.message.as_str()),
            (items, 0, "")
        );
        let snapshot = two
            .lake
            .snapshot(&tenant(), &[dataset, Dataset::Resources], None)
            .await
            .unwrap();
        let rows = |wanted| {
            snapshot
                .slices
                .iter()
                .filter(|s| s.dataset == wanted)
                .map(|s| s.rows)
                .sum::<i64>()
        };
        assert_eq!(rows(dataset) as u64, items, "{dataset}");
        assert_eq!(rows(Dataset::Resources), 1, "one resource, written once");
    }
}

#[tokio::test]
async fn beyond_the_budget_senders_are_told_to_retry_and_afterwards_it_is_whole_again() {
    let world = World::new();
    let narrow = IngestOptions {
        max_pending_bytes: 640 << 10,
        ..options()
    };
    let process = world.process("one", narrow).await;
    // Once the tenant is known a request is decoded at once, so what each holds is certain.
    let first = traces(vec![span("first", &[])]);
    process.ingest.accept(tenant(), Signal::Traces, first).await.unwrap();
    world.store.faults.put_count.store(0, Ordering::SeqCst);
    let closed = world.store.faults.gate.write().await;
    // 50 KiB each, twice as much while they wait, three times while they are decoded: five fit, the commits hang.
    let waiting = (0..5)
        .map(|n| send(&process.ingest, large(&format!("fits {n}"), 50 << 10)))
        .collect::<Vec<_>>();
    until_put(&world).await;
    assert!(
        !waiting.iter().any(JoinHandle::is_finished),
        "nothing can be acknowledged yet"
    );
    for _ in 0..3 {
        let refused = process
            .ingest
            .accept(tenant(), Signal::Traces, large("too much", 50 << 10))
            .await
            .unwrap_err();
        assert!(matches!(refused, IngestError::Busy(_)), "{refused}");
        assert!(
            refused.retry_after().unwrap() > Duration::ZERO && refused.http_status() == 429 && refused.grpc_code() == 8
        );
    }
    drop(closed);
    for answer in join_all(waiting).await {
        assert_eq!(answer.unwrap().unwrap().accepted, 1);
    }
    // What was refused and what was invalid takes nothing from the budget: all of it is there for one request.
    for _ in 0..20 {
        process
            .ingest
            .accept(tenant(), Signal::Traces, vec![0xff; 100 << 10].into())
            .await
            .unwrap_err();
    }
    process
        .ingest
        .accept(tenant(), Signal::Traces, large("fills the budget", 210 << 10))
        .await
        .unwrap();
    assert_eq!(process.spans().await.len(), 7);
}

/// The rows of a sender that went away stay in memory until they are committed, so they count.
#[tokio::test]
async fn senders_that_go_away_do_not_empty_the_budget_of_its_meaning() {
    let world = World::new();
    let narrow = IngestOptions {
        max_pending_bytes: 640 << 10,
        ..options()
    };
    let process = world.process("one", narrow).await;
    // Once the tenant is known a request is decoded at once, so what each holds is certain.
    let first = traces(vec![span("first", &[])]);
    process.ingest.accept(tenant(), Signal::Traces, first).await.unwrap();
    world.store.faults.put_count.store(0, Ordering::SeqCst);
    let closed = world.store.faults.gate.write().await;
    let mut admitted = 0;
    for number in 0..20 {
        let sender = send(&process.ingest, large(&format!("gone {number}"), 50 << 10));
        tokio::time::sleep(Duration::from_millis(20)).await;
        if sender.is_finished() {
            assert!(matches!(sender.await.unwrap(), Err(IngestError::Busy(_))));
        } else {
            admitted += 1;
            sender.abort();
        }
    }
    assert_eq!(admitted, 5);
    drop(closed);
    // They are committed all the same; a retry is the same request and stored once.
    for number in 0..5 {
        loop {
            match process
                .ingest
                .accept(tenant(), Signal::Traces, large(&format!("gone {number}"), 50 << 10))
                .await
            {
                Ok(accepted) => break assert_eq!(accepted.accepted, 1),
                Err(IngestError::Busy(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert_eq!(
        process.names().await,
        std::iter::once("first".to_owned())
            .chain((0..5).map(|n| format!("gone {n}")))
            .collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_request_many_times_at_once_is_stored_once_and_answered_alike() {
    let world = World::new();
    let (one, two) = (
        world.process("one", options()).await,
        world.process("two", options()).await,
    );
    let body = |n: usize| traces(vec![span(&format!("good {n}"), &[]), span("", &[]), bad_span()]);
    let sent = (0..80)
        .map(|n| send(if n % 2 == 0 { &one.ingest } else { &two.ingest }, body(n / 8)))
        .collect::<Vec<_>>();
    for answer in join_all(sent).await {
        let accepted = answer.unwrap().unwrap();
        assert_eq!((accepted.accepted, accepted.rejected), (2, 1), "{}", accepted.message);
        assert!(accepted.message.contains("trace_id"), "{}", accepted.message);
    }
    assert_eq!(one.spans().await.len(), 20);
    // And later, to whichever process.
    for process in [&one, &two, &world.process("three", options()).await] {
        let accepted = process.ingest.accept(tenant(), Signal::Traces, body(3)).await.unwrap();
        assert_eq!((accepted.accepted, accepted.rejected), (2, 1));
        assert_eq!(process.spans().await.len(), 20);
    }
}

fn bad_span() -> opentelemetry_proto::tonic::trace::v1::Span {
    let mut bad = span("bad", &[]);
    bad.trace_id.truncate(3);
    bad
}

/// An empty body is a valid request of every signal, and equal bytes of two signals are two requests.
#[tokio::test]
async fn equal_bytes_of_two_signals_are_two_requests() {
    let world = World::new();
    let process = world.process("one", options()).await;
    for signal in [Signal::Traces, Signal::Logs, Signal::Metrics] {
        let accepted = process
            .ingest
            .accept(tenant(), signal, bytes::Bytes::new())
            .await
            .unwrap();
        assert_eq!((accepted.accepted, accepted.rejected), (0, 0));
    }
    assert!(world.store.paths().await.is_empty());
}

#[tokio::test]
async fn a_failed_commit_refuses_its_requests_and_their_retry_is_stored_once() {
    let world = World::new();
    let process = world.process("one", options()).await;
    for faults in [&world.store.faults.fail_puts, &world.store.faults.lose_replies] {
        let before = process.names().await;
        let bodies = (0..5)
            .map(|n| traces(vec![span(&format!("{} {n}", before.len()), &[])]))
            .collect::<Vec<_>>();
        faults.store(true, Ordering::SeqCst);
        for refused in join_all(bodies.iter().map(|body| send(&process.ingest, body.clone()))).await {
            let refused = refused.unwrap().unwrap_err();
            assert!(matches!(refused, IngestError::Unavailable(_)), "{refused}");
            assert!(refused.retry_after().is_some() && refused.http_status() == 503 && refused.grpc_code() == 14);
        }
        assert_eq!(process.names().await, before, "nothing is visible");
        faults.store(false, Ordering::SeqCst);
        for _ in 0..2 {
            for stored in join_all(bodies.iter().map(|body| send(&process.ingest, body.clone()))).await {
                assert_eq!(stored.unwrap().unwrap().accepted, 1);
            }
        }
        assert_eq!(process.names().await.len(), before.len() + 5);
    }
}

/// Resources are written with the first items that need them. When that commit fails they must come with the next.
#[tokio::test]
async fn a_resource_of_a_failed_commit_is_written_by_the_next() {
    let world = World::new();
    let process = world.process("one", options()).await;
    world.store.faults.fail_puts.store(true, Ordering::SeqCst);
    process
        .ingest
        .accept(tenant(), Signal::Traces, traces(vec![span("a", &[])]))
        .await
        .unwrap_err();
    world.store.faults.fail_puts.store(false, Ordering::SeqCst);
    process
        .ingest
        .accept(tenant(), Signal::Traces, traces(vec![span("b", &[])]))
        .await
        .unwrap();
    let snapshot = process
        .lake
        .snapshot(&tenant(), &[Dataset::Resources], None)
        .await
        .unwrap();
    assert_eq!(snapshot.slices.iter().map(|s| s.rows).sum::<i64>(), 1);
}

/// A column of a failed commit is not in the catalog, so the next commit that has it must register it.
#[tokio::test]
async fn a_column_of_a_failed_commit_is_registered_by_the_next() {
    let world = World::new();
    let process = world.process("one", options()).await;
    let body = |name| traces(vec![span(name, &[("http.route", "/cart")])]);
    world.store.faults.fail_puts.store(true, Ordering::SeqCst);
    process
        .ingest
        .accept(tenant(), Signal::Traces, body("a"))
        .await
        .unwrap_err();
    world.store.faults.fail_puts.store(false, Ordering::SeqCst);
    process
        .ingest
        .accept(tenant(), Signal::Traces, body("b"))
        .await
        .unwrap();
    let columns = process.lake.catalog().columns(&tenant(), Dataset::Spans).await.unwrap();
    assert_eq!(
        columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(),
        ["attr.http.route"]
    );
}

#[tokio::test]
async fn close_drains_what_was_accepted_and_refuses_what_comes_after() {
    let world = World::new();
    // So long that only a drain commits in time.
    let slow = IngestOptions {
        min_interval: Duration::from_secs(3600),
        ..options()
    };
    let process = world.process("one", slow).await;
    let waiting = (0..5)
        .map(|n| send(&process.ingest, traces(vec![span(&format!("span {n}"), &[])])))
        .collect::<Vec<_>>();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waiting.iter().any(JoinHandle::is_finished));
    process.ingest.close();
    let refused = process
        .ingest
        .accept(tenant(), Signal::Traces, traces(vec![span("late", &[])]))
        .await
        .unwrap_err();
    assert!(
        matches!(refused, IngestError::Unavailable(_)) && refused.retry_after().is_some(),
        "{refused}"
    );
    for answer in join_all(waiting).await {
        assert_eq!(answer.unwrap().unwrap().accepted, 1);
    }
    tokio::time::timeout(Duration::from_secs(10), process.committer)
        .await
        .unwrap()
        .unwrap();
    let after = world.process("two", options()).await;
    assert_eq!(after.names().await.len(), 5);
}

#[tokio::test]
async fn a_request_that_comes_through_after_the_last_commit_is_refused_at_once() {
    let world = World::new();
    let catalog = Arc::new(Shut::default());
    let process = world.process_behind("one", options(), Some(catalog.clone())).await;
    // Admitted before the closing; the columns of its tenant are still on their way when the committer has ended.
    let late = send(&process.ingest, traces(vec![span("late", &[])]));
    tokio::time::sleep(Duration::from_millis(50)).await;
    process.ingest.close();
    process.committer.await.unwrap();
    assert!(!late.is_finished());
    catalog.open();
    let answer = tokio::time::timeout(Duration::from_secs(10), late).await;
    let refused = answer
        .expect("it waits for a commit that nobody does")
        .unwrap()
        .unwrap_err();
    assert!(matches!(refused, IngestError::Unavailable(_)), "{refused}");
}

#[tokio::test]
async fn invalid_items_are_counted_and_explained_and_valid_ones_kept() {
    let world = World::new();
    let process = world.process("one", options()).await;
    let mut late = span("late", &[]);
    late.start_time_unix_nano = u64::MAX;
    let body = traces(vec![span("a", &[]), bad_span(), span("b", &[]), late, span("c", &[])]);
    let accepted = process.ingest.accept(tenant(), Signal::Traces, body).await.unwrap();
    assert_eq!((accepted.accepted, accepted.rejected), (3, 2));
    for word in ["trace_id", "time", "2262"] {
        assert!(accepted.message.contains(word), "{word}: {}", accepted.message);
    }
    assert_eq!(process.names().await, ["a", "b", "c"]);
    let accepted = process
        .ingest
        .accept(tenant(), Signal::Traces, traces(vec![bad_span()]))
        .await
        .unwrap();
    assert_eq!(
        (accepted.accepted, accepted.rejected),
        (0, 1),
        "nothing to store is an answer too"
    );
}

/// A request that breaks off in the middle leaves none of its items, and spoils no other request of the same commit.
#[tokio::test]
async fn a_truncated_request_leaves_nothing_behind() {
    let world = World::new();
    let process = world.process("one", options()).await;
    let whole = traces((0..20).map(|n| span(&format!("cut {n}"), &[("k", "v")])).collect());
    let sent = (1..whole.len()).step_by(37).flat_map(|cut| {
        let good = traces(vec![span(&format!("whole {cut:05}"), &[("k", "v")])]);
        [send(&process.ingest, whole.slice(..cut)), send(&process.ingest, good)]
    });
    let mut refused = 0;
    for answer in join_all(sent).await {
        match answer.unwrap() {
            Ok(_) => {}
            Err(IngestError::Invalid(reason)) => {
                refused += 1;
                assert!(reason.contains("traces"), "{reason}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    let names = process.names().await;
    assert!(
        refused > 20 && names.len() == refused,
        "{refused} refused, {} stored",
        names.len()
    );
    assert!(names.iter().all(|name| name.starts_with("whole")));
}

/// Past the limit of columns, values go to one common column and are not lost; another process knows the same columns.
#[tokio::test]
async fn attributes_beyond_the_column_limit_are_kept_without_a_column() {
    let world = World::new();
    let few = IngestOptions {
        max_attribute_columns: 3,
        ..options()
    };
    let (one, two) = (world.process("one", few.clone()).await, world.process("two", few).await);
    let keys = (0..10).map(|n| format!("key.{n}")).collect::<Vec<_>>();
    let attributes = keys.iter().map(|key| (key.as_str(), key.as_str())).collect::<Vec<_>>();
    for (name, process) in [("a", &one), ("b", &two), ("c", &one)] {
        let body = traces(vec![span(name, &attributes)]);
        process.ingest.accept(tenant(), Signal::Traces, body).await.unwrap();
    }
    let columns = one.lake.catalog().columns(&tenant(), Dataset::Spans).await.unwrap();
    assert_eq!(columns.len(), 3);
    for (name, cells) in two.spans().await {
        assert_eq!(cells.len(), 4, "{name}: {cells:?}");
        let rest: serde_json::Value = serde_json::from_str(&cells["attributes_rest"]).unwrap();
        let mut all = BTreeMap::new();
        for (key, value) in rest.as_object().unwrap() {
            all.insert(key.clone(), value.as_str().unwrap().to_owned());
        }
        for (key, value) in cells.iter().filter_map(|(k, v)| Some((k.strip_prefix("attr.")?, v))) {
            all.insert(key.to_owned(), value.clone());
        }
        assert_eq!(
            all,
            keys.iter().map(|key| (key.clone(), key.clone())).collect(),
            "{name}"
        );
    }
}
