//! Requests as voice platforms shape them.

use serde_json::{Value, json};

use crate::turn::{FailureKind, Role};
use crate::wire::openai_chat::OpenAiChat;
use crate::wire::{Asked, Defaults, WireFormat as _};

fn decode(body: &Value) -> Result<Asked, crate::turn::Failure> {
    OpenAiChat.decode(body.to_string().as_bytes(), &Defaults { stream: true })
}

fn session(body: &Value) -> Option<String> {
    decode(body).unwrap().request.hints.named.map(|id| id.as_str().to_owned())
}

/// What Vapi sends whatever its `metadataSendMode` is.
fn vapi() -> Value {
    json!({
        "model": "agent", "temperature": 0.5, "max_tokens": 250, "stream": true,
        "messages": [
            { "role": "system", "content": "You are a banker." },
            { "role": "assistant", "content": "Hello! How can I help?" },
            { "role": "user", "content": "My card is blocked." },
        ],
    })
}

fn with(mut body: Value, members: Value) -> Value {
    let Value::Object(members) = members else { panic!("no object") };
    for (name, value) in members {
        body[name] = value;
    }
    body
}

/// What it adds in the modes `variable` and `destructured`.
fn with_call(body: Value) -> Value {
    let added = json!({
        "call": { "id": "7f1c-1", "orgId": "o", "type": "inboundPhoneCall", "status": "in-progress",
                  "assistantOverrides": { "metadata": { "tier": "gold" } } },
        "phoneNumber": { "number": "+15550199", "twilioAuthToken": "tw-secret" },
        "customer": { "number": "+15550100", "name": "Ann" },
    });
    with(body, added)
}

#[test]
fn vapi_without_metadata_is_a_chat_request_that_names_no_session() {
    let asked = decode(&vapi()).unwrap();
    let roles: Vec<_> = asked.request.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::Assistant, Role::User]);
    assert!(asked.stream && asked.request.hints.named.is_none());
}

#[test]
fn vapis_call_is_the_session_and_nothing_of_it_goes_on() {
    let body = with(with_call(vapi()), json!({ "metadata": { "tenant": "acme", "deep": [1] } }));
    let request = decode(&body).unwrap().request;
    assert_eq!(request.hints.named.unwrap().as_str(), "7f1c-1");
    assert_eq!(request.metadata["tenant"], "acme");
    assert!(request.generation.extra.is_empty(), "{:?}", request.generation.extra);
}

#[test]
fn metadata_that_vapi_spreads_over_the_body_is_borne_with() {
    let strange = json!({
        "tenant": "acme", "user": { "name": "Ann" }, "session_id": 5, "temperature": "warm",
        "n": 3, "audio": true, "model": ["x"], "conversation": [1],
    });
    let request = decode(&with(with_call(vapi()), strange)).unwrap().request;
    assert_eq!(request.hints.named.unwrap().as_str(), "7f1c-1");
    assert_eq!((request.hints.speaker, request.generation.temperature), (None, None));
    assert_eq!((request.model, request.generation.max_tokens), (None, Some(250)));
    assert!(request.generation.extra.is_empty());
}

#[test]
fn what_the_answer_depends_on_is_refused_all_the_same_and_so_is_anything_without_a_call() {
    for (wrong, param) in [
        (json!({ "messages": "hi" }), "messages"),
        (json!({ "tools": [{ "type": "function" }] }), "tools[0].function"),
    ] {
        let failure = decode(&with(with_call(vapi()), wrong)).unwrap_err();
        assert_eq!(failure.param.as_deref(), Some(param));
    }
    let failure = decode(&with(vapi(), json!({ "temperature": "warm" }))).unwrap_err();
    assert_eq!(
        (failure.kind, failure.param.as_deref()),
        (FailureKind::BadRequest, Some("temperature"))
    );
}

#[test]
fn elevenlabs_names_the_session_in_its_extra_body_and_the_speaker_beside() {
    let body =
        |extra: Value| with(vapi(), json!({ "user_id": "ann", "elevenlabs_extra_body": extra }));
    assert_eq!(session(&body(json!({ "session_id": "el-1" }))).as_deref(), Some("el-1"));
    assert_eq!(session(&body(json!({ "conversation_id": "c-1" }))).as_deref(), Some("c-1"));
    assert_eq!(session(&body(json!({ "session_id": 42 }))).as_deref(), Some("42"));
    let odd = json!({ "session_id": { "a": [1] }, "conversation_id": "c-1", "more": true });
    assert_eq!(session(&body(odd)).as_deref(), Some("c-1"));
    for extra in [json!(null), json!("x"), json!([1]), json!({ "session_id": -1.5 })] {
        assert_eq!(session(&body(extra.clone())), None, "{extra}");
    }
    let request = decode(&body(json!({ "session_id": "el-1" }))).unwrap().request;
    assert_eq!(request.hints.speaker.as_deref(), Some("ann"));
    assert!(request.generation.extra.is_empty(), "{:?}", request.generation.extra);
}

#[test]
fn system_tools_of_elevenlabs_are_tools_like_any_other() {
    let tool = |name: &str, arguments: &[&str]| {
        let text = json!({ "type": "string", "description": "" });
        let properties: serde_json::Map<_, _> =
            arguments.iter().map(|name| ((*name).to_owned(), text.clone())).collect();
        json!({ "type": "function", "function": { "name": name, "description": "A system tool.",
            "parameters": { "type": "object", "properties": properties, "required": [] } } })
    };
    let tools = [
        tool("end_call", &["reason", "message"]),
        tool("language_detection", &["reason", "language"]),
        tool("transfer_to_agent", &["reason", "agent_number"]),
        tool("transfer_to_number", &["transfer_number", "client_message", "agent_message"]),
        tool("skip_turn", &["reason"]),
        tool("voicemail_detection", &["reason"]),
    ];
    let request = decode(&with(vapi(), json!({ "tools": tools }))).unwrap().request;
    assert_eq!(request.tools.len(), 6);
    assert_eq!(request.tools[0].name, "end_call");
}

#[test]
fn livekit_sends_what_was_played_and_pipecat_two_users_in_a_row() {
    let livekit = json!({
        "model": "agent", "stream": true, "stream_options": { "include_usage": true },
        "parallel_tool_calls": true, "tool_choice": "auto",
        "messages": [
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": "Loans?" },
            { "role": "assistant", "content": "We offer" },
            { "role": "user", "content": [{ "type": "text", "text": "Stop." }] },
        ],
        "tools": [{ "type": "function", "function": { "name": "look_up", "description": "",
            "strict": true, "parameters": { "type": "object", "properties": {},
            "required": [], "additionalProperties": false } } }],
    });
    let asked = decode(&livekit).unwrap();
    assert!(asked.stream && asked.options.include_usage);
    assert_eq!(asked.request.messages[3].plain_text(), "Stop.");
    let pipecat = json!({
        "model": "agent", "stream": true, "stream_options": { "include_usage": true },
        "messages": [
            { "role": "developer", "content": "Be brief." },
            { "role": "user", "content": "Loans?" },
            { "role": "user", "content": "Never mind." },
        ],
    });
    let roles: Vec<_> =
        decode(&pipecat).unwrap().request.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::User]);
}

#[test]
fn members_inside_of_messages_that_are_not_openais_are_borne_with() {
    let body = json!({ "model": "agent", "messages": [
        { "role": "user", "content": "Hi", "created_at": "2026-01-01T12:00:00Z", "name": "ann" },
    ] });
    assert_eq!(decode(&body).unwrap().request.messages[0].plain_text(), "Hi");
}
