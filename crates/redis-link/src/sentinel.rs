//! Where the primary is, as the Sentinels that watch over it say.

pub(crate) mod follow;
mod place;

use std::time::Duration;

use futures::{StreamExt, stream::FuturesUnordered};
use redis::{AsyncConnectionConfig, Client, cmd};
use tokio::time::timeout;

pub(crate) use place::Place;

use crate::{LinkError, config::SentinelAddress, link::send, values};

/// Which server is the primary. Sentinels count up whenever another one is: what has the larger
/// epoch is newer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Primary {
    epoch: u64,
    /// Its name or address.
    pub(crate) host: String,
    /// Its port.
    pub(crate) port: u16,
}

/// The newest of what the Sentinels say and of what was `known`. All are asked at once, and more
/// than half of them are enough if one says the newest: those that do not answer hold nobody up.
/// Where fewer answer, it takes `limit`.
pub(crate) async fn primary(
    sentinels: &[(SentinelAddress, Client)],
    name: &str,
    known: Option<Primary>,
    limit: Duration,
) -> Result<Primary, LinkError> {
    let mut asked: FuturesUnordered<_> = sentinels
        .iter()
        .map(|(at, client)| async move { (at, ask(client, name, limit).await) })
        .collect();
    let (mut told, mut failed) = (Vec::new(), Vec::new());
    while let Some((sentinel, answer)) = asked.next().await {
        match answer {
            Ok(primary) => told.push(primary),
            Err(error) => failed.push(format!("{sentinel}: {}", error.detail())),
        }
        let newest = told.iter().chain(&known).max();
        let is_told = newest.is_some_and(|newest| told.contains(newest));
        if told.len() * 2 > sentinels.len() && is_told {
            break;
        }
    }
    // If all of them say something older, they were set up anew.
    let known = known.filter(|_| told.len() < sentinels.len());
    told.into_iter().chain(known).max().ok_or_else(|| {
        let failed = failed.join("; ");
        let wanted = "--redis-sentinels: one of them has to say where";
        LinkError::of_connect(&format_args!("{wanted} {name} is ({failed})"))
    })
}

/// What one Sentinel knows.
pub(crate) async fn ask(
    client: &Client,
    name: &str,
    limit: Duration,
) -> Result<Primary, LinkError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(limit))
        .set_response_timeout(Some(limit));
    let asking = async {
        let connecting = client.get_multiplexed_async_connection_with_config(&config).await;
        let mut connection = connecting.map_err(|error| LinkError::of_connect(&error))?;
        send(&mut connection, cmd("SENTINEL").arg("MASTER").arg(name)).await
    };
    let answer = timeout(limit, asking).await.unwrap_or_else(|_| Err(LinkError::no_answer()));
    let answer = answer.map_err(|error| match error {
        LinkError::Refused { .. } => LinkError::of_connect(&format_args!(
            "--redis-sentinel-master: {name} is not known there"
        )),
        error => error,
    })?;
    let (mut epoch, mut host, mut port) = (None, None, None);
    for (field, value) in values::pairs(answer)? {
        let value = values::text(value)?;
        match values::text(field)?.as_str() {
            "config-epoch" => epoch = value.parse().ok(),
            "ip" => host = Some(value),
            "port" => port = value.parse().ok(),
            _ => {}
        }
    }
    let all = epoch.zip(host).zip(port);
    let wrong = LinkError::Protocol("what a Sentinel tells of a primary");
    all.map(|((epoch, host), port)| Primary { epoch, host, port }).ok_or(wrong)
}
