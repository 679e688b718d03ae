//! Very many consumers that wait for nothing: each at a queue of its own, by long poll.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use proto::messagequeue::v1::ReceiveRequest;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::growth::{Batch, Found};
use super::queue_growth::create_all;
use super::unary::one_message;
use super::{Bound, Effort, Spec};
use crate::bench::load::Measured;
use crate::bench::queue_instance::QueueInstance;

/// Connections of the clients: one carries 4,096 calls.
const CONNECTIONS: usize = 4;
/// Of a million messages so many polls there are.
const POLLS_OF: usize = 100;
/// How long a poll waits: the longest there is.
const WAIT: prost_types::Duration = prost_types::Duration { seconds: 20, nanos: 0 };
/// As long as a poll: each is made anew once meanwhile.
const WATCHED: Duration = Duration::from_secs(20);
const LISTENING_LIMIT: Duration = Duration::from_secs(60);
/// Messages that are sent, each to another queue.
const SENT: usize = 100;
/// How long a delivery may take, to be counted as one.
const DELIVERY_LIMIT: Duration = Duration::from_secs(20);

pub fn rows() -> Vec<Spec> {
    let idle = Batch::new(|_, effort| Box::pin(idle(effort)));
    vec![
        idle.row("idle long polls: CPU of the service").reaching(Bound::Most(5.0)),
        idle.row("idle long polls: connections to Redis").reaching(Bound::Most(32.0)),
        idle.row("idle long polls: slowest delivery").reaching(Bound::Most(100.0)),
    ]
}

async fn idle(effort: Effort) -> anyhow::Result<Found> {
    let service = Arc::new(QueueInstance::start(CONNECTIONS).await?);
    let polls = effort.messages / POLLS_OF;
    create_all(&service, &(0..polls).map(name).collect::<Vec<_>>()).await?;
    let (got, mut delivered) = mpsc::unbounded_channel();
    let mut polling = JoinSet::new();
    for n in 0..polls {
        polling.spawn(poll(Arc::clone(&service), n, got.clone()));
    }
    let began = Instant::now();
    // Redis tells nobody when its channels become more: it has to be asked.
    while service.listening()? < polls {
        anyhow::ensure!(began.elapsed() < LISTENING_LIMIT, "not all listen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (before, since) = (service.cpu_seconds()?, Instant::now());
    tokio::time::sleep(WATCHED).await;
    let busy = (service.cpu_seconds()? - before) / since.elapsed().as_secs_f64();
    let connections = service.redis_connections()?;
    let mut slowest = Duration::ZERO;
    for n in (0..polls).step_by((polls / SENT).max(1)) {
        let sent = Instant::now();
        service.queue(0).send(one_message(&name(n))).await?;
        match timeout(DELIVERY_LIMIT, delivered.recv()).await {
            Ok(Some((to, at))) if to == n => slowest = slowest.max(at - sent),
            other => bail!("a message for {n} came to {other:?}"),
        }
    }
    anyhow::ensure!(polling.try_join_next().is_none(), "a poll failed");
    Ok(vec![
        Measured::figure(100.0 * busy, "% of a core"),
        Measured::figure(connections as f64, "connections"),
        Measured::figure(slowest.as_secs_f64() * 1_000.0, "ms"),
    ])
}

fn name(n: usize) -> String {
    format!("idle-{n}")
}

/// Polls for ever, and tells what came when.
async fn poll(
    service: Arc<QueueInstance>,
    n: usize,
    got: mpsc::UnboundedSender<(usize, Instant)>,
) -> anyhow::Result<()> {
    let mut client = service.queue(n);
    loop {
        let request =
            ReceiveRequest { queue: name(n), wait: Some(WAIT), ..ReceiveRequest::default() };
        if !client.receive(request).await?.into_inner().deliveries.is_empty() {
            got.send((n, Instant::now()))?;
        }
    }
}
