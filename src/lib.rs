//! Outcrop: a session broker.

pub mod config;
pub mod emulator;
pub mod turn;
