//! What a replica appended goes to its own subscribers without being read again: they see what they
//! would have seen if it had been, also where others append, answers are lost and topics replaced.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_imports,
    reason = "a test fails loudly"
)]

mod support;

use std::time::{Duration, Instant};

use proto::eventstore::v1::append_stream_response::Result as Answer;
use proto::eventstore::v1::expectation::Expected;
use proto::eventstore::v1::subscribe_response::Message;
use proto::eventstore::v1::*;
use redis_link::test_util::PrivateRedis;
use redis_link::test_util::proxy::Proxy;
use support::*;
use tonic::{Code, Status, Streaming};

const IN_TIME: Duration = Duration::from_secs(10);

/// A subscriber that has caught up: what comes next came after it.
async fn subscriber(service: &Service, topic: &str) -> Streaming<SubscribeResponse> {
    let mut stream = service.subscribe(topic, None).await;
    loop {
        if let Message::CaughtUp(_) = stream.message().await.unwrap().unwrap().message.unwrap() {
            return stream;
        }
    }
}

/// The next event, or how the stream ended.
async fn next(stream: &mut Streaming<SubscribeResponse>) -> Result<RecordedEvent, Status> {
    let event = async {
        loop {
            let message = stream.message().await?.expect("it ends with a status");
            match message.message.unwrap() {
                Message::Event(event) => return Ok(event),
                Message::FellBehind(_) => panic!("it fell behind"),
                _ => {}
            }
        }
    };
    tokio::time::timeout(IN_TIME, event).await.expect("an event in time")
}

