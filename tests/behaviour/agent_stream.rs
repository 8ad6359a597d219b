//! agent_stream
