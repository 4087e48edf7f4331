//! What a process remembers of a tenant when its rows are deleted.

use std::time::Duration;

use catalog::{DeletionStep, DeletionTarget, NewDeletion, Replacement};
use ingest::IngestError;
use otlp::model::Signal;
use schema::Dataset;

use crate::fixture::{NOW, Process, World, metrics, options, span, tenant, traces};

/// Rows of a dataset that are stored.
async fn rows(process: &Process, dataset: Dataset) -> i64 {
    let snapshot = process.lake.snapshot(&tenant(), &[dataset], None).await.unwrap();
    snapshot.slices.iter().map(|slice| slice.rows).sum()
}

/// Deletes all rows of datasets, as the work on a deletion would.
async fn delete(process: &Process, datasets: &[Dataset]) {
    let catalog = process.lake.catalog();
    let new = NewDeletion {
        tenant: tenant(),
        datasets: datasets.to_vec(),
        target: DeletionTarget::Everything,
    };
    let deletion = catalog.request_deletion(&new, NOW).await.unwrap();
    let minute = Duration::from_secs(60);
    for &dataset in datasets {
        let lease = catalog
            .acquire_lease(dataset.name(), "test", minute, NOW)
            .await
            .unwrap();
        let snapshot = process.lake.snapshot(&tenant(), &[dataset], None).await.unwrap();
        if snapshot.slices.is_empty() {
            continue;
        }
        let step = DeletionStep {
            deletion,
            change: Replacement {
                tenant: tenant(),
                dataset,
                slices: snapshot.slices.iter().map(|slice| slice.id).collect(),
                parts: Vec::new(),
                add: Vec::new(),
            },
            rows: 1,
            bytes_read: 0,
            bytes_written: 0,
        };
        catalog.delete_rows(&step, &lease.unwrap(), NOW, minute).await.unwrap();
    }
}

async fn send(process: &Process, signal: Signal, name: &str) -> Result<u64, IngestError> {
    let body = match signal {
        Signal::Metrics => metrics(&["gauge", name]),
        _ => traces(vec![span(name, &[])]),
    };
    Ok(process.ingest.accept(tenant(), signal, body).await?.accepted)
}

/// A tenant that goes on sending after its resources and series were deleted is described again at once, by whichever process.
#[tokio::test]
async fn what_was_deleted_is_described_again_by_every_process() {
    let world = World::new();
    let one = world.process("one", options()).await;
    let two = world.process("two", options()).await;
    for signal in [Signal::Traces, Signal::Metrics] {
        for (number, process) in [&one, &two].into_iter().enumerate() {
            send(process, signal, &format!("before {number}")).await.unwrap();
            send(process, signal, &format!("still before {number}")).await.unwrap();
        }
    }
    delete(&one, &Dataset::ALL).await;
    for dataset in Dataset::ALL {
        assert_eq!(rows(&two, dataset).await, 0, "{dataset}");
    }

    for (number, process) in [&one, &two].into_iter().enumerate() {
        for signal in [Signal::Traces, Signal::Metrics] {
            let name = format!("after {number}");
            let answer = send(process, signal, &name).await;
            // What relied on the deleted rows is refused, once, to be sent again.
            if let Err(error) = answer {
                assert_eq!((error.grpc_code(), error.http_status()), (14, 503), "{error}");
                assert_eq!(signal, Signal::Traces, "it is forgotten by the first refusal");
                send(process, signal, &name).await.unwrap();
            } else {
                assert_eq!(
                    signal,
                    Signal::Metrics,
                    "the first request relies on the deleted resource"
                );
            }
        }
        let found = [Dataset::Spans, Dataset::Resources, Dataset::MetricSeries];
        let mut counts = Vec::new();
        for dataset in found {
            counts.push(rows(process, dataset).await);
        }
        let processes = number as i64 + 1;
        assert_eq!(
            counts,
            [processes, processes, 2 * processes],
            "each process describes what it stores"
        );
    }
    // Once is enough.
    send(&one, Signal::Traces, "later").await.unwrap();
    assert_eq!(rows(&one, Dataset::Resources).await, 2);
}
