//! One look at Redis, for `--check`: whether it can be reached and used, and what it is.

use std::time::{Duration, Instant};

use redis::{AsyncConnectionConfig, aio::MultiplexedConnection, cmd};
use tokio::time::timeout;

use crate::{
    Link, LinkError, RedisArgs, Rights,
    access::Access,
    durability::{Durability, Level, Need},
    link::{if_allowed, send},
    supervisor, values,
};

/// Of so many answers to a PING, the one in the middle tells how long one takes.
const PINGS: usize = 11;

/// What was seen. None: Redis does not say, or the user may not ask.
#[derive(Clone, Debug)]
pub struct Probe {
    /// As in `Redis 7.0.15`.
    pub server: Option<String>,
    /// How long an answer takes.
    pub round_trip: Duration,
    /// How a write is known to be on the disk.
    pub fsynced: Need,
    /// How a write is known to be at so many replicas as are asked for.
    pub replicated: Need,
    /// Whether there is an append-only file.
    pub append_only: Option<bool>,
    /// When that is written to the disk, as in `everysec`.
    pub fsync_policy: Option<String>,
    /// What Redis does when it is full, as in `noeviction`.
    pub eviction: Option<String>,
    /// The most bytes that it keeps; 0: no limit.
    pub max_memory: Option<u64>,
}

impl Probe {
    /// Looks, with the flags as they are, for a service that needs these rights. Nothing is written.
    ///
    /// # Errors
    /// Why it cannot be used, with the flag that is to blame where that can be told: see
    /// [`LinkError::detail`].
    pub async fn look(args: &RedisArgs, rights: Rights) -> Result<Self, LinkError> {
        let limit = args.redis_connect_timeout;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(limit))
            .set_response_timeout(Some(args.redis_response_timeout));
        let (mut connection, _) =
            supervisor::connect(&Access::new(args), &rights, &config, limit).await?;
        let round_trip = round_trip(&mut connection).await?;
        let info = info(&mut connection).await?;
        let config = settings(&mut connection).await?;
        let field = |name: &str| values::info_field(&info, name).map(str::to_owned);
        let setting =
            |name: &str| config.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let durability = Durability::new(up(args, rights).await?);
        Ok(Self {
            server: server(&info),
            round_trip,
            fsynced: durability.need(Level::Fsynced).await?,
            replicated: durability.need(Level::Replicated).await?,
            append_only: field("aof_enabled").map(|enabled| enabled == "1"),
            fsync_policy: setting("appendfsync"),
            eviction: field("maxmemory_policy").or_else(|| setting("maxmemory-policy")),
            max_memory: field("maxmemory").and_then(|bytes| bytes.parse().ok()),
        })
    }
}

/// The connections as a service has them.
async fn up(args: &RedisArgs, rights: Rights) -> Result<Link, LinkError> {
    let link = Link::start_with(args, rights)?;
    let mut ready = link.ready();
    let is_up = timeout(2 * args.redis_connect_timeout, ready.wait_for(|ready| *ready)).await;
    if is_up.is_ok_and(|waited| waited.is_ok()) { Ok(link) } else { Err(LinkError::no_answer()) }
}

async fn round_trip(connection: &mut MultiplexedConnection) -> Result<Duration, LinkError> {
    let mut took = Vec::with_capacity(PINGS);
    for _ in 0..PINGS {
        let begun = Instant::now();
        send(connection, &cmd("PING")).await?;
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    Ok(took[PINGS / 2])
}

/// What it tells of itself; nothing when the user may not ask.
async fn info(connection: &mut MultiplexedConnection) -> Result<String, LinkError> {
    match if_allowed(send(connection, &cmd("INFO")).await)? {
        Some(text) => values::text(text),
        None => Ok(String::new()),
    }
}

async fn settings(
    connection: &mut MultiplexedConnection,
) -> Result<Vec<(String, String)>, LinkError> {
    let mut settings = Vec::new();
    for pattern in ["append*", "maxmemory*"] {
        let asked = send(connection, cmd("CONFIG").arg("GET").arg(pattern)).await;
        let Some(answer) = if_allowed(asked)? else { continue };
        for (key, value) in values::pairs(answer)? {
            settings.push((values::text(key)?, values::text(value)?));
        }
    }
    Ok(settings)
}

fn server(info: &str) -> Option<String> {
    let version = |name| values::info_field(info, name);
    let valkey = version("valkey_version").map(|version| format!("Valkey {version}"));
    valkey.or_else(|| version("redis_version").map(|version| format!("Redis {version}")))
}
