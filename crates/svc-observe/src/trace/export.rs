//! An exporter that says when spans are lost, once a minute at most, and when they no longer are.

use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

/// How often it says so.
const SAY_AGAIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Reporting<E> {
    exporter: E,
    losses: Mutex<Losses>,
}

#[derive(Debug, Default)]
struct Losses {
    /// Since the collector was reached last.
    lost: usize,
    said: Option<Instant>,
}

/// What there is to say.
#[derive(Debug, PartialEq, Eq)]
enum Say {
    Lost(usize),
    Again(usize),
}

impl Losses {
    fn ended(&mut self, spans: usize, failed: bool, now: Instant) -> Option<Say> {
        if !failed {
            return self.said.take().map(|_| Say::Again(std::mem::take(&mut self.lost)));
        }
        self.lost += spans;
        if self.said.is_some_and(|said| now.duration_since(said) < SAY_AGAIN) {
            return None;
        }
        self.said = Some(now);
        Some(Say::Lost(self.lost))
    }
}

impl<E> Reporting<E> {
    pub fn new(exporter: E) -> Self {
        Self { exporter, losses: Mutex::default() }
    }
}

impl<E: SpanExporter> SpanExporter for Reporting<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.exporter.export(batch).await;
        let say = {
            let mut losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
            losses.ended(spans, result.is_err(), Instant::now())
        };
        let error = result.as_ref().err().map(tracing::field::display);
        match say {
            Some(Say::Lost(lost_spans)) => {
                tracing::warn!(error, lost_spans, "traces cannot be exported for now");
            }
            Some(Say::Again(lost_spans)) => {
                tracing::info!(lost_spans, "traces are exported again");
            }
            None => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_said_once_a_minute_and_their_end_once() {
        let mut losses = Losses::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(losses.ended(5, false, at(0)), None);
        assert_eq!(losses.ended(5, true, at(1)), Some(Say::Lost(5)));
        assert_eq!(losses.ended(5, true, at(2)), None);
        assert_eq!(losses.ended(5, true, at(60)), None);
        assert_eq!(losses.ended(1, true, at(61)), Some(Say::Lost(16)));
        assert_eq!(losses.ended(9, false, at(62)), Some(Say::Again(16)));
        assert_eq!(losses.ended(9, false, at(63)), None);
        assert_eq!(losses.ended(2, true, at(64)), Some(Say::Lost(2)));
    }
}
