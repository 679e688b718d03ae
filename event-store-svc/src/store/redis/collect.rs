//! Gauges of topics and groups, asked for at each scrape: of a bounded number of them, in a few
//! pipelines. First come those that are counted under a name of their own, then as many as there is
//! room for, by name; of the others nothing is told, as there is no right name for their sum.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{StreamExt as _, TryStreamExt as _, iter};
use redis_link::values::{Items, array, text};
use redis_link::{Link, LinkError, Value, cmd, pipe};
use svc_observe::metrics::catalog::collected::{
    GROUP_LAG_EVENTS, GROUP_OLDEST_PENDING_SECONDS, GROUP_PARKED_EVENTS, GROUP_PENDING_EVENTS,
    TOPIC_BYTES, TOPIC_EVENTS,
};
use svc_observe::metrics::collect::{Collect, CollectError, Samples};
use svc_observe::metrics::series::{Groups, Topics};

use super::RedisStore;
use super::entry::{optional_number, optional_position};
use super::keys::{TOPICS, TopicKeys};
use super::scripts::Scripts;
use super::topics::time;
use crate::model::{Name, Position};

/// Topics or groups of one pipeline.
const STEP: usize = 100;
/// Topics whose groups are looked for, by name.
const LOOK_AT: usize = 1_000;
/// Questions of their own that are under way at once.
const AT_ONCE: usize = 16;

type Asked<T> = Result<T, LinkError>;

impl RedisStore {
    /// The gauges of topics.
    #[must_use]
    pub fn topic_gauges(&self) -> TopicGauges {
        TopicGauges { link: self.link.clone(), topics: self.figures.topics().clone() }
    }

    /// The gauges of groups.
    #[must_use]
    pub fn group_gauges(&self) -> GroupGauges {
        GroupGauges {
            link: self.link.clone(),
            scripts: self.scripts.clone(),
            groups: self.figures.groups().clone(),
        }
    }
}

/// What topics hold.
#[derive(Debug)]
pub struct TopicGauges {
    link: Link,
    topics: Arc<Topics>,
}

impl Collect for TopicGauges {
    fn name(&self) -> &'static str {
        "topics"
    }

    fn collect<'a>(&'a self, samples: &'a mut Samples) -> BoxFuture<'a, Result<(), CollectError>> {
        async {
            let (limit, labelled) = (self.topics.limit(), self.topics.labelled());
            let counted = labelled.iter().filter_map(|[topic]| Name::parse(topic));
            let names = chosen(counted, limit, topics(&self.link, limit)).await?;
            for names in names.chunks(STEP) {
                self.tell(names, samples).await?;
            }
            Ok(())
        }
        .boxed()
    }
}

impl TopicGauges {
    async fn tell(&self, topics: &[Name], samples: &mut Samples) -> Asked<()> {
        let mut commands = pipe();
        for topic in topics {
            let keys = TopicKeys::new(topic);
            commands.cmd("HMGET").arg(keys.meta()).arg("created").arg("bytes");
            commands.cmd("XLEN").arg(keys.log());
        }
        let mut answers = Items::of(Value::Array(self.link.pipeline(&commands).await?))?;
        for topic in topics {
            let mut meta = Items::of(answers.next_value()?)?;
            let created = optional_number(&meta.next_value()?)?;
            let bytes = optional_number(&meta.next_value()?)?.unwrap_or(0);
            let events = answers.next_unsigned()?;
            if created.is_some() {
                samples.set(&TOPIC_EVENTS, [topic.as_str()], float(events));
                samples.set(&TOPIC_BYTES, [topic.as_str()], float(bytes));
            }
        }
        Ok(())
    }
}

/// How far groups are.
#[derive(Debug)]
pub struct GroupGauges {
    link: Link,
    scripts: Arc<Scripts>,
    groups: Arc<Groups>,
}

/// Topic and group.
type Key = (Name, Name);

impl Collect for GroupGauges {
    fn name(&self) -> &'static str {
        "groups"
    }

    fn collect<'a>(&'a self, samples: &'a mut Samples) -> BoxFuture<'a, Result<(), CollectError>> {
        async {
            let (limit, labelled) = (self.groups.limit(), self.groups.labelled());
            let counted = labelled
                .iter()
                .filter_map(|[topic, group]| Name::parse(topic).zip(Name::parse(group)));
            let names = chosen(counted, limit, self.first_groups(limit)).await?;
            let now = self.link.query(&cmd("TIME")).await.and_then(time)?;
            for names in names.chunks(STEP) {
                self.tell(names, now, samples).await?;
            }
            Ok(())
        }
        .boxed()
    }
}

/// The figures of a group that exists.
struct GroupFigures {
    lag: u64,
    pending: u64,
    parked: u64,
}

