//! Raw traces in the service's own spelling.
//!
//! The SDK turns trace records into types that cannot be written back as JSON. Where the
//! operator wants the records themselves, the response body passes through a tap that reads the
//! same event-stream frames and keeps the payloads of its `trace` events, in order.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use aws_smithy_eventstream::frame::{DecodedFrame, MessageFrameDecoder};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextMut;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::event_stream::Message;
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use serde_json::Value;

use crate::backend::lock;

/// Trace records not yet taken; beyond these, further ones are dropped.
const WAITING: usize = 1_024;

/// The raw trace records, in the order of the stream.
#[derive(Debug, Clone, Default)]
pub(in crate::backend) struct RawTraces(Arc<Mutex<VecDeque<Bytes>>>);

impl RawTraces {
    /// The record of the next trace event, and its weight in bytes.
    pub(super) fn next(&self) -> Option<(Value, usize)> {
        let payload = lock(&self.0).pop_front()?;
        let value = serde_json::from_slice(&payload).ok()?;
        Some((value, payload.len()))
    }

    fn keep(&self, message: &Message) {
        let is_trace = message.headers().iter().any(|header| {
            header.name().as_str() == ":event-type"
                && header.value().as_string().is_ok_and(|name| name.as_str() == "trace")
        });
        let mut waiting = lock(&self.0);
        if is_trace && waiting.len() < WAITING {
            waiting.push_back(message.payload().clone());
        }
    }
}

/// A tap for one call, and what it collects.
pub(super) fn tap() -> (Tap, RawTraces) {
    let traces = RawTraces::default();
    (Tap(traces.clone()), traces)
}

/// Puts the tap into the response body.
#[derive(Debug)]
pub(super) struct Tap(RawTraces);

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for Tap {
    fn name(&self) -> &'static str {
        "raw traces"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response_mut().body_mut();
        let inner = std::mem::replace(body, SdkBody::taken());
        *body = SdkBody::from_body_1_x(Tapped {
            inner,
            traces: self.0.clone(),
            decoder: Some(MessageFrameDecoder::new()),
            bytes: BytesMut::new(),
        });
        Ok(())
    }
}

struct Tapped {
    inner: SdkBody,
    traces: RawTraces,
    /// `None` once the frames were not understood; the SDK will say so.
    decoder: Option<MessageFrameDecoder>,
    bytes: BytesMut,
}

impl Tapped {
    fn read(&mut self, data: &[u8]) {
        let Some(decoder) = &mut self.decoder else { return };
        self.bytes.extend_from_slice(data);
        loop {
            match decoder.decode_frame(&mut self.bytes) {
                Ok(DecodedFrame::Complete(message)) => self.traces.keep(&message),
                Ok(DecodedFrame::Incomplete) => return,
                Err(_) => {
                    self.decoder = None;
                    return;
                }
            }
        }
    }
}

impl Body for Tapped {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.read(data);
        }
        Poll::Ready(frame)
    }
}
