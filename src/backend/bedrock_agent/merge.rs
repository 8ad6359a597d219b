//! JSON in the service's own spelling, put into a request.
//!
//! How a knowledge base is searched is a deep and growing structure (filters, reranking) that
//! operators and clients write down in the service's spelling. It goes into the body as it is,
//! after the SDK wrote the rest and before the request is signed, so that nothing of it is lost
//! to a version of the SDK that does not know it; what is wrong with it the service says.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextMut;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use serde_json::{Map, Value};

/// Puts a member into the body of one call.
#[derive(Debug)]
pub(super) struct Merge {
    /// The members that lead to it, the outermost first; those that are missing are made.
    pub(super) path: &'static [&'static str],
    /// Its value.
    pub(super) value: Value,
}

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for Merge {
    fn name(&self) -> &'static str {
        "merge into the body"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        let body = request.body().bytes().ok_or("the body is not in memory")?;
        let body = merged(body, self.path, &self.value)?;
        request.headers_mut().insert("content-length", body.len().to_string());
        *request.body_mut() = SdkBody::from(body);
        Ok(())
    }
}

fn merged(body: &[u8], path: &[&str], value: &Value) -> Result<Vec<u8>, BoxError> {
    let mut root: Map<String, Value> = serde_json::from_slice(body)?;
    let (last, outer) = path.split_last().ok_or("there is no member to put it at")?;
    let mut object = &mut root;
    for name in outer {
        let member = object.entry(*name).or_insert_with(|| Value::Object(Map::new()));
        object = member.as_object_mut().ok_or("a member on the way is no object")?;
    }
    object.insert((*last).to_owned(), value.clone());
    Ok(serde_json::to_vec(&root)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_member_is_put_beside_what_is_there() {
        let put = |body: &str| {
            let merged = merged(body.as_bytes(), &["sessionState", "kb"], &json!([1])).unwrap();
            serde_json::from_slice::<Value>(&merged).unwrap()
        };
        assert_eq!(
            put(r#"{"inputText":"é"}"#),
            json!({ "inputText": "é", "sessionState": { "kb": [1] } })
        );
        let beside = json!({ "sessionState": { "files": [], "kb": [1] } });
        assert_eq!(put(r#"{"sessionState":{"files":[]}}"#), beside);
    }

    #[test]
    fn a_body_of_another_shape_is_an_error() {
        assert!(merged(b"[]", &["a"], &Value::Null).is_err());
        assert!(merged(br#"{"a":1}"#, &["a", "b"], &Value::Null).is_err());
        assert!(merged(b"{}", &[], &Value::Null).is_err());
    }
}
