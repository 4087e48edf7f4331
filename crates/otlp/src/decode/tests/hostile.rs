//! Bytes that are nearly a request.
//!
//! Mutated by `testkit::fuzz`, with prost as the judge: requests of the corpus, and random ones in the middle of a batch.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use schema::Dataset;
use testkit::fuzz::{self, Source, mutate};

use super::context;
use super::messages::Messages;
use super::rows::{Finish, finish};
use crate::decode::{KnownIds, Outcome, TenantBatch};
use crate::model::Signal;

const SIGNALS: [Signal; 3] = [Signal::Traces, Signal::Logs, Signal::Metrics];

fn request(messages: &mut Messages, signal: Signal) -> Vec<u8> {
    match signal {
        Signal::Traces => messages.traces().encode_to_vec(),
        Signal::Logs => messages.logs().encode_to_vec(),
        Signal::Metrics => messages.metrics().encode_to_vec(),
    }
}

/// A request of moderate size that has items.
fn small_request(seed: &mut u64, signal: Signal) -> Vec<u8> {
    loop {
        let bytes = request(&mut Messages::new(*seed), signal);
        *seed += 1;
        if (500..6_000).contains(&bytes.len()) {
            return bytes;
        }
    }
}

fn prost_reads(signal: Signal, bytes: &[u8]) -> bool {
    match signal {
        Signal::Traces => ExportTraceServiceRequest::decode(bytes).is_ok(),
        Signal::Logs => ExportLogsServiceRequest::decode(bytes).is_ok(),
        Signal::Metrics => ExportMetricsServiceRequest::decode(bytes).is_ok(),
    }
}

/// Everything but resources and series, whose rows may stay when a request fails: they are true whoever sent them.
fn items(mut finished: Finish) -> Finish {
    finished.ids.clear();
    for dataset in [Dataset::Resources, Dataset::MetricSeries] {
        finished.rows.remove(&dataset);
    }
    finished
}

/// Appends bad bytes to `batch` and, if they were refused, checks that it holds what it held: `before`, sent again.
fn append_bad(batch: &mut TenantBatch, signal: Signal, bad: &[u8], known: &KnownIds) -> Option<Outcome> {
    let rows = batch.rows();
    match batch.append(signal, bad, context(known)) {
        Ok(outcome) => {
            let added: u64 = batch.rows()[..6]
                .iter()
                .zip(rows)
                .map(|(after, before)| u64::from(after - before))
                .sum();
            assert_eq!(added, outcome.accepted);
            Some(outcome)
        }
        Err(error) => {
            assert!(!prost_reads(signal, bad), "prost reads what we call {error}");
            assert_eq!(batch.rows(), rows);
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

#[test]
fn a_request_cut_anywhere_leaves_the_batch_as_it_was() {
    let mut seed = 0;
    for signal in SIGNALS {
        let known = KnownIds::default();
        let (first, cut) = (small_request(&mut seed, signal), small_request(&mut seed, signal));
        let mut batch = TenantBatch::default();
        batch.append(signal, &first, context(&known)).unwrap();
        let alone = items(finish(&mut batch));
        batch.append(signal, &first, context(&known)).unwrap();
        for end in 0..cut.len() {
            let rows = batch.rows();
            if let Some(outcome) = append_bad(&mut batch, signal, &cut[..end], &known) {
                // Cut between two top-level messages: what came before is a request.
                assert!(prost_reads(signal, &cut[..end]) || outcome.rejected > 0);
                if batch.rows() != rows {
                    finish(&mut batch);
                    batch.append(signal, &first, context(&known)).unwrap();
                }
            }
        }
        assert!(append_bad(&mut batch, signal, &cut, &known).is_some());
        let both = finish(&mut batch);
        let mut fresh = TenantBatch::default();
        fresh.append(signal, &first, context(&known)).unwrap();
        fresh.append(signal, &cut, context(&known)).unwrap();
        assert!(
            items(both) == items(finish(&mut fresh)),
            "{} left something behind",
            signal.name()
        );
        fresh.append(signal, &first, context(&known)).unwrap();
        assert!(items(finish(&mut fresh)) == alone);
    }
}

#[test]
fn mutated_requests_never_panic_nor_spoil_the_batch() {
    for seed in fuzz::seeds(60) {
        let result = std::panic::catch_unwind(|| append_mutated(seed));
        assert!(
            result.is_ok(),
            "run again with OTLP_FUZZ_SEED={seed} OTLP_FUZZ_ROUNDS=1"
        );
    }
}

fn append_mutated(seed: u64) {
    let mut source = Source::new(seed);
    let known = KnownIds::default();
    let mut batch = TenantBatch::default();
    let mut message_seed = seed << 20;
    let signal = SIGNALS[seed as usize % 3];
    let (good, other) = (
        small_request(&mut message_seed, signal),
        small_request(&mut message_seed, signal),
    );
    batch.append(signal, &good, context(&known)).unwrap();
    let alone = items(finish(&mut batch));
    for _ in 0..40 {
        let mut bad = good.clone();
        mutate(&mut bad, &other, &mut source);
        let before = source.below(2) == 0;
        if before {
            batch.append(signal, &good, context(&known)).unwrap();
        }
        let outcome = append_bad(&mut batch, signal, &bad, &known);
        let finished = finish(&mut batch);
        if outcome.is_none() && before {
            assert!(items(finished) == alone, "the refused request left something behind");
        } else if outcome.is_none() {
            assert!(finished.rows.is_empty());
        }
        if source.below(10) == 0 {
            known.insert(&finished_ids(&mut batch, signal, &good, &known), super::NOW);
        }
    }
}

fn finished_ids(batch: &mut TenantBatch, signal: Signal, good: &[u8], known: &KnownIds) -> Vec<[u8; 16]> {
    batch.append(signal, good, context(known)).unwrap();
    finish(batch).ids
}

#[test]
fn mutated_requests_of_the_corpus_end() {
    fuzz::run(&fuzz::corpus("otlp_protobuf"), 3_000, |input| {
        for signal in SIGNALS {
            let (mut batch, known) = (TenantBatch::default(), KnownIds::default());
            append_bad(&mut batch, signal, input, &known);
            finish(&mut batch);
        }
    });
}
