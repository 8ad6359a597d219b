//! Outcrop: a session broker.

pub mod config;
pub mod gate;
pub mod turn;
