//! The desk of a feeder: who waits, and whose turn it is to take for them.
//!
//! One takes at a time, with the [`Hand`]: what was asked for is leased once.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use rand::Rng as _;
use redis_link::Call;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::super::store::harmless;
use super::super::take::{MAX_ITEMS, Order, Taken, take};
use super::super::untake::{Taker, Ticket};
use super::{Feeder, Shared};
use crate::error::QueueError;
use crate::queue::{Credit, Lease, Leases, QueueResult};

/// How often a replica says that it has consumers.
const PRESENCE_EVERY: Duration = Duration::from_secs(10);

/// A consumer that wants messages. One that no longer waits has closed `answer`.
pub struct Ask {
    pub credit: Credit,
    pub lease: Option<Duration>,
    pub answer: oneshot::Sender<QueueResult<Leases>>,
}

/// What a feeder's task and those who ask, or take in its place, both see.
#[derive(Default)]
pub struct Desk {
    asks: VecDeque<Ask>,
    /// Somebody has the hand.
    taking: bool,
    /// There may be something to take.
    stale: bool,
    /// Who had the hand last was refused and took nothing of it: now it is the task's turn.
    refused: bool,
    /// Nobody waited for a while, so nobody listened either.
    away: bool,
    closed: bool,
    /// When to take again, whatever happens.
    pub ask_again: Option<Instant>,
    /// Until when the task sleeps at most.
    pub asleep_until: Option<Instant>,
    /// When something was taken last.
    pub taken_at: Option<Instant>,
    /// Whether the task waits in a blocking take, and what was leased meanwhile:
    /// the blocking take may have announced one of these.
    pub blocking: bool,
    pub leased_meanwhile: Vec<String>,
    /// Until when the keeper comes by without another hint.
    hinted: Option<Instant>,
    present: Option<(usize, Instant)>,
    /// Whether it was ever said that there are consumers here.
    said_presence: bool,
}

/// What a feeder's task is to do.
pub enum Turn {
    Take(Hand),
    Wait,
    /// Nobody waits.
    Rest,
}

impl Feeder {
    pub fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an ask on the desk; false if that is closed.
    pub fn ask(&self, ask: Ask) -> bool {
        let mut desk = self.desk();
        if desk.closed {
            return false;
        }
        // Those in front that gave up: not to be kept for long.
        while desk.asks.front().is_some_and(|ask| ask.answer.is_closed()) {
            desk.asks.pop_front();
        }
        desk.asks.push_back(ask);
        if std::mem::take(&mut desk.away) {
            desk.stale = true;
        }
        if desk.stale && !desk.taking {
            self.wake.notify_one();
        }
        true
    }

    /// Whose turn it is, as the task asks.
    pub fn turn(self: &Arc<Self>, shared: &Arc<Shared>) -> Turn {
        let mut desk = self.desk();
        desk.prune();
        if desk.asks.is_empty() {
            desk.away = true;
            Turn::Rest
        } else if desk.stale && !desk.taking {
            desk.refused = false;
            Turn::Take(Hand::take_from(shared, self, &mut desk))
        } else {
            Turn::Wait
        }
    }

    /// Whether there are consumers, and nobody takes for them.
    pub fn may_be_asked(&self) -> bool {
        self.consumers.load(Ordering::Relaxed) > 0 && !self.desk().taking
    }

    /// There may be something to take.
    pub fn is_stale(&self) {
        self.desk().stale = true;
    }

    /// Nobody is served here any more.
    pub fn close(&self) {
        let mut desk = self.desk();
        desk.closed = true;
        desk.asks.clear();
    }
}

impl Desk {
    fn prune(&mut self) {
        self.asks.retain(|ask| !ask.answer.is_closed());
    }

    /// Whether a replica has said that it has consumers.
    pub fn was_present(&self) -> bool {
        self.said_presence
    }
}

/// The right to take for those who wait at a desk. Given back when dropped:
/// then it is not known what was taken.
pub struct Hand {
    shared: Arc<Shared>,
    feeder: Arc<Feeder>,
    wanted: usize,
    lease: Option<Duration>,
    /// Whether one of them holds nothing at all.
    idle: bool,
    /// Whether there may be something to take.
    stale: bool,
    consumers: usize,
    says_presence: bool,
    began: Instant,
    /// Taken when it is known what became of it.
    ticket: Option<Ticket>,
}

impl Hand {
    /// For somebody else than the task, who takes what waits as well.
    pub fn lend(shared: &Arc<Shared>, feeder: &Arc<Feeder>) -> Option<Self> {
        let mut desk = feeder.desk();
        if desk.taking || desk.refused || desk.asks.is_empty() {
            return None;
        }
        desk.prune();
        if desk.asks.is_empty() {
            return None;
        }
        Some(Self::take_from(shared, feeder, &mut desk))
    }

    /// For all at the desk that want the same lease as the first one.
    fn take_from(shared: &Arc<Shared>, feeder: &Arc<Feeder>, desk: &mut Desk) -> Self {
        desk.taking = true;
        let stale = std::mem::take(&mut desk.stale);
        let lease = desk.asks.front().and_then(|ask| ask.lease);
        let (mut wanted, mut idle) = (0, false);
        for ask in desk.asks.iter().filter(|ask| ask.lease == lease) {
            wanted += ask.credit.get();
            idle |= ask.credit.is_whole();
        }
        let wanted = wanted.clamp(1, MAX_ITEMS);
        let consumers = feeder.consumers.load(Ordering::Relaxed);
        let now = Instant::now();
        let known = |(count, until): (usize, Instant)| count == consumers && now < until;
        let says_presence = !desk.present.is_some_and(known);
        if says_presence {
            desk.present = Some((consumers, now + PRESENCE_EVERY));
            desk.said_presence = true;
        }
        let ticket = Some(shared.takes.ticket(Taker::Feeder));
        let (shared, feeder) = (Arc::clone(shared), Arc::clone(feeder));
        Self {
            shared,
            feeder,
            wanted,
            lease,
            idle,
            stale,
            consumers,
            says_presence,
            began: now,
            ticket,
        }
    }

