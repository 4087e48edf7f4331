//! One history: some processes, a seed, and a day that goes badly; then a calm end at which everything must be in order.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use catalog::{Catalog, CatalogUrl, ConnectOptions};
use lake::LakeError;
use parking_lot::Mutex;
use rand::Rng;
use rand::seq::IndexedRandom;
use schema::{Dataset, TenantId, UnixNanos};

use crate::actors::{DEDUPE_WINDOW, GRACE, LEASE, ORPHAN_GRACE, RETENTION, SECOND, SKEW, Scene, Silent, options};
use crate::ledger::{Ledger, Table};
use crate::process::{Process, Shared};
use crate::schedule::{Request, Schedule, Verdict};
use crate::store::Objects;

/// Ten minutes before a midnight, so that rows lie in two days. 2026-03-01T23:50:00Z.
const START: UnixNanos = 1_772_409_000 * SECOND;

/// Each process has one of each at a time: ingest, maintenance, a query.
const ROLES: usize = 3;
const INGEST: usize = 0;
const MAINTENANCE: usize = 1;

/// How bad the day is.
#[derive(Debug)]
struct Weather {
    processes: usize,
    tables: usize,
    steps: usize,
    /// Of 1000 requests so many go wrong.
    faults: u32,
    /// Of 1000 steps so many are a crash, a pause, a leap in time.
    crashes: u32,
    pauses: u32,
    leaps: u32,
    /// Of 1000 steps so many are an ambush, if somebody is where one can be laid.
    ambushes: u32,
    jumps: bool,
}

type Activity = Pin<Box<dyn Future<Output = ()>>>;

struct History {
    scene: Arc<Scene>,
    weather: Weather,
    processes: Vec<Process>,
    activities: Vec<Option<Activity>>,
    /// The newest entry of the queue of garbage that was looked at.
    last_queued: i64,
}

/// What became of a history.
pub struct Outcome {
    pub violation: Option<String>,
    pub log: Vec<String>,
    /// Rows that were promised.
    pub promised: usize,
}

/// Plays the history of a seed.
pub async fn play(seed: u64, telemetry: &telemetry::Telemetry) -> Outcome {
    let schedule = Schedule::new(seed, START);
    let weather = {
        let random = &mut schedule.state().random;
        Weather {
            processes: random.random_range(1..=3),
            tables: random.random_range(1..=3),
            steps: random.random_range(40..160),
            faults: [0, 10, 50, 150][random.random_range(0..4)],
            crashes: [0, 10, 30][random.random_range(0..3)],
            pauses: [0, 20, 60][random.random_range(0..3)],
            leaps: [20, 60, 120][random.random_range(0..3)],
            ambushes: [0, 100, 300][random.random_range(0..3)],
            jumps: random.random_ratio(1, 4),
        }
    };
    schedule.log(format_args!("seed {seed}: {weather:?}"));
    let options = ConnectOptions {
        max_connections: 1,
        acquire_timeout: Duration::from_secs(60),
    };
    let catalog = Catalog::connect(&CatalogUrl::SqliteMemory, options).await.unwrap();
    catalog.migrate().await.unwrap();
    let tenants = ["short", "ever"].map(|name| TenantId::parse(name).unwrap());
    let of_both = |tenant: &TenantId| [Dataset::Logs, Dataset::Exemplars].map(|dataset| (tenant.clone(), dataset));
    let mut tables = tenants.iter().flat_map(of_both).collect::<Vec<_>>();
    // With fewer tables processes meet more often.
    let first = seed as usize % tables.len();
    tables.rotate_left(first);
    tables.truncate(weather.tables);
    let scene = Arc::new(Scene {
        tables,
        jumps: weather.jumps,
        begun: Mutex::default(),
        ledger: Mutex::new(Ledger::default()),
        shared: Shared {
            schedule: Arc::clone(&schedule),
            objects: Arc::new(Mutex::new(Objects::default())),
            catalog: catalog.clone(),
            telemetry: telemetry.clone(),
        },
    });
    let mut history = History {
        processes: Vec::new(),
        last_queued: 0,
        activities: (0..weather.processes * ROLES).map(|_| None).collect(),
        scene,
        weather,
    };
    for _ in 0..history.weather.processes {
        let process = history.start();
        history.processes.push(process);
    }
    history.bad_day().await;
    if !history.broken() {
        history.calm().await;
    }
    let promised = history.scene.ledger.lock().promised_rows();
    drop(history);
    catalog.close().await;
    let mut state = schedule.state();
    Outcome {
        violation: state.violation.take(),
        log: std::mem::take(&mut state.log),
        promised,
    }
}

