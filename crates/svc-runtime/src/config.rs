//! The flags that every service has, and parsers for kinds of values that
//! several of them take. Each flag has an environment variable of the same name.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// The longest a shutdown may take: orchestrators commonly kill after 30 s.
pub const MAX_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(25);

/// Flags that every service has.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Runtime")]
pub struct RuntimeArgs {
    /// How log lines look: text for people, json (one object a line) for machines.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// What is logged: a level (off, error, warn, info, debug, trace), and after
    /// it levels of single modules, as in `info,h2=warn,tower=off`.
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_parser = log_level)]
    pub log_level: String,

    /// How long a shutdown may take before open connections are dropped, as in
    /// `10s`; at most 25s.
    #[arg(long, env = "SHUTDOWN_TIMEOUT", default_value = "25s", value_parser = shutdown_timeout)]
    pub shutdown_timeout: Duration,

    /// How long a service that was told to stop says that it is not ready before
    /// it refuses new calls, as in `5s`: time for load balancers to notice. Part
    /// of the shutdown timeout.
    #[arg(long, env = "SHUTDOWN_DELAY", default_value = "0s", value_parser = duration)]
    pub shutdown_delay: Duration,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Parses an address to listen on.
///
/// # Errors
/// When it is none, with an example of what would be.
pub fn listen(value: &str) -> Result<SocketAddr, String> {
    value.parse().map_err(|_| "must be an address and a port, as in 0.0.0.0:50051".to_owned())
}

/// Parses a duration such as `500ms`, `30s` or `1h 30m`.
///
/// # Errors
/// When it is none, with examples of what would be.
pub fn duration(value: &str) -> Result<Duration, String> {
    humantime::parse_duration(value)
        .map_err(|e| format!("{e}; write a number with its unit, as in 500ms, 30s or 1h"))
}

fn shutdown_timeout(value: &str) -> Result<Duration, String> {
    let timeout = duration(value)?;
    if timeout > MAX_SHUTDOWN_TIMEOUT {
        let max = humantime::format_duration(MAX_SHUTDOWN_TIMEOUT);
        return Err(format!("at most {max}"));
    }
    Ok(timeout)
}

/// Checks a log filter. A bare word must be a level: `EnvFilter` alone takes a
/// misspelt `inof` for a module and then logs nothing else.
fn log_level(value: &str) -> Result<String, String> {
    let words = value.split(',').map(str::trim).filter(|part| !part.is_empty());
    for part in words {
        let is_module_rule = part.contains('=') || part.contains('[');
        if !is_module_rule && part.parse::<LevelFilter>().is_err() {
            return Err(format!(
                "`{part}` is no level: use off, error, warn, info, debug or trace, \
                 or module=level"
            ));
        }
    }
    EnvFilter::try_new(value)
        .map(|_| value.to_owned())
        .map_err(|e| format!("{e}; write it as in info,h2=warn"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        runtime: RuntimeArgs,
    }

    fn parse(args: &[&str]) -> Result<RuntimeArgs, String> {
        Cli::try_parse_from([&["svc"], args].concat())
            .map(|cli| cli.runtime)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn defaults_are_valid() {
        let args = parse(&[]).unwrap();
        assert_eq!(args.log_format, LogFormat::Text);
        assert_eq!(args.shutdown_timeout, MAX_SHUTDOWN_TIMEOUT);
        assert_eq!(args.shutdown_delay, Duration::ZERO);
    }

    #[test]
    fn wrong_values_are_answered_with_what_would_be_right() {
        let error = parse(&["--log-level", "inof"]).unwrap_err();
        assert!(error.contains("`inof` is no level: use off, error"), "{error}");
        let error = parse(&["--log-level", "info,h2=loud"]).unwrap_err();
        assert!(error.contains("info,h2=warn"), "{error}");
        let error = parse(&["--shutdown-timeout", "10"]).unwrap_err();
        assert!(error.contains("500ms, 30s or 1h"), "{error}");
        let error = parse(&["--shutdown-timeout", "26s"]).unwrap_err();
        assert!(error.contains("at most 25s"), "{error}");
    }

    #[test]
    fn levels_and_module_rules_are_accepted() {
        for level in ["info", "WARN", "off", "info,h2=warn", "warn, redis_link = debug"] {
            assert!(parse(&["--log-level", &level.replace(' ', "")]).is_ok(), "{level}");
        }
    }
}
