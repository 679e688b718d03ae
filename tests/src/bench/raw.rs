//! The limit of Redis here: plain commands over one multiplexed connection, by the library and
//! the settings that the services use.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use redis_link::{Link, RedisArgs, Value, cmd};

use super::PAYLOAD;
use super::load::{self, Measured, closed_loop};

/// Connects with a single connection.
///
/// # Errors
/// When Redis can't be reached.
pub async fn connect(url: &str) -> anyhow::Result<Link> {
    let mut args = RedisArgs::for_url(url).map_err(anyhow::Error::msg)?;
    args.redis_connections = 1;
    let link = Link::start(&args)?;
    link.ready().wait_for(|ready| *ready).await?;
    Ok(link)
}

/// XADD of one entry with one field of the payload's size.
///
/// # Errors
/// When the load can't be run.
pub async fn xadd(link: &Link, in_flight: usize, time: Duration) -> anyhow::Result<Measured> {
    let link = link.clone();
    closed_loop(in_flight, time, move |_| {
        let link = link.clone();
        async move {
            let mut add = cmd("XADD");
            add.arg("bench:raw").arg("*").arg("e").arg(&[b'x'; PAYLOAD]);
            link.query(&add).await?;
            Ok(())
        }
    })
    .await
}

/// XRANGE COUNT 1,000 through a whole stream; entries per second.
///
/// # Errors
/// When the stream can't be read.
pub async fn xrange(link: &Link, key: &str) -> anyhow::Result<Measured> {
    let mut pages = load::histogram()?;
    let mut entries = 0_u64;
    let mut from = "-".to_owned();
    let start = Instant::now();
    loop {
        let page = Instant::now();
        let mut range = cmd("XRANGE");
        range.arg(key).arg(&from).arg("+").arg("COUNT").arg(1_000);
        let Value::Array(read) = link.query(&range).await? else {
            bail!("XRANGE answered something else than a list");
        };
        pages.saturating_record(load::micros(page.elapsed()));
        entries += u64::try_from(read.len())?;
        let Some(last) = read.last() else { break };
        from = format!("({}", id(last).context("an entry without an id")?);
    }
    Ok(load::measured(&pages, entries, start.elapsed(), 0))
}

fn id(entry: &Value) -> Option<String> {
    let Value::Array(parts) = entry else {
        return None;
    };
    match parts.first()? {
        Value::BulkString(id) => String::from_utf8(id.clone()).ok(),
        Value::SimpleString(id) => Some(id.clone()),
        _ => None,
    }
}
