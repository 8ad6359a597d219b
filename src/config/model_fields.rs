//! Every setting of a `[[models]]` table, once: what all models have, and what one kind of
//! upstream has. Like the lists of [`fields`](super::fields), they name every field.

use std::time::Duration;

use super::fields::Fields;
use super::kind::{Count, Flag, Id, List, Maybe, Named, Positive, Seconds, TextTable};
use super::structured::{Members, Structured};
use super::text::{Clear, Text};
use super::{
    AgentCore, AgentSettings, Guardrail, InlineAgent, Model, Profile, PromptCache, Reasoning,
    TextModel, voice,
};
use crate::turn::{DisconnectPolicy, FileUse, Latency, ModelName, ToolErrors, TurnPolicy};

/// One `[[models]]` table.
pub(super) fn settings(fields: &mut impl Fields, model: &mut Model) {
    let Model {
        name,
        backend,
        profile,
        turn_policy,
        disconnect_policy,
        keep_alive,
        session_per_key,
        first_event_timeout,
        stall_timeout,
        region,
        endpoint_url,
        agent_id,
        agent_alias_id,
        idle_session_ttl,
        stream,
        traces,
        guardrail_interval,
        system_prompt_attribute,
        caller_attribute,
        caller_fields,
        session_attributes,
        metadata_attributes,
        agents,
        fallbacks,
        upstreams,
        hedge_after,
        hedge_agents,
        voice,
        inline,
        core,
        text,
        guardrail,
        lines: _,
    } = model;
    fields.required("name", &Id::<ModelName>::new(), name);
    fields.required("backend", &Text::SOME, backend);
    conduct(fields, profile, turn_policy, disconnect_policy, keep_alive);
    fields.field("session_per_key", &Flag, session_per_key);
    fields.field("first_event_timeout_seconds", &Maybe(Seconds::SOME), first_event_timeout);
    fields.field("stall_timeout_seconds", &Maybe(Seconds::SOME), stall_timeout);
    fields.field("region", &Maybe(Text::SOME), region);
    fields.field("endpoint_url", &Maybe(Text::URL), endpoint_url);
    fields.field("agent_id", &Maybe(Text::SOME), agent_id);
    fields.field("agent_alias_id", &Maybe(Text::SOME), agent_alias_id);
    fields.field("idle_session_ttl_seconds", &Seconds::SOME, idle_session_ttl);
    fields.field("stream", &Flag, stream);
    fields.field("traces", &Flag, traces);
    fields.field("guardrail_interval", &Maybe(Positive), guardrail_interval);
    fields.field("system_prompt_attribute", &Maybe(Text::SOME), system_prompt_attribute);
    fields.field("caller_attribute", &Text::ANY, caller_attribute);
    fields.field("caller_fields", &List(Text::DOTTED_PATH), caller_fields);
    fields.field("session_attributes", &TextTable, session_attributes);
    fields.field("metadata_attributes", &Flag, metadata_attributes);
    agent_settings(fields, agents);
    fields.field("fallbacks", &List(Id::<ModelName>::new()), fallbacks);
    fields.field("upstreams", &Members, upstreams);
    hedge(fields, hedge_after, hedge_agents);
    voice::settings(fields, voice);
    upstream_settings(fields, inline, core, text, guardrail);
}

/// How a model's turns go, which depends on who listens.
fn conduct(
    fields: &mut impl Fields,
    profile: &mut Profile,
    turn_policy: &mut TurnPolicy,
    disconnect_policy: &mut DisconnectPolicy,
    keep_alive: &mut Option<Duration>,
) {
    fields.field("profile", &Named(Profile::NAMES), profile);
    fields.field("turn_policy", &Named(TurnPolicy::NAMES), turn_policy);
    fields.field("disconnect_policy", &Id::<DisconnectPolicy>::new(), disconnect_policy);
    fields.field("keep_alive_seconds", &Maybe(Seconds::SOME), keep_alive);
}

/// What a model has for its kind of upstream alone.
fn upstream_settings(
    fields: &mut impl Fields,
    inline: &mut InlineAgent,
    core: &mut AgentCore,
    text: &mut TextModel,
    guardrail: &mut Guardrail,
) {
    inline_agent(fields, inline);
    agent_core(fields, core);
    text_model(fields, text);
    let Guardrail { id, version } = guardrail;
    fields.field("guardrail_id", &Maybe(Text::SOME), id);
    fields.field("guardrail_version", &Maybe(Text::SOME), version);
}

fn hedge(fields: &mut impl Fields, after: &mut Option<Duration>, agents: &mut bool) {
    fields.field("hedge_seconds", &Maybe(Seconds::SOME), after);
    fields.field("hedge_agents", &Flag, agents);
}

fn agent_settings(fields: &mut impl Fields, agents: &mut AgentSettings) {
    let AgentSettings {
        prompt_session_attributes,
        memory_id,
        knowledge_bases,
        latency,
        previous_turns,
        exclude_thinking,
        tool_errors,
        file_use,
        reasoning,
        expose_traces,
    } = agents;
    fields.field("prompt_session_attributes", &TextTable, prompt_session_attributes);
    fields.field("memory_id", &Maybe(Text::SOME), memory_id);
    fields.field("knowledge_bases", &Structured, knowledge_bases);
    fields.field("latency", &Maybe(Named(Latency::NAMES)), latency);
    fields.field("previous_turns", &Maybe(Count::ANY), previous_turns);
    fields.field("exclude_thinking", &Flag, exclude_thinking);
    fields.field("tool_errors", &Named(ToolErrors::NAMES), tool_errors);
    fields.field("file_use", &Named(FileUse::NAMES), file_use);
    fields.field("reasoning", &Named(Reasoning::NAMES), reasoning);
    fields.field("expose_traces", &Flag, expose_traces);
}

fn inline_agent(fields: &mut impl Fields, inline: &mut InlineAgent) {
    let InlineAgent { foundation_model, instruction, action_groups } = inline;
    fields.field("foundation_model", &Maybe(Text::SOME), foundation_model);
    fields.field("instruction", &Maybe(Text::SOME), instruction);
    fields.field("action_groups", &Structured, action_groups);
}

fn text_model(fields: &mut impl Fields, text: &mut TextModel) {
    let TextModel {
        model_id,
        base_url,
        api_key,
        max_tokens,
        regions,
        fetch_urls,
        prompt_cache,
        service_tier,
        profile_arn,
    } = text;
    fields.field("model_id", &Maybe(Text::SOME), model_id);
    fields.field("base_url", &Maybe(Text::URL), base_url);
    fields.field("api_key", &Maybe(Clear), api_key);
    fields.field("max_tokens", &Maybe(Positive), max_tokens);
    fields.field("regions", &List(Text::SOME), regions);
    fields.field("fetch_urls", &Flag, fetch_urls);
    fields.field("prompt_cache", &Named(PromptCache::NAMES), prompt_cache);
    fields.field("service_tier", &Maybe(Text::SOME), service_tier);
    fields.field("profile_arn", &Maybe(Text::PROFILE_ARN), profile_arn);
}

fn agent_core(fields: &mut impl Fields, core: &mut AgentCore) {
    let AgentCore { runtime_arn, harness_arn, qualifier, payload, runtime_user } = core;
    fields.field("runtime_arn", &Maybe(Text::SOME), runtime_arn);
    fields.field("harness_arn", &Maybe(Text::SOME), harness_arn);
    fields.field("qualifier", &Maybe(Text::SOME), qualifier);
    fields.field("payload", &Maybe(Text::SOME), payload);
    fields.field("runtime_user", &Maybe(Text::SOME), runtime_user);
}
