//! The service Queues.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use proto::messagequeue::v1 as pb;
use tonic::Code;

use crate::support::*;

#[tokio::test]
async fn creating_again_succeeds_with_the_same_settings_only() {
    let (_redis, mut service) = start().await;
    let settings =
        pb::QueueSettings { lease: ms(5_000), max_rate: Some(2.5), ..Default::default() };
    let request = pb::CreateQueueRequest { queue: "q".into(), settings: Some(settings) };
    let created = service.queues.create_queue(request.clone()).await.unwrap().into_inner();
    let shown = created.queue.unwrap().settings.unwrap();
    assert_eq!((shown.lease, shown.max_rate, shown.max_attempts), (ms(5_000), Some(2.5), Some(5)));
    service.queues.create_queue(request).await.unwrap();
    let other = pb::CreateQueueRequest { queue: "q".into(), settings: None };
    let refused = service.queues.create_queue(other).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::AlreadyExists, "ALREADY_EXISTS")
    );
}

#[tokio::test]
async fn an_update_changes_what_it_names() {
    let (_redis, mut service) = start().await;
    let settings =
        pb::QueueSettings { lease: ms(5_000), max_messages: Some(7), ..Default::default() };
    service.create("q", settings).await;
    let change =
        pb::QueueSettings { max_messages: Some(0), max_attempts: Some(9), ..Default::default() };
    let request = pb::UpdateQueueRequest { queue: "q".into(), settings: Some(change) };
    let updated = service.queues.update_queue(request).await.unwrap().into_inner().queue.unwrap();
    let settings = updated.settings.unwrap();
    assert_eq!(
        (settings.lease, settings.max_messages, settings.max_attempts),
        (ms(5_000), None, Some(9))
    );
    let missing = pb::UpdateQueueRequest { queue: "no".into(), settings: Some(Default::default()) };
    assert_eq!(reason(&service.queues.update_queue(missing).await.unwrap_err()), "QUEUE_NOT_FOUND");
}

#[tokio::test]
async fn queues_are_listed_by_name_in_pages() {
    let (_redis, mut service) = start().await;
    for n in (0..7).rev() {
        service.create(&format!("q{n}"), pb::QueueSettings::default()).await;
    }
    let (mut names, mut token) = (Vec::new(), String::new());
    loop {
        let request = pb::ListQueuesRequest { page_size: 3, page_token: token };
        let page = service.queues.list_queues(request).await.unwrap().into_inner();
        names.extend(page.queues.into_iter().map(|queue| queue.queue));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["q0", "q1", "q2", "q3", "q4", "q5", "q6"]);
}

#[tokio::test]
async fn a_page_has_a_thousand_at_most_whatever_is_asked_for() {
    let (_redis, service) = start().await;
    let create = |n: usize| {
        let mut queues = service.queues.clone();
        let request = pb::CreateQueueRequest { queue: format!("q{n}"), settings: None };
        async move { queues.create_queue(request).await }
    };
    let created = stream::iter(0..1_001).map(create).buffer_unordered(50);
    created.try_for_each(|_| async { Ok(()) }).await.unwrap();
    let list = async |page_size, page_token| {
        let request = pb::ListQueuesRequest { page_size, page_token };
        service.queues.clone().list_queues(request).await.unwrap().into_inner()
    };
    assert_eq!(list(0, String::new()).await.queues.len(), 100);
    let first = list(i32::MAX, String::new()).await;
    assert_eq!(first.queues.len(), 1_000);
    assert_eq!(list(1_001, first.next_page_token).await.queues.len(), 1);
}

