//! How a call ends: with the trailers of its response, with an error, or by being dropped.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::{Code, Status};

use super::observed::Watch;

/// The status code that headers or trailers tell, if they do.
pub(super) fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers.get(Status::GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes()))
}

/// Tells a watcher once how the call ended; dropped before that, that it was cancelled.
pub(super) struct End<W: Watch>(Option<W>);

impl<W: Watch> End<W> {
    pub fn of(watch: W) -> Self {
        Self(Some(watch))
    }

    pub fn now(&mut self, code: Code) {
        if let Some(watch) = self.0.take() {
            watch.end(code);
        }
    }

    /// Hands the duty to tell over.
    pub fn take(&mut self) -> Self {
        Self(self.0.take())
    }

    pub fn enter(&self) -> Option<W::Entered> {
        self.0.as_ref().map(Watch::enter)
    }
}

impl<W: Watch> Drop for End<W> {
    fn drop(&mut self) {
        self.now(Code::Cancelled);
    }
}

impl<W: Watch> fmt::Debug for End<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("End").field(&self.0.is_none()).finish()
    }
}

pin_project! {
    /// A response, watched to its end.
    #[derive(Debug)]
    pub struct ObservedBody<B, W: Watch> {
        #[pin]
        body: B,
        end: End<W>,
    }
}

impl<B, W: Watch> ObservedBody<B, W> {
    pub(super) fn new(body: B, end: End<W>) -> Self {
        Self { body, end }
    }
}

impl<B: Body, W: Watch> Body for ObservedBody<B, W> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let polled = {
            let _entered = this.end.enter();
            this.body.poll_frame(cx)
        };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    this.end.now(code_of(trailers).unwrap_or(Code::Unknown));
                }
            }
            // A response that ends without a status is none of gRPC.
            Poll::Ready(Some(Err(_)) | None) => this.end.now(Code::Unknown),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: Default, W: Watch> Default for ObservedBody<B, W> {
    fn default() -> Self {
        Self { body: B::default(), end: End(None) }
    }
}
