//! Dead letters: listed in pages, sent again, dropped.

use proto::messagequeue::v1 as pb;

use crate::support::*;

/// A queue with so many dead letters.
async fn with_dead(service: &mut Replica, queue: &str, count: usize) -> Vec<String> {
    let ids = service.send(queue, (0..count).map(|n| outgoing(&n.to_string())).collect()).await;
    for delivery in service.receive_now(queue, 1_000).await {
        let request = pb::NackRequest {
            queue: queue.into(),
            receipts: vec![delivery.receipt],
            dead_letter: true,
            reason: "no".into(),
            ..Default::default()
        };
        service.mq.nack(request).await.unwrap();
    }
    assert_eq!(service.counts(queue).await, [0, 0, 0, count as u64]);
    ids
}

fn redrive(
    limit: Option<u64>,
    to: Option<&str>,
    rate: Option<f64>,
) -> pb::RedriveDeadLettersRequest {
    pb::RedriveDeadLettersRequest {
        queue: "q".into(),
        limit,
        to_queue: to.map(Into::into),
        max_rate: rate,
    }
}

#[tokio::test]
async fn they_are_listed_oldest_first_in_pages() {
    let (_redis, mut service) = start().await;
    let ids = with_dead(&mut service, "q", 7).await;
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let request =
            pb::ListDeadLettersRequest { queue: "q".into(), page_size: 3, page_token: token };
        let page = service.queues.list_dead_letters(request).await.unwrap().into_inner();
        seen.extend(page.dead_letters.into_iter().map(|dead| dead.message.unwrap().id.unwrap()));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ids);
}

#[tokio::test]
async fn they_are_sent_again_oldest_first_with_no_failures() {
    let (_redis, mut service) = start().await;
    let ids = with_dead(&mut service, "q", 3).await;
    let redriven = service.queues.redrive_dead_letters(redrive(Some(2), None, None)).await.unwrap();
    assert_eq!(redriven.into_inner().redriven, 2);
    let got = service.receive_now("q", 10).await;
    assert_eq!(texts(&got), ["0", "1"]);
    assert_eq!((got[0].attempt, got[0].message.as_ref().unwrap().id()), (1, ids[0].as_str()));
    service.ack("q", &[&got[0].receipt]).await;
    assert_eq!(service.counts("q").await, [0, 1, 0, 1]);
}

#[tokio::test]
async fn they_are_sent_to_another_queue_no_faster_than_asked() {
    let (_redis, mut service) = start().await;
    with_dead(&mut service, "q", 30).await;
    let since = tokio::time::Instant::now();
    let request = redrive(None, Some("other"), Some(20.0));
    let redriven = service.queues.redrive_dead_letters(request).await.unwrap().into_inner();
    assert_eq!(redriven.redriven, 30);
    assert!(since.elapsed().as_millis() >= 900, "{:?}", since.elapsed());
    assert_eq!(service.counts("q").await, [0, 0, 0, 0]);
    let wanted: Vec<_> = (0..30).map(|n| n.to_string()).collect();
    assert_eq!(texts(&service.receive_now("other", 100).await), wanted);
}

#[tokio::test]
async fn expired_ones_sent_again_are_delivered_once() {
    let (_redis, mut service) = start().await;
    let short = pb::OutgoingMessage { time_to_live: ms(50), ..outgoing("x") };
    service.send("q", vec![short]).await;
    service.until_counts("q", [0, 0, 0, 1]).await;
    service.queues.redrive_dead_letters(redrive(None, None, None)).await.unwrap();
    assert_eq!(service.counts("q").await, [1, 0, 0, 0]);
    // What is still listed from before it expired is not it.
    assert_eq!(texts(&service.receive_now("q", 10).await), ["x"]);
    assert_eq!(service.counts("q").await, [0, 1, 0, 0]);
}

#[tokio::test]
async fn they_are_dropped_by_id_or_oldest_first() {
    let (_redis, mut service) = start().await;
    let ids = with_dead(&mut service, "q", 5).await;
    let delete = |message_ids: Vec<String>, limit| pb::DeleteDeadLettersRequest {
        queue: "q".into(),
        message_ids,
        limit,
    };
    let named = delete(vec![ids[4].clone(), "0".repeat(33)], None);
    let deleted = service.queues.delete_dead_letters(named).await.unwrap().into_inner().deleted;
    assert_eq!(deleted, 1);
    let oldest = delete(Vec::new(), Some(2));
    let deleted = service.queues.delete_dead_letters(oldest).await.unwrap().into_inner().deleted;
    assert_eq!(deleted, 2);
    let left = service.dead_letters("q").await;
    let left: Vec<_> = left.into_iter().map(|dead| dead.message.unwrap().id.unwrap()).collect();
    assert_eq!(left, ids[2..4]);
}

#[tokio::test]
async fn only_the_newest_ten_thousand_are_kept() {
    let (redis, mut service) = start().await;
    with_dead(&mut service, "q", 1).await;
    // 9,999 more would take long to make one by one; what matters is the count.
    let filler = "for i = 1, 10000 do redis.call('ZADD', KEYS[1], i / 100000, 'x' .. i) end";
    let _ = redis.cli(&["EVAL", filler, "1", "mq:{q}:dead"]);
    service.send("q", vec![outgoing("new")]).await;
    let got = service.receive_now("q", 1).await;
    let request = pb::NackRequest {
        queue: "q".into(),
        receipts: vec![got[0].receipt.clone()],
        dead_letter: true,
        ..Default::default()
    };
    service.mq.nack(request).await.unwrap();
    assert_eq!(service.counts("q").await, [0, 0, 0, 10_000]);
}