#[tokio::test]
async fn a_paused_queue_delivers_nothing_until_resumed() {
    let (_redis, mut service) = start().await;
    service.send("q", vec![outgoing("x")]).await;
    let pause = pb::PauseQueueRequest { queue: "q".into() };
    service.queues.pause_queue(pause).await.unwrap();
    assert!(service.info("q").await.paused);
    service.send("q", vec![outgoing("y")]).await;
    let mut other = service.mq.clone();
    let waiting = tokio::spawn(async move {
        let request = pb::ReceiveRequest {
            queue: "q".into(),
            max_messages: Some(5),
            wait: ms(20_000),
            lease: None,
        };
        other.receive(request).await.unwrap().into_inner().deliveries
    });
    assert!(service.receive_for("q", 5, None, 200).await.is_empty());
    assert_eq!(service.counts("q").await, [2, 0, 0, 0]);
    service.queues.resume_queue(pb::ResumeQueueRequest { queue: "q".into() }).await.unwrap();
    assert_eq!(texts(&waiting.await.unwrap()).len(), 2);
}

#[tokio::test]
async fn peeking_takes_nothing() {
    let (_redis, mut service) = start().await;
    let delayed = pb::OutgoingMessage {
        due: Some(pb::outgoing_message::Due::Delay(ms(60_000).unwrap())),
        ..outgoing("delayed")
    };
    service.send("q", vec![outgoing("leased"), outgoing("ready"), delayed]).await;
    service.receive_now("q", 1).await;
    for (state, text_of_it) in [
        (pb::MessageState::Unspecified, "ready"),
        (pb::MessageState::Ready, "ready"),
        (pb::MessageState::Delayed, "delayed"),
        (pb::MessageState::InFlight, "leased"),
    ] {
        let request =
            pb::PeekMessagesRequest { queue: "q".into(), state: state.into(), limit: None };
        let seen = service.queues.peek_messages(request).await.unwrap().into_inner().messages;
        assert_eq!(seen.len(), 1);
        assert_eq!(text(seen[0].message.as_ref().unwrap()), text_of_it);
        assert_eq!(seen[0].due_at.is_some(), text_of_it != "ready");
    }
    let info = service.info("q").await;
    assert_eq!([info.ready, info.in_flight, info.delayed], [1, 1, 1]);
    assert!(info.oldest_age.is_some() && info.sent_per_second > 0.0);
}

#[tokio::test]
async fn a_purge_drops_what_nobody_has() {
    let (_redis, mut service) = start().await;
    let keyed =
        |n: u32| pb::OutgoingMessage { ordering_key: Some("k".into()), ..outgoing(&n.to_string()) };
    let delayed = pb::OutgoingMessage {
        due: Some(pb::outgoing_message::Due::Delay(ms(60_000).unwrap())),
        ..outgoing("delayed")
    };
    service.send("q", (0..900).map(|n| outgoing(&n.to_string())).collect()).await;
    let got = service.receive_now("q", 1).await;
    service.send("q", vec![keyed(1), keyed(2), keyed(3), delayed]).await;
    let request = pb::PurgeQueueRequest { queue: "q".into() };
    let purged = service.queues.purge_queue(request).await.unwrap().into_inner().purged;
    assert_eq!((purged, service.counts("q").await), (903, [0, 1, 0, 0]));
    assert_eq!(service.ack("q", &[&got[0].receipt]).await, [None]);
    service.send("q", vec![keyed(4)]).await;
    assert_eq!(texts(&service.receive_now("q", 5).await), ["4"], "its key is free");
}

#[tokio::test]
async fn a_deleted_queue_is_gone_and_may_come_back() {
    let (redis, mut service) = start().await;
    service.send("q", vec![outgoing("x")]).await;
    let request = pb::DeleteQueueRequest { queue: "q".into() };
    service.queues.delete_queue(request.clone()).await.unwrap();
    assert_eq!(redis.cli(&["KEYS", "mq:{q}:*"]), "");
    assert_eq!(redis.cli(&["ZCARD", "mq:queues"]), "0\n");
    let again = service.queues.delete_queue(request).await.unwrap_err();
    assert_eq!((again.code(), reason(&again).as_str()), (Code::NotFound, "QUEUE_NOT_FOUND"));
    service.send("q", vec![outgoing("y")]).await;
    assert_eq!(texts(&service.receive_now("q", 5).await), ["y"]);
}
