//! Channels to other services, set up alike everywhere.

use std::time::Duration;

use tonic::transport::channel::Change;
use tonic::transport::{Channel, Endpoint};

use crate::serve::{CONNECTION_WINDOW, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, STREAM_WINDOW};

/// How long to wait for a TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The address is none that a channel could be made to.
#[derive(Debug, thiserror::Error)]
#[error("`{url}` is no address of a gRPC service, which looks like http://127.0.0.1:50051")]
pub struct BadAddress {
    url: String,
    source: Option<tonic::transport::Error>,
}

/// A channel to `url` over `connections` connections (at least one), each made
/// when it is first needed and again when it was lost. Calls are spread over
/// the connections; more than one helps where one task a connection is not
/// enough. Must be called within a Tokio runtime.
///
/// # Errors
/// When `url` has no scheme and host.
pub fn channel(url: &str, connections: usize) -> Result<Channel, BadAddress> {
    let endpoint = endpoint(url)?;
    if connections <= 1 {
        return Ok(endpoint.connect_lazy());
    }
    let (channel, changes) = Channel::balance_channel(connections);
    for key in 0..connections {
        // Cannot be full: the buffer holds one change for each connection.
        if changes.try_send(Change::Insert(key, endpoint.clone())).is_err() {
            break;
        }
    }
    Ok(channel)
}

/// An endpoint with the settings that all have.
///
/// # Errors
/// When `url` has no scheme and host.
pub fn endpoint(url: &str) -> Result<Endpoint, BadAddress> {
    let endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(|source| BadAddress { url: url.to_owned(), source: Some(source) })?;
    if endpoint.uri().scheme().is_none() || endpoint.uri().host().is_none() {
        return Err(BadAddress { url: url.to_owned(), source: None });
    }
    Ok(endpoint
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}

/// Checks an address on the command line, for clap.
///
/// # Errors
/// When it is none, saying what one looks like.
pub fn address(value: &str) -> Result<String, BadAddress> {
    endpoint(value).map(|_| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_are_checked() {
        assert!(channel("http://127.0.0.1:1", 1).is_ok());
        assert!(channel("http://[::1]:1", 4).is_ok());
        for wrong in ["", "127.0.0.1:1", "not an address", "/path"] {
            let error = channel(wrong, 1).unwrap_err().to_string();
            assert!(error.contains("http://127.0.0.1:50051"), "{error}");
        }
    }
}
