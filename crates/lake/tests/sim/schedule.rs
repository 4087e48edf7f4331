//! Who goes on, and what befalls him.
//!
//! Every request to the store, every operation of the catalog and every pause waits at one gate. The scheduler lets one
//! through, drives the actor it belongs to until that actor waits again, and only then picks the next. So at most one
//! request is under way at any time, and the order of all of them is a function of the seed, although SQLite has a
//! thread of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use rand::SeedableRng;
use rand::rngs::StdRng;
use schema::{Clock, UnixNanos};

/// What waits at the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    CatalogRead,
    CatalogWrite,
    Put,
    Get,
    Delete,
    List,
    /// A pause until a time.
    Sleep(UnixNanos),
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Happens,
    /// An error, and nothing happened.
    Fails,
    /// It happened, but the answer is an error.
    ReplyLost,
    /// The answer is an error; it happens later (puts only).
    Late,
    /// The answer is an old one (listings only).
    Stale,
}

/// Number of a process; a restarted one has a new number.
pub type ProcessId = usize;
/// Number of an actor; the scheduler's owner gives them out.
pub type ActorId = usize;

struct Waiting {
    actor: ActorId,
    process: ProcessId,
    request: Request,
    verdict: Option<Verdict>,
    waker: Waker,
}

/// A process as the scheduler knows it.
#[derive(Debug, Default, Clone, Copy)]
pub struct ProcessState {
    /// Its clock minus the others', ns.
    pub offset: i64,
    /// True time until which it stands still.
    pub paused_until: UnixNanos,
}

pub struct State {
    pub random: StdRng,
    /// The true time.
    pub now: UnixNanos,
    /// The latest time that any process saw on its clock.
    pub latest_seen: UnixNanos,
    /// All clocks minus the true time, ns, and since when.
    pub set: (i64, UnixNanos),
    pub processes: Vec<ProcessState>,
    pub log: Vec<String>,
    pub violation: Option<String>,
    current: ActorId,
    waiting: BTreeMap<u64, Waiting>,
    next_ticket: u64,
    under_way: usize,
}

/// The gate, and the time and chance behind it.
pub struct Schedule(Mutex<State>);

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Schedule")
    }
}

