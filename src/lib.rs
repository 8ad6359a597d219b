//! Outcrop: a session broker.

pub mod config;
pub mod metrics;
pub mod turn;
