//! The layer: begins to watch with the request, and tells the watcher the status code with which
//! the call ended.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tonic::Code;
use tower::{Layer, Service};

use super::ending::{End, ObservedBody, code_of};

/// Begins to watch calls.
pub trait Observe: Clone + Send + 'static {
    /// What watches one.
    type Watch: Watch;

    /// A call begins.
    fn begin<B>(&self, request: &mut Request<B>) -> Self::Watch;
}

/// Watches a call.
pub trait Watch: Send + 'static {
    /// What holds while the call is worked on.
    type Entered;

    /// The call is worked on, on this thread, until the result is dropped.
    fn enter(&self) -> Self::Entered;

    /// The call ended. One that was given up, by the client or with its connection, ended as
    /// CANCELLED.
    fn end(self, code: Code);
}

impl<O: Observe> Observe for Option<O> {
    type Watch = Option<O::Watch>;

    fn begin<B>(&self, request: &mut Request<B>) -> Self::Watch {
        self.as_ref().map(|observe| observe.begin(request))
    }
}

impl<W: Watch> Watch for Option<W> {
    type Entered = Option<W::Entered>;

    fn enter(&self) -> Self::Entered {
        self.as_ref().map(Watch::enter)
    }

    fn end(self, code: Code) {
        if let Some(watch) = self {
            watch.end(code);
        }
    }
}

impl<A: Observe, B: Observe> Observe for (A, B) {
    type Watch = (A::Watch, B::Watch);

    fn begin<T>(&self, request: &mut Request<T>) -> Self::Watch {
        (self.0.begin(request), self.1.begin(request))
    }
}

impl<A: Watch, B: Watch> Watch for (A, B) {
    type Entered = (A::Entered, B::Entered);

    fn enter(&self) -> Self::Entered {
        (self.0.enter(), self.1.enter())
    }

    fn end(self, code: Code) {
        self.0.end(code);
        self.1.end(code);
    }
}

/// Puts an observer around a service. Two in one layer, as `(measure, trace)`, cost less than two
/// layers.
#[derive(Clone, Debug)]
pub struct ObserveLayer<O>(pub O);

impl<O: Clone, S> Layer<S> for ObserveLayer<O> {
    type Service = Observed<S, O>;

    fn layer(&self, inner: S) -> Self::Service {
        Observed { inner, observe: self.0.clone() }
    }
}

/// A service with an observer around it.
#[derive(Clone, Debug)]
pub struct Observed<S, O> {
    inner: S,
    observe: O,
}

impl<S, O> Observed<S, O> {
    /// Puts an observer around a service, such as a channel that a client is made of.
    pub fn new(inner: S, observe: O) -> Self {
        Self { inner, observe }
    }
}

impl<S, O, Req, Res> Service<Request<Req>> for Observed<S, O>
where
    S: Service<Request<Req>, Response = Response<Res>>,
    O: Observe,
{
    type Response = Response<ObservedBody<Res, O::Watch>>;
    type Error = S::Error;
    type Future = ObservedFuture<S::Future, O::Watch>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Req>) -> Self::Future {
        let end = End::of(self.observe.begin(&mut request));
        let entered = end.enter();
        let future = self.inner.call(request);
        drop(entered);
        ObservedFuture { future, end }
    }
}

pin_project! {
    /// A call until its response begins.
    #[derive(Debug)]
    pub struct ObservedFuture<F, W: Watch> {
        #[pin]
        future: F,
        end: End<W>,
    }
}

impl<F, W, Res, E> Future for ObservedFuture<F, W>
where
    F: Future<Output = Result<Response<Res>, E>>,
    W: Watch,
{
    type Output = Result<Response<ObservedBody<Res, W>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let polled = {
            let _entered = this.end.enter();
            this.future.poll(cx)
        };
        match ready!(polled) {
            Ok(response) => {
                let mut end = this.end.take();
                // An error without a message has its status here, and no trailers.
                if let Some(code) = code_of(response.headers()) {
                    end.now(code);
                }
                Poll::Ready(Ok(response.map(|body| ObservedBody::new(body, end))))
            }
            Err(error) => {
                this.end.now(Code::Unknown);
                Poll::Ready(Err(error))
            }
        }
    }
}
