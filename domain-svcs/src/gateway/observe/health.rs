//! A light for each service. A service whose health address is known is asked;
//! of the others it tells what can be seen in the two front services: whether
//! somebody takes commands from its queue, and events for its groups.

use proto::eventstore::v1 as es;
use proto::messagequeue::v1 as mq;
use serde_json::{Value, json};

use crate::model::Kind;
use crate::{gateway, read_model};

/// The services that have no kind of entity.
const OTHERS: [&str; 3] = ["crm-service", "mail-service", read_model::SERVICE];

/// The services of the shop, which may each have a queue of that name.
pub(super) fn services() -> impl Iterator<Item = &'static str> {
    Kind::ALL.into_iter().map(Kind::service).chain(OTHERS)
}

/// What a service says of itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Health {
    Ready,
    NotReady,
    Away,
}

/// What can be seen of services from outside; none where it cannot be told.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    pub(super) groups: Option<&'a [es::Group]>,
    pub(super) queues: Option<&'a [mq::Queue]>,
}

/// A light for each service, those of the shop in their order and others that
/// were `asked` after them.
pub(super) fn lights(
    [event_store, message_queue]: [Health; 2],
    asked: &[(String, Health)],
    seen: &Seen<'_>,
) -> Vec<Value> {
    let front = |name, health| match health {
        Health::Ready => light(name, "up", "ready"),
        Health::NotReady => light(name, "degraded", "runs, but its storage is away"),
        Health::Away => light(name, "down", "does not answer"),
    };
    let told = |name: &str, health| match health {
        Health::Ready => light(name, "up", "ready"),
        Health::NotReady => light(name, "degraded", "runs, but is not connected to all it needs"),
        Health::Away => light(name, "down", "does not answer"),
    };
    let fronts = [
        front("event-store-svc", event_store),
        front("message-queue-svc", message_queue),
        light(gateway::SERVICE, "up", "serves this page"),
    ];
    let shop = services().map(|name| match asked.iter().find(|(other, _)| other == name) {
        Some((_, health)) => told(name, *health),
        None => seen.light(name),
    });
    let others = asked.iter().filter(|(name, _)| services().all(|other| other != name));
    let others = others.map(|(name, health)| told(name, *health));
    fronts.into_iter().chain(shop).chain(others).collect()
}

impl Seen<'_> {
    fn light(&self, name: &str) -> Value {
        let Some(queues) = self.queues else {
            return light(name, "unknown", "cannot be told while message-queue-svc is away");
        };
        let queue = queues.iter().find(|queue| queue.queue == name);
        if queue.is_some_and(|queue| queue.consumers == 0) {
            return light(name, "down", "nobody takes its commands");
        }
        let groups = self.groups.unwrap_or_default().iter().filter(|group| group.group == name);
        let (busy, idle): (Vec<_>, Vec<_>) = groups.partition(|group| group.acked_per_second > 0.0);
        let left = idle.iter().find(|group| group.lag > 0);
        match (queue, left) {
            (Some(_), None) => light(name, "up", "takes commands"),
            (Some(_), Some(group)) => {
                let text = format!("takes commands, but no {} events", group.topic);
                light(name, "degraded", &text)
            }
            (None, Some(group)) => {
                light(name, "down", &format!("{} events wait, and nobody takes them", group.topic))
            }
            (None, None) if !busy.is_empty() => light(name, "up", "takes events"),
            (None, None) if self.groups.is_none() => {
                light(name, "unknown", "cannot be told while event-store-svc is away")
            }
            (None, None) if !idle.is_empty() => light(name, "unknown", "has nothing to do"),
            (None, None) => light(name, "unknown", "was not seen yet"),
        }
    }
}

fn light(name: &str, state: &str, text: &str) -> Value {
    json!({ "name": name, "state": state, "text": text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(topic: &str, group: &str, lag: u64, acked_per_second: f64) -> es::Group {
        let (topic, group) = (topic.to_owned(), group.to_owned());
        es::Group { topic, group, lag, acked_per_second, ..es::Group::default() }
    }

    fn queue(name: &str, consumers: u32) -> mq::Queue {
        mq::Queue { queue: name.to_owned(), consumers, ..mq::Queue::default() }
    }

    #[track_caller]
    fn assert_states(lights: &[Value], expected: &[(&str, &str)]) {
        for (name, state) in expected {
            let light = lights.iter().find(|light| light["name"] == *name).unwrap();
            assert_eq!(light["state"], *state, "{light}");
        }
    }

    #[test]
    fn services_that_are_asked_tell_for_themselves() {
        let seen = Seen { groups: None, queues: None };
        let asked = [
            ("crm-service".to_owned(), Health::Ready),
            ("cart-service".to_owned(), Health::NotReady),
            ("yours".to_owned(), Health::Away),
        ];
        let lights = lights([Health::Away, Health::NotReady], &asked, &seen);
        assert_eq!(lights.len(), 14);
        assert_states(
            &lights,
            &[
                ("event-store-svc", "down"),
                ("message-queue-svc", "degraded"),
                ("api-gateway", "up"),
                ("crm-service", "up"),
                ("cart-service", "degraded"),
                ("mail-service", "unknown"),
                ("yours", "down"),
            ],
        );
    }

    #[test]
    fn of_the_others_it_tells_what_can_be_seen() {
        let groups = [
            group("billing", "order-service", 0, 0.5),
            group("order", "inventory-service", 3, 0.0),
            group("order", "crm-service", 3, 0.0),
        ];
        let queues =
            [queue("order-service", 1), queue("inventory-service", 1), queue("mail-service", 0)];
        let ready = [Health::Ready, Health::Ready];
        let shop = lights(ready, &[], &Seen { groups: Some(&groups), queues: Some(&queues) });
        assert_states(
            &shop,
            &[
                ("order-service", "up"),
                ("inventory-service", "degraded"),
                ("crm-service", "down"),
                ("mail-service", "down"),
                ("cart-service", "unknown"),
            ],
        );
        let groups = [group("order", "crm-service", 0, 0.0)];
        let seen = |groups, queues| lights(ready, &[], &Seen { groups, queues });
        assert_states(&seen(Some(&groups[..]), Some(&[][..])), &[("crm-service", "unknown")]);
        assert_states(&seen(None, Some(&queues[..])), &[("order-service", "up")]);
        assert_states(&seen(None, None), &[("order-service", "unknown")]);
    }
}