impl Schedule {
    pub fn new(seed: u64, now: UnixNanos) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            random: StdRng::seed_from_u64(seed),
            now,
            latest_seen: now,
            set: (0, i64::MIN),
            processes: Vec::new(),
            log: Vec::new(),
            violation: None,
            current: 0,
            waiting: BTreeMap::new(),
            next_ticket: 0,
            under_way: 0,
        })))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// Notes what happened.
    pub fn log(&self, what: impl fmt::Display) {
        let mut state = self.0.lock();
        let (seconds, actor) = (state.now / 1_000_000 % 100_000_000, state.current);
        state
            .log
            .push(format!("{:>9}.{:03} a{actor} {what}", seconds / 1000, seconds % 1000));
    }

    /// Notes that an invariant is broken; the first one counts.
    pub fn violated(&self, what: impl fmt::Display) {
        self.log(format_args!("VIOLATED: {what}"));
        self.0.lock().violation.get_or_insert_with(|| what.to_string());
    }

    /// A new process whose clock is off by `offset` ns.
    pub fn add_process(&self, offset: i64) -> ProcessId {
        let mut state = self.0.lock();
        state.processes.push(ProcessState {
            offset,
            paused_until: i64::MIN,
        });
        state.processes.len() - 1
    }

    /// The clock of a process.
    pub fn clock(self: &Arc<Self>, process: ProcessId) -> Arc<dyn Clock> {
        Arc::new(ProcessClock {
            schedule: Arc::clone(self),
            process,
        })
    }

    /// Waits until the scheduler lets the request through.
    pub fn enter(self: &Arc<Self>, process: ProcessId, request: Request) -> Entry {
        Entry {
            schedule: Arc::clone(self),
            process,
            request,
            ticket: None,
        }
    }

    /// Resolves `pause` ns of true time from now.
    pub fn sleep(self: &Arc<Self>, process: ProcessId, pause: i64) -> Entry {
        let until = self.0.lock().now.saturating_add(pause);
        self.enter(process, Request::Sleep(until))
    }

    /// Marks an operation of the catalog as under way until the value is dropped.
    pub fn under_way(self: &Arc<Self>) -> UnderWay {
        self.0.lock().under_way += 1;
        UnderWay(Arc::clone(self))
    }

    /// What may go on now, of processes that do not stand still: ticket, actor and request.
    pub fn ready(&self) -> Vec<(u64, ActorId, Request)> {
        let state = self.0.lock();
        let ready = state.waiting.iter().filter(|(_, w)| {
            let asleep = matches!(w.request, Request::Sleep(until) if until > state.now);
            !asleep && state.processes[w.process].paused_until <= state.now
        });
        ready.map(|(ticket, w)| (*ticket, w.actor, w.request)).collect()
    }

    /// Whether an actor waits to change the catalog.
    pub fn is_about_to_write(&self, actor: ActorId) -> bool {
        let state = self.0.lock();
        let mut waiting = state.waiting.values();
        waiting.any(|w| w.actor == actor && w.request == Request::CatalogWrite)
    }

    /// The time at which something that waits may go on.
    pub fn next_wake(&self) -> Option<UnixNanos> {
        let state = self.0.lock();
        let wakes = state.waiting.values().map(|w| {
            let paused = state.processes[w.process].paused_until;
            match w.request {
                Request::Sleep(until) => until.max(paused),
                _ => paused,
            }
        });
        wakes.min()
    }

    /// Lets a request through; drive its actor next.
    pub fn admit(&self, ticket: u64, verdict: Verdict) {
        let mut state = self.0.lock();
        if let Some(waiting) = state.waiting.get_mut(&ticket) {
            waiting.verdict = Some(verdict);
            waiting.waker.wake_by_ref();
        }
    }

    /// Runs an actor until it waits at the gate, or to its end (true).
    pub async fn drive(&self, actor: ActorId, future: &mut Pin<Box<dyn Future<Output = ()>>>) -> bool {
        self.0.lock().current = actor;
        poll_fn(|context| {
            let woken = Arc::new(Woken {
                is: AtomicBool::new(false),
                outer: context.waker().clone(),
            });
            let waker = Waker::from(Arc::clone(&woken));
            if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                return Poll::Ready(true);
            }
            // Not at the gate while the catalog works, nor if it only made room for others (tokio's budget).
            if woken.is.load(Ordering::SeqCst) || self.0.lock().under_way > 0 {
                return Poll::Pending;
            }
            let waits = self.0.lock().waiting.values().any(|w| w.actor == actor);
            assert!(waits, "actor {actor} waits for something that is not at the gate");
            Poll::Ready(false)
        })
        .await
    }
}

struct Woken {
    is: AtomicBool,
    outer: Waker,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.is.store(true, Ordering::SeqCst);
        self.outer.wake_by_ref();
    }
}

/// See [`Schedule::under_way`].
pub struct UnderWay(Arc<Schedule>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.lock().under_way -= 1;
    }
}

/// See [`Schedule::enter`]. Dropped, it waits no more.
pub struct Entry {
    schedule: Arc<Schedule>,
    process: ProcessId,
    request: Request,
    ticket: Option<u64>,
}

impl Future for Entry {
    type Output = Verdict;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Verdict> {
        let schedule = Arc::clone(&self.schedule);
        let mut state = schedule.0.lock();
        let Some(ticket) = self.ticket else {
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            let waiting = Waiting {
                actor: state.current,
                process: self.process,
                request: self.request,
                verdict: None,
                waker: context.waker().clone(),
            };
            state.waiting.insert(ticket, waiting);
            self.ticket = Some(ticket);
            return Poll::Pending;
        };
        let Some(waiting) = state.waiting.get_mut(&ticket) else {
            return Poll::Pending; // polled after it resolved
        };
        match waiting.verdict {
            Some(verdict) => {
                state.waiting.remove(&ticket);
                Poll::Ready(verdict)
            }
            None => {
                waiting.waker = context.waker().clone();
                Poll::Pending
            }
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.schedule.0.lock().waiting.remove(&ticket);
        }
    }
}

#[derive(Debug)]
struct ProcessClock {
    schedule: Arc<Schedule>,
    process: ProcessId,
}

impl Clock for ProcessClock {
    fn now(&self) -> UnixNanos {
        let mut state = self.schedule.0.lock();
        let now = state.now + state.set.0 + state.processes[self.process].offset;
        state.latest_seen = state.latest_seen.max(now);
        now
    }

    fn ticks(&self) -> i64 {
        self.schedule.state().now
    }

    fn steady_for(&self) -> Duration {
        let state = self.schedule.0.lock();
        Duration::from_nanos(state.now.saturating_sub(state.set.1) as u64)
    }
}
