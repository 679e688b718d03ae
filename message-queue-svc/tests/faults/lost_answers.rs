//! Deliveries whose answer was lost between Redis and the service: nobody has them, and they come
//! again at once and not as failures, long before their leases run out.

use std::time::{Duration, Instant};

use proto::messagequeue::v1::message_queue_client::MessageQueueClient;
use proto::messagequeue::v1::{self as pb, consume_request, consume_response};
use redis_link::test_util::PrivateRedis;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::service::Service;
use redis_link::test_util::proxy::Proxy;

/// The lease is 30 s.
const AT_ONCE: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(15);

struct Net {
    proxy: Proxy,
    /// Reaches Redis through the proxy.
    far: Service,
    /// Reaches it directly.
    near: Service,
    _redis: PrivateRedis,
}

async fn net() -> Net {
    let redis = PrivateRedis::start();
    let proxy = Proxy::start(&format!("127.0.0.1:{}", redis.port())).await;
    let far = Service::start(&format!("redis://127.0.0.1:{}", proxy.port())).await;
    let near = Service::start(&redis.url()).await;
    // The queue and the scripts are there from here on: making and loading them takes answers.
    send(&far, 1).await;
    let request = pb::ReceiveRequest { queue: "q".into(), ..Default::default() };
    let got = far.mq().receive(request).await.unwrap().into_inner().deliveries;
    let receipts = got.into_iter().map(|delivery| delivery.receipt).collect();
    far.mq().ack(pb::AckRequest { queue: "q".into(), receipts }).await.unwrap();
    Net { proxy, far, near, _redis: redis }
}

async fn try_send(mut mq: MessageQueueClient<Channel>, count: usize) -> Result<(), tonic::Status> {
    let body = pb::message::Body::TextBody("a body that is told apart".into());
    let message = pb::Message { r#type: "t".into(), body: Some(body), ..Default::default() };
    let message = pb::OutgoingMessage { message: Some(message), ..Default::default() };
    let messages = vec![message; count];
    let request = pb::SendRequest { queue: "q".into(), messages, durability: 0 };
    mq.send(request).await.map(drop)
}

async fn send(service: &Service, count: usize) {
    try_send(service.mq(), count).await.unwrap();
}

/// Waits until so many are leased.
async fn until_leased(service: &Service, leased: u64) {
    let mut last = None;
    let waiting = async {
        loop {
            let request = pb::GetQueueRequest { queue: "q".into() };
            let queue = service.queues().get_queue(request).await.unwrap().into_inner().queue;
            let queue = queue.unwrap();
            if queue.in_flight == leased {
                return;
            }
            last = Some(queue);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(LIMIT, waiting).await;
    assert!(waited.is_ok(), "not {leased} are leased: {last:?}");
}

/// A stream of a consumer, and what it says.
struct Stream {
    say: mpsc::UnboundedSender<pb::ConsumeRequest>,
    hear: Streaming<pb::ConsumeResponse>,
}

impl Stream {
    async fn open(service: &Service) -> Self {
        let (say, said) = mpsc::unbounded_channel();
        let open = pb::ConsumeOpen { queue: "q".into(), ..Default::default() };
        let message = Some(consume_request::Message::Open(open));
        say.send(pb::ConsumeRequest { message }).unwrap();
        let requests = UnboundedReceiverStream::new(said);
        let hear = service.mq().consume(requests).await.unwrap().into_inner();
        Self { say, hear }
    }

    /// Takes so many deliveries, none of which failed before, and acks them.
    async fn take(&mut self, count: usize) {
        let mut receipts = Vec::new();
        let mut left = count;
        while left > 0 {
            let heard = tokio::time::timeout(LIMIT, self.hear.message()).await.unwrap();
            match heard.unwrap().unwrap().message.unwrap() {
                consume_response::Message::Delivery(delivery) => {
                    assert_eq!(delivery.attempt, 1, "nobody saw it before");
                    receipts.push(delivery.receipt);
                    left -= 1;
                }
                consume_response::Message::Outcome(outcome) => assert_eq!(outcome.error, None),
                consume_response::Message::Heartbeat(_) => {}
            }
        }
        let ack = consume_request::Message::Ack(pb::ConsumeAck { receipts });
        self.say.send(pb::ConsumeRequest { message: Some(ack) }).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_gets_again_what_a_cut_connection_swallowed() {
    let Net { proxy, far, near, _redis } = net().await;
    let mut stream = Stream::open(&far).await;
    for _ in 0..3 {
        proxy.swallow("told apart");
        send(&near, 5).await;
        until_leased(&near, 5).await;
        proxy.cut();
        proxy.heal();
        let healed = Instant::now();
        stream.take(5).await;
        assert!(healed.elapsed() < AT_ONCE, "only after {:?}", healed.elapsed());
        until_leased(&near, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_send_leased_comes_again_when_its_answer_is_lost() {
    let Net { proxy, far, near, _redis } = net().await;
    let mut stream = Stream::open(&far).await;
    // It has asked, and nothing else of it is under way.
    _redis.until_blocked().await;
    // The answer names the id of what was leased, which begins with the time.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let id: &'static str = format!("{:012x}", now.as_millis())[..6].to_owned().leak();
    proxy.swallow(id);
    let sending = tokio::spawn(try_send(far.mq(), 5));
    until_leased(&near, 5).await;
    proxy.cut();
    proxy.heal();
    let healed = Instant::now();
    let unknown = sending.await.unwrap().unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::Unknown, "{unknown:?}");
    stream.take(5).await;
    assert!(healed.elapsed() < AT_ONCE, "only after {:?}", healed.elapsed());
    until_leased(&near, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_gets_what_a_client_that_left_was_owed() {
    let Net { proxy, far, near, _redis } = net().await;
    let stream = Stream::open(&far).await;
    proxy.swallow("told apart");
    send(&near, 5).await;
    until_leased(&near, 5).await;
    drop(stream);
    let mut other = Stream::open(&near).await;
    proxy.cut();
    proxy.heal();
    let healed = Instant::now();
    other.take(5).await;
    assert!(healed.elapsed() < AT_ONCE, "only after {:?}", healed.elapsed());
}

async fn receive(
    mut mq: MessageQueueClient<Channel>,
    wait: Option<i64>,
) -> Result<tonic::Response<pb::ReceiveResponse>, tonic::Status> {
    let request = pb::ReceiveRequest {
        queue: "q".into(),
        max_messages: Some(10),
        wait: wait.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
        ..Default::default()
    };
    mq.receive(request).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receive_that_failed_or_was_given_up_leaves_nothing_leased() {
    let Net { proxy, far, near, _redis } = net().await;
    for (given_up, wait) in [(false, None), (false, Some(20)), (true, None), (true, Some(20))] {
        far.answers().await;
        send(&near, 5).await;
        proxy.swallow("told apart");
        let receiving = loop {
            let mut receiving = tokio::spawn(receive(far.mq(), wait));
            tokio::select! {
                () = until_leased(&near, 5) => break receiving,
                // One of its connections was cut before, and that was not noticed until now.
                refused = &mut receiving => assert!(refused.unwrap().is_err()),
            }
        };
        if given_up {
            receiving.abort();
        }
        proxy.cut();
        proxy.heal();
        if let Ok(received) = receiving.await {
            let status = received.unwrap_err();
            assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
        }
        let healed = Instant::now();
        let mut other = Stream::open(&near).await;
        other.take(5).await;
        assert!(healed.elapsed() < AT_ONCE, "only after {:?}", healed.elapsed());
        until_leased(&near, 0).await;
    }
}
