//! Asks how a platform is doing, from outside and in, and says what to do about it.
//!
//! [`health`] is the one question of a container's health check. [`examine`] looks at everything that the platform rests on:
//! ports, disks, limits, names, certificates, store, catalog, Redis, clocks, and the way through the front door. [`bundle`] packs
//! what a maintainer wants to see into one file.
//!
//! Every check has its time, they run beside each other, and none can stop another; what goes wrong is a [`Finding`] with a
//! remedy, never an error. The store gets one small object, which is deleted again; the disk one small file; the platform one
//! span, if that is asked for. Nothing else is written, and nothing is made that is missing.
//!
//! Absent on purpose: the crate does not read the configuration itself, knows no format of stored data, and never shows a
//! secret ([`Secrets`]).

pub mod bundle;
mod checks;
mod endpoints;
mod examine;
mod finding;
pub mod health;
#[cfg(test)]
mod hostile;
mod http;
mod reach;
mod secrets;
mod serving;
mod sockets;
mod tls;
mod unique;

pub use checks::TENANT;
pub use examine::{Subject, check_names, examine};
pub use finding::{Finding, Report, Status};
pub use secrets::Secrets;
pub use serving::local_url;
