//! The gRPC side: thin handlers over the [`QueueEngine`]. `check` turns
//! requests into the domain's types and says what is wrong with them, `allow` asks whether their
//! caller may, `convert` turns answers back, `status` maps errors. Nothing else names a status.

mod allow;
mod check;
mod check_message;
mod consume;
mod convert;
mod held;
mod message_queue;
mod queues;
mod send_stream;
mod status;

use proto::server::messagequeue::v1::message_queue_server::MessageQueueServer;
use proto::server::messagequeue::v1::queues_server::QueuesServer;
use svc_runtime::malformed;
use svc_runtime::shutdown::Shutdown;
use tonic::service::{LayerExt as _, Routes, RoutesBuilder};
use tower::util::MapResponseLayer;

use crate::queue::QueueEngine;

/// The services, for health.
pub const SERVICES: [&str; 2] = ["messagequeue.v1.MessageQueue", "messagequeue.v1.Queues"];

/// What may come in.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a message's body.
    pub max_message_bytes: usize,
    /// Bytes of a request.
    pub max_request_bytes: usize,
}

/// What the handlers share.
#[derive(Clone, Debug)]
pub struct Handlers<E> {
    engine: E,
    limits: Limits,
    held: held::HeldByStreams,
    shutdown: Shutdown,
}

/// The two services over an engine.
pub fn routes<E: QueueEngine>(engine: E, limits: Limits, shutdown: &Shutdown) -> RoutesBuilder {
    let held = held::HeldByStreams::default();
    let handlers = Handlers { engine, limits, held, shutdown: shutdown.clone() };
    let size = limits.max_request_bytes;
    let mut routes = Routes::builder();
    let explained =
        MapResponseLayer::new(|answer| malformed::explain_answer(status::DOMAIN, answer));
    routes
        .add_service(
            explained.named_layer(
                MessageQueueServer::new(handlers.clone())
                    .max_decoding_message_size(size)
                    .max_encoding_message_size(usize::MAX),
            ),
        )
        .add_service(
            explained.named_layer(
                QueuesServer::new(handlers)
                    .max_decoding_message_size(size)
                    .max_encoding_message_size(usize::MAX),
            ),
        );
    routes
}
