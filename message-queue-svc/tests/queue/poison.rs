//! A message that kills its consumer again and again: it ends as a dead letter
//! that tells its story, and nothing behind it waits.

use std::time::Duration;

use proto::messagequeue::v1 as pb;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::support::*;

/// The longest that a message behind the poison may take, on a busy machine.
const AT_ONCE: Duration = Duration::from_millis(500);

/// How the consumer fails: it says so, or says nothing until the lease is over.
fn failure(attempt: u32, receipt: String) -> Option<pb::ConsumeRequest> {
    let nack = pb::ConsumeNack {
        receipts: vec![receipt],
        // The second time after the queue's backoff, otherwise at once.
        delay: if attempt == 2 { None } else { ms(0) },
        dead_letter: false,
        reason: format!("crash {attempt}"),
    };
    let silent = attempt == 3;
    (!silent)
        .then_some(pb::ConsumeRequest { message: Some(pb::consume_request::Message::Nack(nack)) })
}

#[tokio::test]
async fn poison_is_set_aside_after_five_attempts_and_nothing_waits_for_it() {
    let (_redis, mut service) = start().await;
    let backoff = pb::Backoff { initial: ms(200), ..Default::default() };
    let settings =
        pb::QueueSettings { lease: ms(1_000), retry_backoff: Some(backoff), ..Default::default() };
    service.create("q", settings).await;
    let poison = service.send("q", vec![outgoing("poison")]).await.remove(0);
    let (say, said) = mpsc::unbounded_channel();
    let mut stream = service.consume("q", 4, UnboundedReceiverStream::new(said)).await;
    let (tell, mut handled) = mpsc::unbounded_channel();
    let worker = tokio::spawn(async move {
        let mut attempts = Vec::new();
        while let Ok(Some(response)) = stream.message().await {
            let Some(pb::consume_response::Message::Delivery(delivery)) = response.message else {
                continue;
            };
            if text(delivery.message.as_ref().unwrap()) == "poison" {
                attempts.push(delivery.attempt);
                if let Some(nack) = failure(delivery.attempt, delivery.receipt) {
                    say.send(nack).unwrap();
                }
            } else {
                say.send(ack_of(&[&delivery.receipt])).unwrap();
                let _ = tell.send(Instant::now());
            }
        }
        attempts
    });
    // One good message after the other for as long as the poison is about.
    let (start, mut longest, mut count) = (Instant::now(), Duration::ZERO, 0);
    while service.info("q").await.dead_letters == 0 {
        let since = Instant::now();
        service.send("q", vec![outgoing("good")]).await;
        let at = tokio::time::timeout(LIMIT, handled.recv()).await.unwrap().unwrap();
        longest = longest.max(at - since);
        count += 1;
        assert!(start.elapsed() < LIMIT, "the poison is still about");
    }
    println!(
        "{count} messages passed the poison in {:?}, none took over {longest:?}",
        start.elapsed()
    );
    assert!(longest < AT_ONCE, "{longest:?}");
    let dead = service.dead_letters("q").await.remove(0);
    assert_eq!(dead.message.as_ref().unwrap().id(), poison);
    assert_eq!(
        (dead.reason(), dead.attempts, dead.last_error.as_str()),
        (pb::DeadLetterReason::MaxAttempts, 5, "crash 5")
    );
    service.until_counts("q", [0, 0, 0, 1]).await;
    service.shutdown.trigger();
    assert_eq!(worker.await.unwrap(), [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn poison_that_is_never_answered_says_that_its_lease_expired() {
    let (_redis, mut service) = start().await;
    let settings = pb::QueueSettings { max_attempts: Some(2), ..Default::default() };
    service.create("q", settings).await;
    service.send("q", vec![outgoing("poison")]).await;
    for attempt in 1..=2 {
        let got = service.receive_for("q", 1, Some(1_000), 20_000).await;
        assert_eq!(got[0].attempt, attempt);
    }
    service.until_counts("q", [0, 0, 0, 1]).await;
    let dead = service.dead_letters("q").await;
    assert_eq!((dead[0].attempts, dead[0].last_error.as_str()), (2, "the lease expired"));
}
