//! A load whose figures are known.

use futures::StreamExt as _;
use proto::eventstore::v1::consume_request::Message as Say;
use proto::eventstore::v1::consume_response::Message as Heard;
use proto::eventstore::v1::subscribe_response::Message;
use proto::eventstore::v1::*;
use redis_link::test_util::PrivateRedis;
use tokio::sync::mpsc::unbounded_channel;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Code;

use crate::scraped::{Scraped, until};
use crate::support::*;
use crate::{TURN, observed, scrape};

const T: &str = "orders";
/// Events of that topic.
const EVENTS: usize = 13;

fn of_topic(scraped: &Scraped, metric: &str, topic: &str) -> f64 {
    scraped.value(metric, &[("topic", topic)]).unwrap_or(0.0)
}

fn of_group(scraped: &Scraped, metric: &str, group: &str) -> f64 {
    let metric = format!("eventstore_{metric}");
    scraped.value(&metric, &[("topic", T), ("group", group)]).unwrap_or(0.0)
}

/// A sample without labels, as it stands in the text.
fn plain(scraped: &Scraped, name: &str) -> f64 {
    let mut lines = scraped.text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_and_reads_add_up() {
    let _turn = TURN.lock().await;
    let redis = PrivateRedis::start();
    let (service, admin) = observed(&redis, "200").await;
    let before = scrape(admin).await;
    let more = |scraped: &Scraped, name: &str| plain(scraped, name) - plain(&before, name);

    let three = || ["a", "b", "c"].map(|id| event(id, id)).to_vec();
    service.append(T, three()).await.unwrap();
    assert!(service.append(T, three()).await.unwrap().deduplicated);
    let expected = vec![expect("a", expectation::Expected::NoEvents(()))];
    let refused = service.append_expecting(T, vec![event("", "a")], expected).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
    service.append(T, Vec::new()).await.unwrap_err();
    let two = |_| AppendRequest {
        topic: T.into(),
        events: vec![event("", "s"), event("", "s")],
        ..Default::default()
    };
    let stream = service.store().append_stream(tokio_stream::iter((0..5).map(two))).await;
    assert_eq!(stream.unwrap().into_inner().count().await, 5);
    service.append("another", vec![event("", "")]).await.unwrap();

    let scraped = scrape(admin).await;
    let appended = "eventstore_appended_events_total";
    assert_eq!(of_topic(&scraped, appended, T), EVENTS as f64);
    assert_eq!(of_topic(&scraped, appended, "another"), 1.0);
    // One was answered without Redis having been asked.
    assert_eq!(more(&scraped, "eventstore_append_seconds_count"), 9.0);
    assert_eq!(more(&scraped, "eventstore_append_batch_events_sum"), EVENTS as f64 + 1.0);
    let calls = more(&scraped, "eventstore_append_batch_events_count");
    assert!((5.0..=9.0).contains(&calls), "{calls}");
    assert_eq!(of_topic(&scraped, "eventstore_topic_events", T), EVENTS as f64);
    let request = GetTopicRequest { topic: T.into() };
    let topic = service.topics().get_topic(request).await.unwrap().into_inner().topic.unwrap();
    assert!(topic.bytes > 0);
    assert_eq!(of_topic(&scraped, "eventstore_topic_bytes", T), topic.bytes as f64);

    assert_eq!(service.read_all(T).await.len(), EVENTS);
    let request = ReadRequest { topic: T.into(), limit: Some(5), ..Default::default() };
    assert_eq!(service.read(request).await.unwrap().len(), 5);
    let load = LoadSubjectRequest { topic: T.into(), subject: "s".into() };
    let loaded = service.store().load_subject(load).await.unwrap().into_inner();
    assert_eq!(loaded.count().await, 10);
    let mut open = Vec::new();
    for (subjects, wanted) in [(Vec::new(), EVENTS), (vec!["a".to_owned()], 1)] {
        let topics = vec![TopicStart { topic: T.into(), start: None }];
        let filter = Some(EventFilter { subjects, ..Default::default() });
        let request = SubscribeRequest { topics, filter, ..Default::default() };
        let mut stream = service.store().subscribe(request).await.unwrap().into_inner();
        let mut events = 0;
        while let Message::Event(_) = stream.message().await.unwrap().unwrap().message.unwrap() {
            events += 1;
        }
        assert_eq!(events, wanted);
        open.push(stream);
    }
    let scraped = scrape(admin).await;
    let read = EVENTS + 5 + 10 + EVENTS + 1;
    assert_eq!(of_topic(&scraped, "eventstore_read_events_total", T), read as f64);
    assert_eq!(plain(&scraped, "eventstore_subscribers"), 2.0);
    drop(open);
    until(admin, "nobody subscribes", |s| plain(s, "eventstore_subscribers") == 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_add_up() {
    let _turn = TURN.lock().await;
    let redis = PrivateRedis::start();
    let (service, admin) = observed(&redis, "200").await;
    service.append(T, (0..EVENTS).map(|_| event("", "")).collect()).await.unwrap();
    let twice = GroupSettings { max_deliveries: Some(2), ..Default::default() };
    let once = GroupSettings {
        max_deliveries: Some(1),
        ack_timeout: Some(millis(1_000)),
        ..Default::default()
    };
    service.create_group(T, "unary", twice).await;
    service.create_group(T, "stream", GroupSettings::default()).await;
    service.create_group(T, "slow", once).await;
    service.create_group(T, "idle", GroupSettings::default()).await;

    // Five are acked, and again; one fails twice, one is parked, one skipped: five are left.
    let all = service.fetch(T, "unary", 1_000, 0).await;
    assert_eq!(all.len(), EVENTS);
    let acked: Vec<_> = all[..5].iter().collect();
    for _ in 0..2 {
        let outcomes = service.ack(T, "unary", &acked).await;
        assert!(outcomes.iter().all(|outcome| outcome.error.is_none()));
    }
    service.nack(T, "unary", &all[5], NackAction::Retry, Some(0)).await;
    let again = service.fetch(T, "unary", 1_000, 2_000).await;
    assert_eq!((again.len(), again[0].delivery_count), (1, 2));
    service.nack(T, "unary", &again[0], NackAction::Retry, Some(0)).await;
    service.nack(T, "unary", &all[6], NackAction::Park, None).await;
    service.nack(T, "unary", &all[7], NackAction::Skip, None).await;
    // A lost lease settles nothing.
    service.ack(T, "unary", &[&all[5]]).await;

    // Three are acked over a stream; what it held goes back and is not counted as a failure.
    let (say, said) = unbounded_channel();
    let open = ConsumeOpen {
        topic: T.into(),
        group: "stream".into(),
        consumer: "c".into(),
        max_in_flight: None,
    };
    say.send(ConsumeRequest { message: Some(Say::Open(open)) }).unwrap();
    let requests = UnboundedReceiverStream::new(said);
    let mut stream = service.groups().consume(requests).await.unwrap().into_inner();
    let (mut receipts, mut outcomes) = (Vec::new(), 0);
    while outcomes < 3 {
        match stream.message().await.unwrap().unwrap().message.unwrap() {
            Heard::Delivery(delivery) => receipts.push(delivery.receipt),
            Heard::Outcome(_) => outcomes += 1,
            Heard::Heartbeat(_) => {}
        }
        if receipts.len() == EVENTS && outcomes == 0 {
            let ack = ConsumeAck { receipts: receipts[..3].to_vec() };
            say.send(ConsumeRequest { message: Some(Say::Ack(ack)) }).unwrap();
        }
    }
    drop((say, stream));
    let mut back = 0;
    while back < EVENTS - 3 {
        back += service.fetch(T, "stream", 1_000, 5_000).await.len();
    }

    // A lease that runs out parks where one attempt is all there is.
    assert_eq!(service.fetch(T, "slow", 1_000, 0).await.len(), EVENTS);
    while service.group(T, "slow").await.parked < EVENTS as u64 {
        assert!(service.fetch(T, "slow", 1_000, 2_000).await.is_empty());
    }

    let scraped = scrape(admin).await;
    let events = EVENTS as f64;
    for (group, delivered, again, acked, parked) in [
        ("unary", events + 1.0, 1.0, 5.0, 2.0),
        ("stream", events + 10.0, 0.0, 3.0, 0.0),
        ("slow", events, 0.0, 0.0, events),
        ("idle", 0.0, 0.0, 0.0, 0.0),
    ] {
        let counted = ["delivered", "redelivered", "acked", "parked"]
            .map(|what| of_group(&scraped, &format!("{what}_events_total"), group));
        assert_eq!(counted, [delivered, again, acked, parked], "{group}");
    }
    for (group, lag, pending) in
        [("unary", 0.0, 5.0), ("stream", 0.0, 10.0), ("slow", 0.0, 0.0), ("idle", events, 0.0)]
    {
        let told = service.group(T, group).await;
        let gauge = |what: &str| of_group(&scraped, &format!("group_{what}"), group);
        assert_eq!((gauge("lag_events"), gauge("pending_events")), (lag, pending), "{group}");
        assert_eq!((told.lag as f64, told.pending as f64), (lag, pending), "{group}");
        assert_eq!(gauge("parked_events"), told.parked as f64, "{group}");
        let oldest = gauge("oldest_pending_seconds");
        assert_eq!(oldest > 0.0, pending > 0.0, "{group}: {oldest}");
        assert!(oldest < 60.0, "{group}: {oldest}");
    }

    // A group that Redis lost does no harm to the figures of the others.
    assert_eq!(redis.cli(&["XGROUP", "DESTROY", "es:{orders}:log", "unary"]).trim(), "1");
    let scraped = scrape(admin).await;
    assert_eq!(of_group(&scraped, "group_pending_events", "unary"), 5.0);
    assert_eq!(of_group(&scraped, "group_oldest_pending_seconds", "unary"), 0.0);
    assert!(of_group(&scraped, "group_oldest_pending_seconds", "stream") > 0.0);
}