/// How often Redis was asked for a range of a log.
fn ranges(redis: &PrivateRedis) -> u64 {
    let stats = redis.cli(&["INFO", "commandstats"]);
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_xrange:calls="));
    calls.map_or(0, |calls| calls.split(',').next().unwrap().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_same_replica_appended_is_not_read_again() {
    let redis = PrivateRedis::start();
    let [near, far] = [Service::start(&redis).await, Service::start(&redis).await];
    // The topic begins with the first of them.
    let mut stream = subscriber(&near, "t").await;
    let mut read = Vec::new();
    let mut sequence = 0;
    for service in [&near, &far] {
        let (before, began) = (ranges(&redis), Instant::now());
        for _ in 0..200 {
            sequence += 1;
            let appended = service.append("t", vec![event("", "a")]).await.unwrap();
            let delivered = next(&mut stream).await.unwrap();
            assert_eq!(appended.first_position, delivered.position);
            assert_eq!(
                (delivered.sequence, delivered.subject_revision),
                (sequence, Some(sequence - 1))
            );
        }
        read.push((ranges(&redis) - before, began.elapsed().as_secs()));
    }
    let [(own, seconds), (of_another, _)] = read[..] else { panic!() };
    assert!(of_another >= 200, "what another replica appended was read {of_another} times");
    // Beside the look once a second, and a bell that was heard long before the answer.
    assert!(own <= 20 + seconds, "{own} reads of what the replica appended itself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_handed_over_is_what_would_be_read() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    let mut stream = subscriber(&service, "t").await;
    // Batches of all kinds of requests, refused and repeated ones among them.
    let requests = (0..600_u32).map(|n| {
        let events = (0..=n % 3).map(|part| {
            let id = if n % 4 < 2 { format!("{}-{part}", n - n % 2) } else { String::new() };
            let kind = if n % 4 < 2 { n - n % 2 } else { n };
            event(&id, if (kind + part) % 5 < 3 { ["x", "y"][(kind % 2) as usize] } else { "" })
        });
        let impossible = vec![expect("x", Expected::Revision(1 << 40))];
        AppendRequest {
            topic: "t".into(),
            events: if n % 4 == 1 {
                events.take(((n - 1) % 3) as usize + 1).collect()
            } else {
                events.collect()
            },
            expectations: if n % 7 == 3 { impossible } else { vec![] },
            durability: 0,
        }
    });
    let requests: Vec<_> = requests.collect();
    let mut answers =
        service.store().append_stream(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let (mut appended, mut refused, mut repeated) = (0, 0, 0);
    while let Some(answer) = answers.message().await.unwrap() {
        match answer.result.unwrap() {
            Answer::Appended(answer) if answer.deduplicated => repeated += 1,
            Answer::Appended(_) => appended += 1,
            Answer::Error(_) => refused += 1,
        }
    }
    assert!(appended > 300 && refused > 50 && repeated > 50, "{appended} {refused} {repeated}");
    let read = service.read_all("t").await;
    for wanted in &read {
        assert_eq!(&next(&mut stream).await.unwrap(), wanted);
    }
    assert_eq!(sequences(&read), (1..=read.len() as u64).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_append_in_turns_are_seen_alike_everywhere() {
    const TURNS: u64 = 150;
    const CROWD: u64 = 8;
    const EACH: u64 = 100;
    let redis = PrivateRedis::start();
    let replicas = [Service::start(&redis).await, Service::start(&redis).await];
    let mut streams = Vec::new();
    for replica in &replicas {
        streams.push(subscriber(replica, "t").await);
        streams.push(subscriber(replica, "t").await);
    }
    let mut seen: Vec<Vec<RecordedEvent>> = vec![Vec::new(); streams.len()];
    // One after the other, in runs of one to three.
    for turn in 0..TURNS {
        let replica = &replicas[usize::from(turn % 5 % 2 == 1)];
        replica.append("t", vec![event("", "a"); (turn % 3) as usize + 1]).await.unwrap();
    }
    // All at once.
    let mut crowd = tokio::task::JoinSet::new();
    for writer in 0..CROWD {
        let mut store = replicas[usize::from(writer % 2 == 1)].store();
        crowd.spawn(async move {
            for n in 0..EACH {
                let events = vec![event(&format!("{writer}-{n}"), &format!("s{}", n % 3))];
                let request = AppendRequest { topic: "t".into(), events, ..Default::default() };
                store.append(request).await.unwrap();
            }
        });
    }
    crowd.join_all().await;
    let log = replicas[0].read_all("t").await;
    assert_eq!(log.len() as u64, TURNS * 2 + CROWD * EACH);
    for (stream, seen) in streams.iter_mut().zip(&mut seen) {
        while seen.len() < log.len() {
            seen.push(next(stream).await.unwrap());
        }
        assert_eq!(sequences(seen), sequences(&log));
        assert!(*seen == log, "something differs from the log");
        // And nothing behind it.
        let more = tokio::time::timeout(Duration::from_millis(100), stream.message()).await;
        assert!(more.is_err(), "{more:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_a_topic_that_took_its_place_are_not_handed_over() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    for topic in (0..10).map(|n| format!("t{n}")) {
        let mut stream = subscriber(&service, &topic).await;
        for sequence in 1..=5 {
            service.append(&topic, vec![event("", "")]).await.unwrap();
            assert_eq!(next(&mut stream).await.unwrap().sequence, sequence);
        }
        // Another one of five events is there, and no bell has told of it.
        let replace = "local meta = KEYS[2]
            local last = redis.call('HGET', meta, 'last')
            local created = redis.call('HGET', meta, 'created') + 1
            redis.call('DEL', KEYS[1], meta)
            redis.call('HSET', meta, 'created', string.format('%.0f', created), 'sequence', 5, 'last', last)
            return redis.call('XADD', KEYS[1], last, 'e', '')";
        let key = |name: &str| format!("es:{{{topic}}}:{name}");
        let replaced = redis.cli(&["EVAL", replace, "2", &key("log"), &key("meta")]);
        assert!(replaced.trim().ends_with("-5"), "{replaced}");
        let appended = service.append(&topic, vec![event("", "")]).await.unwrap();
        assert_eq!(appended.first_sequence, 6, "it would follow");
        let status = next(&mut stream).await.unwrap_err();
        assert_error(&status, Code::OutOfRange, "POSITION_BEYOND_HEAD");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_topic_that_is_made_anew_is_another_one() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    for topic in (0..10).map(|n| format!("t{n}")) {
        let mut stream = subscriber(&service, &topic).await;
        for sequence in 1..=3 {
            service.append(&topic, vec![event("", "")]).await.unwrap();
            assert_eq!(next(&mut stream).await.unwrap().sequence, sequence);
        }
        let request = DeleteTopicRequest { topic: topic.clone() };
        service.topics().delete_topic(request).await.unwrap();
        for _ in 0..4 {
            service.append(&topic, vec![event("", "")]).await.unwrap();
        }
        let status = next(&mut stream).await.unwrap_err();
        assert_error(&status, Code::OutOfRange, "POSITION_BEYOND_HEAD");
        let mut stream = service.subscribe(&topic, None).await;
        for sequence in 1..=4 {
            assert_eq!(next(&mut stream).await.unwrap().sequence, sequence);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_whose_answer_was_lost_is_seen_once() {
    let redis = PrivateRedis::start();
    let proxy = Proxy::start(&format!("127.0.0.1:{}", redis.port())).await;
    let far = Service::start_at(&format!("redis://127.0.0.1:{}", proxy.port()), &[]).await;
    let mut stream = subscriber(&far, "t").await;
    for sequence in 1..=5 {
        far.append("t", vec![event("", "")]).await.unwrap();
        assert_eq!(next(&mut stream).await.unwrap().sequence, sequence);
    }
    // The sixth is appended, and the answer, which tells of five before, does not come.
    proxy.swallow(":5\r\n*0\r\n");
    let sixth = || AppendRequest {
        topic: "t".into(),
        events: vec![event("sixth", "")],
        ..Default::default()
    };
    let appending = tokio::spawn({
        let mut store = far.store();
        async move { store.append(sixth()).await }
    });
    let swallowed = async {
        while redis.cli(&["XLEN", "es:{t}:log"]).trim() != "6" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(IN_TIME, swallowed).await.expect("it is appended");
    proxy.cut();
    proxy.heal();
    let lost = appending.await.unwrap().unwrap_err();
    assert_error(&lost, Code::Unknown, "OUTCOME_UNKNOWN");
    assert_eq!(next(&mut stream).await.unwrap().sequence, 6);
    far.ready().await;
    let again = far.store().append(sixth()).await.unwrap().into_inner();
    assert!(again.deduplicated);
    for sequence in 7..=10 {
        far.append("t", vec![event("", "")]).await.unwrap();
        assert_eq!(next(&mut stream).await.unwrap().sequence, sequence);
    }
}
