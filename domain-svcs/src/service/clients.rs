//! The way to both services: the flags that say where they are and what to show them, and the
//! channels that every client of the shop is made of.

use clap::Args;
use svc_observe::rpc::{ClientTrace, Observed};
use svc_observe::trace;
use svc_runtime::client;
use svc_security::{ClientSecurity, SecuredChannel, ServiceAccess};

use super::event_log::EventLog;

/// A channel to a service: its calls carry the token and the trace that they are made in.
pub type Channel = Observed<SecuredChannel, ClientTrace>;

/// Connections to each of the two services. One is enough for a small service
/// and keeps its calls in order on the wire.
const CONNECTIONS: usize = 1;

/// Where the two services are, and how to show oneself to them.
#[derive(Args, Clone, Debug)]
pub struct ServicesArgs {
    /// Where the event store is; with https:// it is reached over TLS.
    #[arg(long, env = "EVENT_STORE_URL", default_value = "http://127.0.0.1:50051", value_parser = client::address)]
    pub event_store_url: String,

    /// Where the message queue is; with https:// it is reached over TLS.
    #[arg(long, env = "MESSAGE_QUEUE_URL", default_value = "http://127.0.0.1:50052", value_parser = client::address)]
    pub message_queue_url: String,

    /// TLS and the token.
    #[command(flatten)]
    pub security: ClientSecurity,
}

impl ServicesArgs {
    /// Services that ask nobody who they are.
    #[must_use]
    pub fn at(event_store_url: &str, message_queue_url: &str) -> Self {
        Self {
            event_store_url: event_store_url.to_owned(),
            message_queue_url: message_queue_url.to_owned(),
            security: ClientSecurity::default(),
        }
    }
}

/// A channel, made when it is first needed. Within a Tokio runtime.
///
/// # Errors
/// When `url` is no address, or TLS with what there is cannot be had.
pub(crate) fn channel(access: &ServiceAccess, url: &str) -> anyhow::Result<Channel> {
    let secured = access.channel(url, CONNECTIONS).map_err(anyhow::Error::msg)?;
    Ok(Observed::new(secured, ClientTrace::new(trace::spans())))
}

/// The clients of both services, and who uses them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clients {
    /// The name of the service, as the source of its events.
    pub name: &'static str,
    /// The channel to the event store.
    pub event_store: Channel,
    /// The channel to the message queue.
    pub message_queue: Channel,
}

impl Clients {
    /// Reads the files that the flags name, and makes channels; connections follow
    /// when they are needed.
    ///
    /// # Errors
    /// What is wrong with the flags or the files.
    pub fn new(name: &'static str, services: &ServicesArgs) -> anyhow::Result<Self> {
        let access = services.security.start()?;
        Ok(Self {
            name,
            event_store: channel(&access, &services.event_store_url)?,
            message_queue: channel(&access, &services.message_queue_url)?,
        })
    }

    /// Events, read and written.
    #[must_use]
    pub fn log(&self) -> EventLog {
        EventLog::new(self)
    }
}
