//! The emulator as the AWS SDKs see it, and as it sees them.
#![expect(clippy::unwrap_used, reason = "a test")]

mod conversation;
mod converse;
mod faults;
mod harness;
mod protocol;
