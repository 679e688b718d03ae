//! `/ws` with a listener that takes nothing for a while: the others miss nothing, and it is told to
//! the event what it missed.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests; the figures are printed")]

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use redis_link::test_util::PrivateRedis;
use serde_json::Value;
use system_tests::clients::{append, event};
use system_tests::system::System;
use system_tests::topology::{EVENT_STORE, GATEWAY, MESSAGE_QUEUE};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// More than the backlog of a listener and what fits into the buffers of its connection.
const EVENTS: u64 = 12_000;
const BATCH: u64 = 500;
/// Bytes of each: much for a buffer, little for a test.
const SIZE: usize = 2_000;
const LIMIT: Duration = Duration::from_secs(60);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn listen(system: &System) -> Socket {
    let url = system.url(GATEWAY).unwrap().replace("http://", "ws://");
    let (mut socket, _) = connect_async(format!("{url}/ws")).await.unwrap();
    // Answered by the one who forwards, which so has subscribed.
    socket.send(Message::Ping("there?".into())).await.unwrap();
    let pong = timeout(LIMIT, socket.next()).await.unwrap().unwrap().unwrap();
    assert!(matches!(pong, Message::Pong(_)), "{pong:?}");
    socket
}

async fn frame(socket: &mut Socket) -> Value {
    loop {
        let message = timeout(LIMIT, socket.next()).await.unwrap().unwrap().unwrap();
        if let Message::Text(text) = message {
            return serde_json::from_str(text.as_str()).unwrap();
        }
    }
}

/// Writes no further ahead of the quick listener than `room` has permits: it misses nothing only as
/// long as it keeps up.
async fn write(system: &System, room: &Semaphore) {
    let clients = system.clients().unwrap();
    let text = format!("\"{}\"", "x".repeat(SIZE));
    for batch in 0..EVENTS / BATCH {
        room.acquire_many(u32::try_from(BATCH).unwrap()).await.unwrap().forget();
        let events = (0..BATCH).map(|n| event(&format!("e-{batch}-{n}"), "noted", &text)).collect();
        clients.store.clone().append(append("product", events)).await.unwrap();
    }
}

#[tokio::test]
async fn a_listener_that_takes_nothing_misses_events_alone() {
    let names = [EVENT_STORE, MESSAGE_QUEUE, GATEWAY];
    let system = System::of(PrivateRedis::start(), &names).await.unwrap();
    let (mut quick, mut slow) = (listen(&system).await, listen(&system).await);
    let room = Semaphore::new(usize::try_from(2 * BATCH).unwrap());
    let reading = async {
        for expected in 1..=EVENTS {
            assert_eq!(frame(&mut quick).await["sequence"], expected);
            room.add_permits(1);
        }
    };
    tokio::join!(write(&system, &room), reading);

    let (mut seen, mut missed) = (0, 0);
    while seen + missed < EVENTS {
        let frame = frame(&mut slow).await;
        match frame["action"].as_str().unwrap() {
            "events_missed" => missed += frame["data"]["missed"].as_u64().unwrap(),
            _ => seen += 1,
        }
        if frame["action"] != "events_missed" {
            // What it missed is counted to the event.
            assert_eq!(frame["sequence"], seen + missed);
        }
    }
    eprintln!("the slow listener: {seen} seen, {missed} missed and told so");
    assert!(missed > 0, "nothing was missed: this shows nothing");
}
