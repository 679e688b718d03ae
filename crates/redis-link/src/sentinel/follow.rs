//! Hears from a Sentinel when the primary is another one: an old primary that still serves would
//! otherwise be written to until it is told that it is none, which takes Sentinels eight seconds.

use std::time::{Duration, Instant};

use futures::StreamExt;
use redis::Value;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{debug, info};

use super::ask;
use crate::{
    LinkError,
    access::WeakAccess,
    supervisor::{first_backoff, jittered, next_backoff},
};

/// The channel that tells of it: name, old host and port, new host and port.
const SWITCHED: &str = "+switch-master";

/// How often the connection is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(1);

/// Listens to one Sentinel after the other, as long as connections are made.
pub(crate) async fn run(access: WeakAccess) {
    let mut backoff = first_backoff();
    for turn in 0.. {
        let began = Instant::now();
        match listen(&access, turn).await {
            Ok(()) => return,
            Err(error) => debug!(reason = error.detail(), "no sentinel to listen to, trying on"),
        }
        if began.elapsed() > PING_EVERY {
            backoff = first_backoff();
        }
        sleep(jittered(backoff)).await;
        backoff = next_backoff(backoff);
    }
}

/// Listens until the connection is lost (an error) or nobody is left.
async fn listen(access: &WeakAccess, turn: usize) -> Result<(), LinkError> {
    let Some(strong) = access.upgrade() else { return Ok(()) };
    let Some((sentinels, name, limit)) = strong.sentinels().await? else { return Ok(()) };
    let (_, client) = &sentinels[turn % sentinels.len()];
    let connecting = in_time(limit, client.get_async_pubsub()).await;
    let (mut sink, mut stream) = connecting?.split();
    in_time(limit, sink.subscribe(SWITCHED)).await?;
    // It may have been another one before this was heard.
    strong.primary().await?;
    drop(strong);
    let mut pings = interval(PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = stream.next() => {
                let message = message.ok_or_else(|| LinkError::of_connect(&"closed"))?;
                let told = String::from_utf8_lossy(message.get_payload_bytes());
                if told.split(' ').next() != Some(&*name) {
                    continue;
                }
                let Some(strong) = access.upgrade() else { return Ok(()) };
                info!("the primary of redis is another one now");
                // The others may not know yet.
                strong.tell(ask(client, &name, limit).await?);
            }
            _ = pings.tick() => {
                if access.upgrade().is_none() {
                    return Ok(());
                }
                in_time(limit, sink.ping::<Value>()).await?;
            }
        }
    }
}

async fn in_time<T>(
    limit: Duration,
    asking: impl Future<Output = redis::RedisResult<T>>,
) -> Result<T, LinkError> {
    let answer = timeout(limit, asking).await.map_err(|error| LinkError::of_connect(&error))?;
    answer.map_err(|error| LinkError::of_connect(&error))
}
