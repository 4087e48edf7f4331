//! Spans: traces of 3 to 60 spans that grow as calls do, from an edge service down to databases and queues, with
//! children nested in their parents' time.

mod content;
mod shape;

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;

use super::agents::{Agents, Group};
use super::random::Random;
use super::services::{self, Pod};
use super::{Plan, Request};

/// A trace of the load, to be asked for later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownTrace {
    /// Its id.
    pub id: [u8; 16],
    /// How many spans it has.
    pub spans: u32,
}

/// A uniform sample of the traces that were generated so far, shared with whoever wants to look them up.
pub type KnownTraces = Arc<Mutex<Vec<KnownTrace>>>;

/// Enough for 200 lookups that never ask twice for the same trace, in several runs.
const KNOWN: usize = 4096;

/// The stream of trace export requests.
#[derive(Debug)]
pub struct Spans {
    plan: Plan,
    random: Random,
    pods: Vec<Pod>,
    agents: Agents<Span>,
    now: f64,
    made: u64,
    traces: u64,
    known: KnownTraces,
    ended: bool,
}

impl Spans {
    /// The load of `plan`.
    pub fn new(plan: Plan) -> Self {
        let mut random = Random::new(plan.seed);
        let pods = services::pods(&mut random);
        let agents = Agents::new(&mut random);
        Self {
            plan,
            random,
            pods,
            agents,
            now: 0.0,
            made: 0,
            traces: 0,
            known: KnownTraces::default(),
            ended: false,
        }
    }

    /// A handle on the sample of traces; complete when the iterator has ended.
    pub fn known(&self) -> KnownTraces {
        Arc::clone(&self.known)
    }

    fn trace(&mut self) {
        let start = self.plan.start + (self.now * 1e9) as i64;
        let id: [u8; 16] = self.random.id();
        let drafts = shape::trace(start, &self.pods, &mut self.random);
        let count = drafts.len() as u32;
        let spans = content::spans(&id, &drafts, &self.pods, &mut self.random);
        let mut order: Vec<(usize, Span)> = spans.into_iter().enumerate().collect();
        // SDKs export a span when it ends.
        order.sort_by_key(|(_, span)| span.end_time_unix_nano);
        for (index, span) in order {
            let pod = drafts[index].pod;
            let scope = drafts[index].operation.scope();
            self.agents
                .push(self.pods[pod].node, pod, scope, span, &mut self.random);
        }
        self.remember(KnownTrace { id, spans: count });
        self.made += u64::from(count);
        // Poisson arrivals at the planned mean rate.
        self.now += self.random.exponential(f64::from(count) / self.plan.rate);
    }

    /// Reservoir sampling (algorithm R): every trace has the same chance to be in the sample.
    fn remember(&mut self, trace: KnownTrace) {
        self.traces += 1;
        let slot = self.random.below(self.traces) as usize;
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if known.len() < KNOWN {
            known.push(trace);
        } else if slot < KNOWN {
            known[slot] = trace;
        }
    }

    fn request(&self, groups: Vec<Group<Span>>) -> Request {
        let mut items = 0;
        let mut resource_spans: Vec<ResourceSpans> = Vec::new();
        let mut last = usize::MAX;
        for group in groups {
            items += group.items.len() as u32;
            if group.pod != last {
                last = group.pod;
                resource_spans.push(ResourceSpans {
                    resource: Some(self.pods[group.pod].resource.clone()),
                    ..Default::default()
                });
            }
            let scope = Some(content::scope(&self.pods[group.pod], group.scope));
            if let Some(resource) = resource_spans.last_mut() {
                resource.scope_spans.push(ScopeSpans {
                    scope,
                    spans: group.items,
                    ..Default::default()
                });
            }
        }
        Request {
            bytes: ExportTraceServiceRequest { resource_spans }.encode_to_vec().into(),
            items,
        }
    }
}

impl Iterator for Spans {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        loop {
            if let Some(groups) = self.agents.next_full() {
                return Some(self.request(groups));
            }
            if self.ended {
                return None;
            }
            if self.made >= self.plan.items {
                self.agents.flush();
                self.ended = true;
                continue;
            }
            self.trace();
        }
    }
}
