//! Random operations against a model: each message is exactly one of ready,
//! delayed, leased, dead or done, and the counts always add up; on Redis and on
//! Valkey 9. `PROPERTY_CASES` sets how many histories.

use std::collections::{BTreeMap, HashMap, VecDeque};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use proto::messagequeue::v1 as pb;
use redis_link::test_util::{Options, PrivateRedis, valkey_server};

use crate::support::*;

const MAX_ATTEMPTS: u32 = 3;

#[derive(Clone, Debug)]
enum Op {
    Send { count: usize, priority: i32, key: Option<u8>, delayed: bool },
    Receive(u32),
    Ack(usize),
    Nack(usize),
    NackLater(usize),
    Reject(usize),
    AckStale(usize),
    Extend(usize),
    Redrive(u64),
    DeleteDead(u64),
    Purge,
}

fn op() -> impl Strategy<Value = Op> {
    let send = (1..5_usize, 0..4_i32, proptest::option::of(0..3_u8), proptest::bool::weighted(0.1));
    let send =
        send.prop_map(|(count, priority, key, delayed)| Op::Send { count, priority, key, delayed });
    prop_oneof![
        6 => send,
        6 => (1..6_u32).prop_map(Op::Receive),
        4 => any::<usize>().prop_map(Op::Ack),
        3 => any::<usize>().prop_map(Op::Nack),
        1 => any::<usize>().prop_map(Op::NackLater),
        1 => any::<usize>().prop_map(Op::Reject),
        2 => any::<usize>().prop_map(Op::AckStale),
        1 => any::<usize>().prop_map(Op::Extend),
        1 => (1..4_u64).prop_map(Op::Redrive),
        1 => (1..3_u64).prop_map(Op::DeleteDead),
        1 => Just(Op::Purge),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Ready,
    Delayed,
    Leased,
    Dead,
}

#[derive(Clone, Debug)]
struct Message {
    state: State,
    class: i32,
    key: Option<u8>,
    failures: u32,
}

#[derive(Default)]
struct Model {
    /// All that are not done.
    messages: BTreeMap<String, Message>,
    keys: HashMap<u8, VecDeque<String>>,
    leases: Vec<(String, String)>,
    /// Receipts that failed or were rejected.
    stale: Vec<String>,
    dead: VecDeque<String>,
}

impl Model {
    /// A message may be received if it is ready and the first of its key.
    fn receivable(&self, id: &str) -> bool {
        let message = &self.messages[id];
        let first = message.key.is_none_or(|key| self.keys[&key].front().is_some_and(|f| f == id));
        message.state == State::Ready && first
    }

    fn counts(&self) -> [u64; 4] {
        // One that waits behind another of its key counts as ready, due or not.
        let first = |id: &String, message: &Message| {
            message.key.is_none_or(|key| self.keys[&key].front() == Some(id))
        };
        let mut counts = [0; 4];
        for (id, message) in &self.messages {
            let at = match message.state {
                State::Ready => 0,
                State::Leased => 1,
                State::Delayed if first(id, message) => 2,
                State::Delayed => 0,
                State::Dead => 3,
            };
            counts[at] += 1;
        }
        counts
    }

    fn leave_key(&mut self, id: &str) {
        if let Some(key) = self.messages[id].key {
            self.keys.get_mut(&key).unwrap().retain(|other| other != id);
        }
    }

    fn set(&mut self, id: &str, state: State) {
        self.messages.get_mut(id).unwrap().state = state;
    }

    fn kill(&mut self, id: &str) {
        self.leave_key(id);
        self.set(id, State::Dead);
        self.dead.push_back(id.to_owned());
    }

    fn take_lease(&mut self, pick: usize) -> Option<(String, String)> {
        let count = self.leases.len();
        (count > 0).then(|| self.leases.swap_remove(pick % count))
    }

    fn fail(&mut self, id: &str, receipt: String, delayed: bool) {
        self.stale.push(receipt);
        let message = self.messages.get_mut(id).unwrap();
        message.failures += 1;
        if message.failures >= MAX_ATTEMPTS {
            self.kill(id);
        } else {
            self.set(id, if delayed { State::Delayed } else { State::Ready });
        }
    }
}

async fn send(service: &mut Replica, queue: &str, model: &mut Model, op: &Op) {
    let Op::Send { count, priority, key, delayed } = *op else { return };
    let delay = pb::outgoing_message::Due::Delay(ms(3_600_000).unwrap());
    let message = pb::OutgoingMessage {
        priority,
        ordering_key: key.map(|key| format!("key {key}")),
        due: delayed.then_some(delay),
        ..outgoing("x")
    };
    for id in service.send(queue, vec![message; count]).await {
        let state = if delayed { State::Delayed } else { State::Ready };
        // UNSPECIFIED is NORMAL.
        let class = if priority == 0 { 2 } else { priority };
        model.messages.insert(id.clone(), Message { state, class, key, failures: 0 });
        if let Some(key) = key {
            model.keys.entry(key).or_default().push_back(id);
        }
    }
}

async fn receive(service: &mut Replica, queue: &str, model: &mut Model, max: u32) {
    let mut receivable: Vec<_> = model.messages.keys().cloned().collect();
    receivable.retain(|id| model.receivable(id));
    let got = service.receive_now(queue, max).await;
    assert_eq!(got.len(), receivable.len().min(usize::try_from(max).unwrap()));
    let mut last_class = i32::MAX;
    for delivery in got {
        let id = delivery.message.unwrap().id.unwrap();
        assert!(receivable.contains(&id), "{id} was not to be had");
        let message = &model.messages[&id];
        assert!(message.class <= last_class, "{message:?} after class {last_class}");
        assert_eq!(delivery.attempt, message.failures + 1);
        last_class = message.class;
        model.set(&id, State::Leased);
        model.leases.push((id, delivery.receipt));
    }
}

async fn settle(service: &mut Replica, queue: &str, model: &mut Model, op: &Op) {
    let (Op::Ack(pick) | Op::Nack(pick) | Op::NackLater(pick) | Op::Reject(pick)) = *op else {
        return;
    };
    let Some((id, receipt)) = model.take_lease(pick) else { return };
    match op {
        Op::Ack(_) => {
            assert_eq!(service.ack(queue, &[&receipt]).await, [None]);
            assert_eq!(service.ack(queue, &[&receipt]).await, [None], "again");
            model.leave_key(&id);
            model.messages.remove(&id);
        }
        Op::Reject(_) => {
            let request = pb::NackRequest {
                queue: queue.into(),
                receipts: vec![receipt.clone()],
                dead_letter: true,
                ..Default::default()
            };
            let outcomes = service.mq.nack(request).await.unwrap().into_inner().outcomes;
            assert_eq!(reasons(outcomes), [None]);
            model.kill(&id);
            model.stale.push(receipt);
        }
        _ => {
            let delayed = matches!(op, Op::NackLater(_));
            service.nack(queue, &receipt, Some(if delayed { 3_600_000 } else { 0 })).await;
            model.fail(&id, receipt, delayed);
        }
    }
}

async fn administer(service: &mut Replica, queue: &str, model: &mut Model, op: &Op) {
    match *op {
        Op::Redrive(limit) => {
            let request = pb::RedriveDeadLettersRequest {
                queue: queue.into(),
                limit: Some(limit),
                ..Default::default()
            };
            service.queues.redrive_dead_letters(request).await.unwrap();
            let count = usize::try_from(limit).unwrap().min(model.dead.len());
            for id in model.dead.drain(..count).collect::<Vec<_>>() {
                let message = model.messages.get_mut(&id).unwrap();
                (message.state, message.failures) = (State::Ready, 0);
                if let Some(key) = message.key {
                    model.keys.get_mut(&key).unwrap().push_back(id);
                }
            }
        }
        Op::DeleteDead(limit) => {
            let request = pb::DeleteDeadLettersRequest {
                queue: queue.into(),
                message_ids: vec![],
                limit: Some(limit),
            };
            service.queues.delete_dead_letters(request).await.unwrap();
            let count = usize::try_from(limit).unwrap().min(model.dead.len());
            for id in model.dead.drain(..count).collect::<Vec<_>>() {
                model.messages.remove(&id);
            }
        }
        Op::Purge => {
            let request = pb::PurgeQueueRequest { queue: queue.into() };
            service.queues.purge_queue(request).await.unwrap();
            let all: Vec<_> = model.messages.keys().cloned().collect();
            for id in all {
                if matches!(model.messages[&id].state, State::Ready | State::Delayed) {
                    model.leave_key(&id);
                    model.messages.remove(&id);
                }
            }
        }
        _ => {}
    }
}

async fn run(service: &mut Replica, queue: &str, ops: Vec<Op>) {
    let settings = pb::QueueSettings { max_attempts: Some(MAX_ATTEMPTS), ..Default::default() };
    service.create(queue, settings).await;
    let mut model = Model::default();
    for op in ops {
        match op {
            Op::Send { .. } => send(service, queue, &mut model, &op).await,
            Op::Receive(max) => receive(service, queue, &mut model, max).await,
            Op::Ack(_) | Op::Nack(_) | Op::NackLater(_) | Op::Reject(_) => {
                settle(service, queue, &mut model, &op).await;
            }
            Op::AckStale(pick) if !model.stale.is_empty() => {
                let receipt = &model.stale[pick % model.stale.len()];
                let dropped = !model.messages.contains_key(&receipt[..33]);
                let outcome = service.ack(queue, &[receipt]).await;
                // Of a message that is gone the first lease cannot be told from the last.
                assert!(dropped || outcome == [Some("LEASE_LOST".into())], "{receipt}");
            }
            Op::Extend(pick) if !model.leases.is_empty() => {
                let receipts = vec![model.leases[pick % model.leases.len()].1.clone()];
                let request = pb::ExtendRequest { queue: queue.into(), receipts, by: ms(600_000) };
                let outcomes = service.mq.extend(request).await.unwrap().into_inner().outcomes;
                assert_eq!(reasons(outcomes), [None]);
            }
            Op::Redrive(_) | Op::DeleteDead(_) | Op::Purge => {
                administer(service, queue, &mut model, &op).await;
            }
            Op::AckStale(_) | Op::Extend(_) => {}
        }
        assert_eq!(service.counts(queue).await, model.counts(), "after {op:?}");
    }
}

fn each_message_is_in_one_place(options: Options) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let redis = PrivateRedis::start_with(options);
    let service = std::cell::RefCell::new(runtime.block_on(Replica::start(&redis, &[])));
    let case = std::cell::Cell::new(0);
    let cases = std::env::var("PROPERTY_CASES").ok().map_or(48, |cases| cases.parse().unwrap());
    let config =
        Config { cases, max_shrink_iters: 200, failure_persistence: None, ..Config::default() };
    let ops = proptest::collection::vec(op(), 1..80);
    let outcome = TestRunner::new(config).run(&ops, |ops| {
        case.set(case.get() + 1);
        let queue = format!("case-{}", case.get());
        runtime.block_on(run(&mut service.borrow_mut(), &queue, ops));
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn any_operations_leave_each_message_in_one_place_on_redis() {
    each_message_is_in_one_place(Options::default());
}

#[test]
fn any_operations_leave_each_message_in_one_place_on_valkey() {
    each_message_is_in_one_place(Options { server: Some(valkey_server()), ..Options::default() });
}
