//! When a projection is kept, and how it is taken up again.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use svc_runtime::backoff::Backoff;
use svc_runtime::shutdown::Shutdown;
use tokio::task::JoinHandle;

use super::Projection;
use crate::service::failure::is_transient;
use crate::service::snapshot::{Items, Kept, Marks, Shelf, Snapshots};

/// How long the last snapshot may hold up a shutdown.
const FAREWELL: Duration = Duration::from_secs(5);

/// The snapshots of one projection. What [`Snapshots`] asks for is held as
/// functions, so that a projection without it needs nothing of this.
pub(super) struct Keeper<P> {
    shelf: Shelf,
    every: u64,
    save: fn(&P, &mut Items),
    restore: fn(&mut P, &[u8]) -> Result<(), serde_json::Error>,
    /// Events since the last snapshot, and what that one weighed.
    since: u64,
    weight: u64,
    saving: Option<JoinHandle<bool>>,
}

impl<P: Snapshots> Keeper<P> {
    pub(super) fn new(shelf: Shelf, every: u64) -> Self {
        let (save, restore) = (P::save, P::restore);
        Self { shelf, every, save, restore, since: 0, weight: 0, saving: None }
    }
}

impl<P: Projection> Keeper<P> {
    /// Takes up the newest snapshot, and tells how far it goes and how many items
    /// it had. Nothing if there is none of use, or the shutdown came first.
    pub(super) async fn restore(
        &mut self,
        state: &RwLock<P>,
        shutdown: &Shutdown,
    ) -> Option<(Marks, u64)> {
        self.shelf.prepare(shutdown).await;
        let mut backoff = Backoff::reconnect();
        let kept = loop {
            match self.shelf.load().await {
                Ok(kept) => break kept?,
                Err(status) if is_transient(&status) => {}
                Err(status) => return self.shelf.unfit(status.message()),
            }
            if !backoff.wait(shutdown).await {
                return None;
            }
        };
        if let Err(error) = self.take_up(state, &kept) {
            state.write().unwrap_or_else(PoisonError::into_inner).reset();
            return self.shelf.unfit(&format!("an item cannot be read: {error}"));
        }
        self.weight = kept.items;
        tracing::info!(items = kept.items, "taken up from a snapshot");
        Some((kept.marks, kept.items))
    }

    fn take_up(&self, state: &RwLock<P>, kept: &Kept) -> Result<(), serde_json::Error> {
        let mut state = state.write().unwrap_or_else(PoisonError::into_inner);
        kept.items().try_for_each(|item| (self.restore)(&mut state, item))
    }

    /// Counts an event. True when it is time for a snapshot: seldom enough that
    /// keeping costs no more than reading, however much there is.
    pub(super) fn is_due(&mut self) -> bool {
        self.since += 1;
        let saving = self.saving.as_ref().is_some_and(|saving| !saving.is_finished());
        !saving && self.since >= self.every.max(self.weight / 2)
    }

    /// How the last snapshot ended, once: whether it was kept.
    pub(super) async fn ended(&mut self) -> Option<bool> {
        match &self.saving {
            Some(saving) if saving.is_finished() => self.saving.take()?.await.ok(),
            _ => None,
        }
    }

    /// Packs the state as it is, and keeps it beside whatever goes on.
    pub(super) async fn keep(&mut self, state: &Arc<RwLock<P>>, marks: Marks) {
        let (save, packed) = (self.save, state.clone());
        // Off the runtime: it takes its time, and queries go on meanwhile.
        let items = tokio::task::spawn_blocking(move || {
            let mut items = Items::default();
            save(&packed.read().unwrap_or_else(PoisonError::into_inner), &mut items);
            items
        });
        let Ok(items) = items.await else {
            return;
        };
        (self.since, self.weight) = (0, items.count());
        let shelf = self.shelf.clone();
        self.saving = Some(tokio::spawn(async move {
            let (count, topics) = (items.count(), marks.len());
            match shelf.save(items, marks).await {
                Ok(true) => {
                    tracing::info!(items = count, topics, "kept a snapshot");
                    true
                }
                Ok(false) => {
                    tracing::debug!("another replica keeps a snapshot");
                    false
                }
                Err(status) => {
                    let (code, error) = (status.code(), status.message());
                    tracing::warn!(?code, error, "could not keep a snapshot");
                    false
                }
            }
        }));
    }

    /// Keeps what there is at the end, unless nothing is new.
    pub(super) async fn farewell(&mut self, state: &Arc<RwLock<P>>, marks: Marks) {
        let last = async {
            if let Some(saving) = self.saving.take() {
                let _ = saving.await;
            }
            if self.since > 0 {
                self.keep(state, marks).await;
                if let Some(saving) = self.saving.take() {
                    let _ = saving.await;
                }
            }
        };
        if tokio::time::timeout(FAREWELL, last).await.is_err() {
            tracing::warn!("no time to keep a last snapshot");
        }
    }
}
