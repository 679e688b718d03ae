//! Where Redis is, who asks it, and how much of it to use: flags, environment, what belongs together.

mod sentinel;
mod url;

use std::{fmt, path::PathBuf, time::Duration};

use crate::{Problem, access};
pub(crate) use sentinel::PASSWORD as SENTINEL_PASSWORD;
pub use sentinel::{SentinelAddress, SentinelArgs};
pub use url::RedisUrl;

/// How to reach Redis. Flatten it into a service's own arguments.
#[derive(Clone, clap::Args)]
#[command(next_help_heading = "Redis")]
pub struct RedisArgs {
    /// Where Redis is: redis://[user:password@]host[:port][/database], rediss:// for TLS, or
    /// redis+unix:///path; as in `rediss://redis.example:6379`. The password never appears in logs,
    /// but a command line is seen by everybody who may list processes: put a password into
    /// `--redis-password-file`.
    #[arg(
        long,
        env = "REDIS_URL",
        default_value = "redis://127.0.0.1:6379",
        hide_env_values = true,
        value_parser = RedisUrl::parse
    )]
    pub redis_url: RedisUrl,

    /// CA that the certificate of Redis must come from, as in `/redis-tls/ca.crt`: PEM. Read again
    /// for each new connection. Default: those of the system.
    #[arg(long, env = "REDIS_CA", value_name = "FILE")]
    pub redis_ca: Option<PathBuf>,

    /// Certificate to show to Redis, as in `/redis-tls/client.crt`: PEM, its intermediates after it.
    /// Read again for each new connection. Default: none.
    #[arg(long, env = "REDIS_CERT", value_name = "FILE")]
    pub redis_cert: Option<PathBuf>,

    /// Private key of that certificate, as in `/redis-tls/client.key`: PEM, not encrypted.
    /// Default: none.
    #[arg(long, env = "REDIS_KEY", value_name = "FILE")]
    pub redis_key: Option<PathBuf>,

    /// The user at Redis (ACL), as in `messaging`. Default: that of the URL, else the one that Redis
    /// calls `default`.
    #[arg(long, env = "REDIS_USERNAME", value_name = "NAME")]
    pub redis_username: Option<String>,

    /// File with the password of that user, as in `/redis-auth/password`; a line break at its end
    /// does not count. Read again for each new connection. Default: that of the URL, else none.
    #[arg(long, env = "REDIS_PASSWORD_FILE", value_name = "FILE")]
    pub redis_password_file: Option<PathBuf>,

    /// Where the primary is found, if it moves.
    #[command(flatten)]
    pub sentinel: SentinelArgs,

    /// Connections that all normal commands share, 1 to 64; more help only when one
    /// Redis is asked by many cores.
    #[arg(long, env = "REDIS_CONNECTIONS", value_name = "NUMBER", default_value_t = 2,
          value_parser = clap::value_parser!(u16).range(1..=64))]
    pub redis_connections: u16,

    /// How long an answer to a normal command may take before its outcome is
    /// given up as unknown, as in `5s`: 10ms to 10m.
    #[arg(long, env = "REDIS_RESPONSE_TIMEOUT", value_name = "DURATION", default_value = "5s",
          value_parser = parse_timeout)]
    pub redis_response_timeout: Duration,

    /// How long connecting, and answering a PING, may take, as in `2s`: 10ms to 10m.
    #[arg(long, env = "REDIS_CONNECT_TIMEOUT", value_name = "DURATION", default_value = "2s",
          value_parser = parse_timeout)]
    pub redis_connect_timeout: Duration,

    /// The most connections that wait in blocking commands at once, 1 to 1024.
    #[arg(long, env = "REDIS_BLOCKING_CONNECTIONS", value_name = "NUMBER", default_value_t = 16,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub redis_blocking_connections: u16,

    /// How many Redis replicas must have confirmed a write that asks for
    /// DURABILITY_REPLICATED, up to 16; 0: that durability is not available.
    #[arg(long, env = "REDIS_MIN_REPLICAS", value_name = "NUMBER", default_value_t = 0,
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
            redis_url: RedisUrl::parse(url)?,
            redis_ca: None,
            redis_cert: None,
            redis_key: None,
            redis_username: None,
            redis_password_file: None,
            sentinel: SentinelArgs::default(),
            redis_connections: 2,
            redis_response_timeout: Duration::from_secs(5),
            redis_connect_timeout: Duration::from_secs(2),
            redis_blocking_connections: 16,
            redis_min_replicas: 0,
        })
    }

    /// Everything that is wrong with the flags and with the files that they name. Does not ask Redis.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let problems = self.contradictions();
        if problems.is_empty() { access::problems(self) } else { problems }
    }

    /// What does not belong together, before any file is read.
    fn contradictions(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |flag, what: &str| problems.push(Problem::new(flag, what));
        match (&self.redis_cert, &self.redis_key) {
            (Some(_), None) => wrong("--redis-key", "is missing: --redis-cert needs both"),
            (None, Some(_)) => wrong("--redis-cert", "is missing: --redis-key needs both"),
            _ => {}
        }
        for (flag, given) in [
            ("--redis-ca", self.redis_ca.is_some()),
            ("--redis-cert", self.redis_cert.is_some()),
            ("--redis-key", self.redis_key.is_some()),
        ] {
            if given && !self.redis_url.is_tls() {
                wrong(flag, "has no effect without TLS: begin --redis-url with rediss://");
            }
        }
        if self.redis_username.is_some() && self.redis_url.has_user() {
            wrong("--redis-username", "is said twice: take the user out of --redis-url");
        }
        let has_password = self.redis_url.has_password();
        match &self.redis_password_file {
            Some(_) if has_password => {
                wrong("--redis-password-file", "take the password out of --redis-url");
            }
            None if self.redis_username.is_some() && !has_password => {
                wrong("--redis-password-file", "is missing: --redis-username needs a password");
            }
            _ => {}
        }
        problems.extend(self.sentinel.contradictions(&self.redis_url));
        problems
    }

    /// Where Redis is, for people.
    #[must_use]
    pub fn place(&self) -> String {
        match self.sentinel.watched() {
            Some((sentinels, name)) => {
                let all: Vec<_> = sentinels.iter().map(ToString::to_string).collect();
                format!("{name}, as the Sentinels at {} say", all.join(", "))
            }
            None => self.redis_url.to_string(),
        }
    }
}

