//! Reads of what is there: pages of the log, one ahead of the reader. Sequences and revisions are
//! dense, so a page that does not follow the one before shows that events went while it was read.

use redis_link::cmd;
use tokio::sync::mpsc;

use super::state::TopicState;
use super::{RedisStore, entry, error};
use crate::model::{Direction, Name, Position, Start, StoredEvent, Subject};
use crate::store::{Read, Result};

/// Pages that wait for a reader: the reader has one, this one waits, the next is not asked for.
const PAGES_AHEAD: usize = 1;

impl RedisStore {
    /// Reads on a task of its own, which ends when nobody takes the pages.
    pub(super) fn start_read(&self, read: Read) -> mpsc::Receiver<Result<Vec<StoredEvent>>> {
        let (pages, receiver) = mpsc::channel(PAGES_AHEAD);
        let store = self.clone();
        tokio::spawn(async move {
            let done = match &read.subject {
                Some(subject) => store.read_by_subject(&read, subject, &pages).await,
                None => store.read_log(&read, &pages).await,
            };
            if let Err(error) = done {
                // Nobody waits for it any more, perhaps.
                let _ = pages.send(Err(error)).await;
            }
        });
        receiver
    }

    /// One page of the log.
    pub(super) async fn range(
        &self,
        topic: &Name,
        from: Position,
        to: Position,
        direction: Direction,
        count: u64,
    ) -> Result<Vec<StoredEvent>> {
        let mut command = match direction {
            Direction::Forward => cmd("XRANGE"),
            Direction::Backward => cmd("XREVRANGE"),
        };
        command.arg(self.keys(topic).log()).arg(from.to_string()).arg(to.to_string());
        command.arg("COUNT").arg(count);
        let answer = self.link.query(&command).await.and_then(entry::entries);
        answer.map_err(|e| error::of_read(&e))
    }

    async fn read_log(&self, read: &Read, pages: &Pages) -> Result<()> {
        let state = self.state(&read.topic).await?;
        let forward = read.direction == Direction::Forward;
        let start = read.start.unwrap_or(Start::Beginning);
        let mut from = self.resolve(&read.topic, &state, start, read.direction).await?;
        let Some(last) = state.last else {
            return Ok(());
        };
        let to = if forward {
            // What is appended meanwhile does not belong to it.
            read.end.map_or(last, |end| end.min(last))
        } else {
            read.end.unwrap_or(Position::ZERO)
        };
        // What the next event has to follow; none: the reading begins with whatever is left.
        let mut behind = match start {
            Start::After(_) | Start::Sequence(_) if forward => Some(from.before()),
            _ => None,
        };
        let mut left = read.limit;
        loop {
            let past = if forward { from > to } else { from < to };
            if past || left == Some(0) {
                return Ok(());
            }
            let mut count = state.page();
            if let (Some(left), true) = (left, read.filter.is_empty()) {
                count = count.min(left);
            }
            let page = self.range(&read.topic, from, to, read.direction, count).await?;
            let next = page.first().map(|event| event.position.sequence);
            if let Some(behind) = behind
                && !next.is_some_and(|next| follows(next, behind, forward))
            {
                self.must_be_all(read, &state, behind).await?;
            }
            let Some(end) = page.last().map(|event| event.position) else {
                return Ok(());
            };
            let complete = (page.len() as u64) < count;
            if !send(read, page, &mut left, pages).await || complete {
                return Ok(());
            }
            behind = Some(end);
            from = if forward { end.after() } else { end.before() };
        }
    }

    /// Fails if something behind this position was there when the reading began, as far as can be
    /// told, and is gone: it must not end as if it had told all.
    async fn must_be_all(&self, read: &Read, began: &TopicState, behind: Position) -> Result<()> {
        let now = self.find_state(&read.topic).await?;
        let Some(now) = now.filter(|now| now.created == began.created) else {
            let head = now.and_then(|now| now.last);
            return Err(self.beyond_head(&read.topic, behind, head));
        };
        // Going backward it ends with the oldest that is kept, whichever that is.
        let forward = read.direction == Direction::Forward;
        match now.trimmed.filter(|trimmed| forward && *trimmed > behind) {
            Some(_) => Err(self.trimmed(&read.topic, behind).await),
            None => Ok(()),
        }
    }

