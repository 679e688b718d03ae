//! The loop against streams made of channels.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use svc_runtime::health::Readiness;
use tokio::sync::Semaphore;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::*;

#[derive(Debug, PartialEq)]
enum Said {
    Open(u32),
    Ack(Vec<String>),
    Nack(String, Verdict),
}

type Inlet = mpsc::UnboundedSender<Result<Incoming<String>, Status>>;

/// One end of a stream that the loop opened.
struct Opened {
    deliver: Inlet,
    said: ReceiverStream<Said>,
}

impl Opened {
    fn deliver(&self, receipt: &str) {
        assert!(self.deliver.send(Ok(Incoming::Delivery(receipt.to_owned()))).is_ok());
    }
}

struct Channels {
    opened: mpsc::UnboundedSender<Opened>,
}

impl Source for Channels {
    type Delivery = String;
    type Request = Said;

    fn name(&self) -> &str {
        "channels"
    }

    async fn connect(&mut self, said: ReceiverStream<Said>) -> Result<Deliveries<String>, Status> {
        let (deliver, deliveries) = mpsc::unbounded_channel();
        self.opened.send(Opened { deliver, said }).map_err(|_| Status::unavailable("gone"))?;
        Ok(UnboundedReceiverStream::new(deliveries).boxed())
    }

    fn open(&self, max_in_flight: u32) -> Said {
        Said::Open(max_in_flight)
    }

    fn ack(&self, receipts: Vec<String>) -> Said {
        Said::Ack(receipts)
    }

    fn nack(&self, receipt: String, verdict: Verdict) -> Said {
        Said::Nack(receipt, verdict)
    }

    fn receipt(delivery: &String) -> &str {
        delivery
    }
}

struct Loop {
    opened: mpsc::UnboundedReceiver<Opened>,
    readiness: Readiness,
    shutdown: Shutdown,
    task: tokio::task::JoinHandle<()>,
}

impl Loop {
    fn start<H, F>(handle: H) -> Self
    where
        H: Fn(String) -> F + Send + Sync + 'static,
        F: Future<Output = Verdict> + Send + 'static,
    {
        let (sender, opened) = mpsc::unbounded_channel();
        let (readiness, _) = Readiness::new(&[]);
        let [up] = Up::parts(readiness.clone());
        let shutdown = Shutdown::new();
        let source = Channels { opened: sender };
        let task = tokio::spawn(consume(source, 4, handle, up, shutdown.clone()));
        Self { opened, readiness, shutdown, task }
    }

    async fn opened(&mut self) -> Opened {
        let mut opened = self.opened.recv().await.unwrap();
        assert_eq!(opened.said.next().await, Some(Said::Open(4)));
        opened
    }
}

#[tokio::test]
async fn each_delivery_gets_the_verdict_of_its_handler() {
    let retry = Verdict::Retry { delay: Some(Duration::ZERO), reason: "away".to_owned() };
    let verdict = retry.clone();
    let mut running = Loop::start(move |receipt| {
        let verdict = verdict.clone();
        async move {
            match receipt.as_str() {
                "good" => Verdict::Ack,
                "later" => verdict,
                _ => panic!("a handler that breaks"),
            }
        }
    });
    let mut stream = running.opened().await;
    assert!(running.readiness.is_ready());
    stream.deliver("good");
    assert_eq!(stream.said.next().await, Some(Said::Ack(vec!["good".to_owned()])));
    stream.deliver("later");
    assert_eq!(stream.said.next().await, Some(Said::Nack("later".to_owned(), retry)));
    stream.deliver("bad");
    let said = stream.said.next().await;
    assert!(matches!(&said, Some(Said::Nack(r, Verdict::Retry { .. })) if r == "bad"), "{said:?}");
}

#[tokio::test]
async fn a_lost_stream_is_opened_again() {
    let mut running = Loop::start(|_| async { Verdict::Ack });
    let stream = running.opened().await;
    assert!(stream.deliver.send(Err(Status::unavailable("restarting"))).is_ok());
    let mut stream = running.opened().await;
    stream.deliver("again");
    assert_eq!(stream.said.next().await, Some(Said::Ack(vec!["again".to_owned()])));
}

#[tokio::test]
async fn a_shutdown_finishes_what_was_begun_and_begins_nothing() {
    let (begun, finish) = (Arc::new(AtomicU32::new(0)), Arc::new(Semaphore::new(0)));
    let (counted, waited) = (begun.clone(), finish.clone());
    let mut running = Loop::start(move |_| {
        let (begun, finish) = (counted.clone(), waited.clone());
        async move {
            begun.fetch_add(1, Ordering::SeqCst);
            finish.acquire().await.unwrap().forget();
            Verdict::Ack
        }
    });
    let mut stream = running.opened().await;
    stream.deliver("first");
    while begun.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    running.shutdown.trigger();
    tokio::task::yield_now().await;
    stream.deliver("second");
    finish.add_permits(2);
    assert_eq!(stream.said.next().await, Some(Said::Ack(vec!["first".to_owned()])));
    // The loop closes its half, and goes when the other is closed.
    assert_eq!(stream.said.next().await, None);
    drop(stream.deliver);
    running.task.await.unwrap();
    assert_eq!(begun.load(Ordering::SeqCst), 1);
    assert!(!running.readiness.is_ready());
}
