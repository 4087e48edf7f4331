//! What the lake takes from the machine it runs on besides its clock: names, pauses and threads.
//!
//! A simulation passes in a host of its own, so that a seed alone decides what happens and when.

use std::io;
use std::time::Duration;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use rand::RngCore;

use crate::{LakeError, background};

/// CPU-bound work to be done elsewhere than on the threads that answer requests.
pub type Work = Box<dyn FnOnce() + Send>;

/// Who waits for a piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// An acknowledgement or a query.
    Now,
    /// Nobody in particular.
    Background,
}

/// The machine.
pub trait Host: Send + Sync {
    /// 96 bits for a name that no object ever had: it must differ between processes.
    fn name_bits(&self) -> [u8; 12];

    /// Resolves after a pause.
    fn sleep(&self, pause: Duration) -> BoxFuture<'static, ()>;

    /// Starts work.
    ///
    /// # Errors
    /// When there is no thread for it.
    fn start(&self, urgency: Urgency, work: Work) -> io::Result<()>;
}

/// The real one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Machine;

impl Host for Machine {
    #[allow(clippy::disallowed_methods)] // names must differ between processes, not be reproducible
    fn name_bits(&self) -> [u8; 12] {
        let mut bits = [0; 12];
        rand::rng().fill_bytes(&mut bits);
        bits
    }

    fn sleep(&self, pause: Duration) -> BoxFuture<'static, ()> {
        tokio::time::sleep(pause).boxed()
    }

    fn start(&self, urgency: Urgency, work: Work) -> io::Result<()> {
        match urgency {
            Urgency::Now => drop(tokio::task::spawn_blocking(work)),
            Urgency::Background => background::start(work)?,
        }
        Ok(())
    }
}

impl dyn Host {
    /// Does work and returns what it found.
    ///
    /// # Errors
    /// [`LakeError::Work`] if there is no thread for it or it panics.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        urgency: Urgency,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, LakeError> {
        let (done, result) = oneshot::channel();
        let work = move || {
            // Nobody waits any more: the result is dropped, as that of an abandoned compaction may be.
            let _ = done.send(work());
        };
        self.start(urgency, Box::new(work))
            .map_err(|error| LakeError::Work(error.to_string()))?;
        result.await.map_err(|_| LakeError::Work("it panicked".to_owned()))
    }

    /// A name that no object ever had.
    pub(crate) fn unique_name(&self) -> String {
        self.name_bits().iter().map(|b| format!("{b:02x}")).collect()
    }
}
