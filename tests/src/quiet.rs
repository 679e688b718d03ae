//! Whether there is nothing left to do: every group has seen and acked everything, every queue is
//! empty. Only then can be said that something did not happen.

use anyhow::ensure;
use proto::eventstore::v1::{ListGroupsRequest, ListTopicsRequest};
use proto::messagequeue::v1::ListQueuesRequest;

use crate::clients::Clients;

/// More topics and queues than a test makes.
const PAGE: i32 = 1_000;

/// Looks once at every group and queue.
///
/// # Errors
/// The first that still has something to do.
pub async fn check(clients: &Clients) -> anyhow::Result<()> {
    let topics = ListTopicsRequest { page_size: PAGE, ..ListTopicsRequest::default() };
    let topics = clients.topics.clone().list_topics(topics).await?;
    for topic in topics.into_inner().topics {
        let groups = ListGroupsRequest {
            topic: topic.topic.clone(),
            page_size: PAGE,
            ..ListGroupsRequest::default()
        };
        let groups = clients.groups.clone().list_groups(groups).await?;
        for group in groups.into_inner().groups {
            let (lag, pending, parked) = (group.lag, group.pending, group.parked);
            ensure!(
                lag + pending + parked == 0,
                "group {} of topic {}: lag {lag}, pending {pending}, parked {parked}",
                group.group,
                topic.topic
            );
        }
    }
    let queues = ListQueuesRequest { page_size: PAGE, ..ListQueuesRequest::default() };
    let queues = clients.queues.clone().list_queues(queues).await?;
    for queue in queues.into_inner().queues {
        ensure!(
            queue.ready + queue.in_flight + queue.delayed + queue.dead_letters == 0,
            "queue {}: ready {}, in flight {}, delayed {}, dead letters {}",
            queue.queue,
            queue.ready,
            queue.in_flight,
            queue.delayed,
            queue.dead_letters
        );
    }
    Ok(())
}
