//! Where a connection leads, and when that is no longer where the primary is.

use tokio::sync::watch;

use super::Primary;

/// Where a connection was made to.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    of: Option<Primary>,
    now: watch::Receiver<Option<Primary>>,
}

impl Place {
    pub(crate) fn new(of: Option<Primary>, now: watch::Receiver<Option<Primary>>) -> Self {
        Self { of, now }
    }

    /// Whether the primary is another server now.
    pub(crate) fn is_left(&self) -> bool {
        is_other(self.of.as_ref(), self.now.borrow().as_ref())
    }

    /// Waits until the primary is another server: never, where no Sentinel tells. Cancel-safe.
    pub(crate) async fn left(&mut self) {
        let Some(of) = self.of.as_ref() else { return std::future::pending().await };
        if self.now.wait_for(|now| is_other(Some(of), now.as_ref())).await.is_err() {
            // What tells of it lives as long as connections are made.
            std::future::pending::<()>().await;
        }
    }
}

fn is_other(of: Option<&Primary>, now: Option<&Primary>) -> bool {
    of.zip(now).is_some_and(|(of, now)| (&of.host, of.port) != (&now.host, now.port))
}
