//! Who calls: a name, what it may do, and how much of it. In the extensions of every request that
//! passed the layer.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::Extensions;
use svc_runtime::rpc_error::RpcError;
use tonic::{Code, Status};

use crate::limits::{Bucket, Buckets};
use crate::refusals::{Reason, Refusals};
use crate::rules::{Resource, Right, Rules};

/// What decides about callers of one service.
#[derive(Debug)]
pub(crate) struct Authority {
    /// The package that errors belong to.
    pub(crate) domain: &'static str,
    /// None: everybody may do everything.
    pub(crate) rules: Option<Arc<ArcSwap<Rules>>>,
    /// None: as many requests as they like.
    pub(crate) buckets: Option<Buckets>,
    pub(crate) refusals: Arc<Refusals>,
}

impl Authority {
    /// The caller of that name.
    pub(crate) fn caller(self: &Arc<Self>, name: &str) -> Caller {
        let bucket = self.buckets.as_ref().map(|buckets| buckets.of_caller(name));
        Caller::new(Some(name), bucket, self)
    }

    /// Whoever calls from there.
    pub(crate) fn anonymous(self: &Arc<Self>, address: Option<IpAddr>) -> Caller {
        let buckets = self.buckets.as_ref();
        let bucket = buckets.zip(address).map(|(buckets, address)| buckets.of_address(address));
        Caller::new(None, bucket, self)
    }
}

/// Who calls.
#[derive(Clone)]
pub struct Caller(Arc<Inner>);

struct Inner {
    name: Option<Box<str>>,
    bucket: Option<Arc<Bucket>>,
    authority: Arc<Authority>,
}

/// What a caller is called that did not have to say who it is.
const ANONYMOUS: &str = "anonymous";

impl Caller {
    fn new(name: Option<&str>, bucket: Option<Arc<Bucket>>, authority: &Arc<Authority>) -> Self {
        let authority = Arc::clone(authority);
        Self(Arc::new(Inner { name: name.map(Into::into), bucket, authority }))
    }

    /// Who makes this request.
    ///
    /// # Errors
    /// UNAUTHENTICATED where the request did not come through the layer: better refused than
    /// unchecked.
    pub fn of(extensions: &Extensions) -> Result<Self, Status> {
        extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Status::unauthenticated("the request was not authenticated"))
    }

    /// Who makes this request, if it may do this: for handlers.
    ///
    /// # Errors
    /// As for [`Caller::of`] and [`Caller::check`].
    pub fn allowed(
        extensions: &Extensions,
        right: Right,
        resource: Resource<'_>,
    ) -> Result<Self, Status> {
        let caller = Self::of(extensions)?;
        caller.check(right, resource)?;
        Ok(caller)
    }

    /// Its name; `anonymous` where it did not have to say who it is.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name.as_deref().unwrap_or(ANONYMOUS)
    }

    /// Whether it has not said who it is.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.0.name.is_none()
    }

    /// Whether it may do this, by the rules as they are now. Costs a look-up or two; streams ask for
    /// each message.
    ///
    /// # Errors
    /// [`Denied`], counted and logged.
    pub fn check(&self, right: Right, resource: Resource<'_>) -> Result<(), Denied> {
        self.check_any(&[right], resource)
    }

    /// Whether it has any of these rights, for what more than one of them includes.
    ///
    /// # Errors
    /// [`Denied`] for the first of them, counted and logged.
    pub fn check_any(&self, rights: &[Right], resource: Resource<'_>) -> Result<(), Denied> {
        let Some(rules) = &self.0.authority.rules else { return Ok(()) };
        // Without a name no rule is meant, not even one for `*`.
        let allowed = self.0.name.as_deref().is_some_and(|name| {
            let rules = rules.load();
            rights.iter().any(|right| rules.allows(name, *right, resource))
        });
        if allowed {
            return Ok(());
        }
        // Who asks for none of all rights gets none.
        let right = rights.first().copied().unwrap_or(Right::Administer);
        let denied = Denied {
            caller: self.name().to_owned(),
            right,
            kind: resource.kind(),
            resource: resource.name().to_owned(),
            domain: self.0.authority.domain,
        };
        self.0.authority.refusals.count(Reason::Permission, |unsaid| {
            tracing::warn!(
                caller = ?denied.caller, %right, kind = denied.kind, name = ?denied.resource, unsaid,
                "permission denied"
            );
        });
        Err(denied)
    }

    /// Whether it may do anything at all with it: whether a list tells of it. Neither counted nor
    /// logged.
    #[must_use]
    pub fn knows(&self, resource: Resource<'_>) -> bool {
        let Some(rules) = &self.0.authority.rules else { return true };
        self.0.name.as_deref().is_some_and(|name| rules.load().allows_any(name, resource))
    }

    /// Counts messages of a stream that are requests of their own against the caller's requests a
    /// second.
    ///
    /// # Errors
    /// RATE_LIMITED with the time to wait.
    pub fn charge(&self, requests: u32) -> Result<(), RpcError> {
        let (Some(bucket), Some(requests)) = (&self.0.bucket, NonZeroU32::new(requests)) else {
            return Ok(());
        };
        bucket.take(requests).map_err(|wait| self.rate_limited(wait))
    }

    fn rate_limited(&self, wait: Duration) -> RpcError {
        let authority = &self.0.authority;
        authority.refusals.count(Reason::RateLimited, |unsaid| {
            tracing::warn!(caller = ?self.name(), unsaid, "too many requests");
        });
        RpcError::new(
            Code::ResourceExhausted,
            "RATE_LIMITED",
            authority.domain,
            "too many requests a second; wait as long as RetryInfo says",
        )
        .fact("caller", self.name())
        .retry_after(wait.max(Duration::from_millis(1)))
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Caller").field(&self.name()).finish()
    }
}

