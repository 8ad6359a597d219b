//! JSON of the client's that goes upstream with its members in the client's order.
//!
//! The SDK keeps free-form JSON in hash maps and writes it in an order that differs from one
//! request to the next. To a model the order of a schema's members matters, and a prompt cache
//! only knows a prompt that is the same to the byte. So the SDK is given a placeholder for each
//! such value, and the values are put in once it has written the body.

use aws_sdk_bedrockruntime::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextMut;
use aws_smithy_types::Document;
use aws_smithy_types::body::SdkBody;
use http::header::CONTENT_LENGTH;
use memchr::memmem;
use serde_json::Value;
use uuid::Uuid;

/// The values of one request.
#[derive(Debug, Clone)]
pub(super) struct RawJson {
    /// What every placeholder begins with; no client can guess it.
    mark: String,
    values: Vec<String>,
}

impl Default for RawJson {
    fn default() -> Self {
        Self { mark: format!("{}-", Uuid::new_v4().simple()), values: Vec::new() }
    }
}

impl RawJson {
    /// Keeps a value, and gives what stands in for it.
    pub(super) fn keep(&mut self, value: &Value) -> Document {
        let placeholder = format!("{}{}", self.mark, self.values.len());
        self.values.push(value.to_string());
        Document::String(placeholder)
    }

    /// The body with every value in its place.
    fn put_in(&self, body: &[u8]) -> Vec<u8> {
        let opening = format!("\"{}", self.mark);
        let added: usize = self.values.iter().map(String::len).sum();
        let mut whole = Vec::with_capacity(body.len() + added);
        let mut rest = body;
        while let Some((before, after)) = split_at_first(rest, opening.as_bytes()) {
            // The closing quote goes with the number.
            let (number, after) = split_at_first(after, b"\"").unwrap_or((after, b""));
            let index = std::str::from_utf8(number).ok().and_then(|n| n.parse().ok());
            let value = index.and_then(|index: usize| self.values.get(index));
            whole.extend_from_slice(before);
            whole.extend_from_slice(value.map_or(b"null", String::as_bytes));
            rest = after;
        }
        whole.extend_from_slice(rest);
        whole
    }

    /// The value that a placeholder stands for.
    #[cfg(test)]
    pub(super) fn value(&self, placeholder: &Document) -> Value {
        let number = placeholder.as_string().unwrap().strip_prefix(&self.mark).unwrap();
        serde_json::from_str(&self.values[number.parse::<usize>().unwrap()]).unwrap()
    }
}

/// What stands before the first such mark, and what after it.
fn split_at_first<'b>(bytes: &'b [u8], mark: &[u8]) -> Option<(&'b [u8], &'b [u8])> {
    let (before, from) = bytes.split_at_checked(memmem::find(bytes, mark)?)?;
    Some((before, from.strip_prefix(mark)?))
}

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for RawJson {
    fn name(&self) -> &'static str {
        "raw JSON"
    }

    fn modify_before_retry_loop(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        let body = request.body().bytes().ok_or("a request that streams has no placeholders")?;
        let whole = self.put_in(body);
        request.headers_mut().insert(CONTENT_LENGTH.as_str(), whole.len().to_string());
        *request.body_mut() = SdkBody::from(whole);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_stand_where_their_placeholders_stood_in_the_order_they_were_written() {
        let mut json = RawJson::default();
        let schema = json!({"z": 1, "a": {"q": [true, null], "b": "\"quoted\""}});
        let first = json.keep(&schema);
        let second = json.keep(&json!([]));
        let body = format!(
            r#"{{"one":"{}","text":"kept","two":"{}"}}"#,
            first.as_string().unwrap(),
            second.as_string().unwrap()
        );
        let whole = String::from_utf8(json.put_in(body.as_bytes())).unwrap();
        assert_eq!(whole, format!(r#"{{"one":{schema},"text":"kept","two":[]}}"#));
    }

    #[test]
    fn a_body_without_placeholders_stays() {
        assert_eq!(RawJson::default().put_in(b"{\"a\":\"b\"}"), b"{\"a\":\"b\"}");
    }

    #[test]
    fn a_placeholder_that_stands_for_nothing_is_null_and_harms_nothing() {
        let json = RawJson::default();
        let put_in = |after: &str| {
            let whole = json.put_in(format!("[\"{}{after}", json.mark).as_bytes());
            String::from_utf8(whole).unwrap()
        };
        assert_eq!(put_in("7\",1]"), "[null,1]");
        assert_eq!(put_in("7"), "[null");
        assert_eq!(put_in(""), "[null");
    }
}
