//! Counters by name, for a bounded number of names.
//!
//! The first `limit` names get a label of their own, all others are counted together as `other`.
//! A name leaves for a new one when the table is full, nobody holds its handle and it was not
//! counted for an hour; of those, the one that was counted longest ago. Its counts go with it: if
//! it comes back it starts at 0, which Prometheus takes for a restart.
//!
//! A handle is a pointer to the counters: counting is one atomic addition. Whoever has a place of
//! its own for a topic, a group or a queue keeps the handle there; whoever has none asks for it,
//! which hashes the name and allocates nothing.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use hashbrown::{Equivalent, HashMap};

use super::catalog::Described;
use super::exposition::Text;

/// A name that was not counted for so long may leave.
pub const IDLE: Duration = Duration::from_secs(3600);
/// How long a full table is not searched again for a name that may leave.
const SEARCH_AGAIN: Duration = Duration::from_secs(10);
/// The label of all names that have none of their own. A topic of this very name is counted with
/// them.
pub const OTHER: &str = "other";

/// A counter.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// How many it counted.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of a name that consists of `N` labels.
pub trait Series<const N: usize>: Default + Debug + Send + Sync + 'static {
    /// Which they are.
    const METRICS: &'static [Described];

    /// Their values, in that order.
    fn values(&self) -> impl Iterator<Item = u64>;
}

#[derive(Debug, PartialEq, Eq)]
struct Key<const N: usize>([Box<str>; N]);

impl<const N: usize> Hash for Key<N> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.iter().for_each(|part| part.hash(state));
    }
}

/// A name as it is asked for.
struct Asked<'a, const N: usize>([&'a str; N]);

impl<const N: usize> Hash for Asked<'_, N> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.iter().for_each(|part| part.hash(state));
    }
}

impl<const N: usize> Equivalent<Key<N>> for Asked<'_, N> {
    fn equivalent(&self, key: &Key<N>) -> bool {
        self.0.iter().zip(&key.0).all(|(asked, part)| **asked == **part)
    }
}

#[derive(Debug)]
struct Entry<S> {
    series: Arc<S>,
    /// What it had counted when it was looked at last, and when it was found to count.
    counted: u64,
    used: Instant,
}

#[derive(Debug)]
struct Table<S, const N: usize> {
    entries: HashMap<Key<N>, Entry<S>>,
    /// Until then nobody can leave.
    full_until: Option<Instant>,
}

/// Counters by name.
#[derive(Debug)]
pub struct BoundedNames<S, const N: usize> {
    limit: usize,
    other: Arc<S>,
    table: RwLock<Table<S, N>>,
}

