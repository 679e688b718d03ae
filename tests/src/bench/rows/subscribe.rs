//! One appender, many subscribers.

use std::sync::Arc;
use std::time::Duration;

use proto::eventstore::v1::subscribe_response::Message;
use proto::eventstore::v1::{Start, SubscribeRequest, TopicStart, start};
use tokio::sync::Semaphore;

use super::Effort;
use super::event_stream::appender;
use super::unary::one_event;
use crate::bench::flow::{Count, of_tasks};
use crate::bench::load::Measured;
use crate::bench::world::World;

const SUBSCRIBERS: usize = 100;
const TOPIC: &str = "fan-out";
const SUBSCRIBED_LIMIT: Duration = Duration::from_secs(20);

/// A subscription to events that come from now on.
pub fn from_now(topic: &str) -> SubscribeRequest {
    SubscribeRequest {
        topics: vec![TopicStart {
            topic: topic.to_owned(),
            start: Some(Start { at: Some(start::At::End(())) }),
        }],
        ..SubscribeRequest::default()
    }
}

pub async fn fan_out(world: Arc<World>, effort: Effort) -> anyhow::Result<Measured> {
    world.store(0).append(one_event(TOPIC)).await?;
    let deliveries = Count::default();
    let subscribed = Arc::new(Semaphore::new(0));
    let mut tasks: Vec<_> = (0..SUBSCRIBERS)
        .map(|subscriber| {
            let mut client = world.store(subscriber);
            let (deliveries, subscribed) = (deliveries.clone(), subscribed.clone());
            tokio::spawn(async move {
                let mut stream = client.subscribe(from_now(TOPIC)).await?.into_inner();
                while let Some(answer) = stream.message().await? {
                    match answer.message {
                        Some(Message::Event(_)) => deliveries.add(1),
                        Some(Message::CaughtUp(_)) => subscribed.add_permits(1),
                        _ => {}
                    }
                }
                anyhow::Ok(())
            })
        })
        .collect();
    let all = u32::try_from(SUBSCRIBERS)?;
    let permits = subscribed.acquire_many(all);
    tokio::time::timeout(SUBSCRIBED_LIMIT, permits).await??.forget();
    tasks.push(appender(&world, 0, &Count::default(), || one_event(TOPIC)));
    of_tasks(tasks, &deliveries, effort.time).await
}
