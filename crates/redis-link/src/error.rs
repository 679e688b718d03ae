//! What can go wrong with Redis, as the services need to tell it apart: did
//! it happen, may it be tried again, is Redis full. Classes are chosen by
//! error code, never by text.

mod hint;

use std::sync::Arc;

use redis::{ErrorKind, RedisError, ServerError};

/// Why a call gave no answer. Display and sources are for logs only.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LinkError {
    /// Nothing was executed: not connected, or Redis is loading, read-only,
    /// busy, or cut off from its replicas. Safe to try again.
    #[error("redis is not available")]
    Unavailable(#[source] Option<Detail>),

    /// It was sent, and then the connection was lost or no answer came in
    /// time: it may or may not have happened.
    #[error("the outcome is unknown")]
    OutcomeUnknown(#[source] Option<Detail>),

    /// Nothing was executed, because Redis is out of memory or can't write to
    /// its disk (OOM, MISCONF).
    #[error("redis is full")]
    Full(#[source] Detail),

    /// Redis answered with another error, such as BUSYGROUP, NOGROUP,
    /// WRONGTYPE, or a code that a script made up.
    #[error("redis refused: {code}")]
    Refused {
        /// The first word of the error.
        code: Box<str>,
        /// What Redis said, for the log.
        #[source]
        detail: Detail,
    },

    /// The answer does not have the shape that was expected.
    #[error("unexpected answer: {0}")]
    Protocol(&'static str),
}

/// What Redis or the network said, for logs.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct Detail {
    text: Arc<str>,
    bad_connection: bool,
    forbidden: bool,
}

impl LinkError {
    /// Whether nothing happened and the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// The error code, of [`LinkError::Refused`] only.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    pub(crate) fn not_connected() -> Self {
        Self::Unavailable(None)
    }

    /// Classes an error of a connection that was up when the call was sent.
    pub(crate) fn of_call(error: &RedisError) -> Self {
        match error.kind() {
            ErrorKind::Server(_) | ErrorKind::Extension => {
                Self::of_code(error.code().unwrap_or("ERR"), error)
            }
            ErrorKind::InvalidClientConfig | ErrorKind::Client => {
                Self::Unavailable(Some(detail(error, false)))
            }
            // An answer that can't be parsed came from something that was sent.
            _ => Self::OutcomeUnknown(Some(detail(error, true))),
        }
    }

    /// Classes an error answer.
    pub(crate) fn of_answer(error: &ServerError) -> Self {
        Self::of_code(error.code(), error)
    }

    /// Classes an error while connecting: nothing was sent yet.
    pub(crate) fn of_connect(error: &dyn std::fmt::Display) -> Self {
        Self::Unavailable(Some(detail(error, false)))
    }

    /// As [`LinkError::of_connect`], with the flag that is to blame, where that can be told.
    pub(crate) fn of_connecting(error: &RedisError) -> Self {
        match hint::of(error) {
            Some(hint) => Self::of_connect(&format_args!("{error}; {hint}")),
            None => Self::of_connect(error),
        }
    }

    /// As [`LinkError::of_connecting`], where nothing came back in time.
    pub(crate) fn no_answer() -> Self {
        Self::of_connecting(&std::io::Error::from(std::io::ErrorKind::TimedOut).into())
    }

    /// The user may not use these commands.
    pub(crate) fn denied(commands: &[String]) -> Self {
        let commands = commands.join(", ");
        Self::of_connect(&format_args!(
            "the user at redis may not use {commands}; --redis-username: allow it these commands, \
             with the keys and channels of this service"
        ))
    }

    /// What Redis or the network said, for the log.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::Unavailable(Some(detail)) | Self::OutcomeUnknown(Some(detail)) => {
                detail.to_string()
            }
            Self::Full(detail) | Self::Refused { detail, .. } => detail.to_string(),
            other => other.to_string(),
        }
    }

    /// A blocking command that was not answered in time.
    pub(crate) fn timed_out() -> Self {
        Self::OutcomeUnknown(Some(detail(&"no answer in time", true)))
    }

    /// A connection that leads to what is no longer the primary.
    pub(crate) fn left() -> Self {
        Self::OutcomeUnknown(Some(detail(&"the primary is another one now", true)))
    }

    /// A write that was made, and is not known to have got as far as asked.
    pub(crate) fn not_durable(why: &dyn std::fmt::Display) -> Self {
        Self::OutcomeUnknown(Some(detail(why, false)))
    }

    fn of_code(code: &str, error: &dyn std::fmt::Display) -> Self {
        match code {
            // This server will not serve this connection; another may. NOPERM: rights were taken
            // away, and connecting anew tells which are missing.
            "LOADING" | "READONLY" | "MASTERDOWN" | "NOAUTH" | "NOPERM" | "UNBLOCKED" => {
                let detail = Detail { forbidden: code == "NOPERM", ..detail(error, true) };
                Self::Unavailable(Some(detail))
            }
            // It will, later, and connecting anew would not make it sooner.
            "CLUSTERDOWN" | "TRYAGAIN" | "BUSY" | "NOREPLICAS" => {
                Self::Unavailable(Some(detail(error, false)))
            }
            "OOM" | "MISCONF" => Self::Full(detail(error, false)),
            _ => Self::Refused { code: code.into(), detail: detail(error, false) },
        }
    }

    /// Whether Redis answered that it does not do this, or not for this user.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Refused { .. } => true,
            Self::Unavailable(detail) => detail.as_ref().is_some_and(|detail| detail.forbidden),
            Self::OutcomeUnknown(_) | Self::Full(_) | Self::Protocol(_) => false,
        }
    }

    /// Whether the connection that gave this error should be replaced: it is
    /// gone, hangs, or leads to a server that must not be asked now.
    pub(crate) fn is_bad_connection(&self) -> bool {
        match self {
            Self::Unavailable(detail) | Self::OutcomeUnknown(detail) => {
                detail.as_ref().is_some_and(|detail| detail.bad_connection)
            }
            Self::Full(_) | Self::Refused { .. } | Self::Protocol(_) => false,
        }
    }
}

fn detail(error: &dyn std::fmt::Display, bad_connection: bool) -> Detail {
    Detail { text: error.to_string().into(), bad_connection, forbidden: false }
}
