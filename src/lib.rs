//! Outcrop: a session broker.

pub mod cli;
pub mod config;
pub mod turn;
