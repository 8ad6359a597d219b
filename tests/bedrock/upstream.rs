//! An emulator, a backend before it, and a conversation through both.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outcrop::backend::{Ask, AwsClients, Backend, Deps, OpenAiServers, Outlet, Routes};
use outcrop::config::{self, Config, Model};
use outcrop::emulator;
use outcrop::metrics::Metrics;
use outcrop::turn::{
    Failure, FinishReason, Fold, Message, Role, SessionKey, Tool, TurnEvent, TurnRequest,
    UpstreamSessionId, Usage,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub(crate) const HAIKU_3: &str = "anthropic.claude-3-haiku-20240307-v1:0";
pub(crate) const SONNET_4: &str = "us.anthropic.claude-sonnet-4-20250514-v1:0";
pub(crate) const SONNET_45: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
pub(crate) const OPUS_47: &str = "us.anthropic.claude-opus-4-7";
pub(crate) const NOVA: &str = "amazon.nova-lite-v1:0";
pub(crate) const NOVA_2: &str = "us.amazon.nova-2-lite-v1:0";
pub(crate) const LLAMA: &str = "us.meta.llama3-3-70b-instruct-v1:0";
pub(crate) const TITAN: &str = "amazon.titan-text-express-v1";

/// By then a turn must have ended.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running emulator.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    _serving: AbortOnDropHandle<()>,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let mut settings = config::Emulator::default();
        settings.listen.set_port(0);
        let emulator = emulator::bind(&settings).await.unwrap();
        let address = emulator.address();
        let serving = tokio::spawn(emulator.serve(CancellationToken::new()));
        Self { address, _serving: AbortOnDropHandle::new(serving) }
    }

    /// A conversation with a model.
    pub(crate) fn talk(&self, model_id: &str) -> Talk {
        Talk::at(self.address, model_id, |_| {})
    }
}

/// A conversation; the history is kept as a session keeps it.
#[derive(Debug)]
pub(crate) struct Talk {
    backend: Arc<dyn Backend>,
    pub(crate) metrics: Arc<Metrics>,
    history: Vec<Arc<Message>>,
    /// What every turn asks for.
    pub(crate) request: TurnRequest,
}

/// What a turn came to.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) message: Message,
    pub(crate) reasoning: String,
    pub(crate) usage: Option<Usage>,
    pub(crate) events: Vec<TurnEvent>,
    pub(crate) end: Result<FinishReason, Failure>,
}

impl Said {
    pub(crate) fn text(&self) -> String {
        self.message.plain_text()
    }

    /// The calls, as name and arguments.
    pub(crate) fn calls(&self) -> Vec<(&str, Value)> {
        let arguments = |text: &str| serde_json::from_str(text).unwrap();
        let calls = self.message.tool_calls.iter();
        calls.map(|call| (call.name.as_str(), arguments(&call.arguments))).collect()
    }

    #[track_caller]
    pub(crate) fn ended(&self, expected: FinishReason) {
        assert_eq!(self.end, Ok(expected), "{self:?}");
    }
}

impl Talk {
    /// With a model behind this address, set up so.
    pub(crate) fn at(address: SocketAddr, model_id: &str, set: impl Fn(&mut Model)) -> Self {
        let mut model = Model::new("m".parse().unwrap(), "bedrock");
        model.text.model_id = Some(model_id.to_owned());
        set(&mut model);
        let mut config = Config { models: vec![model], ..Config::default() };
        config.turn.retry_delay = Duration::from_millis(1);
        let metrics = Arc::new(Metrics::new());
        let deps = Deps {
            aws: Arc::new(AwsClients::emulated(&format!("http://{address}"))),
            metrics: Arc::clone(&metrics),
            config: Arc::new(config),
            discovery: Arc::default(),
            openai: Arc::new(OpenAiServers::new(Duration::from_secs(1))),
        };
        let routes = Routes::open(deps).unwrap();
        let backend = Arc::clone(&routes.find(None).unwrap().backend);
        let request = TurnRequest::default();
        Self { backend, metrics, history: Vec::new(), request }
    }

    /// A turn of one text.
    pub(crate) async fn say(&mut self, text: &str) -> Said {
        self.send(vec![Message::text(Role::User, text)]).await
    }

    /// Answers every call that is open with one of these texts.
    pub(crate) async fn answer_calls(&mut self, texts: &[&str]) -> Said {
        let open = self.history.last().unwrap().tool_calls.clone();
        assert_eq!(open.len(), texts.len(), "{open:?}");
        let results = open.iter().zip(texts).map(|(call, text)| Message {
            tool_call_id: Some(call.id.clone()),
            ..Message::text(Role::Tool, *text)
        });
        let results = results.collect();
        self.send(results).await
    }

    pub(crate) async fn send(&mut self, input: Vec<Message>) -> Said {
        let said = self.attempt(input.clone()).await;
        if said.end.is_ok() {
            self.history.extend(input.into_iter().map(Arc::new));
            self.history.push(Arc::new(said.message.clone()));
        }
        said
    }

    async fn attempt(&self, input: Vec<Message>) -> Said {
        let ask = Ask {
            key: SessionKey { tenant: "acme".parse().unwrap(), id: "s1".parse().unwrap() },
            upstream: UpstreamSessionId::generate(),
            system: {
                let messages = self.request.messages.iter();
                messages.filter(|message| message.role == Role::System).cloned().collect()
            },
            history: self.history.clone(),
            input,
            pending: None,
            request: Arc::new(self.request.clone()),
        };
        let outlet = Outlet::default();
        let answer = self.backend.answer(ask, outlet.clone());
        let end = tokio::time::timeout(PATIENCE, answer).await.expect("an end to the turn");
        let events = outlet.take();
        let mut fold = Fold::default();
        fold.push(&TurnEvent::Started).unwrap();
        let mut reasoning = String::new();
        for event in &events {
            fold.push(event).unwrap();
            if let TurnEvent::Reasoning(text) = event {
                reasoning.push_str(text);
            }
        }
        let usage = fold.usage();
        if let Ok(reason) = end {
            fold.push(&TurnEvent::Finished(reason)).unwrap();
        }
        Said { message: fold.into_message(), reasoning, usage, events, end }
    }
}

/// A tool that takes a city.
pub(crate) fn city_tool(name: &str) -> Tool {
    Tool {
        name: name.to_owned(),
        description: Some(format!("{name} in a city")),
        parameters: Some(json!({
            "type": "object",
            "properties": {"city": {"type": "string"}, "at": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": false,
        })),
        ..Tool::default()
    }
}
