//! The services as a Rust client sees them: the generated stubs over one channel each.

use proto::eventstore::v1::consumer_groups_client::ConsumerGroupsClient;
use proto::eventstore::v1::event_store_client::EventStoreClient;
use proto::eventstore::v1::topics_client::TopicsClient;
use proto::eventstore::v1::{AppendRequest, Event, event};
use proto::messagequeue::v1::message_queue_client::MessageQueueClient;
use proto::messagequeue::v1::queues_client::QueuesClient;
use proto::messagequeue::v1::{Message, OutgoingMessage, SendRequest, message};
use tonic::transport::Channel;

/// Stubs of everything.
#[derive(Clone, Debug)]
pub struct Clients {
    /// `eventstore.v1.EventStore`.
    pub store: EventStoreClient<Channel>,
    /// `eventstore.v1.ConsumerGroups`.
    pub groups: ConsumerGroupsClient<Channel>,
    /// `eventstore.v1.Topics`.
    pub topics: TopicsClient<Channel>,
    /// `messagequeue.v1.MessageQueue`.
    pub queue: MessageQueueClient<Channel>,
    /// `messagequeue.v1.Queues`.
    pub queues: QueuesClient<Channel>,
}

impl Clients {
    /// Stubs for services at `http://…`; they connect when first used.
    ///
    /// # Errors
    /// When an address is none.
    pub fn new(event_store_url: &str, message_queue_url: &str) -> anyhow::Result<Self> {
        let store = svc_runtime::client::channel(event_store_url, 1)?;
        let queue = svc_runtime::client::channel(message_queue_url, 1)?;
        Ok(Self {
            store: EventStoreClient::new(store.clone()),
            groups: ConsumerGroupsClient::new(store.clone()),
            topics: TopicsClient::new(store),
            queue: MessageQueueClient::new(queue.clone()),
            queues: QueuesClient::new(queue),
        })
    }
}

/// An event with an id, so that appending it again is safe.
#[must_use]
pub fn event(id: &str, kind: &str, text: &str) -> Event {
    Event {
        id: Some(id.to_owned()),
        r#type: kind.to_owned(),
        data: Some(event::Data::TextData(text.to_owned())),
        ..Event::default()
    }
}

/// An append of these events and nothing else.
#[must_use]
pub fn append(topic: &str, events: Vec<Event>) -> AppendRequest {
    AppendRequest { topic: topic.to_owned(), events, ..AppendRequest::default() }
}

/// A message, to go out as it is.
#[must_use]
pub fn outgoing(kind: &str, text: &str) -> OutgoingMessage {
    OutgoingMessage { message: Some(message(kind, text)), ..OutgoingMessage::default() }
}

/// A message.
#[must_use]
pub fn message(kind: &str, text: &str) -> Message {
    Message {
        r#type: kind.to_owned(),
        body: Some(message::Body::TextBody(text.to_owned())),
        ..Message::default()
    }
}

/// A send of these messages and nothing else.
#[must_use]
pub fn send(queue: &str, messages: Vec<OutgoingMessage>) -> SendRequest {
    SendRequest { queue: queue.to_owned(), messages, ..SendRequest::default() }
}
