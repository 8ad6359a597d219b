//! The server that a verb talks to: where it is, and with which key.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use serde_json::Value;

use crate::backend::http::{Client, Reply};
use crate::config::{Environment, Secret};

use super::terminal::harmless;
pub(super) use super::trouble::Trouble;

/// Where a server is expected that nobody names.
const DEFAULT_URL: &str = "http://127.0.0.1:8000";
/// What a JSON document of a server may take.
const DOCUMENT_BYTES: usize = 16 << 20;
/// What of a reply that makes no sense is shown.
const SHOWN_CHARACTERS: usize = 200;
/// How long a document may take that no model has to think about.
const DOCUMENT_SECONDS: u64 = 30;
/// How long a server may say nothing, where nobody says otherwise: models think for minutes.
pub(super) const SILENT_SECONDS: u64 = 600;
/// The variables that a key is taken from, in order.
const KEY_VARIABLES: [&str; 2] = ["OUTCROP_API_KEY", "OPENAI_API_KEY"];

/// Which server, and with which key.
#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// Where the server is: Outcrop, or any other that is OpenAI-compatible. Without a path,
    /// /v1 is meant
    #[arg(long, value_name = "URL", default_value = DEFAULT_URL, global = true)]
    pub(super) server_url: String,
    /// The API key; else the one in OUTCROP_API_KEY, else in OPENAI_API_KEY. Others on this
    /// machine can see what stands on a command line
    #[arg(long, value_name = "KEY", global = true)]
    pub(super) api_key: Option<String>,
    /// Seconds that the server may say nothing; a list or a session has 30 at most
    #[arg(long, value_name = "SECONDS", default_value_t = SILENT_SECONDS, global = true,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(super) timeout: u64,
}

impl ServerArgs {
    /// The server that is meant.
    ///
    /// # Errors
    /// When the URL is none, or the key does not fit into a header.
    pub(super) fn server(&self, environment: &Environment) -> Result<Server, String> {
        let key = key(self.api_key.as_deref(), environment, &KEY_VARIABLES);
        Ok(Server { silent_seconds: self.timeout, ..Server::new(&self.server_url, key)? })
    }
}

/// The key that is given, else the first that a variable holds.
pub(super) fn key(
    given: Option<&str>,
    environment: &Environment,
    variables: &[&str],
) -> Option<Secret> {
    let set = || variables.iter().find_map(|name| environment.get(name));
    given.or_else(set).map(Secret::new)
}

/// A server that speaks OpenAI's API, and maybe Outcrop's own.
#[derive(Debug, Clone)]
pub(super) struct Server {
    client: Client,
    /// Scheme and authority.
    origin: String,
    /// What the paths of the API begin with, as `/v1`.
    base: String,
    /// What follows every path, with its question mark; mostly nothing.
    query: String,
    headers: HeaderMap,
    /// How long it may say nothing.
    silent_seconds: u64,
}

impl Server {
    /// The server at a URL. Nothing is asked yet.
    ///
    /// # Errors
    /// When the URL is none, or the key does not fit into a header.
    pub(super) fn new(url: &str, key: Option<Secret>) -> Result<Self, String> {
        let wrong = |why: &str| format!("{url:?} is not the URL of a server: {why}");
        let parsed: Uri = url.parse().map_err(|error| wrong(&format!("{error}")))?;
        let scheme = parsed.scheme_str().filter(|scheme| ["http", "https"].contains(scheme));
        let (Some(scheme), Some(authority)) = (scheme, parsed.authority()) else {
            return Err(wrong("it has to begin with http:// or https://"));
        };
        if authority.as_str().contains('@') {
            return Err(wrong("names and passwords do not belong there; give a key"));
        }
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            let bearer = HeaderValue::try_from(format!("Bearer {}", key.expose()));
            let mut bearer = bearer
                .map_err(|_| "the API key must be visible ASCII without spaces".to_owned())?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        let path = parsed.path().trim_end_matches('/');
        // People paste the URL of the request too.
        let path = path.strip_suffix("/chat/completions").unwrap_or(path);
        Ok(Self {
            client: Client::default(),
            origin: format!("{scheme}://{authority}"),
            base: if path.is_empty() { "/v1".to_owned() } else { path.to_owned() },
            query: parsed.query().map(|query| format!("?{query}")).unwrap_or_default(),
            headers,
            silent_seconds: SILENT_SECONDS,
        })
    }

