//! Outcrop: a session broker.

pub mod backend;
pub mod cli;
pub mod config;
pub mod edge;
pub mod emulator;
pub mod gate;
pub mod metrics;
pub mod session;
pub mod store;
pub mod turn;
pub mod wire;
