//! The checks. Each says what it looks at and by which figures it judges.

mod catalog;
mod certificates;
mod clock;
mod configuration;
mod control_group;
mod disk;
mod dns;
mod front;
mod ports;
mod redis;
mod store;

pub(crate) use catalog::open as open_catalog;
#[cfg(test)]
pub(crate) use clock::{compare, header_time};
pub use front::TENANT;

use std::sync::Arc;

use crate::examine::{Check, Checking, Found, Subject};

macro_rules! check {
    ($name:literal, $module:ident) => {
        Check {
            name: $name,
            run: |subject: Arc<Subject>, found: Found| -> Checking {
                Box::pin(async move { $module::check(&subject, &found).await })
            },
        }
    };
}

/// In the order of the report: what others rest on comes first.
pub(crate) const ALL: [Check; 11] = [
    check!("configuration", configuration),
    check!("cgroup", control_group),
    check!("disk", disk),
    check!("ports", ports),
    check!("dns", dns),
    check!("certificates", certificates),
    check!("store", store),
    check!("catalog", catalog),
    check!("redis", redis),
    check!("clock", clock),
    check!("url", front),
];