impl fmt::Debug for RedisArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisArgs")
            .field("url", &self.redis_url)
            .field("ca", &self.redis_ca)
            .field("cert", &self.redis_cert)
            .field("key", &self.redis_key)
            .field("username", &self.redis_username)
            .field("password_file", &self.redis_password_file)
            .field("sentinel", &self.sentinel)
            .field("connections", &self.redis_connections)
            .field("response_timeout", &self.redis_response_timeout)
            .field("connect_timeout", &self.redis_connect_timeout)
            .field("blocking_connections", &self.redis_blocking_connections)
            .field("min_replicas", &self.redis_min_replicas)
            .finish()
    }
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    let timeout = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write a number with its unit, as in 500ms or 5s"))?;
    if timeout < Duration::from_millis(10) || timeout > Duration::from_secs(600) {
        return Err("must be between 10ms and 10m".to_owned());
    }
    Ok(timeout)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        redis: RedisArgs,
    }

    fn wrong(flags: &str) -> Vec<&'static str> {
        let words = std::iter::once("svc").chain(flags.split_whitespace());
        let args = Cli::try_parse_from(words).unwrap().redis;
        args.contradictions().into_iter().map(|problem| problem.flag).collect()
    }

    #[test]
    fn every_flag_is_explained_and_has_the_variable_of_its_name() {
        let command = Cli::command();
        command.clone().debug_assert();
        for argument in command.get_arguments().filter(|argument| argument.get_id() != "help") {
            let flag = argument.get_long().unwrap();
            assert!(argument.get_help().is_some(), "--{flag} has no help");
            let variable = argument.get_env().and_then(|name| name.to_str()).unwrap();
            assert_eq!(variable, flag.to_uppercase().replace('-', "_"));
        }
    }

    #[test]
    fn what_does_not_belong_together_is_named_all_at_once() {
        let tls = "--redis-url rediss://localhost";
        assert_eq!(wrong(""), [""; 0]);
        assert_eq!(wrong("--redis-ca c"), ["--redis-ca"]);
        assert_eq!(wrong(&format!("{tls} --redis-cert c")), ["--redis-key"]);
        assert_eq!(wrong("--redis-key k"), ["--redis-cert", "--redis-key"]);
        assert_eq!(wrong("--redis-username u"), ["--redis-password-file"]);
        assert_eq!(wrong("--redis-password-file p"), [""; 0]);
        let twice = "--redis-url redis://u:p@localhost --redis-username u --redis-password-file p";
        assert_eq!(wrong(twice), ["--redis-username", "--redis-password-file"]);
        let (sentinels, master) = ("--redis-sentinels a,b:5000", "--redis-sentinel-master m");
        assert_eq!(wrong(&format!("{sentinels} {master}")), [""; 0]);
        assert_eq!(wrong(sentinels), ["--redis-sentinel-master"]);
        assert_eq!(wrong(master), ["--redis-sentinel-master"]);
        let socket = "--redis-url redis+unix:///run/redis.sock --redis-sentinel-username u";
        let both = ["--redis-sentinels", "--redis-sentinel-password-file"];
        assert_eq!(wrong(&format!("{socket} {sentinels} {master}")), both);
        let all = "--redis-ca c --redis-cert c --redis-key k --redis-username u";
        assert_eq!(wrong(&format!("{tls} {all} --redis-password-file p")), [""; 0]);
    }

    #[test]
    fn the_password_is_not_shown() {
        let args = RedisArgs::for_url("redis://ann:hush@db.example:7000/3").unwrap();
        let shown = format!("{args:?}");
        assert!(!shown.contains("hush") && shown.contains("db.example:7000/3"), "{shown}");
    }

    #[test]
    fn wrong_values_are_answered_with_what_would_be_right() {
        for (flag, value, right) in [
            ("--redis-url", "localhost:6379", "redis://[user:password@]host"),
            ("--redis-connections", "0", "1..=64"),
            ("--redis-response-timeout", "5", "as in 500ms or 5s"),
            ("--redis-connect-timeout", "1h", "between 10ms and 10m"),
            ("--redis-sentinels", "a:1,redis://b:2", "HOST:PORT"),
        ] {
            let error = Cli::try_parse_from(["svc", flag, value]).unwrap_err().to_string();
            assert!(error.contains(flag) && error.contains(right), "{flag} {value}: {error}");
        }
    }
}
