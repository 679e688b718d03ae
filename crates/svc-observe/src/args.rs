//! The flags of observability, each with an environment variable of the same name.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use clap::Args;

/// Names that may have a label of their own at most: beyond, a scrape takes long and Prometheus
/// suffers.
const MOST_NAMES: u32 = 10_000;

/// Flags of a service that has an admin port.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Observability")]
pub struct ObserveArgs {
    /// Where to serve /metrics, /livez, /readyz and /version over HTTP, as in `127.0.0.1:9090`;
    /// port 0 takes a free one, `off` serves none of them.
    #[arg(long, env = "ADMIN_LISTEN", default_value = "0.0.0.0:9090")]
    pub admin_listen: AdminListen,

    /// How many topics, groups or queues get a label of their own in metrics, as in `1000`; the
    /// rest is counted as `other`. From 1 to 10000.
    #[arg(long, env = "METRICS_MAX_NAMES", default_value_t = 200,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_NAMES)))]
    pub metrics_max_names: u32,

    /// Traces.
    #[command(flatten)]
    pub trace: TraceArgs,
}

impl ObserveArgs {
    /// Names with a label of their own.
    #[must_use]
    pub fn max_names(&self) -> usize {
        usize::try_from(self.metrics_max_names).unwrap_or(usize::MAX)
    }
}

/// Flags of every program that takes part in traces.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Observability")]
pub struct TraceArgs {
    /// Where to send traces, by OTLP over gRPC, as in `http://localhost:4317`. Absent: there are
    /// no traces, and they cost nothing.
    #[arg(long, env = "OTLP_ENDPOINT", value_parser = endpoint)]
    pub otlp_endpoint: Option<String>,

    /// How many of the traces that begin here are recorded, from `0.0` (none) to `1.0` (all). A
    /// caller that records its trace is always followed.
    #[arg(long, env = "TRACE_SAMPLE", default_value_t = 0.1, value_parser = ratio)]
    pub trace_sample: f64,
}

fn endpoint(value: &str) -> Result<String, String> {
    if value.starts_with("https://") {
        return Err("must be plain http://: run a collector beside the service, as an agent, \
                    and let that one speak TLS"
            .into());
    }
    svc_runtime::client::address(value).map_err(|_| {
        "must be the address of a collector, which looks like http://localhost:4317".into()
    })
}

fn ratio(value: &str) -> Result<f64, String> {
    match value.parse::<f64>() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err("must be a number from 0.0 (none) to 1.0 (all), as in 0.1".into()),
    }
}

/// Where the admin port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminListen {
    /// Nowhere.
    Off,
    /// There.
    On(SocketAddr),
}

impl FromStr for AdminListen {
    type Err = String;

    fn from_str(value: &str) -> Result<Self, String> {
        if value == "off" {
            return Ok(Self::Off);
        }
        value
            .parse()
            .map(Self::On)
            .map_err(|_| "must be an address and a port, as in 0.0.0.0:9090, or off".into())
    }
}

impl fmt::Display for AdminListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::On(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        observe: ObserveArgs,
    }

    /// A service with another default, as message-queue-svc.
    #[derive(Debug, Parser)]
    #[command(mut_arg("admin_listen", |arg| arg.default_value("0.0.0.0:9091")))]
    struct Other {
        #[command(flatten)]
        observe: ObserveArgs,
    }

    fn parse(args: &[&str]) -> Result<ObserveArgs, String> {
        Cli::try_parse_from([&["svc"], args].concat())
            .map(|cli| cli.observe)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_flags_are_sound_and_explained() {
        let command = Cli::command();
        command.clone().debug_assert();
        for argument in command.get_arguments() {
            let id = argument.get_id();
            let help = argument.get_help().unwrap().to_string();
            assert!(help.contains('`'), "{id} has no example");
            assert!(argument.get_env().is_some(), "{id} has no variable");
            assert_eq!(argument.get_help_heading(), Some("Observability"), "{id}");
        }
    }

    #[test]
    fn defaults_are_as_documented() {
        let args = parse(&[]).unwrap();
        assert_eq!(args.admin_listen.to_string(), "0.0.0.0:9090");
        assert_eq!((args.max_names(), args.trace.trace_sample), (200, 0.1));
        assert_eq!(args.trace.otlp_endpoint, None);
        let other = Other::try_parse_from(["svc"]).unwrap().observe;
        assert_eq!(other.admin_listen.to_string(), "0.0.0.0:9091");
    }

    #[test]
    fn wrong_values_are_answered_with_what_would_be_right() {
        for (flag, value, right) in [
            ("--admin-listen", "9090", "as in 0.0.0.0:9090, or off"),
            ("--trace-sample", "10", "from 0.0 (none) to 1.0 (all)"),
            ("--trace-sample", "NaN", "from 0.0 (none) to 1.0 (all)"),
            ("--metrics-max-names", "0", "1..=10000"),
            ("--otlp-endpoint", "collector:4317", "looks like http://localhost:4317"),
            ("--otlp-endpoint", "https://collector:4317", "must be plain http://"),
        ] {
            let error = parse(&[flag, value]).unwrap_err();
            assert!(error.contains(flag) && error.contains(right), "{error}");
        }
        assert_eq!(parse(&["--admin-listen", "off"]).unwrap().admin_listen, AdminListen::Off);
    }
}