    /// Waits for what a server says next.
    ///
    /// # Errors
    /// When nothing comes for too long.
    pub(super) async fn within_patience<T>(
        &self,
        next: impl Future<Output = T>,
    ) -> Result<T, Trouble> {
        self.within(self.silent_seconds, next).await
    }

    async fn within<T>(&self, seconds: u64, work: impl Future<Output = T>) -> Result<T, Trouble> {
        let done = tokio::time::timeout(Duration::from_secs(seconds), work).await;
        done.map_err(|_| Trouble::Silent { url: self.name(), seconds })
    }

    /// The same server, asked with one more header.
    ///
    /// # Errors
    /// When the value does not fit into a header.
    pub(super) fn with(mut self, name: HeaderName, value: &str) -> Result<Self, String> {
        let value = HeaderValue::try_from(value)
            .map_err(|_| format!("{value:?} does not fit into the header {name}"))?;
        self.headers.insert(name, value);
        Ok(self)
    }

    /// Whether a key goes along.
    #[cfg(test)]
    pub(super) fn has_key(&self) -> bool {
        self.headers.contains_key(AUTHORIZATION)
    }

    /// Its name for people: scheme, host, port and path.
    pub(super) fn name(&self) -> String {
        format!("{}{}", self.origin, self.base)
    }

    /// Its host, without the port.
    pub(super) fn host(&self) -> String {
        let uri = self.origin.parse::<Uri>().ok();
        uri.and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default()
    }

    /// Sends a request below the API's base and gives the reply, whatever its status.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Reply, Trouble> {
        let url = format!("{}{}{path}{}", self.origin, self.base, self.query);
        let headers = self.headers.clone();
        let sending = async {
            match body {
                Some(body) => self.client.post(&url, headers, Bytes::from(body.to_string())).await,
                None => self.client.ask(method, &url, headers).await,
            }
        };
        let sent = self.within_patience(sending).await?;
        sent.map_err(|error| Trouble::NoReply { url: self.name(), error })
    }

    /// Does the same, and takes a status that is no success for the answer no.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Reply, Trouble> {
        let mut reply = self.send(method, path, body).await?;
        if reply.status().is_success() {
            return Ok(reply);
        }
        let status = reply.status();
        // What cannot be read of the reason is left out.
        let body = self.within_patience(reply.beginning(DOCUMENT_BYTES)).await;
        let body = body.map(Result::unwrap_or_default).unwrap_or_default();
        Err(self.refusal(status, &body))
    }

    /// The JSON document at a path.
    pub(super) async fn document(&self, method: Method, path: &str) -> Result<Value, Trouble> {
        let asking = async {
            let mut reply = self.ask(method, path, None).await?;
            self.json(&mut reply).await
        };
        self.within(self.silent_seconds.min(DOCUMENT_SECONDS), asking).await?
    }

    /// Posts a JSON document and gives the one that comes back.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, Trouble> {
        let asking = async {
            let mut reply = self.ask(Method::POST, path, Some(body)).await?;
            self.json(&mut reply).await
        };
        self.within(self.silent_seconds.min(DOCUMENT_SECONDS), asking).await?
    }

    /// The list of its models, each with its `id`, as it sends it.
    pub(super) async fn model_list(&self) -> Result<Value, Trouble> {
        let list = self.document(Method::GET, "/models").await?;
        let has_ids = |models: &Vec<Value>| models.iter().all(|model| model["id"].is_string());
        match list["data"].as_array().is_some_and(has_ids) {
            true => Ok(list),
            false => Err(self.strange("GET /models gives no list of models")),
        }
    }

    /// The models that it lists, in its order.
    pub(super) async fn models(&self) -> Result<Vec<Value>, Trouble> {
        let list = self.model_list().await?;
        Ok(list["data"].as_array().cloned().unwrap_or_default())
    }

    /// The model that is asked for, else the first that the server lists.
    pub(super) async fn model(&self, wanted: Option<&str>) -> Result<String, Trouble> {
        if let Some(wanted) = wanted {
            return Ok(wanted.to_owned());
        }
        let models = self.models().await?;
        let first = models.first().and_then(|model| model["id"].as_str());
        first.map(str::to_owned).ok_or_else(|| Trouble::NoModels { url: self.name() })
    }

    /// The document that a reply holds.
    pub(super) async fn json(&self, reply: &mut Reply) -> Result<Value, Trouble> {
        let body = reply.beginning(DOCUMENT_BYTES).await;
        let body = body.map_err(|error| Trouble::CutShort(error.to_string()))?;
        serde_json::from_slice(&body).map_err(|_| {
            self.strange(&format!(
                "it sent no JSON but {:?}",
                beginning(&String::from_utf8_lossy(&body))
            ))
        })
    }

    /// What is strange about its reply.
    pub(super) fn strange(&self, what: &str) -> Trouble {
        Trouble::Strange { url: self.name(), what: what.to_owned() }
    }

    /// The answer no, as its body explains it.
    pub(super) fn refusal(&self, status: StatusCode, body: &[u8]) -> Trouble {
        let parsed: Option<Value> = serde_json::from_slice(body).ok();
        let error = parsed.as_ref().and_then(|body| body.get("error"));
        let Some(error) = error else {
            let text = String::from_utf8_lossy(body);
            let what = format!("status {}, {:?}", status.as_u16(), beginning(&text));
            return match status.as_u16() {
                401 | 403 | 429 => self.refused(status, &Value::String(beginning(&text))),
                _ => self.strange(&what),
            };
        };
        self.refused(status, error)
    }

    /// The answer no, as its `error` says it: an object, or with some servers a text.
    pub(super) fn refused(&self, status: StatusCode, error: &Value) -> Trouble {
        let text = |name: &str| error.get(name).and_then(Value::as_str);
        let message = text("message").or(error.as_str()).map(beginning);
        Trouble::Refused {
            url: self.name(),
            status,
            code: text("code").unwrap_or_default().to_owned(),
            message: message.unwrap_or_else(|| beginning(&error.to_string())),
        }
    }
}