impl History {
    fn broken(&self) -> bool {
        self.scene.shared.schedule.state().violation.is_some()
    }

    fn start(&self) -> Process {
        let offset = self.scene.shared.schedule.state().random.random_range(-SKEW..=SKEW) / 2;
        self.scene.shared.start(offset)
    }

    async fn bad_day(&mut self) {
        for _ in 0..self.weather.steps {
            self.step().await;
            self.look().await;
            if self.broken() {
                return;
            }
        }
    }

    /// What must hold after each step.
    async fn look(&mut self) {
        let now = self.advance(0);
        self.scene.shared.objects.lock().land(now);
        self.look_at_deleted().await;
        self.look_at_queued().await;
    }

    async fn step(&mut self) {
        let schedule = Arc::clone(&self.scene.shared.schedule);
        let Weather {
            crashes,
            pauses,
            leaps,
            ambushes,
            jumps,
            ..
        } = self.weather;
        let (dice, slot) = {
            let random = &mut schedule.state().random;
            (
                random.random_range(0..1000),
                random.random_range(0..self.processes.len()),
            )
        };
        let bounds = [crashes, crashes + pauses, crashes + pauses + leaps];
        if dice < bounds[0] {
            schedule.log(format_args!("p{} crashes", self.processes[slot].id));
            self.stop(slot);
            self.processes[slot] = self.start();
        } else if dice < bounds[1] {
            // Who stands still in the middle of something does more harm.
            let busy = (0..self.processes.len()).filter(|slot| self.activities[slot * ROLES + MAINTENANCE].is_some());
            let busy = busy.collect::<Vec<_>>();
            let (slot, pause) = {
                let random = &mut schedule.state().random;
                let most = [LEASE, LEASE * 3, GRACE * 2, ORPHAN_GRACE * 3][random.random_range(0..4)];
                let slot = *busy.choose(random).unwrap_or(&slot);
                (slot, random.random_range(0..most.as_nanos() as i64))
            };
            self.pause(slot, pause);
        } else if dice < bounds[2] {
            let leap = schedule
                .state()
                .random
                .random_range(0..[10, 60, 300][dice as usize % 3])
                * SECOND;
            schedule.log(format_args!("{} s pass", leap / SECOND));
            self.advance(leap);
        } else if dice >= 1000 - ambushes && self.ambush(slot).await {
            // It took its time.
        } else if jumps && dice < bounds[2] + 15 {
            let state = &mut *schedule.state();
            let jump = state.random.random_range(-3 * 3600..=3 * 3600) * SECOND;
            state.set = (jump, state.now);
            state.log.push(format!("all clocks are off by {} s", jump / SECOND));
        } else {
            self.go_on().await;
        }
        let short = schedule.state().random.random_range(0..SECOND / 2);
        self.advance(short);
    }

    fn pause(&self, slot: usize, pause: i64) {
        let process = self.processes[slot].id;
        let schedule = &self.scene.shared.schedule;
        schedule.log(format_args!("p{process} stands still for {} s", pause / SECOND));
        let state = &mut *schedule.state();
        state.processes[process].paused_until = state.now + pause;
    }

