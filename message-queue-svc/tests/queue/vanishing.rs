//! Clients whose connection is gone in the middle of a call: what they held is
//! free within a second, and nobody counts it as a failure.

use std::time::Duration;

use proto::messagequeue::v1 as pb;
use proto::messagequeue::v1::message_queue_client::MessageQueueClient;
use redis_link::test_util::PrivateRedis;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;

use crate::support::*;

const WITHIN: Duration = Duration::from_secs(1);

/// A client with a connection of its own, that can be cut.
struct Client {
    mq: MessageQueueClient<Channel>,
    wire: JoinHandle<()>,
}

impl Client {
    async fn of(service: &Replica) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let upstream = service.url.trim_start_matches("http://").to_owned();
        let wire = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut service = TcpStream::connect(upstream).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut client, &mut service).await;
        });
        Self { mq: MessageQueueClient::new(svc_runtime::client::channel(&url, 1).unwrap()), wire }
    }

    /// Cuts it in the middle of whatever it does.
    fn vanish(&self) -> Instant {
        self.wire.abort();
        Instant::now()
    }
}

/// Waits until a consumer of the queue is known to the service.
async fn until_listening(redis: &PrivateRedis, queue: &str) {
    let bell = format!("mq:{{{queue}}}:bell");
    let listening = async {
        while !redis.cli(&["PUBSUB", "CHANNELS"]).contains(&bell) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(LIMIT, listening).await.unwrap();
}

#[tokio::test]
async fn in_the_middle_of_receive() {
    let (redis, mut service) = start().await;
    let mut client = Client::of(&service).await;
    let mut mq = client.mq.clone();
    let request = pb::ReceiveRequest { queue: "q".into(), wait: ms(20_000), ..Default::default() };
    let waiting = tokio::spawn(async move { mq.receive(request).await });
    until_listening(&redis, "q").await;
    let since = client.vanish();
    waiting.await.unwrap().unwrap_err();
    // Sent at once: the service may not have noticed yet, and lease it to the client that is gone.
    service.send("q", vec![outgoing("x")]).await;
    let got = service.receive("q", 1).await;
    assert_eq!((texts(&got), got[0].attempt), (vec!["x"], 1));
    assert!(since.elapsed() < WITHIN, "{:?}", since.elapsed());
    client.mq.ack(pb::AckRequest::default()).await.unwrap_err();
}

#[tokio::test]
async fn in_the_middle_of_consume() {
    let (_redis, mut service) = start().await;
    let client = Client::of(&service).await;
    service.send("q", (0..300).map(|n| outgoing(&n.to_string())).collect()).await;
    let open = pb::ConsumeOpen { queue: "q".into(), ..Default::default() };
    let open = pb::ConsumeRequest { message: Some(pb::consume_request::Message::Open(open)) };
    let (say, said) = mpsc::unbounded_channel();
    say.send(open).unwrap();
    let requests = UnboundedReceiverStream::new(said);
    let mut stream = client.mq.clone().consume(requests).await.unwrap().into_inner();
    // One is read; all that it has credit for are its own all the same.
    delivery(&mut stream).await;
    service.until_counts("q", [44, 256, 0, 0]).await;
    let since = client.vanish();
    service.until_counts("q", [300, 0, 0, 0]).await;
    assert!(since.elapsed() < WITHIN, "{:?}", since.elapsed());
    let got = service.receive_now("q", 300).await;
    let wanted: Vec<_> = (0..300).map(|n| n.to_string()).collect();
    assert_eq!(texts(&got), wanted, "in the old order");
    assert!(got.iter().all(|delivery| delivery.attempt == 1));
}

#[tokio::test]
async fn in_the_middle_of_call() {
    let (_redis, mut service) = start().await;
    service.create("q", pb::QueueSettings::default()).await;
    let call =
        pb::CallRequest { queue: "q".into(), message: Some(message("x")), timeout: ms(20_000) };
    // Nobody has taken it: it is withdrawn.
    let client = Client::of(&service).await;
    let (mut mq, request) = (client.mq.clone(), call.clone());
    let calling = tokio::spawn(async move { mq.call(request).await });
    service.until_counts("q", [1, 0, 0, 0]).await;
    let since = client.vanish();
    service.until_counts("q", [0, 0, 0, 0]).await;
    assert!(since.elapsed() < WITHIN, "{:?}", since.elapsed());
    calling.await.unwrap().unwrap_err();
    // It is being handled: the handler goes on, and its reply is kept.
    let client = Client::of(&service).await;
    let mut mq = client.mq.clone();
    let calling = tokio::spawn(async move { mq.call(call).await });
    let got = service.receive("q", 1).await.remove(0);
    client.vanish();
    calling.await.unwrap().unwrap_err();
    let reply = pb::ReplyRequest {
        queue: "q".into(),
        receipt: got.receipt,
        reply: Some(reply_text("late")),
    };
    service.mq.reply(reply).await.unwrap();
    let request = pb::GetReplyRequest {
        queue: "q".into(),
        message_id: got.message.unwrap().id.unwrap(),
        wait: None,
    };
    let kept = service.mq.get_reply(request).await.unwrap().into_inner();
    assert_eq!(kept.reply.unwrap(), reply_text("late"));
}
