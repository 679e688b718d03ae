//! A worker that consumes by stream answers by unary calls, there being no other way: what it has
//! answered no longer counts against its `max_in_flight`, so the stream goes on.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use proto::messagequeue::v1 as mq;
use redis_link::test_util::PrivateRedis;
use system_tests::clients::message;
use system_tests::system::System;
use system_tests::topology::MESSAGE_QUEUE;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

const IN_FLIGHT: u32 = 4;
const MANY: usize = 40;
/// Far below a lease: nothing here has to run out.
const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_reply_frees_the_place_of_its_message() {
    let system = System::of(PrivateRedis::start(), &[MESSAGE_QUEUE]).await.unwrap();
    let queue = system.clients().unwrap().queue;
    let (says, said) = mpsc::channel(1);
    let open = mq::ConsumeOpen {
        queue: "sums".to_owned(),
        max_in_flight: Some(IN_FLIGHT),
        ..mq::ConsumeOpen::default()
    };
    let message_ = Some(mq::consume_request::Message::Open(open));
    says.send(mq::ConsumeRequest { message: message_ }).await.unwrap();
    let mut worker = queue.clone();
    let working = tokio::spawn(async move {
        let requests = ReceiverStream::new(said);
        let mut stream = worker.consume(requests).await.unwrap().into_inner();
        while let Some(answer) = stream.message().await.unwrap() {
            let Some(mq::consume_response::Message::Delivery(delivery)) = answer.message else {
                continue;
            };
            let body = mq::ReplyBody::default();
            let result = Some(mq::reply_content::Result::Body(body));
            let reply = mq::ReplyRequest {
                queue: "sums".to_owned(),
                receipt: delivery.receipt,
                reply: Some(mq::ReplyContent { result }),
            };
            worker.reply(reply).await.unwrap();
        }
    });
    for number in 0..MANY {
        let call = mq::CallRequest {
            queue: "sums".to_owned(),
            message: Some(message("add", "2 + 3")),
            timeout: Some(prost_types::Duration { seconds: 20, nanos: 0 }),
        };
        let mut caller = queue.clone();
        let answer = timeout(SOON, caller.call(call)).await;
        assert!(answer.is_ok(), "call {number} waits for a place that a reply has freed");
        answer.unwrap().unwrap();
    }
    working.abort();
}
