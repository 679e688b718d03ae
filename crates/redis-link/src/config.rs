//! Where Redis is and how much of it to use: flags, environment, checks.

use std::{fmt, time::Duration};

use redis::IntoConnectionInfo;

/// How to reach Redis. Flatten it into a service's own arguments.
#[derive(Clone, clap::Args)]
#[command(next_help_heading = "Redis")]
pub struct RedisArgs {
    /// Where Redis is: redis://[user:password@]host[:port][/database], or
    /// redis+unix:///path. The password never appears in logs.
    #[arg(
        long,
        env = "REDIS_URL",
        default_value = "redis://127.0.0.1:6379",
        hide_env_values = true,
        value_parser = parse_url
    )]
    pub redis_url: RedisUrl,

    /// Connections that all normal commands share; more help only when one
    /// Redis is asked by many cores.
    #[arg(long, env = "REDIS_CONNECTIONS", default_value_t = 2,
          value_parser = clap::value_parser!(u16).range(1..=64))]
    pub redis_connections: u16,

    /// How long an answer to a normal command may take before its outcome is
    /// given up as unknown.
    #[arg(long, env = "REDIS_RESPONSE_TIMEOUT", default_value = "5s", value_parser = parse_timeout)]
    pub redis_response_timeout: Duration,

    /// How long connecting, and answering a PING, may take.
    #[arg(long, env = "REDIS_CONNECT_TIMEOUT", default_value = "2s", value_parser = parse_timeout)]
    pub redis_connect_timeout: Duration,

    /// The most connections that wait in blocking commands at once.
    #[arg(long, env = "REDIS_BLOCKING_CONNECTIONS", default_value_t = 16,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub redis_blocking_connections: u16,

    /// How many Redis replicas must have confirmed a write that asks for
    /// DURABILITY_REPLICATED; 0: that durability is not available.
    #[arg(long, env = "REDIS_MIN_REPLICAS", default_value_t = 0,
          value_parser = clap::value_parser!(u16).range(0..=16))]
    pub redis_min_replicas: u16,
}

impl RedisArgs {
    /// The defaults, for the Redis at `url`.
    ///
    /// # Errors
    /// A message for people when the URL is not one of Redis.
    pub fn for_url(url: &str) -> Result<Self, String> {
        Ok(Self {
            redis_url: parse_url(url)?,
            redis_connections: 2,
            redis_response_timeout: Duration::from_secs(5),
            redis_connect_timeout: Duration::from_secs(2),
            redis_blocking_connections: 16,
            redis_min_replicas: 0,
        })
    }
}

impl fmt::Debug for RedisArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisArgs")
            .field("url", &self.redis_url)
            .field("connections", &self.redis_connections)
            .field("response_timeout", &self.redis_response_timeout)
            .field("connect_timeout", &self.redis_connect_timeout)
            .field("blocking_connections", &self.redis_blocking_connections)
            .field("min_replicas", &self.redis_min_replicas)
            .finish()
    }
}

/// A Redis URL that was checked. `Debug` and `Display` leave the credentials
/// out.
#[derive(Clone)]
pub struct RedisUrl {
    info: redis::ConnectionInfo,
}

impl RedisUrl {
    pub(crate) fn info(&self) -> redis::ConnectionInfo {
        self.info.clone()
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = if self.info.redis_settings().password().is_some() { "***@" } else { "" };
        let database = self.info.redis_settings().db();
        write!(f, "{user}{}/{database}", self.info.addr())
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn parse_url(text: &str) -> Result<RedisUrl, String> {
    // The library's own message may quote the URL, and with it the password.
    let info = text.into_connection_info().map_err(|_| {
        "must look like redis://[user:password@]host[:port][/database] or redis+unix:///path"
            .to_owned()
    })?;
    if !info.addr().is_supported() {
        return Err("TLS (rediss://) is not supported by this build".to_owned());
    }
    Ok(RedisUrl { info })
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    let timeout = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if timeout < Duration::from_millis(10) || timeout > Duration::from_secs(600) {
        return Err("must be between 10ms and 10m".to_owned());
    }
    Ok(timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_not_shown() {
        let args = RedisArgs::for_url("redis://ann:hush@db.example:7000/3").unwrap();
        let shown = format!("{args:?} {}", args.redis_url);
        assert!(!shown.contains("hush") && shown.contains("db.example:7000/3"), "{shown}");
        let refused = RedisArgs::for_url("http://ann:hush@db.example").unwrap_err();
        assert!(!refused.contains("hush"), "{refused}");
    }
}
