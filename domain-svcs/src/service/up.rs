//! A service is ready when each of its parts is.

use std::sync::{Arc, Mutex, PoisonError};

use svc_runtime::health::Readiness;

/// The readiness of a service, by part.
#[derive(Clone, Debug)]
pub(super) struct Health {
    readiness: Readiness,
    parts: Arc<Mutex<Vec<bool>>>,
}

/// The readiness of one part. Not ready at first.
#[derive(Debug)]
pub struct Up {
    health: Health,
    index: usize,
}

impl Health {
    pub(super) fn new(readiness: Readiness) -> Self {
        Self { readiness, parts: Arc::default() }
    }

    /// Another part.
    pub(super) fn part(&self) -> Up {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.push(false);
        Up { health: self.clone(), index: parts.len() - 1 }
    }
}

impl Up {
    /// The parts of something that is not a [`super::Service`].
    #[must_use]
    pub fn parts<const N: usize>(readiness: Readiness) -> [Self; N] {
        let health = Health::new(readiness);
        std::array::from_fn(|_| health.part())
    }

    /// Says whether this part is ready.
    pub fn set(&self, up: bool) {
        let mut parts = self.health.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(part) = parts.get_mut(self.index) {
            *part = up;
        }
        self.health.readiness.set(parts.iter().all(|up| *up));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_all_parts_are() {
        let (readiness, _) = Readiness::new(&[]);
        let health = Health::new(readiness.clone());
        let (a, b) = (health.part(), health.part());
        a.set(true);
        assert!(!readiness.is_ready());
        b.set(true);
        assert!(readiness.is_ready());
        a.set(false);
        assert!(!readiness.is_ready());
    }
}
