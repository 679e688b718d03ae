//! Ten thousand topics do not become ten thousand series.

use svc_runtime::health::Readiness;

use super::scraped::{Scraped, start};

#[tokio::test]
async fn ten_thousand_topics_are_two_hundred_labels_and_other() {
    let (metrics, _admin, address) = start(200, Readiness::new(&[]).0).await;
    for round in 1..=3 {
        for index in 0..10_000 {
            let name = format!("topic-{index}");
            metrics.topics().of([&name]).appended.add(round);
            metrics.groups().of([&name, "billing"]).delivered.add(1);
            metrics.queues().of([&name]).sent.add(1);
        }
    }
    let scraped = Scraped::get(address).await;
    for (metric, sum) in [
        ("eventstore_appended_events_total", 60_000.0),
        ("eventstore_delivered_events_total", 30_000.0),
        ("messagequeue_sent_messages_total", 30_000.0),
        ("messagequeue_dead_lettered_messages_total", 0.0),
    ] {
        assert_eq!(scraped.samples(metric).len(), 201, "{metric}");
        assert_eq!(scraped.sum(metric, &[]), sum, "{metric}");
    }
    let (own, other) = ([("topic", "topic-7")], [("topic", "other")]);
    assert_eq!(scraped.value("eventstore_appended_events_total", &own), Some(6.0));
    assert_eq!(scraped.value("eventstore_appended_events_total", &other), Some(9_800.0 * 6.0));
    let other = [("topic", "other"), ("group", "other")];
    assert_eq!(scraped.value("eventstore_delivered_events_total", &other), Some(9_800.0 * 3.0));
    assert_eq!(metrics.topics().labelled().len(), 200);
    assert!(scraped.text.len() < 200_000, "{} bytes", scraped.text.len());
}
