//! The address of Redis, checked when it is read; what is secret in it is not shown.

use std::fmt;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

/// A Redis URL that was checked. `Debug` and `Display` leave the credentials out.
#[derive(Clone)]
pub struct RedisUrl {
    info: ConnectionInfo,
}

impl RedisUrl {
    /// Reads one.
    ///
    /// # Errors
    /// What would be right, without a word of what was given: it may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        // The library's own message may quote the URL.
        let info = text.into_connection_info().map_err(|_| {
            "must look like redis://[user:password@]host[:port][/database], rediss://… for TLS, \
             or redis+unix:///path"
                .to_owned()
        })?;
        if matches!(info.addr(), ConnectionAddr::TcpTls { insecure: true, .. }) {
            return Err("must not end with #insecure: name the CA with --redis-ca".to_owned());
        }
        Ok(Self { info })
    }

    /// Whether it asks for TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self.info.addr(), ConnectionAddr::TcpTls { .. })
    }

    /// Whether it is a file of this machine.
    pub(crate) fn is_socket(&self) -> bool {
        matches!(self.info.addr(), ConnectionAddr::Unix(_))
    }

    /// Whether it holds a user.
    pub(crate) fn has_user(&self) -> bool {
        self.info.redis_settings().username().is_some()
    }

    /// Whether it holds a password.
    pub(crate) fn has_password(&self) -> bool {
        self.info.redis_settings().password().is_some()
    }

    pub(crate) fn info(&self) -> ConnectionInfo {
        self.info.clone()
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.info.addr() {
            ConnectionAddr::TcpTls { .. } => "rediss",
            ConnectionAddr::Unix(_) => "redis+unix",
            _ => "redis",
        };
        let user = if self.has_password() { "***@" } else { "" };
        let database = self.info.redis_settings().db();
        write!(f, "{scheme}://{user}{}", self.info.addr())?;
        if database == 0 { Ok(()) } else { write!(f, "/{database}") }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_is_not_shown() {
        for (url, shown) in [
            ("redis://ann:hush@db.example:7000/3", "redis://***@db.example:7000/3"),
            ("rediss://:hush@db.example", "rediss://***@db.example:6379"),
            ("redis+unix:///run/redis.sock?user=ann&pass=hush", "redis+unix://***@/run/redis.sock"),
            ("redis://db.example", "redis://db.example:6379"),
        ] {
            let url = RedisUrl::parse(url).unwrap();
            assert_eq!(format!("{url} {url:?}"), format!("{shown} {shown}"));
        }
        for wrong in ["http://ann:hush@db.example", "rediss://ann:hush@db.example#insecure", "hush"]
        {
            let refused = RedisUrl::parse(wrong).unwrap_err();
            assert!(refused.contains("redis") && !refused.contains("hush"), "{refused}");
        }
    }
}
