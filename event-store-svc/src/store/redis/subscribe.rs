//! A subscriber of one topic: reads what is there by itself, then takes what the tail shares, and
//! reads by itself again when it was too slow for that.

use std::cmp::Ordering;
use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt as _};
use tokio::sync::broadcast::error::RecvError;

use super::RedisStore;
use super::state::TopicState;
use crate::model::{Direction, Name, Position, Start};
use crate::store::{Result, SharedEvent, TailItem};

/// Events that a subscriber reads by itself at once.
const PAGE_EVENTS: u64 = 500;

impl RedisStore {
    pub(super) fn follow(&self, topic: Name, start: Start) -> BoxStream<'static, Result<TailItem>> {
        let store = self.clone();
        async_stream::try_stream! {
            // First the place in the ring, then the catch-up: no event falls between the two.
            let mut subscription = store.subscribe(&topic);
            subscription.head().await?;
            let state = store.find_state(&topic).await?.unwrap_or_default();
            // The last position that was delivered or passed over.
            let mut at = store.resolve(&topic, &state, start, Direction::Forward).await?.before();
            let mut delivered = None;
            loop {
                loop {
                    let page = store.page_after(&topic, at).await?;
                    let Some(last) = page.last().map(|event| event.stored.position) else { break };
                    store.must_follow(&topic, delivered, &page).await?;
                    (at, delivered) = (last, Some(last));
                    yield TailItem::Events(page);
                }
                yield TailItem::CaughtUp;
                loop {
                    match subscription.live.recv().await {
                        Ok(events) => {
                            let new = if events.first().is_some_and(|first| first.stored.position > at) {
                                events
                            } else {
                                events.iter().filter(|event| event.stored.position > at).cloned().collect()
                            };
                            if let Some(last) = new.last().map(|event| event.stored.position) {
                                store.must_follow(&topic, delivered, &new).await?;
                                (at, delivered) = (last, Some(last));
                                yield TailItem::Events(new);
                            }
                        }
                        Err(RecvError::Lagged(_)) => {
                            subscription.renew();
                            yield TailItem::FellBehind;
                            break;
                        }
                        Err(RecvError::Closed) => Err(subscription.end())?,
                    }
                }
            }
        }
        .boxed()
    }

    /// Fails if what comes is not what follows: events between are gone when retention was faster,
    /// and numbers begin anew when the topic was deleted and made again.
    async fn must_follow(
        &self,
        topic: &Name,
        delivered: Option<Position>,
        coming: &[SharedEvent],
    ) -> Result<()> {
        let Some((delivered, first)) = delivered.zip(coming.first()) else {
            return Ok(());
        };
        match first.stored.position.sequence.cmp(&(delivered.sequence + 1)) {
            Ordering::Equal => Ok(()),
            Ordering::Greater => Err(self.trimmed(topic, delivered).await),
            Ordering::Less => {
                let head = coming.last().map(|event| event.stored.position);
                Err(self.beyond_head(topic, delivered, head))
            }
        }
    }

    /// What follows a position; nothing when the end was reached.
    async fn page_after(&self, topic: &Name, at: Position) -> Result<Arc<[SharedEvent]>> {
        let state: TopicState = self.find_state(topic).await?.unwrap_or_default();
        if state.last.is_none_or(|last| at >= last) {
            return Ok(Arc::new([]));
        }
        if state.trimmed.is_some_and(|trimmed| at > Position::ZERO && trimmed > at) {
            return Err(self.trimmed(topic, at).await);
        }
        let count = state.page().min(PAGE_EVENTS);
        let page = self.range(topic, at.after(), Position::MAX, Direction::Forward, count).await?;
        let share = |stored| SharedEvent::new(topic, stored);
        Ok(page.into_iter().map(share).collect())
    }
}
