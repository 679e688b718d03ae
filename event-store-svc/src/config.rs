//! Configuration: flags, each with an environment variable, checked whole before anything starts.

use std::net::SocketAddr;

use clap::Parser;
use svc_front::FrontArgs;
use svc_runtime::config::listen;

use crate::grpc::Limits;

/// The largest that an event may ever be.
const MOST_EVENT_BYTES: u64 = 16 << 20;
/// A request may carry many events.
const REQUEST_BYTES: usize = 64 << 20;

/// The event store: eventstore.v1 over gRPC, kept in Redis Streams.
#[derive(Clone, Debug, Parser)]
#[command(name = "event-store-svc", version, max_term_width = 100)]
pub struct Config {
    /// Where to serve gRPC: an address and a port; port 0 takes a free one.
    #[arg(long, env = "LISTEN", default_value = "0.0.0.0:50051", value_parser = listen)]
    pub listen: SocketAddr,

    /// How many bytes an event's data may have: 1 to 16777216.
    #[arg(long, env = "MAX_EVENT_BYTES", default_value_t = 1 << 20,
          value_parser = clap::value_parser!(u64).range(1..=MOST_EVENT_BYTES))]
    pub max_event_bytes: u64,

    /// Do not create a topic with its first append: answer TOPIC_NOT_FOUND until
    /// CreateTopic was called.
    #[arg(long, env = "NO_AUTO_CREATE")]
    pub no_auto_create: bool,

    /// Redis, security, metrics, traces, logs and shutdown.
    #[command(flatten)]
    pub front: FrontArgs,
}

impl Config {
    /// What may come in.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            max_event_bytes: usize::try_from(self.max_event_bytes).unwrap_or(usize::MAX),
            max_request_bytes: REQUEST_BYTES,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_flags_are_sound_and_explained() {
        let command = Config::command();
        command.clone().debug_assert();
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{} has no help", argument.get_id());
            assert!(argument.get_env().is_some(), "{} has no variable", argument.get_id());
        }
    }

    #[test]
    fn a_wrong_value_is_named() {
        let error =
            Config::try_parse_from(["x", "--max-event-bytes", "0"]).unwrap_err().to_string();
        assert!(error.contains("--max-event-bytes") && error.contains("16777216"), "{error}");
    }
}