    /// Stops somebody where it hurts most, if he is there: just before he changes the catalog, until what he believed
    /// when he decided to is no longer so. Another process sees to that. False if nobody is there.
    async fn ambush(&mut self, other: usize) -> bool {
        let schedule = Arc::clone(&self.scene.shared.schedule);
        let wakes = |slot: &usize| {
            let state = schedule.state();
            state.processes[self.processes[*slot].id].paused_until <= state.now
        };
        let awake = (0..self.processes.len()).filter(wakes).collect::<Vec<_>>();
        if !awake.contains(&other) {
            return false;
        }
        let begun = |slot: usize| {
            let begun = self.scene.begun.lock();
            begun.get(&self.processes[slot].id).cloned().unwrap_or_default()
        };
        for slot in awake.into_iter().filter(|slot| *slot != other) {
            let [ingest, maintenance] = [INGEST, MAINTENANCE].map(|role| slot * ROLES + role);
            let idle = |role: usize| self.activities[other * ROLES + role].is_none();
            if let Some(table) = begun(slot).compaction
                && self.activities[maintenance].is_some()
                && schedule.is_about_to_write(maintenance)
                && idle(MAINTENANCE)
            {
                let half = schedule.state().random.random_ratio(1, 2);
                match half {
                    true => self.take_its_lease(slot, other, table).await,
                    false => self.collect_its_parts(slot, other).await,
                }
                return true;
            }
            if schedule.is_about_to_write(ingest) && idle(INGEST) && idle(MAINTENANCE) {
                let requests = begun(slot).requests;
                return self.overtake_its_commit(slot, other, requests).await;
            }
        }
        false
    }

    /// A compaction stands still past its lease, which another process takes.
    async fn take_its_lease(&mut self, slot: usize, other: usize, table: Table) {
        let past = LEASE.as_nanos() as i64 + 2 * SKEW;
        let more = self.scene.shared.schedule.state().random.random_range(0..20) * SECOND;
        self.pause(slot, past + more);
        self.advance(past);
        let (scene, process) = (Arc::clone(&self.scene), self.processes[other].clone());
        let actor = other * ROLES + MAINTENANCE;
        self.activities[actor] = Some(Box::pin(async move { scene.usurp(&process, &table).await }));
        self.drive(actor).await;
    }

    /// A compaction stands still until the parts that it wrote are taken for orphans. Nobody takes its lease.
    async fn collect_its_parts(&mut self, slot: usize, other: usize) {
        self.pause(slot, i64::MAX / 4);
        self.advance(ORPHAN_GRACE.as_nanos() as i64 + 2 * SKEW);
        let collect = Arc::clone(&self.scene).collect_orphans(self.processes[other].clone());
        self.run_alone(other * ROLES + MAINTENANCE, Box::pin(collect)).await;
        self.pause(slot, 0);
    }

    /// A commit stands still until its requests, which the clients sent elsewhere meanwhile, are remembered no more.
    async fn overtake_its_commit(&mut self, slot: usize, other: usize, requests: Vec<usize>) -> bool {
        let now = self.advance(0);
        let open = |number: &usize| self.scene.ledger.lock().is_open(*number, now);
        let requests = requests.into_iter().filter(open).collect::<Vec<_>>();
        if requests.is_empty() {
            return false;
        }
        self.pause(slot, i64::MAX / 4);
        let (scene, process) = (Arc::clone(&self.scene), self.processes[other].clone());
        let again = Box::pin(scene.commit(process.clone(), requests));
        self.run_alone(other * ROLES + INGEST, again).await;
        self.advance(DEDUPE_WINDOW.as_nanos() as i64 + 2 * SKEW);
        let clean = Box::pin(Arc::clone(&self.scene).clean(process));
        self.run_alone(other * ROLES + MAINTENANCE, clean).await;
        self.pause(slot, 0);
        true
    }

    /// Lets one actor work to its end while all others wait.
    async fn run_alone(&mut self, actor: usize, activity: Activity) {
        self.activities[actor] = Some(activity);
        let schedule = Arc::clone(&self.scene.shared.schedule);
        self.drive(actor).await;
        while self.activities[actor].is_some() && !self.broken() {
            match schedule.ready().into_iter().find(|(_, owner, _)| *owner == actor) {
                Some((ticket, _, request)) => schedule.admit(ticket, self.verdict(request)),
                None => drop(self.advance(SECOND)), // it sleeps
            }
            self.drive(actor).await;
            self.look().await;
        }
    }

