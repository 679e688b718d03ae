//! `/ws`: every event as it happens, to whoever listens.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use serde_json::json;
use tokio::sync::broadcast;

use super::routes::App;
use crate::service::{Head, Projection, seconds};

/// Events that a listener may be behind before it misses some and is told so.
const BACKLOG: usize = 4096;

/// Hands events on to all listeners.
pub(super) struct Live {
    events: broadcast::Sender<Utf8Bytes>,
}

impl Live {
    pub(super) fn new() -> (Self, broadcast::Sender<Utf8Bytes>) {
        let (events, _) = broadcast::channel(BACKLOG);
        (Self { events: events.clone() }, events)
    }
}

impl Projection for Live {
    fn apply(&mut self, event: &Head) {
        if self.events.receiver_count() == 0 {
            return;
        }
        let recorded = &event.recorded;
        let kind = recorded.event.as_ref().map_or("", |event| event.r#type.as_str());
        let text = json!({
            "action": action(&recorded.topic, kind),
            "data": event.data,
            "ts": recorded.recorded_at.as_ref().map(seconds),
            "topic": recorded.topic,
            "position": recorded.position,
        });
        // Fails when the last listener just left.
        let _ = self.events.send(text.to_string().into());
    }

    fn reset(&mut self) {}
}

/// What happened in one word: `order_created` for `entity_created` in `order`.
fn action(topic: &str, kind: &str) -> String {
    match kind.strip_prefix("entity_") {
        Some(what) => format!("{topic}_{what}"),
        None => kind.to_owned(),
    }
}

pub(super) async fn listen(State(app): State<Arc<App>>, upgrade: WebSocketUpgrade) -> Response {
    let events = app.events.subscribe();
    upgrade.on_upgrade(move |socket| forward(app, socket, events))
}

async fn forward(app: Arc<App>, mut socket: WebSocket, mut events: broadcast::Receiver<Utf8Bytes>) {
    loop {
        let text = tokio::select! {
            () = app.shutdown.triggered() => break,
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
        };
        if socket.send(Message::Text(text)).await.is_err() {
            return;
        }
    }
    let _ = socket.send(Message::Close(None)).await;
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
