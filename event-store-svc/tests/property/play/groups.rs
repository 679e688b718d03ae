//! Plays what is done to consumer groups.

use proto::eventstore::v1 as pb;
use proto::eventstore::v1::start::At as StartAt;

use super::{GROUPS, Player};
use crate::ops::How;

fn sequence(delivery: &pb::Delivery) -> u64 {
    delivery.event.as_ref().unwrap().sequence
}

impl Player<'_> {
    pub async fn fetch(&mut self, group: usize, wanted: u8) {
        let deliveries = self.service.fetch(self.topic, GROUPS[group], wanted.into(), 0).await;
        let got: Vec<u64> = deliveries.iter().map(sequence).collect();
        for delivery in &deliveries {
            let failures =
                self.group(group).failures.get(&sequence(delivery)).copied().unwrap_or(0);
            assert_eq!(delivery.delivery_count, failures + 1);
        }
        let events = self.model.events.clone();
        let trimmed = self.model.trimmed;
        self.group(group).delivered(&events, trimmed, wanted.into(), &got);
        self.held[group].extend(deliveries);
    }

    async fn say(&self, group: usize, delivery: &pb::Delivery, how: How) -> bool {
        let (topic, name) = (self.topic, GROUPS[group]);
        let service = self.service;
        let outcomes = match how {
            How::Ack => service.ack(topic, name, &[delivery]).await,
            How::Retry => service.nack(topic, name, delivery, pb::NackAction::Retry, Some(0)).await,
            How::Park => service.nack(topic, name, delivery, pb::NackAction::Park, None).await,
            How::Skip => service.nack(topic, name, delivery, pb::NackAction::Skip, None).await,
            How::Extend => {
                let receipts = vec![delivery.receipt.clone()];
                let (topic, group) = (topic.into(), name.into());
                let request = pb::ExtendRequest { topic, group, receipts, by: None };
                service.groups().extend(request).await.unwrap().into_inner().outcomes
            }
        };
        outcomes[0].error.is_none()
    }

    pub async fn settle(&mut self, group: usize, which: u8, how: How) {
        let held = self.held[group].len();
        if held == 0 {
            return;
        }
        let index = usize::from(which) % held;
        let delivery = self.held[group][index].clone();
        assert!(self.say(group, &delivery, how).await, "a lease that is held is good for {how:?}");
        if how == How::Extend {
            return;
        }
        self.held[group].remove(index);
        let (sequence, events) = (sequence(&delivery), self.model.events.clone());
        let state = self.group(group);
        match how {
            How::Retry => state.fail(&events, sequence),
            How::Park => {
                state.park(sequence);
                state.finish(&events, sequence);
            }
            How::Ack | How::Skip | How::Extend => state.finish(&events, sequence),
        }
        self.settled[group].push((delivery, how));
    }

    /// A receipt is good once; acking what it acked is a success.
    pub async fn settle_again(&mut self, group: usize, which: u8) {
        let settled = self.settled[group].len();
        if settled == 0 {
            return;
        }
        let (delivery, how) = self.settled[group][usize::from(which) % settled].clone();
        let again = self.say(group, &delivery, How::Ack).await;
        assert_eq!(again, matches!(how, How::Ack | How::Skip), "acking again after {how:?}");
        assert!(!self.say(group, &delivery, How::Extend).await);
    }

    pub async fn replay(&mut self, group: usize, count: u8) {
        let (topic, name) = (self.topic.into(), GROUPS[group].into());
        let request = pb::ReplayParkedRequest {
            topic,
            group: name,
            limit: Some(count.into()),
            receipts: vec![],
        };
        let listed = self.parked(group).await;
        let mut model = self.group(group).parked.clone();
        assert_eq!(listed.len(), model.len());
        // Those parked in the same millisecond come in the order of their positions.
        model.retain(|sequence| !listed.contains(sequence));
        assert!(model.is_empty());
        self.group(group).parked = listed;
        let replayed =
            self.service.groups().replay_parked(request).await.unwrap().into_inner().replayed;
        let (events, trimmed) = (self.model.events.clone(), self.model.trimmed);
        let expected = self.group(group).replay(&events, trimmed, count.into());
        assert_eq!(replayed as usize, expected);
        // A replayed event may be acked by its new receipt only; the old ones are void.
        self.settled[group].clear();
    }

    async fn parked(&self, group: usize) -> Vec<u64> {
        let (topic, name) = (self.topic.into(), GROUPS[group].into());
        let request =
            pb::ListParkedRequest { topic, group: name, page_size: 1_000, ..Default::default() };
        let page = self.service.groups().list_parked(request).await.unwrap().into_inner();
        let of = |parked: &pb::ParkedEvent| {
            let place =
                self.model.events.iter().position(|event| event.position == parked.position);
            place.unwrap() as u64 + 1
        };
        page.events.iter().map(of).collect()
    }

    pub async fn reset(&mut self, group: usize, sequence: Option<u8>) {
        let from = sequence.map(|pick| u64::from(pick) % (self.model.last() + 1) + 1);
        let start = from.map(|sequence| pb::Start { at: Some(StartAt::FromSequence(sequence)) });
        let (topic, name) = (self.topic.into(), GROUPS[group].into());
        let request = pb::ResetGroupRequest { topic, group: name, start };
        let reset = self.service.groups().reset_group(request).await;
        let trimmed = self.model.trimmed;
        if from.is_some_and(|from| from <= trimmed) {
            assert_eq!(super::reason(&reset.unwrap_err()), "POSITION_TRIMMED");
            return;
        }
        reset.unwrap();
        for delivery in std::mem::take(&mut self.held[group]) {
            assert!(!self.say(group, &delivery, How::Ack).await, "a reset makes all receipts void");
        }
        self.settled[group].clear();
        let state = self.group(group);
        state.checkpoint = from.map_or(trimmed, |from| from - 1);
        for pending in [&mut state.retry, &mut state.leased, &mut state.waiting] {
            pending.clear();
        }
        state.failures.clear();
        state.unnoticed = 0;
    }

    pub async fn check(&mut self, group: usize) {
        let found = self.service.group(self.topic, GROUPS[group]).await;
        let (last, trimmed) = (self.model.last(), self.model.trimmed);
        let state = self.group(group);
        let lag = last - state.checkpoint.max(trimmed);
        assert_eq!(found.lag, lag);
        let pending = state.pending()..=state.pending() + state.unnoticed;
        assert!(pending.contains(&found.pending), "{found:?} {state:?}");
        assert_eq!(found.parked, state.parked.len() as u64);
    }
}
