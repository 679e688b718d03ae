//! Many consumers that wait for nothing. What they cost is measured by `make bench`.

use std::time::Duration;

use proto::messagequeue::v1 as pb;
use proto::messagequeue::v1::message_queue_client::MessageQueueClient;
use tokio::task::JoinSet;

use crate::support::*;

const QUEUES: usize = 10_000;

fn field(info: &str, name: &str) -> f64 {
    redis_link::values::info_field(info, name).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_long_polls_share_few_connections_and_are_served_at_once() {
    let (redis, mut service) = start().await;
    // A connection carries 4,096 calls.
    let clients: Vec<_> = (0..4)
        .map(|_| svc_runtime::client::channel(&service.url, 1).unwrap())
        .map(MessageQueueClient::new)
        .collect();
    let mut polls = JoinSet::new();
    for n in 0..QUEUES {
        let mut client = clients[n % clients.len()].clone();
        polls.spawn(async move {
            // Ends with the test: until then it polls again and again.
            loop {
                let request = pb::ReceiveRequest {
                    queue: format!("q{n}"),
                    wait: ms(20_000),
                    ..Default::default()
                };
                let got = client.receive(request).await.unwrap().into_inner().deliveries;
                if !got.is_empty() {
                    return n;
                }
            }
        });
        if n % 1_000 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let listening = async {
        while field(&redis.cli(&["INFO", "stats"]), "pubsub_channels") < QUEUES as f64 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), listening).await.unwrap();
    let clients = field(&redis.cli(&["INFO", "clients"]), "connected_clients");
    // One of them is the one that asks.
    assert!(clients - 1.0 <= 32.0, "{clients} connections");
    for n in [0, 1, QUEUES / 2, QUEUES - 1] {
        service.create(&format!("q{n}"), pb::QueueSettings::default()).await;
        let sent = tokio::time::Instant::now();
        service.send(&format!("q{n}"), vec![outgoing("x")]).await;
        let served = tokio::time::timeout(LIMIT, polls.join_next()).await.unwrap();
        assert_eq!(served.unwrap().unwrap(), n);
        // 100 ms on a machine that does nothing else; tests share theirs.
        assert!(sent.elapsed() < Duration::from_secs(1), "{:?}", sent.elapsed());
    }
}
