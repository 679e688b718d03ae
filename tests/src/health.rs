//! Whether a program is ready: `grpc.health.v1` over gRPC, `/readyz` over HTTP.

use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// How a program tells that it is ready.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Probe {
    /// `grpc.health.v1` at `host:port`.
    Grpc(String),
    /// `GET /readyz` at `host:port` answers 200.
    Http(String),
    /// Redis at `host:port` answers a PING.
    Redis(String),
}

impl Probe {
    /// Asks once.
    ///
    /// # Errors
    /// When it is not ready, or does not answer within two seconds.
    pub async fn check(&self) -> anyhow::Result<()> {
        let answer = async {
            match self {
                Self::Grpc(address) => grpc(address).await,
                Self::Http(address) => http(address).await,
                Self::Redis(address) => redis(address).await,
            }
        };
        timeout(ANSWER_LIMIT, answer).await.context("no answer")?
    }
}

async fn grpc(address: &str) -> anyhow::Result<()> {
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    let request = HealthCheckRequest { service: String::new() };
    let status = HealthClient::new(channel).check(request).await?;
    let status = status.into_inner().status();
    if status != ServingStatus::Serving {
        bail!("health is {status:?}");
    }
    Ok(())
}

async fn http(address: &str) -> anyhow::Result<()> {
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let answer = exchange(address, request.as_bytes(), 64).await?;
    if !answer.starts_with("HTTP/1.1 200") {
        bail!("/readyz says {:?}", answer.lines().next().unwrap_or_default());
    }
    Ok(())
}

async fn redis(address: &str) -> anyhow::Result<()> {
    let answer = exchange(address, b"PING\r\n", 7).await?;
    if !answer.starts_with("+PONG") {
        bail!("Redis says {answer:?}");
    }
    Ok(())
}

/// Sends one request and reads the first `length` bytes of the answer, or what there is of them.
async fn exchange(address: &str, request: &[u8], length: u64) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    stream.take(length).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
