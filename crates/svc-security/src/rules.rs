//! Who may do what: a rules file, made into maps once so that asking is a look-up or two.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;

use serde::Deserialize;

/// What may be allowed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// Append events to a topic; save and delete snapshots.
    Append,
    /// Read a topic: Read, Subscribe, LoadSubject, ListSubjects.
    Read,
    /// Take part in consumer groups of a topic, and create them.
    Consume,
    /// Send messages to a queue, call, and get replies.
    Send,
    /// Take messages from a queue, settle and reply.
    Receive,
    /// Create, change, look at and delete topics, groups and queues.
    Administer,
}

impl Right {
    const ALL: [Self; 6] =
        [Self::Append, Self::Read, Self::Consume, Self::Send, Self::Receive, Self::Administer];

    /// As rules files write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Read => "read",
            Self::Consume => "consume",
            Self::Send => "send",
            Self::Receive => "receive",
            Self::Administer => "administer",
        }
    }

    fn is_of_topics(self) -> bool {
        !matches!(self, Self::Send | Self::Receive)
    }

    fn is_of_queues(self) -> bool {
        matches!(self, Self::Send | Self::Receive | Self::Administer)
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a right is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Resource<'a> {
    /// A topic, by name.
    Topic(&'a str),
    /// A queue, by name.
    Queue(&'a str),
}

impl<'a> Resource<'a> {
    /// `topic` or `queue`.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Topic(_) => "topic",
            Self::Queue(_) => "queue",
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'a str {
        match self {
            Self::Topic(name) | Self::Queue(name) => name,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesFile {
    #[serde(default)]
    rule: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    callers: Vec<String>,
    rights: Vec<Right>,
    #[serde(default)]
    topics: Vec<String>,
    #[serde(default)]
    queues: Vec<String>,
}

/// What all rules together allow.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Callers that rules name whole, with all that prefixes give them too.
    named: HashMap<Box<str>, Grants>,
    /// What prefixes of callers give to everyone else.
    prefixed: HashMap<Box<str>, Grants>,
    /// How long those prefixes are: what has to be looked up for a caller.
    lengths: BTreeSet<usize>,
}

impl Rules {
    /// Reads a rules file.
    ///
    /// # Errors
    /// What is wrong, where, and what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: RulesFile = toml::from_str(text).map_err(|error| at_line(text, &error))?;
        if file.rule.is_empty() {
            return Err("has no [[rule]]: nothing would be allowed to anybody".to_owned());
        }
        let mut named: HashMap<Box<str>, Grants> = HashMap::new();
        let mut prefixed: HashMap<Box<str>, Grants> = HashMap::new();
        for (index, rule) in file.rule.iter().enumerate() {
            rule.check().map_err(|what| format!("rule {}: {what}", index + 1))?;
            for caller in &rule.callers {
                let grants = match caller.strip_suffix('*') {
                    Some(prefix) => prefixed.entry(prefix.into()).or_default(),
                    None => named.entry(caller.as_str().into()).or_default(),
                };
                grants.add(rule);
            }
        }
        for (caller, grants) in &mut named {
            for (_, more) in prefixed.iter().filter(|(prefix, _)| caller.starts_with(&***prefix)) {
                grants.merge(more);
            }
        }
        let lengths = prefixed.keys().map(|prefix| prefix.len()).collect();
        named.values_mut().chain(prefixed.values_mut()).for_each(Grants::settle);
        Ok(Self { named, prefixed, lengths })
    }

    /// Whether the rules give `right` on `resource` to `caller`.
    #[must_use]
    pub fn allows(&self, caller: &str, right: Right, resource: Resource<'_>) -> bool {
        self.any(caller, |grants| grants.allows(right, resource))
    }

    /// Whether the rules give any right at all on `resource`: whether to tell of it in a list.
    #[must_use]
    pub fn allows_any(&self, caller: &str, resource: Resource<'_>) -> bool {
        self.any(caller, |grants| Right::ALL.iter().any(|right| grants.allows(*right, resource)))
    }

    fn any(&self, caller: &str, allows: impl Fn(&Grants) -> bool) -> bool {
        if let Some(grants) = self.named.get(caller) {
            return allows(grants);
        }
        self.lengths
            .iter()
            .filter_map(|length| self.prefixed.get(caller.get(..*length)?))
            .any(allows)
    }
}

impl Rule {
    fn check(&self) -> Result<(), String> {
        let lists =
            [("callers", &self.callers), ("topics", &self.topics), ("queues", &self.queues)];
        for (list, names) in lists {
            if let Some(name) = names.iter().find(|name| !is_pattern(name)) {
                return Err(format!(
                    "`{name}` in {list} is no name: write one whole, or its beginning and a `*`"
                ));
            }
        }
        if self.callers.is_empty() || self.rights.is_empty() {
            return Err("needs at least one of callers and one of rights".to_owned());
        }
        for right in &self.rights {
            let on_topics = right.is_of_topics() && !self.topics.is_empty();
            let on_queues = right.is_of_queues() && !self.queues.is_empty();
            if !on_topics && !on_queues {
                let needed = match (right.is_of_topics(), right.is_of_queues()) {
                    (true, true) => "topics or queues",
                    (true, false) => "topics",
                    _ => "queues",
                };
                return Err(format!("gives {right} on nothing: it needs {needed}"));
            }
        }
        Ok(())
    }
}

/// A name, or the beginning of one and a star.
fn is_pattern(name: &str) -> bool {
    let beginning = name.strip_suffix('*').unwrap_or(name);
    !name.is_empty() && !beginning.contains('*') && !name.chars().any(char::is_control)
}

/// An error of the parser with its line, and without the text of that line: it may be the wrong file.
fn at_line(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.map_or(1, |before| before.matches('\n').count() + 1);
    format!("line {line}: {}", error.message())
}

/// What one caller may.
#[derive(Clone, Debug, Default)]
struct Grants {
    topics: HashMap<Right, Names>,
    queues: HashMap<Right, Names>,
}

impl Grants {
    fn add(&mut self, rule: &Rule) {
        for right in &rule.rights {
            if right.is_of_topics() && !rule.topics.is_empty() {
                self.topics.entry(*right).or_default().add(&rule.topics);
            }
            if right.is_of_queues() && !rule.queues.is_empty() {
                self.queues.entry(*right).or_default().add(&rule.queues);
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        for (mine, others) in [(&mut self.topics, &other.topics), (&mut self.queues, &other.queues)]
        {
            for (right, names) in others {
                mine.entry(*right).or_default().merge(names);
            }
        }
    }

    fn settle(&mut self) {
        self.topics.values_mut().chain(self.queues.values_mut()).for_each(Names::settle);
    }

    fn allows(&self, right: Right, resource: Resource<'_>) -> bool {
        let names = match resource {
            Resource::Topic(_) => self.topics.get(&right),
            Resource::Queue(_) => self.queues.get(&right),
        };
        names.is_some_and(|names| names.contain(resource.name()))
    }
}

/// Names, and beginnings of names.
#[derive(Clone, Debug, Default)]
struct Names {
    whole: HashSet<Box<str>>,
    /// Sorted; none is the beginning of another once settled.
    beginnings: Vec<Box<str>>,
}

impl Names {
    fn add(&mut self, patterns: &[String]) {
        for pattern in patterns {
            match pattern.strip_suffix('*') {
                Some(beginning) => self.beginnings.push(beginning.into()),
                None => {
                    self.whole.insert(pattern.as_str().into());
                }
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        self.whole.extend(other.whole.iter().cloned());
        self.beginnings.extend(other.beginnings.iter().cloned());
    }

    fn settle(&mut self) {
        self.beginnings.sort_unstable();
        // Sorted, what a beginning covers stands right after it.
        self.beginnings.dedup_by(|longer, shorter| longer.starts_with(&**shorter));
    }

    fn contain(&self, name: &str) -> bool {
        if self.whole.contains(name) {
            return true;
        }
        // As none covers another, only the last one not after the name can be its beginning.
        let after = self.beginnings.partition_point(|beginning| **beginning <= *name);
        after > 0 && name.starts_with(&*self.beginnings[after - 1])
    }
}

#[cfg(test)]
mod tests;