impl<S: Series<N>, const N: usize> BoundedNames<S, N> {
    /// For so many names.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let table = Table { entries: HashMap::new(), full_until: None };
        Self { limit, other: Arc::default(), table: RwLock::new(table) }
    }

    /// How many names get a label of their own.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The counters of a name, or those of all the others. Keep it no longer than what it is for:
    /// a name whose handle is held does not leave, and the handle of a name that came too late
    /// stays that of the others.
    pub fn of(&self, names: [&str; N]) -> Arc<S> {
        self.of_at(names, Instant::now)
    }

    fn of_at(&self, names: [&str; N], now: impl Fn() -> Instant) -> Arc<S> {
        let asked = Asked(names);
        {
            let table = self.read();
            if let Some(entry) = table.entries.get(&asked) {
                return entry.series.clone();
            }
            if table.full_until.is_some_and(|until| now() < until) {
                return self.other.clone();
            }
        }
        self.admit(&asked, now())
    }

    fn admit(&self, asked: &Asked<'_, N>, now: Instant) -> Arc<S> {
        let mut table = self.write_lock();
        if let Some(entry) = table.entries.get(asked) {
            return entry.series.clone();
        }
        if table.entries.len() >= self.limit && !table.make_room(now) {
            table.full_until = Some(now + SEARCH_AGAIN);
            return self.other.clone();
        }
        let series = Arc::<S>::default();
        let entry = Entry { series: series.clone(), counted: 0, used: now };
        table.entries.insert(Key(asked.0.map(Box::from)), entry);
        series
    }

    /// Which names have a label of their own, in order: gauges that cost something are asked for
    /// these only.
    #[must_use]
    pub fn labelled(&self) -> Vec<[String; N]> {
        let mut names: Vec<_> = self
            .read()
            .entries
            .keys()
            .map(|key| key.0.each_ref().map(ToString::to_string))
            .collect();
        names.sort_unstable();
        names
    }

    /// Finds out which names counted since the last look.
    pub(super) fn look(&self, now: Instant) {
        for entry in self.write_lock().entries.values_mut() {
            let counted = entry.series.values().sum();
            if counted != entry.counted {
                entry.counted = counted;
                entry.used = now;
            }
        }
    }

    pub(super) fn write(&self, text: &mut Text) {
        let table = self.read_series();
        for (index, metric) in S::METRICS.iter().enumerate() {
            if table.is_empty() {
                return;
            }
            text.family(metric);
            for (names, values) in &table {
                let names = names.each_ref().map(String::as_str);
                text.sample(metric, &names, values.get(index).copied().unwrap_or_default());
            }
            text.end();
        }
    }

    fn read_series(&self) -> BTreeMap<[String; N], Vec<f64>> {
        #[expect(clippy::cast_precision_loss, reason = "Prometheus' numbers are f64")]
        let values = |series: &S| series.values().map(|value| value as f64).collect::<Vec<_>>();
        let mut all: BTreeMap<_, _> = self
            .read()
            .entries
            .iter()
            .map(|(key, entry)| (key.0.each_ref().map(ToString::to_string), values(&entry.series)))
            .collect();
        let other = values(&self.other);
        if other.iter().any(|value| *value > 0.0) {
            let sums = all.entry(std::array::from_fn(|_| OTHER.to_owned()));
            let sums = sums.or_insert_with(|| vec![0.0; other.len()]);
            sums.iter_mut().zip(other).for_each(|(sum, value)| *sum += value);
        }
        all
    }

    fn read(&self) -> RwLockReadGuard<'_, Table<S, N>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_lock(&self) -> RwLockWriteGuard<'_, Table<S, N>> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Series<N>, const N: usize> Table<S, N> {
    /// Lets the name go that was counted longest ago, if that is an hour.
    fn make_room(&mut self, now: Instant) -> bool {
        let longest = self
            .entries
            .iter()
            // Nobody can take another handle meanwhile: that needs the lock held here.
            .filter(|(_, entry)| Arc::strong_count(&entry.series) == 1)
            .filter(|(_, entry)| now.saturating_duration_since(entry.used) >= IDLE)
            .filter(|(_, entry)| entry.series.values().sum::<u64>() == entry.counted)
            .min_by_key(|(_, entry)| entry.used)
            .map(|(key, _)| Key(key.0.clone()));
        longest.is_some_and(|key| self.entries.remove(&key).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::super::series::{GroupCounters, TopicCounters};
    use super::*;

    fn table(limit: usize) -> BoundedNames<TopicCounters, 1> {
        BoundedNames::new(limit)
    }

    fn text(names: &BoundedNames<TopicCounters, 1>) -> String {
        let mut text = Text::new(String::new());
        names.write(&mut text);
        text.finish()
    }

    fn line(name: &str, value: u64) -> String {
        format!("eventstore_appended_events_total{{topic=\"{name}\"}} {value}\n")
    }

    #[test]
    fn the_first_names_are_named_and_the_rest_is_other() {
        let names = table(2);
        for (index, name) in ["a", "b", "c", "d", "a"].into_iter().enumerate() {
            names.of([name]).appended.add(1 << index);
        }
        let text = text(&names);
        for line in [line("a", 1 + 16), line("b", 2), line("other", 4 + 8)] {
            assert!(text.contains(&line), "{line}{text}");
        }
        assert_eq!(names.labelled(), [["a".to_owned()], ["b".to_owned()]]);
    }

    #[test]
    fn a_topic_called_other_is_counted_with_the_others() {
        let names = table(1);
        names.of(["other"]).appended.add(1);
        names.of(["b"]).appended.add(2);
        assert!(text(&names).contains(&line("other", 3)));
        assert_eq!(text(&names).matches("events_total{").count(), 2);
    }

    #[test]
    fn after_an_hour_without_a_count_the_one_idle_longest_leaves() {
        let names = table(3);
        let start = Instant::now();
        let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
        let held = names.of_at(["held"], || at(0));
        names.of_at(["early"], || at(0)).appended.add(1);
        names.look(at(1));
        names.of_at(["late"], || at(2)).appended.add(1);
        names.look(at(2));
        let came = names.of_at(["new"], || at(60));
        assert!(Arc::ptr_eq(&came, &names.other), "after 59 minutes nobody leaves");
        let came = names.of_at(["new"], || at(61));
        assert!(!Arc::ptr_eq(&came, &names.other));
        let labelled = names.labelled().concat();
        assert_eq!(labelled, ["held", "late", "new"]);
        held.appended.add(1);
        assert!(text(&names).contains(&line("held", 1)), "a held handle always counts");
    }

    #[test]
    fn a_count_since_the_last_look_keeps_a_name() {
        let names = table(1);
        let now = Instant::now();
        names.of_at(["a"], || now).appended.add(1);
        let late = names.of_at(["b"], || now + 2 * IDLE);
        assert!(Arc::ptr_eq(&late, &names.other), "a counted, but was not looked at yet");
        assert_eq!(names.labelled().concat(), ["a"]);
    }

    #[test]
    fn a_full_table_is_not_searched_for_every_unknown_name() {
        let names = table(1);
        let now = Instant::now();
        names.of_at(["a"], || now);
        let other = names.of_at(["b"], || now);
        assert!(Arc::ptr_eq(&other, &names.other));
        // Although it could leave by now, nobody looks.
        let table = names.table.read().unwrap();
        assert_eq!(table.full_until, Some(now + SEARCH_AGAIN));
        drop(table);
        names.of_at(["b"], || now + IDLE);
        assert_eq!(names.labelled().concat(), ["b"]);
    }

    #[test]
    fn names_of_two_labels_do_not_run_into_each_other() {
        let groups = BoundedNames::<GroupCounters, 2>::new(10);
        groups.of(["a", "bc"]).acked.add(1);
        groups.of(["ab", "c"]).acked.add(2);
        assert_eq!(groups.labelled().len(), 2);
        assert_eq!(groups.of(["a", "bc"]).acked.get(), 1);
    }

    #[test]
    fn ten_thousand_names_on_many_threads_are_all_counted() {
        let names = table(200);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for index in 0..10_000 {
                        names.of([&format!("topic-{index}")]).appended.add(1);
                    }
                });
            }
        });
        let text = text(&names);
        let samples = text.lines().filter(|l| l.starts_with("eventstore_appended_events_total{"));
        let values: Vec<u64> =
            samples.map(|l| l.rsplit(' ').next().unwrap().parse().unwrap()).collect();
        assert_eq!(values.len(), 201);
        assert_eq!(values.iter().sum::<u64>(), 40_000);
    }
}