impl GroupGauges {
    /// The first groups by name, as far as they are of the first topics.
    async fn first_groups(&self, limit: usize) -> Asked<Vec<Key>> {
        let topics = topics(&self.link, LOOK_AT).await?;
        let mut found = Vec::new();
        for topics in topics.chunks(STEP) {
            let mut commands = pipe();
            for topic in topics {
                commands.cmd("ZCARD").arg(TopicKeys::new(topic).groups());
            }
            let mut counts = Items::of(Value::Array(self.link.pipeline(&commands).await?))?;
            let (mut commands, mut with_groups) = (pipe(), Vec::new());
            let mut expected = found.len();
            for topic in topics {
                let count = usize::try_from(counts.next_unsigned()?).unwrap_or(usize::MAX);
                if count > 0 && expected < limit {
                    let keys = TopicKeys::new(topic);
                    let most = count.min(limit - expected);
                    commands.cmd("ZRANGEBYLEX").arg(keys.groups()).arg("-").arg("+");
                    commands.arg("LIMIT").arg(0).arg(most);
                    with_groups.push(topic);
                    expected += most;
                }
            }
            if with_groups.is_empty() {
                continue;
            }
            let answers = self.link.pipeline(&commands).await?;
            for (topic, groups) in with_groups.into_iter().zip(answers) {
                let groups = names(groups)?.into_iter();
                found.extend(groups.map(|group| (topic.clone(), group)));
            }
            if expected >= limit {
                break;
            }
        }
        Ok(found)
    }

    async fn tell(&self, groups: &[Key], now: Duration, samples: &mut Samples) -> Asked<()> {
        let mut commands = pipe();
        for (topic, group) in groups {
            let keys = TopicKeys::new(topic);
            commands.cmd("HMGET").arg(keys.meta()).arg(&["created", "sequence"]);
            commands.arg("trimmed_sequence");
            commands
                .cmd("HMGET")
                .arg(keys.group_meta(group))
                .arg(&["epoch", "checkpoint_sequence"]);
            for name in ["leases", "retry", "waiting", "parked"] {
                commands.cmd("ZCARD").arg(keys.group(group, name));
            }
        }
        let mut answers = Items::of(Value::Array(self.link.pipeline(&commands).await?))?;
        let mut found = Vec::with_capacity(groups.len());
        for key in groups {
            found.extend(figures(&mut answers)?.map(|figures| (key.clone(), figures)));
        }
        let told = iter(found).map(|(key, figures)| async move {
            let oldest = if figures.pending > 0 { self.oldest(&key).await? } else { None };
            Ok::<_, LinkError>((key, figures, oldest))
        });
        let told: Vec<_> = told.buffered(AT_ONCE).try_collect().await?;
        for ((topic, group), figures, oldest) in told {
            let labels = [topic.as_str(), group.as_str()];
            let age = oldest.map_or(Duration::ZERO, |oldest| now.saturating_sub(oldest.time()));
            samples.set(&GROUP_LAG_EVENTS, labels, float(figures.lag));
            samples.set(&GROUP_PENDING_EVENTS, labels, float(figures.pending));
            samples.set(&GROUP_PARKED_EVENTS, labels, float(figures.parked));
            samples.set(&GROUP_OLDEST_PENDING_SECONDS, labels, age.as_secs_f64());
        }
        Ok(())
    }

    async fn oldest(&self, (topic, group): &Key) -> Asked<Option<Position>> {
        let mut call = self.scripts.group_oldest.call(&[TopicKeys::new(topic).log()]);
        call.arg(group.as_str());
        optional_position(&self.link.invoke(&call).await?)
    }
}

/// Reads what a group is made of; none: it does not exist.
fn figures(answers: &mut Items) -> Asked<Option<GroupFigures>> {
    let mut topic = Items::of(answers.next_value()?)?;
    let mut group = Items::of(answers.next_value()?)?;
    let mut counts = [0; 4];
    for count in &mut counts {
        *count = answers.next_unsigned()?;
    }
    let mut of_topic = || optional_number(&topic.next_value()?);
    let (created, sequence, trimmed) = (of_topic()?, of_topic()?, of_topic()?);
    let mut of_group = || optional_number(&group.next_value()?);
    let (epoch, checkpoint) = (of_group()?, of_group()?);
    if created.is_none() || epoch.is_none() {
        return Ok(None);
    }
    let done = checkpoint.unwrap_or(0).max(trimmed.unwrap_or(0));
    let [leases, retry, waiting, parked] = counts;
    let lag = sequence.unwrap_or(0).saturating_sub(done);
    Ok(Some(GroupFigures { lag, pending: leases + retry + waiting, parked }))
}

/// The first topics by name.
async fn topics(link: &Link, limit: usize) -> Asked<Vec<Name>> {
    let mut command = cmd("ZRANGEBYLEX");
    command.arg(TOPICS).arg("-").arg("+").arg("LIMIT").arg(0).arg(limit);
    names(link.query(&command).await?)
}

fn names(value: Value) -> Asked<Vec<Name>> {
    let names = array(value)?.into_iter().map(text).collect::<Asked<Vec<_>>>()?;
    Ok(names.iter().filter_map(|name| Name::parse(name)).collect())
}

/// Those that have counters, and of the others as many as there is room for.
async fn chosen<T: Ord>(
    counted: impl Iterator<Item = T>,
    limit: usize,
    others: impl Future<Output = Asked<Vec<T>>>,
) -> Asked<Vec<T>> {
    let mut names: BTreeSet<T> = counted.collect();
    if names.len() < limit {
        for name in others.await? {
            if names.len() >= limit {
                break;
            }
            names.insert(name);
        }
    }
    Ok(Vec::from_iter(names))
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus' numbers are f64")]
fn float(number: u64) -> f64 {
    number as f64
}
