//! Calls with bytes as they are, also such as no stub would send.

use bytes::Bytes;
use futures::Stream;
use svc_runtime::raw;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

/// Sends messages to a method of any kind, with the caller's token if it has one; answers what comes
/// back.
pub async fn open(
    channel: &Channel,
    method: &str,
    messages: impl Stream<Item = Bytes> + Send + 'static,
    token: Option<&str>,
) -> Result<Streaming<Bytes>, Status> {
    let mut request = Request::new(messages);
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    raw::open(channel, &format!("/eventstore.v1.{method}"), request).await
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
