//! The emulator as the AWS SDKs see it, and as it sees them.
#![expect(clippy::unwrap_used, reason = "a test")]

mod answers;
mod bedrock;
mod conversation;
mod converse;
mod converse_refusals;
mod faults;
mod handing_over;
mod harness;
mod inline;
mod native;
mod openai;
mod protocol;
mod requests;
