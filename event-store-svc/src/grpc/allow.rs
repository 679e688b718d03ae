//! Who may do what: the right that a call needs on its topic. Handlers ask once the names were
//! checked and before the store is asked; streams ask again for whatever they hand over, so that
//! they end when a rule is taken away.

use svc_runtime::rpc_error::RpcError;
use svc_security::{Caller, Denied, Resource, Right};
use tonic::{Request, Status};

use crate::model::{Append, Name};

/// What running a group needs: its members may set it up as well as administrators.
pub const OF_GROUPS: &[Right] = &[Right::Consume, Right::Administer];
/// Who has any right on a topic may know about it.
const ANY: &[Right] = &[Right::Read, Right::Append, Right::Consume, Right::Administer];

/// Who asks, and for what.
pub fn asked<T>(request: Request<T>) -> Result<(Caller, T), Status> {
    Ok((Caller::of(request.extensions())?, request.into_inner()))
}

/// What is asked of a caller.
pub trait Allowed {
    /// Fails unless the caller has the right on this topic now.
    fn may(&self, right: Right, topic: &Name) -> Result<(), Denied>;

    /// Fails unless the caller has one of the rights on this topic now.
    fn may_any(&self, rights: &[Right], topic: &Name) -> Result<(), Denied>;

    /// Fails unless the caller has any right at all on this topic now.
    fn may_know(&self, topic: &Name) -> Result<(), Denied> {
        self.may_any(ANY, topic)
    }

    /// Whether a list tells the caller of this topic.
    fn is_told_of(&self, topic: &Name) -> bool;

    /// An append that was checked, if the caller may make it.
    fn may_append(&self, append: Append) -> Result<Append, RpcError> {
        self.may(Right::Append, &append.topic)?;
        Ok(append)
    }
}

impl Allowed for Caller {
    fn may(&self, right: Right, topic: &Name) -> Result<(), Denied> {
        self.check(right, Resource::Topic(topic.as_str()))
    }

    fn may_any(&self, rights: &[Right], topic: &Name) -> Result<(), Denied> {
        self.check_any(rights, Resource::Topic(topic.as_str()))
    }

    fn is_told_of(&self, topic: &Name) -> bool {
        self.knows(Resource::Topic(topic.as_str()))
    }
}
