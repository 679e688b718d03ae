//! A service of a later version, as a client of today meets it: a proxy that adds to every answer
//! of a real one what today's protos do not know. Requests get a field more too, as from a client of
//! a later version, which the services have to ignore.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use prost::encoding::{WireType, decode_varint, encode_key, encode_varint};
use svc_runtime::raw::{self, Raw};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{Body as HttpBody, BoxFuture, Service, StdError, http};
use tonic::server::StreamingService;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

/// The number of every field, and of every value of an enum, that is not known today.
pub const LATER: u32 = 900;

/// Answers of one message each: the field that holds it.
const WRAPPED: [&str; 3] = ["/Read", "/Subscribe", "/Consume"];
/// Streams on which a later version may say something else than today.
const OF_MANY_KINDS: [&str; 2] = ["/Subscribe", "/Consume"];
/// Answers with an enum: calls, and the field's number.
const ENUMS: [(&str, u32); 2] = [("EventStore/Append", 6), ("MessageQueue/Send", 2)];

/// The proxy. Ends when dropped.
#[derive(Debug)]
pub struct Newer {
    address: String,
    serving: JoinHandle<()>,
}

impl Newer {
    /// Before the service at `http://…`.
    ///
    /// # Errors
    /// When it can't listen.
    pub async fn start(url: &str) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(url.to_owned())?.connect_lazy();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let router = Routes::default().into_axum_router().fallback_service(Proxy(channel));
        let server = Server::builder().add_routes(Routes::from(router));
        let serving = tokio::spawn(async move {
            let _ = server.serve_with_incoming(TcpListenerStream::new(listener)).await;
        });
        Ok(Self { address, serving })
    }

    /// Where it listens, as `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Newer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Passes every call on.
#[derive(Clone, Debug)]
struct Proxy(Channel);

impl<B> Service<http::Request<B>> for Proxy
where
    B: HttpBody + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let path = PathAndQuery::try_from(request.uri().path()).ok();
        let call = Call { channel: self.0.clone(), path };
        Box::pin(async move { Ok(tonic::server::Grpc::new(Raw).streaming(call, request).await) })
    }
}

/// One call; a unary one is a stream of one message.
struct Call {
    channel: Channel,
    path: Option<PathAndQuery>,
}

impl StreamingService<Bytes> for Call {
    type Response = Bytes;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let (channel, path) = (self.channel.clone(), self.path.clone());
        Box::pin(async move {
            let path = path.ok_or_else(|| Status::unimplemented("no path"))?;
            let (metadata, _, requests) = request.into_parts();
            let requests = requests.filter_map(async |request| Some(with_a_field(request.ok()?)));
            let mut request = Request::new(requests);
            *request.metadata_mut() = metadata;
            let answers = raw::open(&channel, path.path(), request).await?;
            let is = |calls: &[&str]| calls.iter().any(|call| path.path().ends_with(call));
            let first = is(&OF_MANY_KINDS).then(|| Ok(with_a_field(Bytes::new())));
            let later = answers.map(move |answer| Ok(later(path.path(), answer?)));
            let answers: Self::ResponseStream = Box::pin(futures::stream::iter(first).chain(later));
            Ok(Response::new(answers))
        })
    }
}

/// An answer as a later version might give it.
fn later(path: &str, answer: Bytes) -> Bytes {
    let mut answer = answer;
    if WRAPPED.iter().any(|call| path.ends_with(call)) {
        answer = with_a_field_inside(&answer).unwrap_or(answer);
    }
    let mut answer = BytesMut::from(with_a_field(answer));
    if let Some((_, field)) = ENUMS.iter().find(|(call, _)| path.ends_with(call)) {
        // Of a field that is there twice the last one counts.
        encode_key(*field, WireType::Varint, &mut answer);
        encode_varint(LATER.into(), &mut answer);
    }
    answer.freeze()
}

fn with_a_field(message: Bytes) -> Bytes {
    let mut message = BytesMut::from(message);
    encode_key(LATER, WireType::LengthDelimited, &mut message);
    encode_varint(5, &mut message);
    message.put_slice(b"later");
    message.freeze()
}

/// Of a message that consists of another one in its first field.
fn with_a_field_inside(message: &Bytes) -> Option<Bytes> {
    let mut rest = message.clone();
    let key = decode_varint(&mut rest).ok()?;
    let length = decode_varint(&mut rest).ok()?;
    if key != 0x0a || usize::try_from(length).ok()? != rest.len() {
        return None;
    }
    let inside = with_a_field(rest);
    let mut message = BytesMut::new();
    encode_key(1, WireType::LengthDelimited, &mut message);
    encode_varint(u64::try_from(inside.len()).ok()?, &mut message);
    message.put(inside);
    Some(message.freeze())
}
