//! The backend for Bedrock's models against the emulator, which checks requests as strictly as
//! the service does: what a turn asks for, beyond what a chat request says, and what comes of it.

#![expect(clippy::unwrap_used, reason = "a test")]

mod answers;
mod faults;
mod front;
mod upstream;
