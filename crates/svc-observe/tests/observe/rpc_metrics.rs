//! Metrics of RPCs add up with the calls that were made, whatever way they ended.

use futures::StreamExt as _;
use futures::future::join_all;
use proto::eventstore::v1::FILE_DESCRIPTOR_SET;
use proto::eventstore::v1::ListTopicsRequest;
use proto::eventstore::v1::topics_client::TopicsClient;
use proto::messagequeue::v1::ListQueuesRequest;
use proto::messagequeue::v1::queues_client::QueuesClient;
use svc_observe::rpc::Measure;
use tonic::Code;

use super::scraped::{Scraped, start, until};
use super::service::{Served, append_to, read_of, serve};

const HANDLED: &str = "grpc_server_handled_total";
const SECONDS: &str = "grpc_server_handling_seconds";
const STREAMS: &str = "grpc_server_streams";

fn handled(scraped: &Scraped, method: &str, code: &str) -> f64 {
    scraped.sum(HANDLED, &[("method", method), ("code", code)])
}

/// All of it in one test: the recorder is one for the process.
#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_counted_once_with_the_code_it_ended_with() {
    let (readiness, _) = svc_runtime::health::Readiness::new(&[]);
    let (_metrics, _admin, admin) = start(10, readiness).await;
    let served = serve(Measure::new(&[FILE_DESCRIPTOR_SET]).unwrap()).await;

    load_while_scraping(&served, admin).await;
    endings(&served).await;
    let (mut endless, before) = {
        let mut events = served.client().read(read_of("endless")).await.unwrap().into_inner();
        events.next().await.unwrap().unwrap();
        let open = until(admin, "one is open", |s| s.sum(STREAMS, &[]) == 1.0).await;
        (Some(events), open)
    };
    assert_eq!(handled(&before, "Read", "CANCELLED"), 0.0);
    endless.take();
    let after =
        until(admin, "a stream is given up", |s| handled(s, "Read", "CANCELLED") == 1.0).await;

    for (method, code, calls) in [
        ("Append", "OK", 2_000.0),
        ("Append", "NOT_FOUND", 5.0),
        ("Read", "OK", 3.0),
        ("Read", "DATA_LOSS", 2.0),
        // Known from the protos, but not served; and not known at all.
        ("ListTopics", "UNIMPLEMENTED", 1.0),
        ("unknown", "UNIMPLEMENTED", 4.0),
    ] {
        assert_eq!(handled(&after, method, code), calls, "{method} {code}\n{}", after.text);
    }
    assert_eq!(after.sum(HANDLED, &[]), after.sum(SECONDS, &[]));
    assert_eq!(after.sum(STREAMS, &[]), 0.0);
    let unknown = after.samples(HANDLED).into_iter().filter(|s| &s.labels["method"] == "unknown");
    assert_eq!(unknown.map(|s| s.labels["service"].clone()).collect::<Vec<_>>(), ["unknown"]);
    let first = after.text.lines().find(|l| l.starts_with("grpc_server_handling_seconds_bucket"));
    assert!(first.unwrap().contains("le=\"0.0001\""), "{first:?}");
}

async fn load_while_scraping(served: &Served, admin: std::net::SocketAddr) {
    let channel = served.client();
    let writers = join_all((0..4).map(|_| {
        let mut client = channel.clone();
        tokio::spawn(async move {
            for _ in 0..500 {
                client.append(append_to("order")).await.unwrap();
            }
        })
    }));
    tokio::pin!(writers);
    let (mut scrapes, mut counted) = (0, 0.0);
    loop {
        tokio::select! {
            biased;
            ended = &mut writers => {
                ended.into_iter().for_each(Result::unwrap);
                break;
            }
            scraped = Scraped::get(admin) => {
                let now = handled(&scraped, "Append", "OK");
                assert!((counted..=2_000.0).contains(&now), "{counted} then {now}");
                (scrapes, counted) = (scrapes + 1, now);
            }
        }
    }
    assert!(scrapes > 0);
}

async fn endings(served: &Served) {
    let mut client = served.client();
    for _ in 0..5 {
        let error = client.append(append_to("missing")).await.unwrap_err();
        assert_eq!(error.code(), Code::NotFound);
    }
    for (topic, times) in [("order", 3), ("broken", 2)] {
        for _ in 0..times {
            let events: Vec<_> =
                client.read(read_of(topic)).await.unwrap().into_inner().collect().await;
            assert_eq!(events.len(), if topic == "broken" { 3 } else { 2 });
        }
    }
    let mut topics = TopicsClient::new(served.channel());
    let error = topics.list_topics(ListTopicsRequest::default()).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    for _ in 0..4 {
        let mut client = QueuesClient::new(served.channel());
        let error = client.list_queues(ListQueuesRequest::default()).await.unwrap_err();
        assert_eq!(error.code(), Code::Unimplemented);
    }
}
