//! The settings that a service wants its queue and its topics to have. One that
//! exists with others is changed. A front service that does not let itself be
//! told works with its defaults: they shorten what outages are survived, no more.

use prost_types::Duration;
use proto::eventstore::v1 as es;
use proto::messagequeue::v1 as mq;
use svc_runtime::backoff::Backoff;
use svc_runtime::shutdown::Shutdown;
use tonic::{Code, Status};

use super::clients::{Channel, Clients};
use super::command::QueueOptions;
use super::failure::is_transient;

/// The longest dedup window that there is: how late something may come again
/// and still be recognised by its id alone.
const DEDUP_WINDOW: Duration = Duration { seconds: 24 * 3600, nanos: 0 };

/// The service's queue, which has its name.
pub(super) async fn queue(clients: &Clients, options: QueueOptions, shutdown: &Shutdown) {
    let client = mq::queues_client::QueuesClient::new(clients.message_queue.clone());
    let settings = Some(mq::QueueSettings {
        max_attempts: Some(options.max_attempts),
        retry_backoff: Some(mq::Backoff {
            initial: options.first_retry.try_into().ok(),
            max: options.longest_retry.try_into().ok(),
            multiplier: None,
        }),
        dedup_window: Some(DEDUP_WINDOW),
        ..mq::QueueSettings::default()
    });
    let ensure = || {
        let (mut client, queue) = (client.clone(), clients.name.to_owned());
        async move {
            let create = mq::CreateQueueRequest { queue: queue.clone(), settings };
            let created = client.create_queue(create).await.map(|_| ());
            if exists(&created) {
                let update = mq::UpdateQueueRequest { queue, settings };
                return client.update_queue(update).await.map(|_| ());
            }
            created
        }
    };
    until_done(clients.name, ensure, shutdown).await;
}

/// A topic that the service writes to.
pub(super) async fn topic(clients: &Clients, topic: &'static str, shutdown: &Shutdown) {
    let settings =
        es::TopicSettings { dedup_window: Some(DEDUP_WINDOW), ..es::TopicSettings::default() };
    topic_with(&clients.event_store, topic, settings, shutdown).await;
}

/// A topic with these settings.
pub(super) async fn topic_with(
    event_store: &Channel,
    topic: &str,
    settings: es::TopicSettings,
    shutdown: &Shutdown,
) {
    let client = es::topics_client::TopicsClient::new(event_store.clone());
    let settings = Some(settings);
    let ensure = || {
        let (mut client, topic) = (client.clone(), topic.to_owned());
        async move {
            let create = es::CreateTopicRequest { topic: topic.clone(), settings };
            let created = client.create_topic(create).await.map(|_| ());
            if exists(&created) {
                let update = es::UpdateTopicRequest { topic, settings };
                return client.update_topic(update).await.map(|_| ());
            }
            created
        }
    };
    until_done(topic, ensure, shutdown).await;
}

fn exists(created: &Result<(), Status>) -> bool {
    created.as_ref().is_err_and(|status| status.code() == Code::AlreadyExists)
}

async fn until_done<F: Future<Output = Result<(), Status>>>(
    name: &str,
    mut attempt: impl FnMut() -> F,
    shutdown: &Shutdown,
) {
    let mut backoff = Backoff::reconnect();
    loop {
        match attempt().await {
            Ok(()) => return,
            Err(status) if is_transient(&status) => {}
            Err(status) => {
                tracing::warn!(name, code = ?status.code(), "keeps the settings that it has");
                return;
            }
        }
        if !backoff.wait(shutdown).await {
            return;
        }
    }
}
