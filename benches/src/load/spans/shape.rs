//! The shape of a trace: who calls whom, when and for how long; not yet what the spans say.

use crate::load::random::Random;
use crate::load::services::{PODS_PER_SERVICE, Pod, SERVICES};

/// What a span stands for; its content follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// An HTTP request served.
    HttpServer,
    /// An HTTP request sent.
    HttpClient,
    /// An RPC served.
    RpcServer,
    /// An RPC sent.
    RpcClient,
    /// A database call.
    Database,
    /// Work inside the process.
    Internal,
    /// A message sent.
    Producer,
    /// A message processed.
    Consumer,
}

impl Operation {
    /// The instrumentation scope that records it, as an index into `content::SCOPES`.
    pub fn scope(self) -> usize {
        match self {
            Self::HttpServer | Self::HttpClient => 0,
            Self::RpcServer | Self::RpcClient => 1,
            Self::Database => 2,
            Self::Internal => 3,
            Self::Producer | Self::Consumer => 4,
        }
    }
}

/// A span before its content.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Index of the parent in the trace; `None` for the root. A parent comes before its children.
    pub parent: Option<usize>,
    /// Index of the pod that emits it.
    pub pod: usize,
    /// What it stands for.
    pub operation: Operation,
    /// Which of the service's routes, methods, tables or topics, `0..16`.
    pub target: u64,
    /// ns since the Unix epoch.
    pub start: i64,
    /// ns since the Unix epoch, after `start`.
    pub end: i64,
    /// Whether it failed.
    pub failed: bool,
}

/// Fewest and most spans of a trace.
const SIZES: (usize, usize) = (3, 60);
/// Calls nest no deeper: a real request path of more hops is rare.
const DEPTH: usize = 9;
/// Chance that a leaf fails; failures spread to some callers, which makes about 2 % of the spans.
const FAILURE: f64 = 0.012;

/// A trace whose root starts at `start` (ns). Between 3 and 60 drafts, the root first.
pub fn trace(start: i64, pods: &[Pod], random: &mut Random) -> Vec<Draft> {
    let wanted = SIZES.0 + (random.exponential(16.0) as usize).min(SIZES.1 - SIZES.0);
    let service = [0, 0, 0, 1, 1, 2, 3][random.below(7) as usize];
    let pod = pod_of(service, random);
    let duration = random.log_normal(4.0e6 * wanted as f64, 0.8) as i64 + 1_000;
    let root = Draft {
        parent: None,
        pod,
        operation: Operation::HttpServer,
        target: random.skewed(16),
        start,
        end: start + duration,
        failed: false,
    };
    let mut drafts = vec![root];
    grow(&mut drafts, 0, wanted - 1, 0, pods, random);
    while drafts.len() < SIZES.0 {
        leaf(&mut drafts, 0, start + 1, duration - 1, random);
    }
    fail(&mut drafts, random);
    drafts
}

/// Adds up to `budget` spans below `parent`, inside its time.
fn grow(drafts: &mut Vec<Draft>, parent: usize, mut budget: usize, depth: usize, pods: &[Pod], random: &mut Random) {
    let (start, end) = (drafts[parent].start, drafts[parent].end);
    let mut cursor = start + ((end - start) as f64 * 0.05 * random.unit()) as i64;
    while budget > 0 && end - cursor > 2_000 {
        let share = if budget < 4 {
            0.3 + 0.6 * random.unit()
        } else {
            0.1 + 0.5 * random.unit()
        };
        let duration = ((end - cursor) as f64 * share) as i64;
        let used = if budget >= 2 && depth < DEPTH && random.chance(0.55) {
            let below = if budget < 6 {
                budget - 2
            } else {
                random.between(1, budget as u64 - 2) as usize
            };
            call(drafts, parent, cursor, duration, below, depth, pods, random)
        } else {
            leaf(drafts, parent, cursor, duration, random);
            1
        };
        budget -= used.min(budget);
        // Four in five calls wait for the previous one; the rest run beside it.
        if random.chance(0.8) {
            cursor += duration + random.between(500, 40_000) as i64;
        } else {
            cursor += random.between(500, 20_000) as i64;
        }
    }
}

/// A call of another service: a client and a server span, or a producer and a consumer. Returns how many were added.
#[expect(
    clippy::too_many_arguments,
    reason = "a recursive step: each is one coordinate of where it stands"
)]
fn call(
    drafts: &mut Vec<Draft>,
    parent: usize,
    start: i64,
    duration: i64,
    below: usize,
    depth: usize,
    pods: &[Pod],
    random: &mut Random,
) -> usize {
    let before = drafts.len();
    let caller = drafts[parent].pod;
    // Calls go to a few fixed partners of each service, never back to the edge.
    let service = 4 + (pods[caller].service * 5 + random.skewed(6) as usize) % (SERVICES.len() - 4);
    let pod = pod_of(service, random);
    let target = random.skewed(16);
    let messaging = random.chance(0.06);
    let (out, inside) = match (messaging, SERVICES[service].grpc) {
        (true, _) => (Operation::Producer, Operation::Consumer),
        (false, true) => (Operation::RpcClient, Operation::RpcServer),
        (false, false) => (Operation::HttpClient, Operation::HttpServer),
    };
    let end = start + duration;
    // The wire takes its share on both sides; a message waits in its queue and is processed after the send.
    let wire = (duration as f64 * (0.02 + 0.1 * random.unit())) as i64;
    let (inner_start, inner_end) = if messaging {
        let begun = end + random.exponential(3.0e6) as i64;
        (begun, begun + random.log_normal(3.0e6, 0.7) as i64 + 1_000)
    } else {
        (start + wire, (end - wire).max(start + wire + 500))
    };
    let client = Draft {
        parent: Some(parent),
        pod: caller,
        operation: out,
        target,
        start,
        end,
        failed: false,
    };
    drafts.push(client);
    drafts.push(Draft {
        parent: Some(before),
        pod,
        operation: inside,
        target,
        start: inner_start,
        end: inner_end,
        failed: false,
    });
    grow(drafts, before + 1, below, depth + 1, pods, random);
    drafts.len() - before
}

/// A span without children: mostly a database call.
fn leaf(drafts: &mut Vec<Draft>, parent: usize, start: i64, duration: i64, random: &mut Random) {
    let operation = if random.chance(0.68) {
        Operation::Database
    } else {
        Operation::Internal
    };
    drafts.push(Draft {
        parent: Some(parent),
        pod: drafts[parent].pod,
        operation,
        target: random.skewed(16),
        start,
        end: start + duration.max(700),
        failed: false,
    });
}

/// Marks leaves as failed, and with even odds each caller above them in turn.
fn fail(drafts: &mut [Draft], random: &mut Random) {
    for index in (0..drafts.len()).rev() {
        if !random.chance(FAILURE) {
            continue;
        }
        let mut at = Some(index);
        while let Some(draft) = at {
            drafts[draft].failed = true;
            at = drafts[draft].parent.filter(|_| random.chance(0.5));
        }
    }
}

fn pod_of(service: usize, random: &mut Random) -> usize {
    service * PODS_PER_SERVICE + random.below(PODS_PER_SERVICE as u64) as usize
}
