//! One request and its answer, from the connection's side.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;

use super::Peer;
use super::activity::{Activity, OpenRequest};
use super::stream::was_asked;

/// The service of one connection: the program's own, which is told the [`Peer`] and watched.
#[derive(Debug)]
pub(super) struct Watched<S> {
    pub(super) service: S,
    pub(super) peer: Peer,
    pub(super) activity: Arc<Activity>,
}

impl<S, B> Service<Request<Incoming>> for Watched<S>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<Answer<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        let open = self.activity.begin();
        let answer = self.service.call(request);
        Box::pin(async move {
            let response = answer.await?;
            was_asked(true);
            Ok(response.map(|body| Answer { body, _open: open }))
        })
    }
}

/// An answer's body; its request is open until it is dropped.
#[derive(Debug)]
pub(super) struct Answer<B> {
    body: B,
    _open: OpenRequest,
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.get_mut().body).poll_frame(cx);
        was_asked(frame.is_ready());
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