/// The beginning of a text that may be long, in one line that is fit for a terminal.
fn beginning(text: &str) -> String {
    let line = harmless(text).split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::net::TcpListener;

    use super::*;

    fn named(url: &str) -> String {
        Server::new(url, None).unwrap().name()
    }

    #[test]
    fn a_server_without_a_path_is_asked_below_v1() {
        assert_eq!(named("http://x:1"), "http://x:1/v1");
        assert_eq!(named("http://x:1/"), "http://x:1/v1");
        assert_eq!(named("https://x/api"), "https://x/api");
        assert_eq!(named("https://x/v1/chat/completions/"), "https://x/v1");
        let azure = Server::new("https://x/deployments/d?api-version=1", None).unwrap();
        assert_eq!((azure.query.as_str(), azure.host().as_str()), ("?api-version=1", "x"));
    }

    #[test]
    fn what_is_no_url_is_told() {
        for wrong in ["", "localhost:8000", "ftp://x", "http://", "http://a:b@x"] {
            assert!(Server::new(wrong, None).unwrap_err().contains("is not the URL"), "{wrong}");
        }
        assert!(Server::new("http://x", Some(Secret::new("a\nb"))).is_err());
    }

    #[test]
    fn the_key_that_is_given_goes_before_those_of_the_environment() {
        let environment = Environment::from([("OPENAI_API_KEY", "b"), ("OUTCROP_API_KEY", "a")]);
        let key = |given| key(given, &environment, &KEY_VARIABLES);
        assert_eq!(key(Some("c")).unwrap().expose(), "c");
        assert_eq!(key(None).unwrap().expose(), "a");
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let server = Server::new("http://x", None).unwrap();
        let told = |status: u16, body: &Value| {
            server.refusal(status.try_into().unwrap(), body.to_string().as_bytes()).to_string()
        };
        let error = json!({ "error": { "message": "no such key", "code": "invalid_api_key" } });
        let expected = "http://x/v1 wants another API key (401): no such key; give one with \
                        --api-key or in OUTCROP_API_KEY";
        assert_eq!(told(401, &error), expected);
        assert_eq!(told(500, &json!({ "error": "down" })), "http://x/v1 answered 500: down");
        let html = server.refusal(StatusCode::NOT_FOUND, b"<html>\n<p>nothing</p>").to_string();
        assert!(html.contains("status 404, \"<html> <p>nothing</p>\"; check the URL"), "{html}");
    }

    #[tokio::test]
    async fn a_port_where_nothing_listens_is_told() {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let server = Server::new(&format!("http://{free}"), None).unwrap();
        let told = server.models().await.unwrap_err().to_string();
        assert!(told.contains("cannot be reached") && told.contains("nothing listens"), "{told}");
    }
}
