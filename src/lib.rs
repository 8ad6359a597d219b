//! Outcrop: a session broker.

pub mod config;
pub mod edge;
pub mod gate;
pub mod turn;
