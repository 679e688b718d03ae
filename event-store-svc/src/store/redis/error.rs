//! What Redis says, as the service's errors. Details go to the log and no further.

use redis_link::LinkError;

use crate::error::StoreError;

/// Translates an error of a call that writes.
pub fn of_write(error: &LinkError) -> StoreError {
    match error {
        LinkError::Unavailable(_) => {
            tracing::debug!(error = error as &dyn std::error::Error, "redis is not available");
            StoreError::StorageUnavailable
        }
        LinkError::OutcomeUnknown(_) => {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "the outcome of a write is unknown"
            );
            StoreError::OutcomeUnknown
        }
        LinkError::Full(_) => {
            tracing::warn!(error = error as &dyn std::error::Error, "redis is full");
            StoreError::StorageFull
        }
        LinkError::Refused { .. } | LinkError::Protocol(_) => {
            tracing::error!(error = error as &dyn std::error::Error, "redis refused a call");
            StoreError::Corrupt
        }
    }
}

/// Translates an error of a call that only reads: nothing can be unknown about it.
pub fn of_read(error: &LinkError) -> StoreError {
    match of_write(error) {
        StoreError::OutcomeUnknown => StoreError::StorageUnavailable,
        other => other,
    }
}