    fn order<'a>(&'a self, ticket: &'a Ticket) -> Order<'a> {
        let presence = (self.shared.replica.as_str(), self.consumers);
        Order {
            wanted: self.wanted,
            lease: self.lease,
            presence: self.says_presence.then_some(presence),
            ticket,
        }
    }

    /// The arguments of `send_take.lua` before its requests.
    pub fn arguments(&self, call: &mut Call<'_>) {
        let Some(ticket) = &self.ticket else { return };
        self.order(ticket).arguments(call);
        call.arg(&self.shared.replica).arg(self.consumers).arg(u8::from(self.idle));
        call.arg(rand::rng().random_range(0..1_000)).arg(u8::from(self.stale));
    }

    /// Takes, for the feeder's task. Consumers that wait are told of a failure:
    /// they decide whether they wait on.
    pub async fn take(mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        let order = self.order(&ticket);
        let taken = take(&self.shared.store, &self.feeder.queue, &order).await;
        self.ticket = Some(ticket);
        match taken {
            Ok(taken) => self.deal(taken),
            Err(error) => {
                let mut desk = self.feeder.desk();
                for ask in desk.asks.drain(..) {
                    // Whatever it was, they got nothing, and nothing stays with them.
                    let _ = ask.answer.send(Err(harmless(error.clone())));
                }
                drop(desk);
                self.failed(&error);
            }
        }
    }

    /// It is known that nothing was taken, and nothing changed.
    pub fn unused(mut self) {
        self.ticket = None;
        let mut desk = self.feeder.desk();
        desk.present = None;
        desk.refused = self.stale;
        drop(desk);
        self.release(self.stale);
    }

    /// Nothing was taken, or nothing that anybody will ever see.
    pub fn failed(mut self, error: &QueueError) {
        if let Some(ticket) = self.ticket.take()
            && *error == QueueError::OutcomeUnknown
        {
            self.shared.takes.lost(&self.feeder.queue, ticket);
        }
        self.feeder.desk().present = None;
        self.release(true);
    }

    /// Deals out what was taken, unless that came too late.
    pub fn deal(mut self, taken: Taken) {
        if taken.is_late(self.began) {
            self.shared.store.count_dead(&self.feeder.queue, taken.dead);
            return self.failed(&QueueError::OutcomeUnknown);
        }
        self.ticket = None;
        taken.count(|| self.feeder.counters(&self.shared.store));
        let now = Instant::now();
        let mut desk = self.feeder.desk();
        let all = taken.leases.len() >= self.wanted;
        desk.ask_again = taken.ask_again.map(|after| now + after);
        desk.taken_at = Some(now);
        if taken.is_missing {
            desk.present = None;
        }
        if let Some(first) = taken.leases.first() {
            let ends = now + first.expires_in;
            if !desk.hinted.is_some_and(|hinted| now < hinted && hinted <= ends) {
                desk.hinted = Some(ends);
                self.shared.hints.come_back(&self.feeder.queue, first.expires_in);
            }
            if desk.blocking {
                let entries = taken.leases.iter().map(|lease| lease.receipt.entry().to_owned());
                desk.leased_meanwhile = entries.collect();
            }
        }
        let more_than_wanted = self.deal_to(&mut desk, taken.leases);
        drop(desk);
        // Cannot come; given back, if it did.
        drop(more_than_wanted);
        self.release(all);
    }

    /// Deals leases to those who want such; answers what is left.
    fn deal_to(&self, desk: &mut Desk, mut left: Vec<Lease>) -> Leases {
        let mut others = VecDeque::new();
        let mut same = desk.asks.iter().filter(|ask| ask.lease == self.lease).count();
        while !left.is_empty() && same > 0 {
            let Some(ask) = desk.asks.pop_front() else { break };
            if ask.lease != self.lease {
                others.push_back(ask);
                continue;
            }
            let share = left.len().div_ceil(same);
            same -= 1;
            let credit = ask.credit.get().max(1);
            // The last one gets what the others had no room for.
            let count = if same == 0 { credit } else { share.min(credit) };
            let rest = left.split_off(count.min(left.len()));
            let own = std::mem::replace(&mut left, rest);
            // Comes back as an error if nobody waits any more, and is given back then.
            let _ = ask.answer.send(Ok(self.wrap(own)));
        }
        // Those who want another lease are in front the next time. If there was
        // less than wanted, there is nothing for them either.
        others.append(&mut desk.asks);
        desk.asks = others;
        self.wrap(left)
    }

    fn wrap(&self, leases: Vec<Lease>) -> Leases {
        Leases::new(self.feeder.queue.clone(), leases, Arc::clone(&self.shared.back))
    }

    fn release(&self, stale: bool) {
        let mut desk = self.feeder.desk();
        desk.taking = false;
        desk.stale |= stale;
        let sooner = match (desk.ask_again, desk.asleep_until) {
            (Some(again), Some(until)) => again < until,
            _ => false,
        };
        if sooner || desk.stale && !desk.asks.is_empty() {
            self.feeder.wake.notify_one();
        }
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.shared.takes.lost(&self.feeder.queue, ticket);
            self.release(true);
        }
    }
}
