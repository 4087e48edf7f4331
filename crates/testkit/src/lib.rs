//! Real servers, failing stores and hostile bytes for tests and benchmarks, never part of the product.
//!
//! A fake object store hides what breaks in practice: request signing, conditional puts, range reads, listing. So tests that
//! need S3 talk HTTP to a real S3 implementation (`s3s-fs`) that keeps its objects in a local folder. [`s3::S3Endpoint`] runs
//! one inside a test's own process; the binary `s3-endpoint` runs one as a process of its own, so that it outlives a server
//! that a test kills and its CPU time does not count as the server's.
//!
//! Life cycle: started on a loopback port (0 picks a free one), stopped when the value is dropped or the process ends. The
//! folder is the caller's. On failure a request gets an S3 error; the endpoint itself keeps running.

pub mod faulty;
pub mod fuzz;
pub mod s3;
