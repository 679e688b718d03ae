//! Waiting between attempts to reach something that is away.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::shutdown::Shutdown;

/// Growing, jittered delays, so that many clients of a service that comes back
/// do not all come back in the same instant. Never ends.
#[derive(Debug)]
pub struct Backoff {
    builder: ExponentialBuilder,
    delays: ExponentialBackoff,
    max: Duration,
}

impl Backoff {
    /// Doubles from `min` to `max`. Jitter adds up to the delay itself again,
    /// but never beyond `max`.
    #[must_use]
    pub fn new(min: Duration, max: Duration) -> Self {
        let builder = ExponentialBuilder::new()
            .with_jitter()
            .with_min_delay(min)
            .with_max_delay(max)
            .without_max_times();
        Self { builder, delays: builder.build(), max }
    }

    /// For reconnecting: 50 ms to 1 s, so that a service that came back is
    /// noticed within a second.
    #[must_use]
    pub fn reconnect() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(1))
    }

    /// The next delay.
    pub fn next_delay(&mut self) -> Duration {
        self.delays.next().unwrap_or(self.max).min(self.max)
    }

    /// Starts over, after an attempt that went well.
    pub fn reset(&mut self) {
        self.delays = self.builder.build();
    }

    /// Waits for the next delay. False when the shutdown came first.
    pub async fn wait(&mut self, shutdown: &Shutdown) -> bool {
        let delay = self.next_delay();
        tokio::select! {
            () = tokio::time::sleep(delay) => true,
            () = shutdown.triggered() => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_maximum_and_stay() {
        let (min, max) = (Duration::from_millis(10), Duration::from_millis(200));
        let mut backoff = Backoff::new(min, max);
        let delays: Vec<_> = (0..50).map(|_| backoff.next_delay()).collect();
        assert!(delays.iter().all(|d| (min..=max).contains(d)), "{delays:?}");
        assert!(delays[10..].iter().all(|d| *d == max), "{delays:?}");
        backoff.reset();
        assert!(backoff.next_delay() <= min * 2);
    }

    #[tokio::test]
    async fn a_shutdown_ends_the_wait() {
        let shutdown = Shutdown::new();
        shutdown.trigger();
        let mut backoff = Backoff::new(Duration::from_secs(600), Duration::from_secs(600));
        assert!(!backoff.wait(&shutdown).await);
    }
}
