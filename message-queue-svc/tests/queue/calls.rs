//! Call, Reply, GetReply.

use proto::messagequeue::v1::{self as pb, reply_content};
use redis_link::test_util::PrivateRedis;
use svc_runtime::rpc_error::ErrorFacts;
use tonic::{Code, Request};

use crate::support::*;

fn call(queue: &str, text: &str, timeout: u64) -> pb::CallRequest {
    pb::CallRequest { queue: queue.into(), message: Some(message(text)), timeout: ms(timeout) }
}

fn reply(queue: &str, receipt: &str, content: pb::ReplyContent) -> pb::ReplyRequest {
    pb::ReplyRequest { queue: queue.into(), receipt: receipt.into(), reply: Some(content) }
}

fn get_reply(queue: &str, id: &str, wait: u64) -> pb::GetReplyRequest {
    pb::GetReplyRequest { queue: queue.into(), message_id: id.into(), wait: ms(wait) }
}

#[tokio::test]
async fn a_call_is_answered_over_another_replica() {
    let redis = PrivateRedis::start();
    let mut one = Replica::start(&redis, &[]).await;
    let mut two = Replica::start(&redis, &[]).await;
    let mut caller = one.mq.clone();
    let calling = tokio::spawn(async move { caller.call(call("q", "2+2", 20_000)).await });
    let got = two.receive("q", 1).await;
    assert!(got[0].expects_reply);
    two.mq.reply(reply("q", &got[0].receipt, reply_text("4"))).await.unwrap();
    let answer = calling.await.unwrap().unwrap().into_inner();
    assert_eq!(answer.reply.unwrap(), reply_text("4"));
    assert_eq!(one.counts("q").await, [0, 0, 0, 0], "the reply acked it");
    // It is kept, and found from any replica.
    let kept = one.mq.get_reply(get_reply("q", &answer.message_id, 0)).await.unwrap();
    assert_eq!(kept.into_inner().reply.unwrap(), reply_text("4"));
    let second = two.mq.reply(reply("q", &got[0].receipt, reply_text("5"))).await.unwrap_err();
    assert_eq!(
        (second.code(), reason(&second).as_str()),
        (Code::FailedPrecondition, "ALREADY_REPLIED")
    );
}

#[tokio::test]
async fn an_error_of_the_handler_reaches_the_caller() {
    let (_redis, mut service) = start().await;
    let mut caller = service.mq.clone();
    let calling = tokio::spawn(async move { caller.call(call("q", "x", 20_000)).await });
    let got = service.receive("q", 1).await;
    let error = tonic_types::Status { code: 9, message: "no".into(), details: Vec::new() };
    let content = pb::ReplyContent { result: Some(reply_content::Result::Error(error)) };
    service.mq.reply(reply("q", &got[0].receipt, content.clone())).await.unwrap();
    assert_eq!(calling.await.unwrap().unwrap().into_inner().reply, Some(content));
}

#[tokio::test]
async fn a_call_that_nobody_takes_is_withdrawn() {
    let (_redis, mut service) = start().await;
    let timed_out = service.mq.call(call("q", "x", 100)).await.unwrap_err();
    assert_eq!(timed_out.code(), Code::DeadlineExceeded);
    let facts = ErrorFacts::of(&timed_out).unwrap();
    assert_eq!(
        (facts.reason.as_str(), facts.metadata["state"].as_str()),
        ("CALL_TIMEOUT", "withdrawn")
    );
    assert_eq!(service.counts("q").await, [0, 0, 0, 0]);
    assert!(service.receive_now("q", 1).await.is_empty());
    let id = &facts.metadata["message_id"];
    let gone = service.mq.get_reply(get_reply("q", id, 0)).await.unwrap_err();
    assert_eq!(reason(&gone), "MESSAGE_NOT_FOUND");
}

#[tokio::test]
async fn a_call_that_is_being_handled_says_so_and_its_reply_is_found() {
    let (_redis, mut service) = start().await;
    let mut caller = service.mq.clone();
    let calling = tokio::spawn(async move {
        let mut request = Request::new(call("q", "x", 20_000));
        // The deadline of the RPC counts, and the caller still hears how it ended.
        request.set_timeout(std::time::Duration::from_millis(300));
        caller.call(request).await
    });
    let got = service.receive("q", 1).await;
    let timed_out = calling.await.unwrap().unwrap_err();
    let facts = ErrorFacts::of(&timed_out).unwrap();
    assert_eq!(facts.metadata["state"], "in_progress");
    let id = facts.metadata["message_id"].clone();
    let mut asker = service.mq.clone();
    let waiting = {
        let id = id.clone();
        tokio::spawn(async move { asker.get_reply(get_reply("q", &id, 20_000)).await })
    };
    service.mq.reply(reply("q", &got[0].receipt, reply_text("late"))).await.unwrap();
    let found = waiting.await.unwrap().unwrap().into_inner();
    assert_eq!(found.reply.unwrap(), reply_text("late"));
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_its_message_back() {
    let (_redis, mut service) = start().await;
    let mut caller = service.mq.clone();
    let calling = tokio::spawn(async move { caller.call(call("q", "x", 20_000)).await });
    let sent = async {
        while service.queues.get_queue(pb::GetQueueRequest { queue: "q".into() }).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(LIMIT, sent).await.unwrap();
    service.until_counts("q", [1, 0, 0, 0]).await;
    calling.abort();
    service.until_counts("q", [0, 0, 0, 0]).await;
}

#[tokio::test]
async fn a_reply_that_nobody_expects_is_refused() {
    let (_redis, mut service) = start().await;
    let expecting = pb::OutgoingMessage { expects_reply: true, ..outgoing("asks") };
    let ids = service.send("q", vec![outgoing("plain"), expecting]).await;
    let got = service.receive_now("q", 2).await;
    let refused = service.mq.reply(reply("q", &got[0].receipt, reply_text("x"))).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "NO_REPLY_EXPECTED")
    );
    let pending = service.mq.get_reply(get_reply("q", &ids[1], 0)).await.unwrap_err();
    assert_eq!(reason(&pending), "CALL_TIMEOUT");
    service.mq.reply(reply("q", &got[1].receipt, reply_text("y"))).await.unwrap();
    let found = service.mq.get_reply(get_reply("q", &ids[1], 0)).await.unwrap().into_inner();
    assert_eq!(found.reply.unwrap(), reply_text("y"));
    let never = service.mq.get_reply(get_reply("q", &ids[0], 0)).await.unwrap_err();
    assert_eq!((never.code(), reason(&never).as_str()), (Code::NotFound, "MESSAGE_NOT_FOUND"));
}
