//! What the consumers saw, and whether it is what was promised.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use proto::messagequeue::v1 as pb;
use svc_runtime::rpc_error::ErrorFacts;

/// Keys of each producer. Every other message has one.
pub const KEYS: usize = 5;
/// The clocks of Redis and of this test are one, but not read at once.
const SLACK: Duration = Duration::from_millis(5);

/// Which message: the producer's n-th.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sent {
    pub producer: usize,
    pub n: usize,
}

impl Sent {
    /// Its ordering key, if it has one, and where in it.
    fn place(self) -> Option<((usize, usize), usize)> {
        let of_keyed = self.n / 2;
        self.n.is_multiple_of(2).then_some(((self.producer, of_keyed % KEYS), of_keyed / KEYS))
    }

    pub fn key(self) -> Option<String> {
        self.place().map(|((producer, key), _)| format!("key-{producer}-{key}"))
    }

    fn of(delivery: &pb::Delivery) -> Self {
        let message = delivery.message.as_ref().unwrap();
        let Some(pb::message::Body::TextBody(text)) = &message.body else { panic!("no text") };
        let (producer, n) = text.split_once(' ').unwrap();
        Self { producer: producer.parse().unwrap(), n: n.parse().unwrap() }
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.producer, self.n)
    }
}

/// A lease as a consumer had it.
#[derive(Clone, Debug)]
struct Lease {
    receipt: String,
    until: SystemTime,
    session: u64,
}

#[derive(Default)]
struct Seen {
    /// The last lease of each message that was delivered and is not acked.
    leases: HashMap<Sent, Lease>,
    acked: HashSet<Sent>,
    /// Streams that broke off: what they held was given back or is about to expire.
    ended: HashSet<u64>,
    sessions: u64,
    /// The message of each key that somebody handles now, and how many were begun.
    handled: HashMap<(usize, usize), Sent>,
    begun: HashMap<(usize, usize), usize>,
    /// Deliveries that were repeats: their lease had ended, or their stream.
    expired: usize,
    given_back: usize,
    /// Acks that came too late.
    too_late: usize,
    /// What clients were told, by reason; what the transport said has none.
    errors: BTreeMap<String, usize>,
}

/// What a client can do something about: try again.
const EXPECTED: [&str; 4] =
    ["STORAGE_UNAVAILABLE", "OUTCOME_UNKNOWN", "SHUTTING_DOWN", "RATE_LIMITED"];

impl Seen {
    /// Whether the lease was lost by now, and how: false, its time was over; true, its stream.
    fn lost(&self, lease: &Lease) -> Option<bool> {
        if self.ended.contains(&lease.session) {
            return Some(true);
        }
        (lease.until <= SystemTime::now() + SLACK).then_some(false)
    }
}

/// All consumers' account.
#[derive(Default)]
pub struct Account(Mutex<Seen>);

impl Account {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap()
    }

    /// A stream, or a call of Receive, begins.
    pub fn begin_session(&self) -> u64 {
        let mut seen = self.seen();
        seen.sessions += 1;
        seen.sessions
    }

    /// It broke off.
    pub fn end_session(&self, session: u64) {
        self.seen().ended.insert(session);
    }

    /// A message came: it is handled from here on.
    pub fn begin(&self, session: u64, delivery: &pb::Delivery) -> Sent {
        let sent = Sent::of(delivery);
        let until = delivery.lease_expires_at.unwrap().try_into().unwrap();
        let mut seen = self.seen();
        assert!(!seen.acked.contains(&sent), "{sent} came again after its ack was confirmed");
        let lease = Lease { receipt: delivery.receipt.clone(), until, session };
        if let Some(before) = seen.leases.insert(sent, lease) {
            match seen.lost(&before) {
                Some(true) => seen.given_back += 1,
                Some(false) => seen.expired += 1,
                None => panic!(
                    "{sent} came again, and its lease was not lost: {before:?}, {:?}",
                    seen.leases.get(&sent)
                ),
            }
        }
        let Some((key, number)) = sent.place() else { return sent };
        if let Some(other) = seen.handled.insert(key, sent)
            && other != sent
        {
            let lost = seen.leases.get(&other).and_then(|lease| seen.lost(lease));
            assert!(lost.is_some(), "{other} and {sent} of one key at once");
        }
        let next = seen.begun.get(&key).copied().unwrap_or(0);
        assert!(number <= next, "{sent} is number {number} of its key, and {next} was next");
        assert!(number + 1 >= next, "{sent} is number {number} of its key, {next} was next");
        seen.begun.insert(key, number + 1);
        sent
    }

    /// It was handled: as soon as the ack is said, the next of its key may be anywhere.
    pub fn end(&self, sent: Sent) {
        let mut seen = self.seen();
        if let Some((key, _)) = sent.place()
            && seen.handled.get(&key) == Some(&sent)
        {
            seen.handled.remove(&key);
        }
    }

    /// A call or a stream failed.
    pub fn failed(&self, status: &tonic::Status) {
        self.note(ErrorFacts::of(status), &status);
    }

    /// A part of a stream failed.
    pub fn item_failed(&self, error: &tonic_types::Status) {
        self.note(ErrorFacts::of_item(error), &error);
    }

    fn note(&self, facts: Option<ErrorFacts>, error: &dyn fmt::Debug) {
        let reason = facts.map_or("transport".to_owned(), |facts| {
            assert!(EXPECTED.contains(&&*facts.reason), "not documented: {error:?}");
            facts.reason
        });
        *self.seen().errors.entry(reason).or_default() += 1;
    }

    /// What became of an ack; false if it is to be said again.
    pub fn settled(&self, sent: Sent, outcome: &pb::Outcome) -> bool {
        if let Some(error) = &outcome.error
            && ErrorFacts::of_item(error).is_some_and(|facts| facts.reason != "LEASE_LOST")
        {
            self.item_failed(error);
            return false;
        }
        let mut seen = self.seen();
        if outcome.error.is_none() {
            seen.acked.insert(sent);
            seen.leases.remove(&sent);
            return true;
        }
        // Acked by another, leased to another, or nobody's any more.
        let lost = seen.acked.contains(&sent)
            || seen
                .leases
                .get(&sent)
                .is_none_or(|lease| lease.receipt != outcome.receipt || seen.lost(lease).is_some());
        assert!(lost, "{sent}: {outcome:?}, and its lease was not lost");
        seen.too_late += 1;
        true
    }

    /// How many messages were delivered, each counted once; all are acked at once.
    pub fn handled(&self) -> usize {
        let seen = self.seen();
        seen.acked.len() + seen.leases.len()
    }

    /// The figures.
    pub fn told(&self) -> String {
        let seen = self.seen();
        format!(
            "{} acks confirmed and {} lost on their way, 0 messages lost, {} delivered again after their lease had expired and {} after their \
             stream had broken off, {} acks too late, none out of order; errors {:?}",
            seen.acked.len(),
            seen.leases.len(),
            seen.expired,
            seen.given_back,
            seen.too_late,
            seen.errors
        )
    }
}
