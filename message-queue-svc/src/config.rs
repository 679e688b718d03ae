//! Configuration: flags, each with an environment variable, checked whole before anything starts.

use std::net::SocketAddr;

use clap::Parser;
use svc_front::FrontArgs;
use svc_runtime::config::listen;

use crate::grpc::Limits;

/// The largest that a message's body may ever be.
const MOST_MESSAGE_BYTES: u64 = 16 << 20;
/// A request may carry many messages.
const REQUEST_BYTES: usize = 64 << 20;

/// The message queue: messagequeue.v1 over gRPC, kept in Redis Lists.
#[derive(Clone, Debug, Parser)]
#[command(name = "message-queue-svc", version, about, max_term_width = 100)]
// One more than the event store's, so that both run on one machine.
#[command(mut_arg("admin_listen", |arg| arg.default_value("0.0.0.0:9091")))]
pub struct Config {
    /// Where to serve gRPC: an address and a port; port 0 takes a free one.
    #[arg(long, env = "LISTEN", default_value = "0.0.0.0:50052", value_parser = listen)]
    pub listen: SocketAddr,

    /// How many bytes a message's body may have: 1 to 16777216.
    #[arg(long, env = "MAX_MESSAGE_BYTES", default_value_t = 1 << 20,
          value_parser = clap::value_parser!(u64).range(1..=MOST_MESSAGE_BYTES))]
    pub max_message_bytes: u64,

    /// Calls and streams that one connection may have open: 1 to 100000. A
    /// long poll holds one.
    #[arg(long, env = "MAX_CONCURRENT_STREAMS", default_value_t = 4096,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_concurrent_streams: u32,

    /// Do not create a queue with its first send: answer QUEUE_NOT_FOUND until
    /// CreateQueue was called.
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
            max_message_bytes: usize::try_from(self.max_message_bytes).unwrap_or(usize::MAX),
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
            let name = argument.get_id();
            assert!(argument.get_help().is_some(), "{name} has no help");
            assert!(argument.get_env().is_some(), "{name} has no variable");
        }
    }

    #[test]
    fn a_wrong_value_is_named() {
        let error = Config::try_parse_from(["x", "--max-message-bytes", "0"]).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("--max-message-bytes") && error.contains("16777216"), "{error}");
    }
}
