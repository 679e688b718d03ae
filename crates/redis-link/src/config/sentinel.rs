//! Where the Sentinels are that know the primary, and who asks them.

use std::{fmt, path::PathBuf, str::FromStr};

use super::RedisUrl;
use crate::Problem;

const SENTINELS: &str = "--redis-sentinels";
const MASTER: &str = "--redis-sentinel-master";
const USERNAME: &str = "--redis-sentinel-username";
/// The flag of the file with the password.
pub(crate) const PASSWORD: &str = "--redis-sentinel-password-file";

/// The port of a Sentinel that is named without one.
const DEFAULT_PORT: u16 = 26379;

/// How to find the primary where it moves.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SentinelArgs {
    /// Sentinels that know where the primary is, HOST[:PORT] each, as in
    /// `sentinel-0:26379,sentinel-1:26379,sentinel-2:26379`. They are asked for each new connection.
    /// Of `--redis-url` count its beginning (TLS or not, for Sentinels too), user and database, not
    /// its host. Default: none, Redis is where `--redis-url` says.
    #[arg(long, env = "REDIS_SENTINELS", value_name = "ADDRESSES", value_delimiter = ',')]
    pub redis_sentinels: Vec<SentinelAddress>,

    /// The name of the primary at the Sentinels, as in `mymaster`. Default: none.
    #[arg(long, env = "REDIS_SENTINEL_MASTER", value_name = "NAME")]
    pub redis_sentinel_master: Option<String>,

    /// The user at the Sentinels (ACL). Default: the one that they call `default`.
    #[arg(long, env = "REDIS_SENTINEL_USERNAME", value_name = "NAME")]
    pub redis_sentinel_username: Option<String>,

    /// File with the password of that user, as in `/redis-auth/sentinel-password`; a line break at
    /// its end does not count. Read again for each new connection. Default: they ask for none.
    #[arg(long, env = "REDIS_SENTINEL_PASSWORD_FILE", value_name = "FILE")]
    pub redis_sentinel_password_file: Option<PathBuf>,
}

impl SentinelArgs {
    /// The Sentinels and the name of the primary; none where Redis stays where it is.
    pub(crate) fn watched(&self) -> Option<(&[SentinelAddress], &str)> {
        let name = self.redis_sentinel_master.as_deref()?;
        (!self.redis_sentinels.is_empty()).then_some((&self.redis_sentinels, name))
    }

    /// What does not belong together, before any file is read.
    pub(super) fn contradictions(&self, url: &RedisUrl) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |flag, what: &str| problems.push(Problem::new(flag, what));
        if self.redis_sentinels.is_empty() {
            for (flag, given) in [
                (MASTER, self.redis_sentinel_master.is_some()),
                (USERNAME, self.redis_sentinel_username.is_some()),
                (PASSWORD, self.redis_sentinel_password_file.is_some()),
            ] {
                if given {
                    wrong(flag, "has no effect without --redis-sentinels");
                }
            }
            return problems;
        }
        if self.redis_sentinel_master.is_none() {
            wrong(MASTER, "is missing: --redis-sentinels needs the name of the primary there");
        }
        if url.is_socket() {
            wrong(SENTINELS, "knows hosts, and --redis-url is a socket: begin it with redis://");
        }
        if self.redis_sentinel_username.is_some() && self.redis_sentinel_password_file.is_none() {
            wrong(PASSWORD, "is missing: --redis-sentinel-username needs a password");
        }
        problems
    }
}

/// Where a Sentinel is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SentinelAddress {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl FromStr for SentinelAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let right = || "must look like HOST or HOST:PORT, as in sentinel-0:26379".to_owned();
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or_else(right)?)),
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let port = port.map_or(Ok(DEFAULT_PORT), |port| port.parse().map_err(|_| right()))?;
        let is_host = !host.is_empty() && !host.contains(['/', '@', ' ']);
        if is_host { Ok(Self { host: host.to_owned(), port }) } else { Err(right()) }
    }
}

impl fmt::Display for SentinelAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for (text, shown) in [
            ("sentinel-0", "sentinel-0:26379"),
            ("10.0.0.1:5000", "10.0.0.1:5000"),
            ("[::1]:5000", "[::1]:5000"),
            ("[::1]", "[::1]:26379"),
        ] {
            assert_eq!(text.parse::<SentinelAddress>().unwrap().to_string(), shown);
        }
        for wrong in ["", ":5000", "h:p", "h:70000", "redis://h:5000", "::1", "[::1]5000", "u@h"] {
            let refused = wrong.parse::<SentinelAddress>().unwrap_err();
            assert!(refused.contains("HOST:PORT"), "{wrong}");
        }
    }
}
