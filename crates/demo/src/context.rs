//! One customer's request while it is simulated: a virtual clock that work advances, the stack of open spans, and
//! what was recorded so far. Journeys are written against it as a service's own code would be: open a span, do work,
//! call others, log, fail with `?`.

use otlp::model::{
    AnyValue, Event, KeyValue, Link, LogRecord, SeverityNumber, Span, SpanId, SpanKind, Status, StatusCode, TraceId,
};
use rand::Rng as _;
use rand::rngs::StdRng;

use crate::incident::Incident;
use crate::shop::{Pod, Service};

/// Why a call failed, as its caller sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// `error.type` and `exception.type`.
    pub kind: &'static str,
    /// What the log says.
    pub message: String,
    /// The gRPC status code of an RPC that fails this way.
    pub grpc: i64,
    /// The HTTP status of a request that fails this way.
    pub http: i64,
}

/// What a simulated call comes to.
pub type Outcome = Result<(), Failure>;

/// How long a served request took, for the metrics.
#[derive(Debug, Clone)]
pub struct Observation {
    /// Index of the pod.
    pub pod: usize,
    /// Name of the histogram.
    pub metric: &'static str,
    /// Attributes of the series.
    pub labels: Vec<(&'static str, Label)>,
    /// Seconds.
    pub seconds: f64,
    /// When it ended, ns.
    pub time: i64,
    /// The span it belongs to, for the exemplar.
    pub span_id: SpanId,
}

/// A value of a series attribute. Ordered, unlike an attribute value, which may be a double.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label {
    /// Text.
    Text(String),
    /// An integer.
    Int(i64),
}

/// What a finished request leaves: spans and logs with the index of the pod that emits them.
#[derive(Debug)]
pub struct Done {
    /// Of every span, log and exemplar.
    pub trace_id: TraceId,
    /// In the order in which they ended.
    pub spans: Vec<(usize, Span)>,
    /// In the order in which they were written.
    pub logs: Vec<(usize, LogRecord)>,
    /// Durations.
    pub observations: Vec<Observation>,
    /// Value of the order in cents, when one was placed.
    pub order: Option<(usize, u64)>,
}

struct Open {
    pod: usize,
    span: Span,
}

/// A request in progress.
pub struct Request<'a> {
    now: i64,
    incident: Option<Incident>,
    pods: &'a [Pod],
    random: &'a mut StdRng,
    open: Vec<Open>,
    done: Done,
}

/// Shorthand for a string or integer attribute list.
pub type Attributes = Vec<KeyValue>;

impl<'a> Request<'a> {
    /// A request that begins at `now` (ns).
    pub fn new(now: i64, incident: Option<Incident>, pods: &'a [Pod], random: &'a mut StdRng) -> Self {
        let trace_id = random.random();
        let done = Done {
            trace_id,
            spans: vec![],
            logs: vec![],
            observations: vec![],
            order: None,
        };
        Self {
            now,
            incident,
            pods,
            random,
            open: Vec::new(),
            done,
        }
    }

    /// What it left.
    pub fn finish(self) -> Done {
        self.done
    }

    /// Whether this incident is on.
    pub fn suffers(&self, incident: Incident) -> bool {
        self.incident == Some(incident)
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.random.random::<f64>() < probability
    }

