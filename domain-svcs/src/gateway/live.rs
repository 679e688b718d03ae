//! `/ws`: every event as it happens, to whoever listens. All listeners share the
//! gateway's one subscription; one that is slow falls behind alone, within a
//! bound, and is told what it missed.
//!
//! With `?for=page` the socket also carries how the services are
//! ([`super::observe`]), which is what the page at `/` asks for.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};

use super::page::Page;
use crate::service::{Head, Projection, seconds};

/// Events that a listener may be behind before it misses some and is told so.
const BACKLOG: usize = 4096;
/// How long a listener may take nothing before it counts as gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// Hands events on to all listeners.
pub(super) struct Live {
    events: broadcast::Sender<Utf8Bytes>,
}

impl Live {
    pub(super) fn new() -> (Self, broadcast::Sender<Utf8Bytes>) {
        let (events, _) = broadcast::channel(BACKLOG);
        (Self { events: events.clone() }, events)
    }

    fn tell(&self, frame: &Value) {
        // Fails when the last listener just left.
        let _ = self.events.send(frame.to_string().into());
    }
}

impl Projection for Live {
    fn apply(&mut self, event: &Head) {
        if self.events.receiver_count() > 0 {
            self.tell(&frame(event));
        }
    }

    fn reset(&mut self) {
        // The topics begin anew, so nothing that a listener knows holds any more.
        self.tell(&json!({ "action": "events_reset", "data": null }));
    }
}

/// An event as listeners get it.
pub(super) fn frame(event: &Head) -> Value {
    let (recorded, data) = (&event.recorded, &event.data);
    let event = recorded.event.as_ref();
    json!({
        "action": action(&recorded.topic, event.map_or("", |event| event.r#type.as_str())),
        "data": data,
        "ts": recorded.recorded_at.as_ref().map(seconds),
        "topic": recorded.topic,
        "position": recorded.position,
        "sequence": recorded.sequence,
        "revision": recorded.subject_revision,
        "id": event.map(|event| event.id.as_deref()),
        "subject": event.map(|event| event.subject.as_deref()),
        "source": event.map(|event| event.source.as_deref()),
    })
}

/// What happened in one word: `order_created` for `entity_created` in `order`.
fn action(topic: &str, kind: &str) -> String {
    match kind.strip_prefix("entity_") {
        Some(what) => format!("{topic}_{what}"),
        None => kind.to_owned(),
    }
}

/// What a listener asks for.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    #[serde(rename = "for")]
    reader: Option<String>,
}

pub(super) async fn listen(
    State(page): State<Arc<Page>>,
    Query(wanted): Query<Wanted>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let events = page.events.subscribe();
    let status = (wanted.reader.as_deref() == Some("page")).then(|| page.observer.watch());
    upgrade.on_upgrade(move |socket| forward(page, socket, events, status))
}

async fn forward(
    page: Arc<Page>,
    mut socket: WebSocket,
    mut events: broadcast::Receiver<Utf8Bytes>,
    mut status: Option<watch::Receiver<Utf8Bytes>>,
) {
    loop {
        let text = tokio::select! {
            () = page.shutdown.triggered() => break,
            received = socket.recv() => match received {
                // Pings are answered by the library; nothing else is expected.
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
            event = events.recv() => match event {
                Ok(text) => text,
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    let data = json!({ "missed": missed });
                    json!({ "action": "events_missed", "data": data }).to_string().into()
                }
                Err(broadcast::error::RecvError::Closed) => break,
            },
            Some(text) = next(&mut status) => text,
        };
        let sent = tokio::time::timeout(PATIENCE, socket.send(Message::Text(text))).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
    let _ = socket.send(Message::Close(None)).await;
}

/// The newest status, once there is one that was not sent yet.
async fn next(status: &mut Option<watch::Receiver<Utf8Bytes>>) -> Option<Utf8Bytes> {
    let status = status.as_mut()?;
    status.changed().await.ok()?;
    Some(status.borrow_and_update().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_name_the_entity() {
        assert_eq!(action("order", "entity_created"), "order_created");
        assert_eq!(action("mail", "mail_sent"), "mail_sent");
        assert_eq!(action("inventory", "stock_reserved"), "stock_reserved");
    }
}
