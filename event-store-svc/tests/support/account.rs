//! What the clients of a load saw, and whether it is what was promised.

use std::collections::{BTreeMap, HashMap, HashSet};

use proto::eventstore::v1::RecordedEvent;
use svc_runtime::rpc_error::ErrorFacts;
use tonic::Status;

/// Errors that a client is told to retry or resume after.
const EXPECTED: [&str; 4] =
    ["STORAGE_UNAVAILABLE", "OUTCOME_UNKNOWN", "SHUTTING_DOWN", "RATE_LIMITED"];

/// What all clients saw.
#[derive(Default)]
pub struct Account {
    /// Event ids whose append was answered, and the sequence that was answered.
    pub acked: HashMap<String, u64>,
    /// The event ids of each stream of appends, in the order in which they were sent and answered.
    pub streamed: HashMap<usize, Vec<String>>,
    /// Appends that were answered as a repeat.
    pub repeats: u64,
    /// Errors, by reason; those without one come from the transport.
    pub errors: BTreeMap<String, u64>,
    /// What each subscriber got, in its order.
    pub seen: HashMap<usize, Vec<u64>>,
    /// What each group was delivered at least once.
    pub delivered: HashMap<&'static str, HashSet<u64>>,
    /// Deliveries to groups, and the largest delivery count.
    pub deliveries: u64,
    pub delivery_count: u32,
}

impl Account {
    /// Notes an error; one that no client could know what to do with fails the test.
    pub fn error(&mut self, status: &Status) {
        let reason = match ErrorFacts::of(status) {
            Some(facts) => {
                assert!(EXPECTED.contains(&&*facts.reason), "not documented: {status:?}");
                facts.reason
            }
            None => "transport".to_owned(),
        };
        *self.errors.entry(reason).or_default() += 1;
    }

    /// Compares with the log, prints the figures, fails on a broken promise.
    pub fn check(&self, what: &str, log: &[RecordedEvent]) {
        let mut stored: HashMap<&str, u64> = HashMap::new();
        let mut duplicated = 0;
        for recorded in log {
            let id = recorded.event.as_ref().unwrap().id.as_deref().unwrap();
            duplicated += usize::from(stored.insert(id, recorded.sequence).is_some());
        }
        let lost = self.acked.iter().filter(|(id, at)| stored.get(id.as_str()) != Some(at)).count();
        let dense = |sequences: &mut dyn Iterator<Item = u64>| {
            sequences.enumerate().filter(|(index, sequence)| *sequence != *index as u64 + 1).count()
        };
        let mut out_of_order = dense(&mut log.iter().map(|recorded| recorded.sequence));
        for seen in self.seen.values() {
            out_of_order += dense(&mut seen.iter().copied());
            out_of_order += log.len().abs_diff(seen.len());
        }
        let mut overtaken = 0;
        for ids in self.streamed.values() {
            let stored: Vec<_> = ids.iter().map(|id| stored.get(id.as_str())).collect();
            overtaken += stored.windows(2).filter(|pair| pair[0] >= pair[1]).count();
        }
        let missed: usize = self.delivered.values().map(|had| log.len() - had.len()).sum();
        let streamed: usize = self.streamed.values().map(Vec::len).sum();
        println!(
            "{what}: {} acked, {lost} lost, {duplicated} duplicated, {overtaken} overtaken within {} \
             streams of {streamed}, {out_of_order} out of order at {} subscribers, {missed} missed by {} groups; {} repeats recognised, {} deliveries to groups \
             (count at most {}), errors {:?}",
            self.acked.len(),
            self.streamed.len(),
            self.seen.len(),
            self.delivered.len(),
            self.repeats,
            self.deliveries,
            self.delivery_count,
            self.errors,
        );
        let broken = [lost, duplicated, overtaken, out_of_order, missed];
        assert_eq!(broken, [0; 5], "{what}");
        assert_eq!(self.acked.len(), log.len(), "{what}: every append ended with an answer");
    }
}