/// A right that a caller does not have.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{caller} may not {right} on {kind} {resource}: ask for a rule that gives this right")]
pub struct Denied {
    /// Who asked.
    pub caller: String,
    /// For what.
    pub right: Right,
    /// On a `topic` or a `queue`.
    pub kind: &'static str,
    /// Its name.
    pub resource: String,
    /// The package that the error belongs to.
    pub domain: &'static str,
}

impl From<Denied> for RpcError {
    fn from(denied: Denied) -> Self {
        let reason = "PERMISSION_DENIED";
        Self::new(Code::PermissionDenied, reason, denied.domain, denied.to_string())
            .fact("right", denied.right)
            .fact(denied.kind, denied.resource)
            .fact("caller", denied.caller)
    }
}

impl From<Denied> for Status {
    fn from(denied: Denied) -> Self {
        RpcError::from(denied).into()
    }
}

#[cfg(test)]
impl Caller {
    pub(crate) fn for_test(name: &str) -> Self {
        let refusals = Arc::new(Refusals::new());
        let authority = Authority { domain: "test.v1", rules: None, buckets: None, refusals };
        Arc::new(authority).caller(name)
    }
}

#[cfg(test)]
mod tests {
    use svc_runtime::rpc_error::ErrorFacts;

    use super::*;

    #[test]
    fn a_denial_says_which_right_on_what_is_missing_and_to_whom() {
        let rules = "[[rule]]\ncallers = [\"*\"]\nrights = [\"read\"]\ntopics = [\"order\"]";
        let rules = Arc::new(ArcSwap::from_pointee(Rules::parse(rules).unwrap()));
        let refusals = Arc::new(Refusals::new());
        let authority = Arc::new(Authority {
            domain: "test.v1",
            rules: Some(Arc::clone(&rules)),
            buckets: None,
            refusals: Arc::clone(&refusals),
        });
        let caller = authority.caller("billing");
        assert_eq!(caller.check(Right::Read, Resource::Topic("order")), Ok(()));
        assert!(caller.knows(Resource::Topic("order")) && !caller.knows(Resource::Topic("x")));
        let order = Resource::Topic("order");
        assert_eq!(caller.check_any(&[Right::Append, Right::Read], order), Ok(()));
        let denied = caller.check_any(&[Right::Append, Right::Consume], order).unwrap_err();
        let status = Status::from(denied);
        assert_eq!(status.code(), Code::PermissionDenied);
        assert!(status.message().starts_with("billing may not append on topic order"));
        let facts = ErrorFacts::of(&status).unwrap();
        assert_eq!((&*facts.reason, &*facts.domain), ("PERMISSION_DENIED", "test.v1"));
        assert_eq!(facts.metadata["right"], "append");
        assert_eq!(facts.metadata["topic"], "order");
        assert_eq!(facts.metadata["caller"], "billing");
        assert_eq!(refusals.counts().of(Reason::Permission), 1);

        let anonymous = authority.anonymous(None);
        assert!(anonymous.check(Right::Read, Resource::Topic("order")).is_err());
        let all = "[[rule]]\ncallers = [\"b*\"]\nrights = [\"append\"]\ntopics = [\"*\"]";
        rules.store(Arc::new(Rules::parse(all).unwrap()));
        assert_eq!(caller.check(Right::Append, Resource::Topic("order")), Ok(()));
    }
}
