//! The gRPC side: thin handlers over the [`Store`](crate::store::Store). `check` turns requests
//! into the domain's types and says what is wrong with them, `allow` whether they may be made,
//! `convert` turns answers back, `status` maps errors. Nothing else names a status.

mod allow;
pub(crate) mod check;
mod consume;
mod consumer_groups;
mod convert;
mod elsewhere;
mod event_store;
mod groups_check;
pub(crate) mod paging;
mod status;
mod subscribe;
mod topics;

use std::sync::Arc;

use proto::server::eventstore::v1::consumer_groups_server::ConsumerGroupsServer;
use proto::server::eventstore::v1::event_store_server::EventStoreServer;
use proto::server::eventstore::v1::topics_server::TopicsServer;
use svc_runtime::malformed;
use svc_runtime::shutdown::Shutdown;
use tonic::service::{LayerExt as _, Routes, RoutesBuilder};
use tower::util::MapResponseLayer;

use self::elsewhere::Elsewhere;
use crate::figures::Figures;
use crate::store::Store;

/// The services, for health.
pub const SERVICES: [&str; 3] =
    ["eventstore.v1.EventStore", "eventstore.v1.ConsumerGroups", "eventstore.v1.Topics"];

/// What may come in.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of an event's data.
    pub max_event_bytes: usize,
    /// Bytes of a request.
    pub max_request_bytes: usize,
}

/// What the handlers share.
#[derive(Debug)]
pub struct Handlers<S> {
    store: Arc<S>,
    limits: Limits,
    figures: Figures,
    shutdown: Shutdown,
    elsewhere: Elsewhere,
}

impl<S> Clone for Handlers<S> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            limits: self.limits,
            figures: self.figures.clone(),
            shutdown: self.shutdown.clone(),
            elsewhere: self.elsewhere.clone(),
        }
    }
}

/// The three services over a store.
pub fn routes<S: Store>(
    store: Arc<S>,
    limits: Limits,
    figures: Figures,
    shutdown: Shutdown,
) -> RoutesBuilder {
    let handlers = Handlers { store, limits, figures, shutdown, elsewhere: Elsewhere::default() };
    let size = limits.max_request_bytes;
    let mut routes = Routes::builder();
    let explained =
        MapResponseLayer::new(|answer| malformed::explain_answer(status::DOMAIN, answer));
    routes
        .add_service(
            explained.named_layer(
                EventStoreServer::new(handlers.clone())
                    .max_decoding_message_size(size)
                    .max_encoding_message_size(usize::MAX),
            ),
        )
        .add_service(
            explained.named_layer(
                ConsumerGroupsServer::new(handlers.clone())
                    .max_decoding_message_size(size)
                    .max_encoding_message_size(usize::MAX),
            ),
        )
        .add_service(
            explained.named_layer(TopicsServer::new(handlers).max_decoding_message_size(size)),
        );
    routes
}
