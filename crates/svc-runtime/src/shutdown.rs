//! How a service is told to stop. A value that is passed along, never a global:
//! a test runs several services in one process and stops each on its own.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What a shell reports for a process that Ctrl-C ended.
const EXIT_INTERRUPTED: i32 = 130;

/// Tells everyone who holds a clone that the service is to stop.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    /// One that only [`Shutdown::trigger`] sets off.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One that SIGTERM and SIGINT set off. A second signal ends the process at
    /// once, for whoever will not wait for the clean end.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    pub fn on_signals() -> io::Result<Self> {
        let shutdown = Self::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let triggered = shutdown.clone();
        tokio::spawn(async move {
            loop {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                if triggered.is_triggered() {
                    tracing::warn!(signal = name, "second signal, exiting at once");
                    std::process::exit(EXIT_INTERRUPTED);
                }
                tracing::info!(signal = name, "shutting down");
                triggered.trigger();
            }
        });
        Ok(shutdown)
    }

    /// Sets it off. Once is enough, more do nothing.
    pub fn trigger(&self) {
        self.token.cancel();
    }

    /// Completes when it has been set off.
    pub async fn triggered(&self) {
        self.token.cancelled().await;
    }

    /// Whether it has been set off.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        self.token.is_cancelled()
    }

    /// The token behind it, for what takes one (`CancellationToken::child_token`,
    /// `FutureExt::with_cancellation_token`).
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }
}
