//! The layer around all gRPC services: who calls, and whether not too often. What a caller may do is
//! asked by the handlers, which know of which topic or queue it is.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, Response};
use pin_project_lite::pin_project;
use svc_runtime::rpc_error::RpcError;
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::caller::{Authority, Caller};
use crate::connection::Peer;
use crate::jwt::{Jwt, Verdict};
use crate::refusals::Reason;
use crate::tokens::Tokens;

/// Always open: who asks it is no client.
const HEALTH: &str = "/grpc.health.v1.Health/";
/// Open to anybody where it is served, but not without limit.
const REFLECTION: &str = "/grpc.reflection.";

/// How callers say who they are.
pub(crate) enum Auth {
    /// Nobody has to.
    None,
    /// By the connection's certificate.
    Certificate,
    Tokens(Arc<ArcSwap<Tokens>>),
    Jwt(Arc<Jwt>),
}

pub(crate) struct Gate {
    pub(crate) auth: Auth,
    pub(crate) authority: Arc<Authority>,
    /// For requests of connections that are not ours, which only tests make.
    pub(crate) unknown: Caller,
}

/// What is to be done with a request.
enum Admission {
    Yes(Caller),
    No(Status),
    /// Only once the keys were asked for again.
    NewKeys(Arc<Jwt>, String, Caller),
}

impl Gate {
    fn admit(&self, path: &str, headers: &HeaderMap, peer: Option<&Peer>) -> Admission {
        let peer = peer.map_or(&self.unknown, |peer| &peer.caller);
        if path.starts_with(REFLECTION) {
            return self.charged(peer.clone());
        }
        match &self.auth {
            Auth::None => self.charged(peer.clone()),
            Auth::Certificate => self.by_certificate(peer),
            Auth::Tokens(tokens) => match bearer(headers) {
                Ok(None) => self.by_certificate(peer),
                Ok(Some(token)) => match tokens.load().find(token.as_bytes()) {
                    Some(caller) => self.charged(caller.clone()),
                    None => self.refused(peer, Reason::UnknownToken, "the token is not known"),
                },
                Err(what) => self.refused(peer, Reason::Malformed, what),
            },
            Auth::Jwt(jwt) => match bearer(headers) {
                Ok(None) => self.by_certificate(peer),
                Ok(Some(token)) => match jwt.verify(token) {
                    Verdict::UnknownKey => {
                        Admission::NewKeys(Arc::clone(jwt), token.to_owned(), peer.clone())
                    }
                    verdict => self.judged(verdict, peer),
                },
                Err(what) => self.refused(peer, Reason::Malformed, what),
            },
        }
    }

    fn by_certificate(&self, peer: &Caller) -> Admission {
        if !peer.is_anonymous() {
            return self.charged(peer.clone());
        }
        let what = match &self.auth {
            Auth::Certificate => "the client certificate names nobody: it needs a DNS name or a CN",
            _ => "there is no token: send one as `authorization: Bearer <token>`",
        };
        self.refused(peer, Reason::NoCredentials, what)
    }

    fn judged(&self, verdict: Verdict, peer: &Caller) -> Admission {
        match verdict {
            Verdict::Valid(caller) => self.charged(caller),
            Verdict::Refused(reason, what) => self.refused(peer, reason, &what),
            Verdict::UnknownKey => {
                let what = "the token is signed with a key that is not known here";
                self.refused(peer, Reason::UnknownKey, what)
            }
        }
    }

    fn charged(&self, caller: Caller) -> Admission {
        match caller.charge(1) {
            Ok(()) => Admission::Yes(caller),
            Err(error) => Admission::No(error.into()),
        }
    }

    /// Trying is limited too, by where it comes from.
    fn refused(&self, peer: &Caller, reason: Reason, what: &str) -> Admission {
        self.authority.refusals.count(reason, |unsaid| {
            let cause = reason.name();
            tracing::warn!(peer = ?peer.name(), cause, unsaid, "not authenticated: {what}");
        });
        if let Err(error) = peer.charge(1) {
            return Admission::No(error.into());
        }
        let name = "UNAUTHENTICATED";
        let error = RpcError::new(Code::Unauthenticated, name, self.authority.domain, what);
        Admission::No(error.fact("cause", reason.name()).into())
    }
}

/// The token of a request, if it has one.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, &'static str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let wrong = "authorization has to be `Bearer <token>`";
    if values.next().is_some() {
        return Err("there is more than one authorization");
    }
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(wrong)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(wrong);
    }
    Ok(Some(token))
}

/// Puts a [`Guard`] around a service.
#[derive(Clone)]
pub struct SecurityLayer(pub(crate) Arc<Gate>);

impl std::fmt::Debug for SecurityLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecurityLayer").finish_non_exhaustive()
    }
}

impl<S> Layer<S> for SecurityLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Guard { inner, gate: Arc::clone(&self.0) }
    }
}

/// Lets through who may call, with its [`Caller`] in the request's extensions.
#[derive(Clone)]
pub struct Guard<S> {
    inner: S,
    gate: Arc<Gate>,
}

impl<S> std::fmt::Debug for Guard<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

impl<S, In, Out> Service<Request<In>> for Guard<S>
where
    S: Service<Request<In>, Response = Response<Out>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    In: Send + 'static,
    Out: Default + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Guarded<S::Future, S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<In>) -> Self::Future {
        let path = request.uri().path();
        if path.starts_with(HEALTH) {
            return Guarded::Inner { future: self.inner.call(request) };
        }
        let peer = request.extensions().get::<Peer>();
        match self.gate.admit(path, request.headers(), peer) {
            Admission::Yes(caller) => {
                enter(&mut request, caller);
                Guarded::Inner { future: self.inner.call(request) }
            }
            Admission::No(status) => Guarded::Refused { status: Some(status) },
            Admission::NewKeys(jwt, token, peer) => {
                // The one that is ready goes with the request.
                let next = self.inner.clone();
                let mut inner = std::mem::replace(&mut self.inner, next);
                let gate = Arc::clone(&self.gate);
                let later = async move {
                    let verdict = jwt.verify_with_new_keys(&token).await;
                    match gate.judged(verdict, &peer) {
                        Admission::Yes(caller) => {
                            enter(&mut request, caller);
                            inner.call(request).await
                        }
                        Admission::No(status) => Ok(status.into_http()),
                        // It was asked for, and that is not done twice.
                        Admission::NewKeys(..) => Ok(Status::unauthenticated("").into_http()),
                    }
                };
                Guarded::Later { future: Box::pin(later) }
            }
        }
    }
}

/// Handlers get the caller, and never the token.
fn enter<B>(request: &mut Request<B>, caller: Caller) {
    request.headers_mut().remove(AUTHORIZATION);
    request.extensions_mut().insert(caller);
}

pin_project! {
    /// The answer to a request that was let through, or was not.
    #[project = GuardedProjection]
    #[allow(missing_docs, reason = "fields of variants that nobody makes or reads")]
    pub enum Guarded<F, R, E> {
        Inner { #[pin] future: F },
        Refused { status: Option<Status> },
        Later { future: BoxFuture<'static, Result<R, E>> },
    }
}

impl<F, Out, E> Future for Guarded<F, Response<Out>, E>
where
    F: Future<Output = Result<Response<Out>, E>>,
    Out: Default,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            GuardedProjection::Inner { future } => future.poll(cx),
            GuardedProjection::Refused { status } => {
                let status = status.take().unwrap_or_else(|| Status::unauthenticated(""));
                Poll::Ready(Ok(status.into_http()))
            }
            GuardedProjection::Later { future } => future.as_mut().poll(cx),
        }
    }
}
