//! Events that go, by retention, truncation or with their topic, while somebody reads them: the
//! reading says so. What came before is whole.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_imports,
    reason = "a test fails loudly"
)]

mod support;

use proto::eventstore::v1::event::Data;
use proto::eventstore::v1::*;
use redis_link::test_util::PrivateRedis;
use support::*;
use tonic::{Code, Status};

/// So large that sixteen make a page, and more of them than may be on their way to a client.
const SIZE: usize = 1_000_000;
const EVENTS: usize = 80;

/// A topic of large events of one subject; answers their positions.
async fn large_topic(service: &Service, topic: &str) -> Vec<String> {
    let mut positions = Vec::new();
    for _ in 0..EVENTS {
        let large = Event { data: Some(Data::BinaryData(vec![0; SIZE].into())), ..event("", "a") };
        positions.push(service.append(topic, vec![large]).await.unwrap().first_position);
    }
    positions
}

/// Reads, stops after the first event until `meanwhile` is done, and reads on: how many events came,
/// and what the end was.
async fn overtaken(
    service: &Service,
    request: ReadRequest,
    meanwhile: impl Future<Output = ()>,
) -> (u64, Result<(), Status>) {
    let backward = request.direction == i32::from(Direction::Backward);
    let mut stream = service.store().read(request).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap().event.unwrap().sequence;
    meanwhile.await;
    let mut came = 1;
    loop {
        match stream.message().await {
            Ok(Some(next)) => {
                let sequence = next.event.unwrap().sequence;
                assert_eq!(sequence, if backward { first - came } else { first + came });
                came += 1;
            }
            Ok(None) => return (came, Ok(())),
            Err(status) => return (came, Err(status)),
        }
    }
}

async fn truncate(service: &Service, topic: &str, before: &str) {
    let before = Some(truncate_topic_request::Before::BeforePosition(before.to_owned()));
    let request = TruncateTopicRequest { topic: topic.into(), before };
    assert!(service.topics().truncate_topic(request).await.unwrap().into_inner().removed > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reading_that_truncation_overtakes_says_where_to_go_on() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    let filter = EventFilter { types: vec!["created".into()], ..Default::default() };
    let request = |topic: &str| ReadRequest { topic: topic.into(), ..Default::default() };
    let of_subject = |topic: &str| ReadRequest { subject: Some("a".into()), ..request(topic) };
    let cases = [
        ("all", request("all")),
        ("filtered", ReadRequest { filter: Some(filter), ..request("filtered") }),
        ("subject", of_subject("subject")),
    ];
    for (topic, request) in cases {
        let positions = large_topic(&service, topic).await;
        let left = &positions[EVENTS - 3];
        let read = overtaken(&service, request, truncate(&service, topic, left));
        let (came, end) = read.await;
        assert!(came < EVENTS as u64 - 3, "{topic}: {came} were on their way");
        let facts = assert_error(&end.unwrap_err(), Code::OutOfRange, "POSITION_TRIMMED");
        assert_eq!(&facts.metadata["first_position"], left, "{topic}");
        let last = usize::try_from(came).unwrap() - 1;
        assert_eq!(facts.metadata["position"], positions[last], "{topic}");
        service.topics().delete_topic(DeleteTopicRequest { topic: topic.into() }).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reading_whose_events_are_all_gone_does_not_end_as_if_it_were_done() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    large_topic(&service, "t").await;
    let request = || ReadRequest { topic: "t".into(), ..Default::default() };
    // All that there was; what is appended afterwards does not belong to the reading.
    let (came, end) = overtaken(&service, request(), async {
        let next = service.append("t", vec![event("", "a")]).await.unwrap().first_position;
        truncate(&service, "t", &next).await;
    })
    .await;
    assert!(came < EVENTS as u64, "{came} were on their way");
    assert_error(&end.unwrap_err(), Code::OutOfRange, "POSITION_TRIMMED");
    service.topics().delete_topic(DeleteTopicRequest { topic: "t".into() }).await.unwrap();
    large_topic(&service, "t").await;
    let (came, end) = overtaken(&service, request(), async {
        service.topics().delete_topic(DeleteTopicRequest { topic: "t".into() }).await.unwrap();
        service.append("t", vec![event("", "a"); 70]).await.unwrap();
    })
    .await;
    assert!(came < EVENTS as u64, "{came} were on their way");
    assert_error(&end.unwrap_err(), Code::OutOfRange, "POSITION_BEYOND_HEAD");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backward_reading_ends_with_the_oldest_that_is_left() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    let positions = large_topic(&service, "t").await;
    let direction = Direction::Backward.into();
    let request = ReadRequest { topic: "t".into(), direction, ..Default::default() };
    let (came, end) = overtaken(&service, request, truncate(&service, "t", &positions[9])).await;
    assert_eq!(came, EVENTS as u64 - 9);
    end.unwrap();
}