    /// Lets one actor do one thing: a new activity, or what it waits to do.
    async fn go_on(&mut self) {
        let schedule = Arc::clone(&self.scene.shared.schedule);
        let ready = schedule.ready();
        let idle = (0..self.activities.len()).filter(|&actor| {
            let process = self.processes[actor / ROLES].id;
            let state = schedule.state();
            self.activities[actor].is_none() && state.processes[process].paused_until <= state.now
        });
        let idle = idle.collect::<Vec<_>>();
        let choice = match ready.len() + idle.len() {
            0 => {
                self.advance_to(schedule.next_wake());
                return;
            }
            // What has begun goes on more often than something new begins.
            choices => schedule.state().random.random_range(0..choices + ready.len()),
        };
        let actor = match choice.checked_sub(idle.len()) {
            None => {
                let actor = idle[choice];
                self.begin(actor);
                actor
            }
            Some(choice) => {
                let (ticket, actor, request) = ready[choice % ready.len()];
                let verdict = self.verdict(request);
                schedule.admit(ticket, verdict);
                actor
            }
        };
        self.drive(actor).await;
    }

    fn begin(&mut self, actor: usize) {
        let process = self.processes[actor / ROLES].clone();
        let scene = Arc::clone(&self.scene);
        self.activities[actor] = Some(match actor % ROLES {
            INGEST => Box::pin(scene.ingest(process)),
            MAINTENANCE => Box::pin(scene.maintain(process)),
            _ => Box::pin(scene.query(process)),
        });
    }

    async fn drive(&mut self, actor: usize) {
        if let Some(activity) = &mut self.activities[actor]
            && self.scene.shared.schedule.drive(actor, activity).await
        {
            self.activities[actor] = None;
        }
    }

    fn verdict(&self, request: Request) -> Verdict {
        use Verdict::{Fails, Happens, Late, ReplyLost, Stale};
        let random = &mut self.scene.shared.schedule.state().random;
        if random.random_range(0..1000) >= self.weather.faults {
            return Happens;
        }
        let faults: &[Verdict] = match request {
            Request::CatalogRead | Request::Get => &[Fails],
            Request::CatalogWrite | Request::Delete => &[Fails, ReplyLost],
            Request::Put => &[Fails, ReplyLost, Late],
            Request::List => &[Fails, Stale, Stale],
            Request::Sleep(_) => &[Happens],
        };
        *faults.choose(random).unwrap_or(&Happens)
    }

    /// Ends a process: what it was doing is never heard of again.
    fn stop(&mut self, slot: usize) {
        for actor in slot * ROLES..(slot + 1) * ROLES {
            self.activities[actor] = None;
        }
    }

    /// Lets time pass and returns the time then.
    fn advance(&self, time: i64) -> UnixNanos {
        let mut state = self.scene.shared.schedule.state();
        state.now += time;
        state.now
    }

    /// Lets time pass until something may go on, or a second if nothing waits.
    fn advance_to(&self, wake: Option<UnixNanos>) {
        let state = &mut *self.scene.shared.schedule.state();
        state.now = wake.map_or(state.now + SECOND, |wake| wake.max(state.now));
    }

    /// No object is deleted that something live names.
    async fn look_at_deleted(&self) {
        let deleted = std::mem::take(&mut self.scene.shared.objects.lock().deleted);
        if deleted.is_empty() {
            return;
        }
        for path in self.live_paths().await {
            if deleted.contains(&path) {
                self.scene
                    .shared
                    .schedule
                    .violated(format_args!("{path} was deleted and is live"));
            }
        }
    }

    /// What was queued in this step stays for a grace from now: a query may just have begun.
    async fn look_at_queued(&mut self) {
        let waiting = self.scene.shared.catalog.gc_due(i64::MAX, i64::MAX).await.unwrap();
        let schedule = &self.scene.shared.schedule;
        let earliest = schedule.state().now + GRACE.as_nanos() as i64 - SKEW;
        for entry in waiting.iter().filter(|entry| entry.id > self.last_queued) {
            if !self.weather.jumps && entry.due_at < earliest {
                schedule.violated(format_args!(
                    "{entry:?} was queued just now and is due before {earliest}"
                ));
            }
        }
        let newest = waiting.iter().map(|entry| entry.id).max();
        self.last_queued = newest.unwrap_or(0).max(self.last_queued);
    }