    async fn read_by_subject(&self, read: &Read, subject: &Subject, pages: &Pages) -> Result<()> {
        let state = self.state(&read.topic).await?;
        let start = read.start.unwrap_or(Start::Beginning);
        let forward = read.direction == Direction::Forward;
        let (mut revision, from) = match start {
            Start::Revision(revision) => (Some(revision), None),
            Start::Beginning => (None, None),
            other => (None, Some(self.resolve(&read.topic, &state, other, read.direction).await?)),
        };
        let last = state.last.unwrap_or(Position::ZERO);
        let mut left = read.limit;
        // Where the reading is, once it has begun.
        let mut behind = None;
        while left != Some(0) {
            let limit = left.filter(|_| read.filter.is_empty() && from.is_none());
            let page =
                self.subject_page(&read.topic, subject, revision, read.direction, limit).await?;
            let Some(bounds) = page.bounds else {
                return match behind {
                    Some(behind) => self.must_be_all(read, &state, behind).await,
                    None => Ok(()),
                };
            };
            if let Some(behind) = behind
                && forward
                && revision.is_some_and(|next| next < bounds.first)
            {
                return Err(self.trimmed(&read.topic, behind).await);
            }
            if let (Start::Revision(wanted), None) = (start, behind) {
                if wanted > bounds.last + 1 {
                    return Err(self.beyond_head(&read.topic, wanted, state.last));
                }
                if wanted < bounds.first && forward {
                    return Err(self.trimmed(&read.topic, wanted).await);
                }
            }
            let within = |event: &StoredEvent| {
                let position = event.position;
                if forward {
                    from.is_none_or(|from| position >= from)
                        && position <= read.end.map_or(last, |end| end.min(last))
                } else {
                    from.is_none_or(|from| position <= from)
                        && read.end.is_none_or(|end| position >= end)
                }
            };
            let end = page.events.last().map(|event| event.position).or(behind);
            let events = page.events.into_iter().filter(within).collect();
            if let (Start::After(_) | Start::Sequence(_), Some(from), None, true) =
                (start, from, behind, forward)
            {
                // It may have gone between the look at the topic and at the subject.
                self.must_be_all(read, &state, from.before()).await?;
            }
            if !send(read, events, &mut left, pages).await {
                return Ok(());
            }
            // A revision below zero, or beyond the last: the reading is over.
            let left_over = |next: &u64| {
                if forward { *next <= bounds.last } else { *next >= bounds.first }
            };
            let Some(next) = page.next.filter(left_over) else {
                return Ok(());
            };
            revision = Some(next);
            behind = end;
        }
        Ok(())
    }
}

/// Whether a sequence is the one next to a position, in the direction of a reading.
fn follows(sequence: u64, behind: Position, forward: bool) -> bool {
    if forward {
        sequence == behind.sequence.wrapping_add(1)
    } else {
        sequence.wrapping_add(1) == behind.sequence
    }
}

type Pages = mpsc::Sender<Result<Vec<StoredEvent>>>;

/// Hands a page over, filtered and cut; false when nobody takes it.
async fn send(read: &Read, mut page: Vec<StoredEvent>, left: &mut Option<u64>, to: &Pages) -> bool {
    if !read.filter.is_empty() {
        page.retain(|event| read.filter.matches(&event.view()));
    }
    if let Some(left) = left {
        let keep = usize::try_from(*left).unwrap_or(usize::MAX);
        page.truncate(keep);
        *left -= page.len() as u64;
    }
    page.is_empty() && !to.is_closed() || to.send(Ok(page)).await.is_ok()
}
