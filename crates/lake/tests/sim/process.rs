//! Processes: real lakes whose clock, names, pauses, store and catalog are the simulation's.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use catalog::{Access, Catalog, Fate, Gate, Pass};
use futures::FutureExt;
use futures::future::BoxFuture;
use lake::host::{Host, Urgency, Work};
use lake::{CacheSizes, Lake, Means};
use parking_lot::Mutex;
use rand::RngCore;

use crate::schedule::{ProcessId, Request, Schedule, Verdict};
use crate::store::{Objects, Store};

/// What all processes of a history share.
#[derive(Clone)]
pub struct Shared {
    pub schedule: Arc<Schedule>,
    pub objects: Arc<Mutex<Objects>>,
    /// The catalog without a gate: for looking, not for processes.
    pub catalog: Catalog,
    pub telemetry: telemetry::Telemetry,
}

/// A running process.
#[derive(Clone)]
pub struct Process {
    pub id: ProcessId,
    pub lake: Lake,
    /// Its catalog, for what goes past the lake.
    pub catalog: Catalog,
}

impl Shared {
    /// Starts a process whose clock is off by `offset` ns.
    pub fn start(&self, offset: i64) -> Process {
        let id = self.schedule.add_process(offset);
        let machine = Arc::new(Machine {
            schedule: Arc::clone(&self.schedule),
            process: id,
        });
        let catalog = self.catalog.gated(machine.clone());
        let store = Arc::new(Store {
            schedule: Arc::clone(&self.schedule),
            process: id,
            objects: Arc::clone(&self.objects),
        });
        let sizes = CacheSizes {
            slices: 1 << 20,
            footers: 1 << 20,
            ranges: 0, // what is read must come from the store, or a missing object would not be missed
        };
        let clock = self.schedule.clock(id);
        let means = Means {
            host: machine,
            ..Means::default()
        };
        let lake = Lake::with(
            means,
            store,
            catalog.clone(),
            clock,
            format!("p{id}"),
            sizes,
            self.telemetry.clone(),
        );
        Process { id, lake, catalog }
    }
}

/// A process's machine.
#[derive(Debug)]
struct Machine {
    schedule: Arc<Schedule>,
    process: ProcessId,
}

impl Host for Machine {
    fn name_bits(&self) -> [u8; 12] {
        let mut bits = [0; 12];
        self.schedule.state().random.fill_bytes(&mut bits);
        bits
    }

    fn sleep(&self, pause: Duration) -> BoxFuture<'static, ()> {
        self.schedule
            .sleep(self.process, pause.as_nanos() as i64)
            .map(drop)
            .boxed()
    }

    fn start(&self, _: Urgency, work: Work) -> io::Result<()> {
        work();
        Ok(())
    }
}

impl Gate for Machine {
    fn enter(&self, access: Access) -> Pin<Box<dyn Future<Output = Pass> + Send + '_>> {
        let request = match access {
            Access::Read => Request::CatalogRead,
            Access::Write => Request::CatalogWrite,
        };
        let entry = self.schedule.enter(self.process, request);
        Box::pin(async move {
            let verdict = entry.await;
            self.schedule.log(format_args!("{request:?}: {verdict:?}"));
            Pass {
                fate: match verdict {
                    Verdict::Fails => Fate::Fails,
                    Verdict::ReplyLost => Fate::ReplyLost,
                    _ => Fate::Happens,
                },
                under_way: Box::new(self.schedule.under_way()),
            }
        })
    }
}
