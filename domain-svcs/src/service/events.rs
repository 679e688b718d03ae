//! The event processor: a consumer group of the service's name takes the events
//! of a topic, hands them to the handler and acks them once their effect is there.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use proto::eventstore::v1 as es;
use svc_runtime::shutdown::Shutdown;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::clients::{Channel, Clients};
use super::command::shortened;
use super::consume::{Deliveries, HANDLER_TIMEOUT, Incoming, LEASE, Source, Verdict, consume};
use super::event::{Head, head};
use super::failure::Failure;
use super::trace::{Through, handling};
use super::up::Up;

/// Events outlast a long outage of what their handler needs; then they are parked.
const MAX_DELIVERIES: u32 = 1000;
/// The first and the longest wait before an event is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(30), Duration::from_secs(5));

/// Handles events of a topic. The same event may come twice; events of one
/// subject come in order.
pub trait Events: Send + Sync + 'static {
    /// Handles one. A refusal parks the event: it is a fault to look into.
    fn handle(&self, event: &Head) -> impl Future<Output = Result<(), Failure>> + Send;
}

pub(super) async fn processor<E: Events>(
    clients: Clients,
    topic: &'static str,
    at_once: u32,
    handler: E,
    up: Up,
    shutdown: Shutdown,
) {
    let group = Group {
        topic,
        group: clients.name,
        consumer: format!("{}-{}", clients.name, uuid::Uuid::new_v4().simple()),
        name: format!("{topic} as {}", clients.name),
        client: es::consumer_groups_client::ConsumerGroupsClient::new(clients.event_store),
    };
    let handler = Arc::new(handler);
    let handle = move |delivery| {
        let handler = handler.clone();
        async move { work(&*handler, delivery).await }
    };
    consume(group, at_once, handle, up, shutdown).await;
}

async fn work<E: Events>(handler: &E, delivery: es::Delivery) -> Verdict {
    let Some(recorded) = delivery.event else {
        return Verdict::Ack;
    };
    let event = head(recorded);
    let headers = event.recorded.event.as_ref().map(|event| &event.headers);
    let (topic, work) = (&event.recorded.topic, handle(handler, &event, delivery.delivery_count));
    handling(Through::Topic, topic, event.event_type(), headers, work).await
}

async fn handle<E: Events>(handler: &E, event: &Head, delivery_count: u32) -> Verdict {
    let handled = tokio::time::timeout(HANDLER_TIMEOUT, handler.handle(event))
        .await
        .unwrap_or_else(|_| Err(Failure::Transient("the handler took too long".into())));
    let (topic, position) = (&event.recorded.topic, &event.recorded.position);
    match handled {
        Ok(()) => Verdict::Ack,
        Err(Failure::Transient(reason)) => {
            let delay = retry_delay(delivery_count);
            tracing::debug!(topic, position, reason, ?delay, "event is tried again");
            Verdict::Retry { delay: Some(delay), reason }
        }
        Err(Failure::Refused(error)) => {
            tracing::error!(topic, position, reason = error.reason, "event is parked");
            Verdict::SetAside { reason: error.message }
        }
    }
}

fn retry_delay(delivery_count: u32) -> Duration {
    let doublings = delivery_count.saturating_sub(1).min(10);
    (RETRY.0 * 2_u32.pow(doublings)).min(RETRY.1)
}

struct Group {
    topic: &'static str,
    group: &'static str,
    consumer: String,
    name: String,
    client: es::consumer_groups_client::ConsumerGroupsClient<Channel>,
}

impl Group {
    async fn ensure(&mut self) -> Result<(), Status> {
        let settings = Some(es::GroupSettings {
            ack_timeout: Some(LEASE),
            max_deliveries: Some(MAX_DELIVERIES),
            ordering: es::Ordering::Subject.into(),
            ..es::GroupSettings::default()
        });
        let (topic, group) = (self.topic.to_owned(), self.group.to_owned());
        let create = es::CreateGroupRequest {
            topic: topic.clone(),
            group: group.clone(),
            settings: settings.clone(),
        };
        match self.client.create_group(create).await {
            // Made by another version of this service: this one's settings count.
            Err(status) if status.code() == Code::AlreadyExists => {
                let update = es::UpdateGroupRequest { topic, group, settings };
                self.client.update_group(update).await.map(|_| ())
            }
            created => created.map(|_| ()),
        }
    }
}

impl Source for Group {
    type Delivery = es::Delivery;
    type Request = es::ConsumeRequest;

    fn name(&self) -> &str {
        &self.name
    }

    async fn connect(
        &mut self,
        requests: ReceiverStream<es::ConsumeRequest>,
    ) -> Result<Deliveries<es::Delivery>, Status> {
        self.ensure().await?;
        let responses = self.client.consume(requests).await?.into_inner();
        Ok(responses.map(|response| Ok(incoming(response?))).boxed())
    }

    fn open(&self, max_in_flight: u32) -> es::ConsumeRequest {
        request(es::consume_request::Message::Open(es::ConsumeOpen {
            topic: self.topic.to_owned(),
            group: self.group.to_owned(),
            consumer: self.consumer.clone(),
            max_in_flight: Some(max_in_flight),
        }))
    }

    fn ack(&self, receipts: Vec<String>) -> es::ConsumeRequest {
        request(es::consume_request::Message::Ack(es::ConsumeAck { receipts }))
    }

    fn nack(&self, receipt: String, verdict: Verdict) -> es::ConsumeRequest {
        let (action, delay, reason) = match verdict {
            Verdict::SetAside { reason } => (es::NackAction::Park, None, reason),
            Verdict::Retry { delay, reason } => {
                (es::NackAction::Retry, delay.and_then(|delay| delay.try_into().ok()), reason)
            }
            Verdict::Ack => (es::NackAction::Skip, None, String::new()),
        };
        request(es::consume_request::Message::Nack(es::ConsumeNack {
            receipts: vec![receipt],
            action: action.into(),
            delay,
            reason: shortened(reason),
        }))
    }

    fn receipt(delivery: &es::Delivery) -> &str {
        &delivery.receipt
    }
}

fn request(message: es::consume_request::Message) -> es::ConsumeRequest {
    es::ConsumeRequest { message: Some(message) }
}

fn incoming(response: es::ConsumeResponse) -> Incoming<es::Delivery> {
    match response.message {
        Some(es::consume_response::Message::Delivery(delivery)) => Incoming::Delivery(delivery),
        Some(es::consume_response::Message::Outcome(es::Outcome {
            receipt,
            error: Some(error),
        })) => Incoming::Refused { receipt, error: error.message },
        _ => Incoming::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_start_quickly_and_slow_down() {
        assert_eq!(retry_delay(1), Duration::from_millis(30));
        assert_eq!(retry_delay(2), Duration::from_millis(60));
        assert_eq!(retry_delay(1000), Duration::from_secs(5));
    }
}