    async fn live_paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        for table in &self.scene.tables {
            let snapshot = self.scene.look(table).await;
            paths.extend(snapshot.slices.into_iter().map(|slice| slice.path));
            paths.extend(snapshot.parts.into_iter().map(|part| part.path));
        }
        paths.sort();
        paths.dedup();
        paths
    }

    /// All processes end, one starts with a true clock and no faults, and after some rounds of its background work
    /// everything is in order.
    async fn calm(&mut self) {
        for slot in 0..self.processes.len() {
            self.stop(slot);
        }
        self.weather.faults = 0;
        self.scene.shared.schedule.log("calm");
        self.set_clocks();
        self.processes = vec![self.scene.shared.start(0)];
        // A lease or a queue entry of a clock that was ahead lasts as long as that.
        let rest = if self.weather.jumps { 4 * 3600 * SECOND } else { 0 };
        self.rounds(rest).await;
        self.check_order("at the calm end").await;
        // Once more when everything that has a retention is due.
        self.rounds(RETENTION.as_nanos() as i64).await;
        self.check_order("after all retentions").await;
        for table in self.scene.tables.clone() {
            let snapshot = self.scene.look(&table).await;
            let left = snapshot.slices.len() + snapshot.parts.len();
            if self.scene.cutoff(&table).is_some() && left > 0 {
                let what = format_args!("{table:?} has {left} slices and parts that are due");
                self.scene.shared.schedule.violated(what);
            }
        }
    }

    /// Clocks are right again.
    fn set_clocks(&self) {
        let state = &mut *self.scene.shared.schedule.state();
        if state.set.0 != 0 {
            state.set = (0, state.now);
        }
    }

    /// Rounds of background work; enough that the last sees the grace of the first over.
    async fn rounds(&mut self, rest: i64) {
        self.advance(rest);
        for _ in 0..2 {
            let pause = LEASE + GRACE.max(ORPHAN_GRACE) + Duration::from_secs(120);
            let now = self.advance(pause.as_nanos() as i64);
            self.scene.shared.objects.lock().land(now);
            let (lake, schedule) = (self.processes[0].lake.clone(), Arc::clone(&self.scene.shared.schedule));
            let work = async move {
                let options = options();
                let mut outcome: Result<(), LakeError> = lake.compact_all(&options.compaction, &Silent).await.map(drop);
                outcome = outcome.and(lake.clean(&options, &Silent).await);
                outcome = outcome.and(lake.collect_orphans(&options, &Silent).await.map(drop));
                if let Err(error) = outcome {
                    schedule.violated(format_args!("background work fails without a fault: {error}"));
                }
            };
            self.run(Box::pin(work)).await;
            self.look_at_deleted().await;
        }
    }

    /// Runs something of the one process that is left to its end.
    async fn run(&mut self, activity: Activity) {
        self.activities[0] = Some(activity);
        let schedule = Arc::clone(&self.scene.shared.schedule);
        while self.activities[0].is_some() {
            match schedule.ready().first() {
                Some((ticket, ..)) => schedule.admit(*ticket, Verdict::Happens),
                // It is new, or sleeps.
                None => self.advance_to(schedule.next_wake()),
            }
            self.drive(0).await;
        }
    }

    /// Objects are those that the catalog names, and queries show what they must.
    async fn check_order(&mut self, when: &str) {
        let live = self.live_paths().await;
        let schedule = Arc::clone(&self.scene.shared.schedule);
        let here = self.scene.shared.objects.lock().paths();
        if let Some(path) = live.iter().find(|path| !here.contains(path)) {
            schedule.violated(format_args!("{when} {path} is live and not there"));
        }
        let catalog = &self.scene.shared.catalog;
        let waiting = catalog.gc_due(i64::MAX, i64::MAX).await.unwrap();
        let waits = |path: &String| waiting.iter().any(|entry| entry.path == *path && entry.bytes > 0);
        if let Some(path) = here.iter().find(|path| !live.contains(path) && !waits(path)) {
            schedule.violated(format_args!("{when} {path} is still there and nothing names it"));
        }
        // What the last round itself replaced or removed waits for its grace.
        let now = schedule.state().now;
        for overdue in catalog.gc_due(now, 1).await.unwrap() {
            schedule.violated(format_args!("{when} {overdue:?} is still there"));
        }
        for table in self.scene.tables.clone() {
            let (scene, process) = (Arc::clone(&self.scene), self.processes[0].clone());
            let reading = async move {
                if !scene.read(&process, &table).await {
                    let what = format_args!("{table:?} cannot be read at the calm end");
                    scene.shared.schedule.violated(what);
                }
            };
            self.run(Box::pin(reading)).await;
        }
    }
}
