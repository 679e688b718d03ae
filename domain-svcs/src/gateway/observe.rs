//! How the shop is: which services are up, how far each consumer group is
//! behind, what waits in each queue. One observer per gateway asks the two
//! front services once a second, and only while somebody watches; every watcher
//! gets the same text.

mod health;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use axum::extract::ws::Utf8Bytes;
use futures::future::{join_all, try_join_all};
use proto::eventstore::v1 as es;
use proto::messagequeue::v1 as mq;
use serde_json::{Value, json};
use svc_runtime::client;
use svc_runtime::shutdown::Shutdown;
use svc_security::ClientSecurity;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use self::health::{Health, Seen};
use crate::model;
use crate::service::{Channel, Clients, channel, seconds};

/// How often the shop is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How long a service may take to answer before it counts as away.
const PATIENCE: Duration = Duration::from_secs(2);
/// More groups than a topic of the shop has.
const MAX_GROUPS: i32 = 100;

/// Tells watchers how the shop is.
#[derive(Debug)]
pub(super) struct Observer {
    status: watch::Sender<Utf8Bytes>,
    wake: Notify,
}

impl Observer {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { status: watch::channel(Utf8Bytes::default()).0, wake: Notify::new() })
    }

    /// What is told from now on.
    pub(super) fn watch(&self) -> watch::Receiver<Utf8Bytes> {
        let watched = self.status.receiver_count() > 0;
        let mut watching = self.status.subscribe();
        if watched && !watching.borrow().is_empty() {
            // What the others were told within the last second is as good for this one.
            watching.mark_changed();
        }
        self.wake.notify_one();
        watching
    }

    /// Looks while somebody watches, until the shutdown.
    pub(super) async fn run(self: Arc<Self>, look: Look, shutdown: Shutdown) {
        while !shutdown.is_triggered() {
            if self.status.receiver_count() == 0 {
                tokio::select! {
                    () = self.wake.notified() => {}
                    () = shutdown.triggered() => {}
                }
                continue;
            }
            let next = Instant::now() + EVERY;
            let seen = look.look().await;
            self.status.send_replace(seen.to_string().into());
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = shutdown.triggered() => {}
            }
        }
    }
}

/// A service's name and where it tells its health, from `name=http://…`.
///
/// # Errors
/// When it is none.
pub(super) fn named_address(value: &str) -> Result<(String, String), String> {
    let (name, url) =
        value.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
            format!("`{value}` names no service: write it as in cart-service=http://127.0.0.1:6004")
        })?;
    let url = client::address(url).map_err(|error| error.to_string())?;
    Ok((name.to_owned(), url))
}

/// What it takes to look.
pub(super) struct Look {
    topics: es::topics_client::TopicsClient<Channel>,
    groups: es::consumer_groups_client::ConsumerGroupsClient<Channel>,
    queues: mq::queues_client::QueuesClient<Channel>,
    fronts: [HealthClient<Channel>; 2],
    services: Vec<(String, HealthClient<Channel>)>,
}

impl Look {
    /// A look through the front services, and at the health of services whose
    /// addresses are known.
    ///
    /// # Errors
    /// When an address is none, or a file of `security` is of no use.
    pub(super) fn new(
        clients: &Clients,
        services: &[(String, String)],
        security: &ClientSecurity,
    ) -> anyhow::Result<Self> {
        // Health needs no token, so nobody who is only asked for it gets ours.
        let access = ClientSecurity { services_token_file: None, ..security.clone() }.start()?;
        let (store, queue) = (&clients.event_store, &clients.message_queue);
        let services = services.iter().map(|(name, url)| {
            let channel = channel(&access, url).with_context(|| format!("health of {name}"))?;
            Ok((name.clone(), HealthClient::new(channel)))
        });
        Ok(Self {
            topics: es::topics_client::TopicsClient::new(store.clone()),
            groups: es::consumer_groups_client::ConsumerGroupsClient::new(store.clone()),
            queues: mq::queues_client::QueuesClient::new(queue.clone()),
            fronts: [HealthClient::new(store.clone()), HealthClient::new(queue.clone())],
            services: services.collect::<anyhow::Result<_>>()?,
        })
    }

