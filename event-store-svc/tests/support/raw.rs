//! Calls with bytes as they are, also such as no stub would send.

use bytes::{Buf as _, BufMut as _, Bytes};
use futures::Stream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

/// Messages as bytes.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// Sends messages to a method of any kind, with the caller's token if it has one; answers what comes
/// back.
pub async fn open(
    channel: &Channel,
    method: &str,
    messages: impl Stream<Item = Bytes> + Send + 'static,
    token: Option<&str>,
) -> Result<Streaming<Bytes>, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::try_from(format!("/eventstore.v1.{method}")).unwrap();
    let mut request = Request::new(messages);
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    Ok(client.streaming(request, path, Raw).await?.into_inner())
}

/// Sends messages to a method of any kind, and takes what it answers until it ends.
pub async fn call(
    channel: &Channel,
    method: &str,
    messages: Vec<Bytes>,
) -> Result<Vec<Bytes>, Status> {
    let mut stream = open(channel, method, tokio_stream::iter(messages), None).await?;
    let mut answers = Vec::new();
    while let Some(answer) = stream.message().await? {
        answers.push(answer);
    }
    Ok(answers)
}

/// An encoded field of type string, bytes or message.
pub fn field(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut encoded = vec![tag << 3 | 2];
    prost::encoding::encode_varint(value.len() as u64, &mut encoded);
    encoded.extend_from_slice(value);
    encoded
}

/// A text that is not UTF-8.
pub const NOT_UTF8: &[u8] = b"a\xff\xfeb";
