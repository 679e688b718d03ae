//! A scrape over HTTP, read by a parser.

use std::net::SocketAddr;
use std::time::Duration;

use prometheus_parse::{Sample, Scrape, Value};
use svc_observe::Service;
use svc_observe::admin::{Admin, bind};
use svc_observe::args::AdminListen;
use svc_observe::metrics::Metrics;
use svc_runtime::health::Readiness;

pub const SERVICE: Service = Service { name: "tested-svc", version: "1.2.3" };

/// Metrics of a service with so many names, and their admin port.
pub async fn start(max_names: usize, readiness: Readiness) -> (Metrics, Admin, SocketAddr) {
    let metrics = Metrics::install(SERVICE, max_names).unwrap();
    let listen = AdminListen::On("127.0.0.1:0".parse().unwrap());
    let listener = bind(listen).await.unwrap().unwrap();
    let admin = Admin::serve(listener, metrics.clone(), readiness);
    let address = admin.address().unwrap();
    (metrics, admin, address)
}

pub struct Scraped {
    pub text: String,
    samples: Vec<Sample>,
}

impl Scraped {
    pub async fn get(address: SocketAddr) -> Self {
        let response = reqwest::get(format!("http://{address}/metrics")).await.unwrap();
        assert_eq!(response.status(), 200);
        let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
        assert!(content_type.starts_with("text/plain; version=0.0.4"), "{content_type}");
        Self::parse(response.text().await.unwrap())
    }

    pub fn parse(text: String) -> Self {
        let Scrape { docs, samples } =
            Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap();
        assert!(!samples.is_empty(), "{text}");
        let histogram = |name: &str| text.contains(&format!("# TYPE {name} histogram\n"));
        // The parser makes samples of their own of a histogram's sum and count.
        let (ends, samples): (Vec<_>, Vec<_>) = samples.into_iter().partition(|sample| {
            let base = sample.metric.strip_suffix("_sum");
            base.or(sample.metric.strip_suffix("_count")).is_some_and(histogram)
        });
        for end in ends.iter().filter(|end| end.metric.ends_with("_count")) {
            let base = end.metric.trim_end_matches("_count");
            let whole = samples.iter().find(|s| s.metric == base && same_labels(s, end)).unwrap();
            assert_eq!(end.value, Value::Untyped(count_of(whole)), "{base}");
        }
        for sample in &samples {
            assert!(docs.contains_key(&sample.metric), "{} has no help", sample.metric);
            assert!(!matches!(sample.value, Value::Untyped(_)), "{} has no type", sample.metric);
        }
        let types: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let mut once = types.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), types.len(), "a family twice:\n{text}");
        Self { text, samples }
    }

    pub fn samples(&self, metric: &str) -> Vec<&Sample> {
        self.samples.iter().filter(|sample| sample.metric == metric).collect()
    }

    /// The sum over all samples of a metric that have these labels.
    pub fn sum(&self, metric: &str, labels: &[(&str, &str)]) -> f64 {
        self.samples(metric)
            .into_iter()
            .filter(|sample| {
                labels.iter().all(|(name, value)| sample.labels.get(name) == Some(*value))
            })
            .map(|sample| match &sample.value {
                Value::Counter(value) | Value::Gauge(value) => *value,
                Value::Histogram(_) => count_of(sample),
                other => panic!("{other:?}"),
            })
            .sum()
    }

    /// The value of a metric, if there is exactly one with these labels.
    pub fn value(&self, metric: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |sample: &&Sample| {
            labels.iter().all(|(name, value)| sample.labels.get(name) == Some(*value))
        };
        let found = self.samples(metric).into_iter().filter(has).count();
        assert!(found <= 1, "{metric}{labels:?} {found} times");
        (found == 1).then(|| self.sum(metric, labels))
    }
}

/// How many values a histogram counted: what its last bucket says, which holds them all.
fn count_of(histogram: &Sample) -> f64 {
    let Value::Histogram(buckets) = &histogram.value else { panic!("{histogram:?}") };
    assert!(buckets.is_sorted_by_key(|bucket| bucket.count), "{buckets:?}");
    let last = buckets.last().unwrap();
    assert_eq!(last.less_than, f64::INFINITY);
    last.count
}

fn same_labels(a: &Sample, b: &Sample) -> bool {
    a.labels.len() == b.labels.len() && a.labels.iter().all(|(k, v)| b.labels.get(k) == Some(v))
}

/// Waits until a scrape shows it.
pub async fn until(address: SocketAddr, what: &str, look: impl Fn(&Scraped) -> bool) -> Scraped {
    let watched = async {
        loop {
            let scraped = Scraped::get(address).await;
            if look(&scraped) {
                return scraped;
            }
            tokio::task::yield_now().await;
        }
    };
    match tokio::time::timeout(Duration::from_secs(20), watched).await {
        Ok(scraped) => scraped,
        Err(_) => panic!("{what} not within 20 s:\n{}", Scraped::get(address).await.text),
    }
}
