//! Outcrop: a session broker.

pub mod config;
pub mod turn;
pub mod wire;