    /// Uniform in `0..bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.random.random_range(0..bound.max(1))
    }

    /// 128 random bits.
    pub fn bits(&mut self) -> u128 {
        self.random.random()
    }

    /// Lets time pass: log-normal around `median` ms, with a long tail as real latencies have.
    pub fn work(&mut self, median: f64) {
        let radius = (-2.0 * (1.0 - self.random.random::<f64>()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * self.random.random::<f64>()).cos();
        // Capped at 20 times the median, so that a rare draw does not look like an incident.
        let factor = (0.45 * normal).exp().min(20.0);
        self.now += (median * factor * 1e6) as i64 + 1_000;
    }

    /// Does several things at once: each begins now, and time goes on when the last has ended. All are done even when
    /// one fails, as requests in flight are; the first failure counts.
    pub fn together(&mut self, branches: &[&dyn Fn(&mut Self) -> Outcome]) -> Outcome {
        let begun = self.now;
        let mut ended = begun;
        let mut outcome = Ok(());
        for branch in branches {
            self.now = begun;
            let result = branch(self);
            ended = ended.max(self.now);
            outcome = outcome.and(result);
        }
        self.now = ended;
        outcome
    }

    /// Does things that nobody here waits for: time goes on as if they had not happened.
    pub fn aside(&mut self, branches: &[&dyn Fn(&mut Self) -> Outcome]) -> Outcome {
        let now = self.now;
        let outcome = self.together(branches);
        self.now = now;
        outcome
    }

    /// The index of a pod of `service`.
    pub fn pod_of(&mut self, service: Service) -> usize {
        let of: Vec<usize> = (0..self.pods.len())
            .filter(|index| self.pods[*index].service == service)
            .collect();
        match of.len() {
            0 => 0,
            count => of[self.random.random_range(0..count)],
        }
    }

    /// The address of a pod.
    pub fn address(&self, pod: usize) -> &str {
        &self.pods[pod].address
    }

    /// The pod whose code runs now; the first when none does.
    pub fn here(&self) -> usize {
        self.open.last().map_or(0, |open| open.pod)
    }

    /// The id of the innermost open span.
    pub fn current(&self) -> Option<SpanId> {
        self.open.last().map(|open| open.span.span_id)
    }

    /// Adds an attribute to the innermost open span.
    pub fn set(&mut self, key: &str, value: impl Into<AnyValue>) {
        if let Some(open) = self.open.last_mut() {
            open.span.attributes.push(KeyValue::new(key, value));
        }
    }

    /// Adds an event to the innermost open span.
    pub fn event(&mut self, name: &str, attributes: Attributes) {
        let time_unix_nano = self.now as u64;
        if let Some(open) = self.open.last_mut() {
            open.span.events.push(Event {
                time_unix_nano,
                name: name.to_owned(),
                attributes,
                ..Event::default()
            });
        }
    }

    /// Links the innermost open span to a span of this trace that caused it without calling it.
    pub fn link(&mut self, span_id: SpanId) {
        let trace_id = self.done.trace_id;
        if let Some(open) = self.open.last_mut() {
            open.span.links.push(Link {
                trace_id,
                span_id,
                flags: 1,
                ..Link::default()
            });
        }
    }

    /// Records that an order of `cents` was placed here.
    pub fn order(&mut self, cents: u64) {
        self.done.order = Some((self.here(), cents));
    }

    /// Runs `body` inside a span on `pod`. A failure marks the span; a server span also gets the exception.
    pub fn span(
        &mut self,
        pod: usize,
        kind: SpanKind,
        name: String,
        attributes: Attributes,
        body: impl FnOnce(&mut Self) -> Outcome,
    ) -> Outcome {
        let span = Span {
            trace_id: self.done.trace_id,
            span_id: self.random.random(),
            parent_span_id: self.current(),
            // Bit 0: sampled. Bits 8 and 9: whether the parent is remote is known, and is it.
            flags: if matches!(kind, SpanKind::SERVER | SpanKind::CONSUMER) {
                0x301
            } else {
                0x101
            },
            name,
            kind,
            start_time_unix_nano: self.now as u64,
            attributes,
            ..Span::default()
        };
        self.open.push(Open { pod, span });
        let outcome = body(self);
        self.now += 20_000;
        if let Err(failure) = &outcome
            && matches!(kind, SpanKind::SERVER | SpanKind::CONSUMER)
        {
            self.event(
                "exception",
                vec![
                    KeyValue::new("exception.type", failure.kind),
                    KeyValue::new("exception.message", failure.message.clone()),
                ],
            );
        }
        if let Some(mut open) = self.open.pop() {
            open.span.end_time_unix_nano = self.now as u64;
            if let Err(failure) = &outcome {
                open.span.status = Status {
                    message: failure.message.clone(),
                    code: StatusCode::ERROR,
                };
                open.span.attributes.push(KeyValue::new("error.type", failure.kind));
            }
            self.done.spans.push((open.pod, open.span));
        }
        outcome
    }

    /// Records the duration of the innermost open span so far, in the metric of that name.
    pub fn observe(&mut self, metric: &'static str, labels: Vec<(&'static str, Label)>) {
        if let Some(open) = self.open.last() {
            let seconds = (self.now - open.span.start_time_unix_nano as i64) as f64 / 1e9;
            let (pod, span_id) = (open.pod, open.span.span_id);
            self.done.observations.push(Observation {
                pod,
                metric,
                labels,
                seconds,
                time: self.now,
                span_id,
            });
        }
    }

    /// Writes a log record with the context of the innermost open span.
    pub fn log(&mut self, severity: SeverityNumber, body: String, attributes: Attributes) {
        let severity_text = match severity {
            SeverityNumber::DEBUG => "DEBUG",
            SeverityNumber::INFO => "INFO",
            SeverityNumber::WARN => "WARN",
            _ => "ERROR",
        };
        let record = LogRecord {
            time_unix_nano: self.now as u64,
            observed_time_unix_nano: self.now as u64 + 40_000,
            severity_number: severity,
            severity_text: severity_text.to_owned(),
            body: Some(body.into()),
            attributes,
            flags: 1,
            trace_id: Some(self.done.trace_id),
            span_id: self.current(),
            ..LogRecord::default()
        };
        let pod = self.here();
        self.done.logs.push((pod, record));
    }
}

impl Failure {
    /// A deadline that passed.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self {
            kind: "TimeoutError",
            message: message.into(),
            grpc: 4,
            http: 504,
        }
    }

    /// Nobody answered.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self {
            kind: "UnavailableError",
            message: message.into(),
            grpc: 14,
            http: 503,
        }
    }

    /// The request makes no sense to the service.
    pub fn precondition(kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            grpc: 9,
            http: 422,
        }
    }

    /// A bug.
    pub fn internal(kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            grpc: 13,
            http: 500,
        }
    }
}
