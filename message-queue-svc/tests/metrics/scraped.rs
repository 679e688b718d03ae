//! A scrape over HTTP, read by a parser.

use std::collections::BTreeSet;

use prometheus_parse::{Sample, Scrape, Value};

pub struct Scraped {
    pub text: String,
    samples: Vec<Sample>,
}

impl Scraped {
    pub async fn get(address: &str) -> Self {
        let response = reqwest::get(format!("http://{address}/metrics")).await.unwrap();
        let text = response.error_for_status().unwrap().text().await.unwrap();
        let lines = text.lines().map(|line| Ok(line.to_owned()));
        let samples = Scrape::parse(lines).unwrap().samples;
        Self { text, samples }
    }

    /// A counter or gauge of a queue.
    pub fn value(&self, metric: &str, queue: &str) -> Option<f64> {
        let of =
            |sample: &&Sample| sample.metric == metric && sample.labels.get("queue") == Some(queue);
        let mut found = self.samples.iter().filter(of);
        let value = found.next().map(|sample| match sample.value {
            Value::Counter(value) | Value::Gauge(value) => value,
            ref other => panic!("{metric} is {other:?}"),
        });
        assert!(found.next().is_none(), "{metric} of {queue} is told twice");
        value
    }

    /// As a whole number; 0 is one.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is checked")]
    pub fn of(&self, metric: &str, queue: &str) -> Option<u64> {
        let value = self.value(metric, queue)?;
        assert!(value >= 0.0 && value.fract() == 0.0, "{metric} of {queue} is {value}");
        Some(value as u64)
    }

    /// The queues that a metric tells of.
    pub fn labels(&self, metric: &str) -> BTreeSet<String> {
        let samples = self.samples.iter().filter(|sample| sample.metric == metric);
        samples.filter_map(|sample| sample.labels.get("queue").map(str::to_owned)).collect()
    }

    /// How many values a histogram without labels has counted.
    pub fn count_of(&self, histogram: &str) -> u64 {
        let start = format!("{histogram}_count ");
        let line = self.text.lines().find_map(|line| line.strip_prefix(&start));
        line.map_or(0, |count| count.parse().unwrap())
    }
}
