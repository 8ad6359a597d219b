//! STS, as far as `GetCallerIdentity`: who the caller is, in the query protocol's XML.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;

use super::invoke_agent::read;
use super::routes::{percent_decoded, request_id};
use super::{Emulated, REQUEST_ID};

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Answers one call of the query protocol.
pub(super) async fn answer(
    emulated: &Emulated,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    if !head.headers.contains_key(AUTHORIZATION) {
        let message = "Request is missing Authentication Token";
        return refusal(StatusCode::FORBIDDEN, "MissingAuthenticationToken", message);
    }
    let form = match read(body).await {
        Ok(form) => form,
        Err(unread) => return unread.response(request_id()),
    };
    let form = String::from_utf8_lossy(&form);
    match action(&form).as_deref() {
        Some("GetCallerIdentity") => identity(&emulated.account),
        Some(_) => {
            refusal(StatusCode::BAD_REQUEST, "InvalidAction", "Only GetCallerIdentity is emulated.")
        }
        None => refusal(StatusCode::BAD_REQUEST, "MissingAction", "The form names no Action."),
    }
}

/// The value of `Action` in a form.
fn action(form: &str) -> Option<Cow<'_, str>> {
    let value = form.split('&').find_map(|pair| pair.strip_prefix("Action="))?;
    percent_decoded(value)
}

fn identity(account: &str) -> Response<Full<Bytes>> {
    let id = request_id();
    let body = format!(
        "<GetCallerIdentityResponse xmlns=\"{NAMESPACE}\"><GetCallerIdentityResult>\
         <Arn>arn:aws:iam::{account}:user/outcrop-emulator</Arn>\
         <UserId>AIDAOUTCROPEMULATOR0</UserId><Account>{account}</Account>\
         </GetCallerIdentityResult><ResponseMetadata><RequestId>{}</RequestId>\
         </ResponseMetadata></GetCallerIdentityResponse>",
        id.to_str().unwrap_or_default(),
    );
    xml(StatusCode::OK, body, id)
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Response<Full<Bytes>> {
    let id = request_id();
    let body = format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>Sender</Type><Code>{code}</Code>\
         <Message>{message}</Message></Error><RequestId>{}</RequestId></ErrorResponse>",
        id.to_str().unwrap_or_default(),
    );
    xml(status, body, id)
}

fn xml(status: StatusCode, body: String, id: HeaderValue) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_action_is_found_wherever_it_stands() {
        assert_eq!(
            action("Action=GetCallerIdentity&Version=2011-06-15").unwrap(),
            "GetCallerIdentity"
        );
        assert_eq!(action("Version=2011-06-15&Action=Get%43aller").unwrap(), "GetCaller");
        assert_eq!(action("Version=2011-06-15"), None);
    }
}
