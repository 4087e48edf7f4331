//! Asks how a platform is doing, from outside.
//!
//! [`health`] is the one question of a container's health check.

pub mod health;
mod http;
