//! What was refused: counted by reason, and logged, but never faster than a reader could want: who
//! is refused a thousand times a second must not fill the disk.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// Lines a second about refusals, over a while and at once.
const LINES: NonZeroU32 = NonZeroU32::new(5).unwrap();
const LINES_AT_ONCE: NonZeroU32 = NonZeroU32::new(50).unwrap();

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)*) => {
        /// Why something was refused: the label of `auth_denied_total`, and `cause` in the metadata
        /// of UNAUTHENTICATED.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Reason { $($(#[$doc])* $variant,)* }

        impl Reason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// In small letters, as metrics name it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

reasons! {
    /// No token, and no certificate that names a caller.
    NoCredentials => "no_credentials",
    /// Not `Bearer <token>`, or no JWT.
    Malformed => "malformed",
    /// A token that the tokens file does not have.
    UnknownToken => "unknown_token",
    /// Signed in a way that is not taken: none, or with a shared secret.
    Algorithm => "wrong_algorithm",
    /// Signed with a key that is not among the keys.
    UnknownKey => "unknown_key",
    /// The signature is not of that key.
    Signature => "wrong_signature",
    /// Its time is over.
    Expired => "expired",
    /// Its time has not come.
    NotYetValid => "not_yet_valid",
    /// Issued by another.
    Issuer => "wrong_issuer",
    /// For another.
    Audience => "wrong_audience",
    /// A claim is missing or is not what it has to be; the one that names the caller, say.
    Claim => "wrong_claim",
    /// The rules do not give the right.
    Permission => "permission",
    /// Too many requests.
    RateLimited => "rate_limited",
    /// Too many connections.
    Connections => "too_many_connections",
    /// A TLS handshake that failed or took too long.
    Handshake => "handshake",
}

/// How often, by reason.
#[derive(Clone, Debug)]
pub struct Counts(Vec<(Reason, u64)>);

impl Counts {
    /// How often for this reason.
    #[must_use]
    pub fn of(&self, reason: Reason) -> u64 {
        self.0.iter().find(|(of, _)| *of == reason).map_or(0, |(_, count)| *count)
    }

    /// Every reason, also those with nothing.
    pub fn iter(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        self.0.iter().copied()
    }
}

/// Counts refusals and says when to log one.
#[derive(Debug)]
pub(crate) struct Refusals {
    counts: Vec<AtomicU64>,
    lines: DefaultDirectRateLimiter,
    /// Lines that were not written since the last that was.
    unsaid: AtomicU64,
}

impl Refusals {
    pub(crate) fn new() -> Self {
        let quota = Quota::per_second(LINES).allow_burst(LINES_AT_ONCE);
        Self {
            counts: Reason::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            lines: RateLimiter::direct(quota),
            unsaid: AtomicU64::new(0),
        }
    }

    /// Counts one. Has `log` say it unless too much was said already; it is told how many were not
    /// said since the last time.
    pub(crate) fn count(&self, reason: Reason, log: impl FnOnce(u64)) {
        if let Some(count) = self.counts.get(reason as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if self.lines.check().is_ok() {
            log(self.unsaid.swap(0, Ordering::Relaxed));
        } else {
            self.unsaid.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        Counts(Reason::ALL.iter().copied().zip(counts).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_few_are_said() {
        let refusals = Refusals::new();
        let mut said = 0;
        for _ in 0..10_000 {
            refusals.count(Reason::Expired, |_| said += 1);
        }
        refusals.count(Reason::Handshake, |_| said += 1);
        assert_eq!(refusals.counts().of(Reason::Expired), 10_000);
        assert_eq!(refusals.counts().of(Reason::Handshake), 1);
        assert_eq!(refusals.counts().of(Reason::Issuer), 0);
        assert!((50..100).contains(&said), "{said} lines");
    }
}
