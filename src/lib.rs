//! Outcrop: a session broker.

pub mod backend;
pub mod config;
pub mod metrics;
pub mod session;
pub mod store;
pub mod turn;
pub mod wire;
