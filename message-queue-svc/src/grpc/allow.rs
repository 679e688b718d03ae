//! Who may do what: the rights that calls need on a queue. Asked once the names were checked, and
//! before the engine is.

use svc_security::{Caller, Denied, Resource, Right};
use tonic::{Request, Status};

use crate::model::QueueName;

/// To send, call, and ask for replies.
pub const SEND: &[Right] = &[Right::Send];
/// To receive, settle and reply.
pub const RECEIVE: &[Right] = &[Right::Receive];
/// To create, change, empty and delete.
pub const ADMINISTER: &[Right] = &[Right::Administer];
/// To look at messages without taking them.
pub const LOOK: &[Right] = &[Right::Receive, Right::Administer];
/// To know that it is there: any right on it.
pub const KNOW: &[Right] = &[Right::Receive, Right::Send, Right::Administer];

/// A request and who makes it.
pub fn caller<T>(request: Request<T>) -> Result<(Caller, T), Status> {
    let caller = Caller::of(request.extensions())?;
    Ok((caller, request.into_inner()))
}

/// Whether the caller has one of these rights on the queue, by the rules as they are now.
pub fn check(caller: &Caller, rights: &[Right], queue: &QueueName) -> Result<(), Denied> {
    caller.check_any(rights, of(queue))
}

/// Whether a list tells the caller of the queue.
pub fn knows(caller: &Caller, queue: &QueueName) -> bool {
    caller.knows(of(queue))
}

fn of(queue: &QueueName) -> Resource<'_> {
    Resource::Queue(queue.as_str())
}
