//! What a running broker does, as a stranger's client sees it: the real program behind its
//! sockets, the emulator behind the program.
//!
//! Every test starts a broker and an emulator of its own ([`broker`]) and drives them with a
//! client that speaks just enough HTTP/1.1 to also play those who break off, dawdle or send
//! rubbish ([`client`]).

#![expect(clippy::unwrap_used, reason = "a test")]

mod agent_answers;
mod agent_exceptions;
mod agent_state;
mod agent_stream;
mod agentcore;
mod agentcore_requests;
mod ask;
mod bad_agent_input;
mod bad_input;
mod broker;
mod client;
mod codewhisperer;
mod codewhisperer_sessions;
mod command_line;
mod conversations;
mod crashes;
mod dialects;
mod discovery;
mod drain;
mod embeddings;
mod expiry;
mod failover;
mod failures;
mod fallbacks;
mod files;
mod frames;
mod gate;
mod golden;
mod hand_over;
mod inline_agents;
mod keep_alive;
mod leaving;
mod login;
mod logs;
mod model_wishes;
mod models;
mod moving;
mod names;
mod openai;
mod openai_oddities;
mod recorded;
mod renewal;
mod respond;
mod responses;
mod resuming;
mod retention;
mod return_of_control;
mod sessions;
mod sessions_api;
mod sign_in;
mod store;
mod store_trouble;
mod transcripts;
mod turns;
mod upstream;
mod voice;
mod voice_profile;
