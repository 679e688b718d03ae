//! For tests: calls with bytes as they are, also such as no stub would send.

use bytes::{Buf as _, BufMut as _, Bytes};
use futures::Stream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{IntoStreamingRequest, Status, Streaming};

/// Messages as they are encoded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

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

    fn encode(&mut self, message: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(message);
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

/// Sends messages to a method of any kind, `/package.Service/Method`; answers what comes back. A
/// unary call is a stream of one message.
///
/// # Errors
/// The status that the call ends with before the first answer.
pub async fn open<S>(
    channel: &Channel,
    path: &str,
    requests: impl IntoStreamingRequest<Stream = S>,
) -> Result<Streaming<Bytes>, Status>
where
    S: Stream<Item = Bytes> + Send + 'static,
{
    let path = PathAndQuery::try_from(path);
    let path = path.map_err(|error| Status::unimplemented(error.to_string()))?;
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let requests = requests.into_streaming_request();
    Ok(client.streaming(requests, path, Raw).await?.into_inner())
}
