//! An emulator and the SDK's client for it, in one process.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_bedrockagentruntime::Client;
use aws_sdk_bedrockagentruntime::config::retry::RetryConfig;
use aws_sdk_bedrockagentruntime::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_bedrockagentruntime::error::SdkError;
use aws_sdk_bedrockagentruntime::operation::invoke_agent::InvokeAgentError;
use aws_sdk_bedrockagentruntime::operation::invoke_agent::builders::InvokeAgentFluentBuilder;
use aws_sdk_bedrockagentruntime::types::error::ResponseStreamError;
use aws_sdk_bedrockagentruntime::types::{
    Citation, OutputFile, ResponseStream, ReturnControlPayload, SessionState,
    StreamingConfigurations, TracePart,
};
use aws_smithy_types::event_stream::RawMessage;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use outcrop::{config, emulator};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// More than anything here takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The credentials of a request that is signed.
pub(crate) const SIGNED: &str =
    "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20260101/us-east-1/bedrock/aws4_request";

/// How a stream fails.
pub(crate) type StreamFailure = SdkError<ResponseStreamError, RawMessage>;

/// An emulator with a client; ends when dropped.
pub(crate) struct Running {
    pub(crate) url: String,
    pub(crate) client: Client,
    pub(crate) stop: CancellationToken,
    pub(crate) served: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.served.abort();
    }
}

pub(crate) async fn start() -> Running {
    start_with(config::Emulator::default()).await
}

pub(crate) async fn start_with(config: config::Emulator) -> Running {
    let config = config::Emulator { listen: "127.0.0.1:0".parse().unwrap(), ..config };
    let emulator = emulator::bind(&config).await.unwrap();
    let url = format!("http://{}", emulator.address());
    let stop = CancellationToken::new();
    let served = tokio::spawn(emulator.serve(stop.clone()));
    let client = client(&url, "AKIAEXAMPLE");
    Running { url, client, stop, served }
}

pub(crate) fn client(url: &str, access_key: &str) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new(access_key, "secret", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .endpoint_url(url)
        .build();
    Client::from_conf(config)
}

pub(crate) fn streamed() -> StreamingConfigurations {
    StreamingConfigurations::builder().stream_final_response(true).build()
}

pub(crate) fn pairs(pairs: &[(&str, &str)]) -> Option<HashMap<String, String>> {
    let owned = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Some(owned.collect())
}

pub(crate) fn attributes(list: &[(&str, &str)]) -> SessionState {
    SessionState::builder().set_session_attributes(pairs(list)).build()
}

pub(crate) fn faulty(fault: &str) -> SessionState {
    attributes(&[("outcrop-emulator-fault", fault)])
}

/// Everything of one answer, and how it ended.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) chunks: Vec<Vec<u8>>,
    pub(crate) traces: Vec<TracePart>,
    pub(crate) returned: Vec<ReturnControlPayload>,
    pub(crate) citations: Vec<Citation>,
    pub(crate) files: Vec<OutputFile>,
    pub(crate) unknown: usize,
    pub(crate) failure: Option<StreamFailure>,
}

impl Heard {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.chunks.concat()).unwrap()
    }
}

/// Sends a call and listens to the end.
pub(crate) async fn hear(
    call: InvokeAgentFluentBuilder,
) -> Result<Heard, Box<SdkError<InvokeAgentError>>> {
    timeout(PATIENCE, hear_out(call)).await.unwrap()
}

async fn hear_out(
    call: InvokeAgentFluentBuilder,
) -> Result<Heard, Box<SdkError<InvokeAgentError>>> {
    let mut answer = call.send().await?;
    let mut heard = Heard::default();
    loop {
        match answer.completion.recv().await {
            Ok(Some(ResponseStream::Chunk(part))) => {
                heard.chunks.push(part.bytes.unwrap().into_inner());
                let cited = part.attribution.and_then(|attribution| attribution.citations);
                heard.citations.extend(cited.unwrap_or_default());
            }
            Ok(Some(ResponseStream::Trace(part))) => heard.traces.push(part),
            Ok(Some(ResponseStream::ReturnControl(payload))) => heard.returned.push(payload),
            Ok(Some(ResponseStream::Files(part))) => heard.files.extend(part.files.unwrap()),
            Ok(Some(_)) => heard.unknown += 1,
            Ok(None) => return Ok(heard),
            Err(failure) => {
                heard.failure = Some(failure);
                return Ok(heard);
            }
        }
    }
}

impl Running {
    /// A call on a session, to be completed by the test.
    pub(crate) fn call(&self, session: &str) -> InvokeAgentFluentBuilder {
        self.client
            .invoke_agent()
            .agent_id("ABCDEF1234")
            .agent_alias_id("TSTALIASID")
            .session_id(session)
    }

    /// Says something in a session and returns the whole answer.
    pub(crate) async fn say(&self, session: &str, text: &str) -> String {
        let heard = hear(self.call(session).input_text(text)).await.unwrap();
        assert!(heard.failure.is_none(), "{heard:?}");
        heard.text()
    }

    /// A plain HTTP request; the body of the answer as JSON, or null.
    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
        authorization: Option<&str>,
        body: &'static str,
    ) -> (Response<()>, Value) {
        self.exchange(method, path, authorization, body.to_owned()).await
    }

    /// A plain HTTP `POST`; the body of the answer as JSON, or null.
    pub(crate) async fn post(
        &self,
        path: &str,
        authorization: Option<&str>,
        body: String,
    ) -> (Response<()>, Value) {
        self.exchange(Method::POST, path, authorization, body).await
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        authorization: Option<&str>,
        body: String,
    ) -> (Response<()>, Value) {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let client = legacy::Client::builder(TokioExecutor::new()).build_http();
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let (head, body) = client.request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (Response::from_parts(head, ()), serde_json::from_slice(&body).unwrap_or_default())
    }

    pub(crate) async fn state(&self) -> Value {
        self.request(Method::GET, "/_emulator/state", None, "").await.1
    }

    /// Waits until the state looks as wanted, and returns it.
    pub(crate) async fn state_when(&self, is_wanted: impl Fn(&Value) -> bool) -> Value {
        let wait = async {
            loop {
                let state = self.state().await;
                if is_wanted(&state) {
                    return state;
                }
            }
        };
        timeout(PATIENCE, wait).await.unwrap()
    }
}
