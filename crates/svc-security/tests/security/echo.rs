//! A gRPC service that answers who called, if the caller may do what the request asks for: `read
//! topic order`. Once, or for each message of a stream.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use svc_security::{Caller, Resource, Right, SecuredChannel};
use tonic::body::Body;
use tonic::client::Grpc as Client;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::server::{Grpc, NamedService, StreamingService, UnaryService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::Service;

const UNARY: &str = "/test.v1.Echo/Unary";
const STREAM: &str = "/test.v1.Echo/Stream";

#[derive(Clone)]
pub struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "test.v1.Echo";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::<String, String>::default());
            match request.uri().path() {
                UNARY => Ok(grpc.unary(Once, request).await),
                STREAM => Ok(grpc.streaming(Each, request).await),
                _ => Ok(Status::unimplemented("no such method").into_http()),
            }
        })
    }
}

struct Once;
struct Each;

impl UnaryService<String> for Once {
    type Response = String;
    type Future = BoxFuture<'static, Result<Response<String>, Status>>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        assert!(request.metadata().get("authorization").is_none_or(|_| is_open(&request)));
        let answer = Caller::of(request.extensions()).and_then(|caller| {
            let asked = request.get_ref();
            answer(&caller, asked)
        });
        Box::pin(async move { answer.map(Response::new) })
    }
}

/// Whether the caller did not have to say who it is, so that nobody took its token away.
fn is_open(request: &Request<String>) -> bool {
    Caller::of(request.extensions()).is_ok_and(|caller| caller.is_anonymous())
}

impl StreamingService<String> for Each {
    type Response = String;
    type ResponseStream = BoxStream<'static, Result<String, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<String>>) -> Self::Future {
        Box::pin(async move {
            let caller = Caller::of(request.extensions())?;
            let answers = request.into_inner().map(move |asked| {
                caller.charge(1)?;
                answer(&caller, &asked?)
            });
            Ok(Response::new(answers.boxed()))
        })
    }
}

fn answer(caller: &Caller, asked: &str) -> Result<String, Status> {
    let words: Vec<&str> = asked.split(' ').collect();
    if let [right, kind, name] = words[..] {
        let right = match right {
            "append" => Right::Append,
            "read" => Right::Read,
            "send" => Right::Send,
            other => panic!("{other}"),
        };
        let resource = match kind {
            "topic" => Resource::Topic(name),
            _ => Resource::Queue(name),
        };
        caller.check(right, resource)?;
    }
    Ok(caller.name().to_owned())
}

/// Calls it once.
pub async fn ask(channel: &SecuredChannel, what: &str) -> Result<String, Status> {
    let mut client = Client::new(channel.clone());
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static(UNARY);
    let codec = ProstCodec::<String, String>::default();
    client.unary(Request::new(what.to_owned()), path, codec).await.map(Response::into_inner)
}

/// Opens a stream.
pub async fn open(
    channel: &SecuredChannel,
    asked: impl Stream<Item = String> + Send + 'static,
) -> Result<Streaming<String>, Status> {
    let mut client = Client::new(channel.clone());
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static(STREAM);
    let codec = ProstCodec::<String, String>::default();
    client.streaming(Request::new(asked), path, codec).await.map(Response::into_inner)
}
