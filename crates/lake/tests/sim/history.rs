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

use crate::actors::{GRACE, LEASE, ORPHAN_GRACE, RETENTION, SECOND, SKEW, Scene, Silent, options};
use crate::ledger::Ledger;
use crate::process::{Process, Shared};
use crate::schedule::{Request, Schedule, Verdict};
use crate::store::Objects;

/// Ten minutes before a midnight, so that rows lie in two days. 2026-03-01T23:50:00Z.
const START: UnixNanos = 1_772_409_000 * SECOND;

/// Each process has one of each at a time: ingest, maintenance, a query.
const ROLES: usize = 3;

/// How bad the day is.
#[derive(Debug)]
struct Weather {
    processes: usize,
    steps: usize,
    /// Of 1000 requests so many go wrong.
    faults: u32,
    /// Of 1000 steps so many are a crash, a pause, a leap in time.
    crashes: u32,
    pauses: u32,
    leaps: u32,
    jumps: bool,
}

type Activity = Pin<Box<dyn Future<Output = ()>>>;

struct History {
    scene: Arc<Scene>,
    weather: Weather,
    processes: Vec<Process>,
    activities: Vec<Option<Activity>>,
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
            steps: random.random_range(40..160),
            faults: [0, 10, 50, 150][random.random_range(0..4)],
            crashes: [0, 10, 30][random.random_range(0..3)],
            pauses: [0, 20, 60][random.random_range(0..3)],
            leaps: [20, 60, 120][random.random_range(0..3)],
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
    let tables = tenants
        .iter()
        .flat_map(|tenant| [Dataset::Logs, Dataset::Exemplars].map(|dataset| (tenant.clone(), dataset)));
    let scene = Arc::new(Scene {
        tables: tables.collect(),
        jumps: weather.jumps,
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
            let now = self.advance(0);
            self.scene.shared.objects.lock().land(now);
            self.look_at_deleted().await;
            if self.broken() {
                return;
            }
        }
    }

    async fn step(&mut self) {
        let schedule = Arc::clone(&self.scene.shared.schedule);
        let Weather {
            crashes,
            pauses,
            leaps,
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
            let state = &mut *schedule.state();
            let most = [LEASE, LEASE * 3, GRACE * 2, ORPHAN_GRACE * 3][state.random.random_range(0..4)];
            let pause = state.random.random_range(0..most.as_nanos() as i64);
            state.processes[self.processes[slot].id].paused_until = state.now + pause;
            state.log.push(format!(
                "p{} stands still for {} s",
                self.processes[slot].id,
                pause / SECOND
            ));
        } else if dice < bounds[2] {
            let leap = schedule
                .state()
                .random
                .random_range(0..[10, 60, 300][dice as usize % 3])
                * SECOND;
            schedule.log(format_args!("{} s pass", leap / SECOND));
            self.advance(leap);
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
            0 => Box::pin(scene.ingest(process)),
            1 => Box::pin(scene.maintain(process)),
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
                outcome = outcome.and(lake.collect_orphans(options.orphan_grace, &Silent).await);
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
        let known = catalog.known_objects(&here).await.unwrap();
        if let Some(path) = here.iter().find(|path| !known.contains(*path)) {
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