    async fn look(&self) -> Value {
        let services =
            self.services.iter().map(async |(name, client)| (name.clone(), health(client).await));
        let [event_store, message_queue] = &self.fronts;
        let (event_store, message_queue, services, topics, groups, queues) = tokio::join!(
            health(event_store),
            health(message_queue),
            join_all(services),
            self.topics(),
            self.groups(),
            self.queues(),
        );
        let (topics, groups, queues) = (topics.ok(), groups.ok(), queues.ok());
        let seen = Seen { groups: groups.as_deref(), queues: queues.as_deref() };
        let lights = health::lights([event_store, message_queue], &services, &seen);
        let topic = |topic: &es::Topic| {
            json!({
                "topic": topic.topic,
                "events": topic.events,
                "created_at": topic.created_at.as_ref().map(seconds),
                "last_position": topic.last_position,
                "last_sequence": topic.last_sequence,
                "appended_per_second": topic.appended_per_second,
            })
        };
        let group = |group: &es::Group| {
            json!({
                "topic": group.topic,
                "group": group.group,
                "lag": group.lag,
                "pending": group.pending,
                "parked": group.parked,
                "oldest_pending": group.oldest_pending_age.map(age),
                "acked_per_second": group.acked_per_second,
            })
        };
        let queue = |queue: &mq::Queue| {
            json!({
                "queue": queue.queue,
                "ready": queue.ready,
                "in_flight": queue.in_flight,
                "delayed": queue.delayed,
                "dead_letters": queue.dead_letters,
                "oldest": queue.oldest_age.map(age),
                "consumers": queue.consumers,
                "acked_per_second": queue.acked_per_second,
                "paused": queue.paused,
            })
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        json!({
            "action": "status",
            "ts": now.as_secs_f64(),
            "data": {
                "services": lights,
                "topics": topics.map(|topics| topics.iter().map(topic).collect::<Vec<_>>()),
                "groups": groups.map(|groups| groups.iter().map(group).collect::<Vec<_>>()),
                "queues": queues.map(|queues| queues.iter().map(queue).collect::<Vec<_>>()),
            },
        })
    }

    /// The shop's topics that there are.
    async fn topics(&self) -> Result<Vec<es::Topic>, Status> {
        let topics = model::topics().map(|topic| {
            let mut client = self.topics.clone();
            let request = within(es::GetTopicRequest { topic: topic.to_owned() });
            async move { there(client.get_topic(request).await) }
        });
        let found = try_join_all(topics).await?;
        Ok(found.into_iter().flatten().filter_map(|found| found.topic).collect())
    }

    /// All groups of the shop's topics, whoever made them.
    async fn groups(&self) -> Result<Vec<es::Group>, Status> {
        let groups = model::topics().map(|topic| {
            let mut client = self.groups.clone();
            let request = es::ListGroupsRequest {
                topic: topic.to_owned(),
                page_size: MAX_GROUPS,
                ..es::ListGroupsRequest::default()
            };
            async move { there(client.list_groups(within(request)).await) }
        });
        let found = try_join_all(groups).await?;
        Ok(found.into_iter().flatten().flat_map(|found| found.groups).collect())
    }

    /// The queues of the shop's services that there are.
    async fn queues(&self) -> Result<Vec<mq::Queue>, Status> {
        let queues = health::services().map(|queue| {
            let mut client = self.queues.clone();
            let request = within(mq::GetQueueRequest { queue: queue.to_owned() });
            async move { there(client.get_queue(request).await) }
        });
        let found = try_join_all(queues).await?;
        Ok(found.into_iter().flatten().filter_map(|found| found.queue).collect())
    }
}

/// What a service says of itself.
async fn health(client: &HealthClient<Channel>) -> Health {
    match client.clone().check(within(HealthCheckRequest::default())).await {
        Ok(health) if health.get_ref().status() == ServingStatus::Serving => Health::Ready,
        Ok(_) => Health::NotReady,
        Err(_) => Health::Away,
    }
}

fn within<T>(request: T) -> Request<T> {
    let mut request = Request::new(request);
    request.set_timeout(PATIENCE);
    request
}

/// None for what does not exist yet.
fn there<T>(answer: Result<tonic::Response<T>, Status>) -> Result<Option<T>, Status> {
    match answer {
        Ok(found) => Ok(Some(found.into_inner())),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(status),
    }
}

/// Seconds.
fn age(age: prost_types::Duration) -> f64 {
    Duration::try_from(age).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::ServicesArgs;

    const NOWHERE: &str = "http://127.0.0.1:9";

    async fn told(watching: &mut watch::Receiver<Utf8Bytes>) -> Value {
        tokio::time::timeout(Duration::from_secs(20), watching.changed()).await.unwrap().unwrap();
        serde_json::from_str(watching.borrow_and_update().as_str()).unwrap()
    }

    #[tokio::test]
    async fn it_looks_only_while_somebody_watches_and_tells_all_the_same() {
        let services = ServicesArgs::at(NOWHERE, NOWHERE);
        let clients = Clients::new("test", &services).unwrap();
        let yours = [("yours".to_owned(), NOWHERE.to_owned())];
        let look = Look::new(&clients, &yours, &services.security).unwrap();
        let (observer, shutdown) = (Observer::new(), Shutdown::new());
        let running = tokio::spawn(observer.clone().run(look, shutdown.clone()));
        let mut first = observer.watch();
        let seen = told(&mut first).await;
        assert_eq!(seen["action"], "status");
        assert_eq!(seen["data"]["queues"], Value::Null);
        let services = seen["data"]["services"].as_array().unwrap();
        let light = |name| services.iter().find(|light| light["name"] == name).unwrap();
        assert_eq!(light("event-store-svc")["state"], "down");
        assert_eq!(light("yours")["state"], "down");

        // Who comes second need not wait for the next look.
        let mut second = observer.watch();
        assert!(second.has_changed().unwrap());
        assert_eq!(told(&mut second).await, seen);
        drop((first, second));
        assert_eq!(observer.status.receiver_count(), 0);
        // Without watchers it stands still; the next one gets a new look, not the old.
        let mut third = observer.watch();
        assert!(!third.has_changed().unwrap());
        assert_ne!(told(&mut third).await["ts"], seen["ts"]);
        shutdown.trigger();
        running.await.unwrap();
    }

    #[test]
    fn health_addresses_have_a_name() {
        let right = named_address("cart-service=http://127.0.0.1:6004").unwrap();
        assert_eq!(right, ("cart-service".to_owned(), "http://127.0.0.1:6004".to_owned()));
        for wrong in ["http://127.0.0.1:6004", "=http://127.0.0.1:6004", "cart-service=6004"] {
            let error = named_address(wrong).unwrap_err();
            assert!(error.contains("http://127.0.0.1:"), "{error}");
        }
    }
}
